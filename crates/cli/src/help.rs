//! Help texts in the layout of the original client, and the reference of all commands.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command as Grammar};

use crate::exit;

/// Variables of the environment that mean something to every command.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("CONVOX_CONFIG", "directory of the settings"),
    (
        "CONVOX_HOST",
        "console or rack, in place of the one logged in to",
    ),
    ("CONVOX_PASSWORD", "its password"),
    ("CONVOX_RACK", "rack, in place of the one switched to"),
    (
        "CONVOX_TLS_VERIFY",
        "always: local racks prove who they are too; never: no rack need do so",
    ),
    ("CONVOX_TOKEN", "token that `login` stores"),
    ("CONVOX_WAIT", "true: as if every command had --wait"),
    ("NO_COLOR", "no colours on a terminal, as with TERM=dumb"),
    (
        "RACK_URL",
        "rack with its credentials, in place of all settings",
    ),
];

/// Every command with its description, what exit statuses mean, and which variables do.
pub(crate) fn all(grammar: &Grammar) -> String {
    let mut rows = Vec::new();
    gather(grammar, "convox", &mut rows);
    rows.sort();
    let variables = VARIABLES
        .iter()
        .map(|(name, meaning)| ((*name).to_owned(), (*meaning).to_owned()));
    let variables: Vec<_> = variables.collect();
    format!(
        "{}\n{}\nENVIRONMENT\n{}",
        two_columns(&rows, ""),
        exit::text(""),
        two_columns(&variables, "  ")
    )
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

/// How a command is written.
fn usage(command: &Grammar, words: &[String]) -> String {
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
    usage
}

/// Usage, description and options of one command.
pub(crate) fn one(command: &Grammar, words: &[String]) -> String {
    let usage = usage(command, words);
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
    let statuses = exit::text(&words.join(" "));
    if !statuses.is_empty() {
        text.push('\n');
        text.push_str(&statuses);
    }
    text
}

/// Flags that mean the same wherever they are.
const COMMON: [&str; 5] = ["app", "json", "rack", "wait", "watch"];

/// All commands in Markdown.
pub(crate) fn reference(grammar: &Grammar) -> String {
    let mut text = "# Commands\n\n\
        Made from the program by `convox man --markdown`; a test fails when this is out of date.\n\n\
        Flags may stand anywhere behind the command; `--app`, `--rack` and `--wait` before it too. These mean \
        the same wherever they are:\n\n\
        | Flag | |\n|---|---|\n\
        | `-a`, `--app <app>` | the app; else what `.convox/app` says, else the name of the directory |\n\
        | `-r`, `--rack <rack>` | the rack; else what `CONVOX_RACK` or `.convox/rack` says, else the one switched to |\n\
        | `-w`, `--wait` | wait until it is done, where that takes a while; `CONVOX_WAIT=true` does the same |\n\
        | `--json` | print JSON, with the names of the rack's API |\n\
        | `--watch <seconds>` | show it again and again |\n\n\
        ## Exit status\n\n```\n"
        .to_owned();
    let statuses = exit::text("");
    text.push_str(statuses.split_once('\n').map_or("", |(_, rows)| rows));
    text.push_str("```\n\n## Environment\n\n| Variable | |\n|---|---|\n");
    for (name, meaning) in VARIABLES {
        writeln!(text, "| `{name}` | {meaning} |").expect("a text takes everything");
    }
    describe(grammar, &[], &mut text);
    text
}

fn describe(grammar: &Grammar, words: &[String], text: &mut String) {
    let mut commands: Vec<_> = grammar
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    commands.sort_by_key(|command| command.get_name());
    for command in commands {
        let words = [words, &[command.get_name().to_owned()]].concat();
        let level = if words.len() == 1 { "##" } else { "###" };
        let mut lines = format!(
            "\n{level} `{}`\n\n{}\n",
            usage(command, &words),
            about(command)
        );
        let positionals = command.get_positionals().filter_map(|argument| {
            let name = argument.get_value_names()?.first()?.to_lowercase();
            Some((format!("`{name}`"), argument.get_help()?.to_string()))
        });
        let flags = command.get_arguments().filter_map(|flag| {
            let long = flag.get_long().filter(|long| !COMMON.contains(long))?;
            option(flag)?;
            let value = match flag.get_action() {
                ArgAction::SetTrue => String::new(),
                _ if flag.is_require_equals_set() => "[=false]".to_owned(),
                _ => flag
                    .get_value_names()
                    .and_then(|names| names.first())
                    .map(|name| format!(" <{name}>"))
                    .unwrap_or_default(),
            };
            let short = flag
                .get_short()
                .map(|short| format!("`-{short}`, "))
                .unwrap_or_default();
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("{short}`--{long}{value}`"), help))
        });
        let rows: Vec<_> = positionals.chain(flags).collect();
        if !rows.is_empty() {
            lines.push_str("\n| | |\n|---|---|\n");
        }
        for (name, help) in rows {
            writeln!(lines, "| {name} | {} |", help.replace('|', "\\|"))
                .expect("a text takes everything");
        }
        let common: Vec<_> = command
            .get_arguments()
            .filter_map(|flag| flag.get_long().filter(|long| COMMON.contains(long)))
            .map(|long| format!("`--{long}`"))
            .collect();
        if !common.is_empty() {
            writeln!(lines, "\nAlso: {}", common.join(" ")).expect("a text takes everything");
        }
        text.push_str(&lines);
        describe(command, &words, text);
    }
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
