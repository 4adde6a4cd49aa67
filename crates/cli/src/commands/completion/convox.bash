# Completion of convox for bash. Load it with
#   source <(convox completion bash)
# or write it to a file in ~/.local/share/bash-completion/completions named convox.
_convox() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("$line")
  done < <(convox complete bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _convox convox
