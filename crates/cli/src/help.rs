//! Help texts in the layout of the original client.

use clap::{Arg, ArgAction, Command as Grammar};

/// Every command with its description.
pub(crate) fn all(grammar: &Grammar) -> String {
    let mut rows = Vec::new();
    gather(grammar, "convox", &mut rows);
    rows.sort();
    two_columns(&rows, "")
}

fn gather(grammar: &Grammar, words: &str, rows: &mut Vec<(String, String)>) {
    for command in grammar
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let words = format!("{words} {}", command.get_name());
        rows.push((words.clone(), about(command)));
        gather(command, &words, rows);
    }
}

/// Usage, description and options of one command.
pub(crate) fn one(command: &Grammar, words: &[String]) -> String {
    let mut usage = format!("convox {}", words.join(" "));
    for positional in command.get_positionals() {
        let name = positional
            .get_value_names()
            .and_then(|names| names.first())
            .map_or("", |name| name.as_str());
        let many = if positional
            .get_num_args()
            .is_some_and(|range| range.max_values() > 1)
        {
            "..."
        } else {
            ""
        };
        let name = &name.to_lowercase();
        let (open, close) = if positional.is_required_set() {
            ("<", ">")
        } else {
            ("[", "]")
        };
        usage.extend([" ", open, name, close, many]);
    }
    let mut text = format!("USAGE\n  {usage}\n\nDESCRIPTION\n  {}\n", about(command));
    let mut commands = Vec::new();
    gather(
        command,
        &format!("convox {}", words.join(" ")),
        &mut commands,
    );
    if !commands.is_empty() {
        text.push_str("\nCOMMANDS\n");
        text.push_str(&two_columns(&commands, "  "));
    }
    let mut options: Vec<_> = command.get_arguments().filter_map(option).collect();
    options.sort();
    if !options.is_empty() {
        text.push_str("\nOPTIONS\n");
        text.push_str(&two_columns(&options, "  "));
    }
    text
}

/// `--name value` and `-n value` of a visible flag.
fn option(argument: &Arg) -> Option<(String, String)> {
    if argument.is_positional()
        || argument.is_hide_set()
        || matches!(argument.get_action(), ArgAction::Help)
    {
        return None;
    }
    let value = if argument.is_require_equals_set() {
        String::new()
    } else {
        let name = argument
            .get_value_names()
            .and_then(|names| names.first())
            .map_or("value", |name| name.as_str());
        format!(" {name}")
    };
    let long = argument.get_long().map(|long| format!("--{long}{value}"))?;
    let short = argument
        .get_short()
        .map(|short| format!("-{short}{value}"))
        .unwrap_or_default();
    Some((long, short))
}

fn about(command: &Grammar) -> String {
    command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn two_columns(rows: &[(String, String)], indent: &str) -> String {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    let lines: Vec<_> = rows
        .iter()
        .map(|(left, right)| format!("{indent}{left:width$}  {right}\n"))
        .collect();
    lines.concat()
}
