#compdef convox
# Completion of convox for zsh. Load it, after compinit, with
#   source <(convox completion zsh)
# or write it to a file named _convox in a directory of $fpath.
_convox() {
  local -a lines
  lines=("${(@f)$(convox complete zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n $lines[1] ]]; then
    _describe -V convox lines
  else
    _files
  fi
}
if [[ $funcstack[1] == _convox ]]; then
  _convox "$@"
else
  compdef _convox convox
fi
