# Completion of convox for fish. Load it with
#   convox completion fish | source
# or write it to ~/.config/fish/completions/convox.fish
function __convox_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l found (convox complete fish -- $words[2..-1] "$current" 2>/dev/null)
    if test (count $found) -gt 0
        string join \n -- $found
    else
        __fish_complete_path "$current"
    end
end
complete -c convox --no-files -k -a '(__convox_complete)'
