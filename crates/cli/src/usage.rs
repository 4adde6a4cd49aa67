//! Usage errors in the words of the original client.

use std::cmp::Reverse;
use std::ffi::OsStr;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command as Grammar};

use crate::arguments::Line;

/// Arguments that make no command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    /// No command has this name.
    #[error("unknown command: {words}")]
    UnknownCommand {
        /// What was typed.
        words: String,
        /// The command with the most similar name, if there is one.
        similar: Option<String>,
    },
    /// Only the first words of a command were given.
    #[error("`convox {words}` needs a further word")]
    NoSubcommand {
        /// What was typed.
        words: String,
    },
    /// A flag the command does not have; a short one with its whole cluster.
    #[error("unknown flag: {flag}")]
    UnknownFlag {
        /// As typed.
        flag: String,
        /// Whether the command runs another one, whose flag it may be.
        runs: bool,
    },
    /// A long flag at the end that needs a value.
    #[error("flag needs an argument: {flag}")]
    NoValue {
        /// `--name`, or `'n' in -n`.
        flag: String,
    },
    /// A value of the wrong form.
    #[error("invalid argument {value:?} for {flag:?} flag: {reason}")]
    BadValue {
        /// As typed.
        value: String,
        /// `-t, --timeout`, or the long form alone.
        flag: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A token such as `--=x`.
    #[error("bad flag syntax: {0}")]
    BadSyntax(String),
    /// Too few or too many arguments.
    #[error("{0}")]
    Count(String),
    /// What clap says where the original has no words.
    #[error("{0}")]
    Other(String),
}

impl UsageError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownCommand {
                similar: Some(similar),
                ..
            } => Some(format!("did you mean `convox {similar}`?")),
            Self::NoSubcommand { words } => Some(format!("`convox {words} --help` lists them")),
            Self::UnknownFlag { runs: true, .. } => Some(
                "flags of the command that is run go in quotes with it, or behind `--`".to_owned(),
            ),
            Self::UnknownCommand { .. } => Some("`convox help` lists the commands".to_owned()),
            _ => None,
        }
    }

    /// Puts clap's finding into the original's words. `command` is the command
    /// that the words of the line name.
    pub(crate) fn from_clap(error: &clap::Error, line: &Line, command: &Grammar) -> Self {
        let subject = context(error, ContextKind::InvalidArg);
        match error.kind() {
            ErrorKind::InvalidSubcommand | ErrorKind::MissingSubcommand => {
                unknown_command(line, command)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Self::NoSubcommand {
                words: line.words.join(" "),
            },
            ErrorKind::UnknownArgument => {
                let subject = subject.unwrap_or_default();
                if subject.starts_with('-') {
                    unknown_flag(&subject, line)
                } else if command.has_subcommands() && command.get_positionals().next().is_none() {
                    unknown_command(line, command)
                } else {
                    Self::Count(expected(command))
                }
            }
            ErrorKind::MissingRequiredArgument
            | ErrorKind::TooFewValues
            | ErrorKind::WrongNumberOfValues => Self::Count(expected(command)),
            ErrorKind::InvalidValue => {
                let subject = subject.unwrap_or_default();
                let value = context(error, ContextKind::InvalidValue);
                match value.filter(|value| !value.is_empty()) {
                    Some(value) => no_choice(value, &subject, error, command),
                    None => no_value(&subject, line),
                }
            }
            ErrorKind::ValueValidation => {
                let flag = subject.unwrap_or_default();
                Self::BadValue {
                    value: context(error, ContextKind::InvalidValue).unwrap_or_default(),
                    flag: find_flag(command, &flag).map_or(flag, names),
                    reason: std::error::Error::source(error)
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                }
            }
            _ => Self::Other(first_line(error)),
        }
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn unknown_command(line: &Line, command: &Grammar) -> UsageError {
    let typed = line
        .rest
        .iter()
        .find_map(|token| token.to_str().filter(|token| !token.starts_with('-')));
    let mut words = line.words.clone();
    let similar = typed
        .and_then(|typed| nearest(typed, command))
        .map(|name| [&words[..], &[name]].concat().join(" "));
    words.extend(typed.map(str::to_owned));
    UsageError::UnknownCommand {
        words: words.join(" "),
        similar,
    }
}

/// The visible sub-command whose name is nearest to what was typed, if near.
fn nearest(typed: &str, command: &Grammar) -> Option<String> {
    command
        .get_subcommands()
        .filter(|candidate| !candidate.is_hide_set())
        .map(|candidate| (distance(typed, candidate.get_name()), candidate.get_name()))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        // A letter is sooner left out than mistaken.
        .min_by_key(|(distance, name)| (*distance, Reverse(name.len())))
        .map(|(_, name)| name.to_owned())
}

/// Insertions, removals and replacements between two words.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<_> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, from) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn unknown_flag(subject: &str, line: &Line) -> UsageError {
    let first = line.words.first();
    let runs = first.is_some_and(|word| matches!(word.as_str(), "run" | "exec"));
    if let Some(long) = subject.strip_prefix("--") {
        let bad = |token: &&str| token.starts_with("---") || token.starts_with("--=");
        if let Some(token) = line
            .rest
            .iter()
            .filter_map(|token| token.to_str())
            .find(bad)
        {
            return UsageError::BadSyntax(token.to_owned());
        }
        let name = long.split('=').next().unwrap_or(long);
        return UsageError::UnknownFlag {
            flag: format!("--{name}"),
            runs,
        };
    }
    // The original shows the whole cluster in which the letter stands.
    let letter = subject.chars().nth(1);
    let cluster = line
        .rest
        .iter()
        .filter_map(|token| token.to_str())
        .find(|token| {
            token.starts_with('-')
                && !token.starts_with("--")
                && letter.is_some_and(|letter| token.contains(letter))
        });
    UsageError::UnknownFlag {
        flag: cluster.unwrap_or(subject).to_owned(),
        runs,
    }
}

/// A value that is none of those there are.
fn no_choice(value: String, subject: &str, error: &clap::Error, command: &Grammar) -> UsageError {
    let choices = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(choices)) => choices.join(", "),
        _ => String::new(),
    };
    let reason = format!("use one of {choices}");
    match find_flag(command, subject) {
        Some(flag) => UsageError::BadValue {
            value,
            flag: names(flag),
            reason,
        },
        None => UsageError::Other(format!("invalid argument {value:?}: {reason}")),
    }
}

fn no_value(subject: &str, line: &Line) -> UsageError {
    // Any token can be a value, so one can only be missing at the end.
    let last = line
        .rest
        .last()
        .and_then(|token| OsStr::to_str(token))
        .unwrap_or_default();
    let flag = match last.strip_prefix('-') {
        Some(cluster) if !cluster.starts_with('-') => cluster
            .chars()
            .last()
            .map(|letter| format!("'{letter}' in -{cluster}")),
        _ => None,
    };
    UsageError::NoValue {
        flag: flag.unwrap_or_else(|| subject.split(' ').next().unwrap_or(subject).to_owned()),
    }
}

fn find_flag<'a>(command: &'a Grammar, subject: &str) -> Option<&'a Arg> {
    let name = subject.split([' ', '=']).next()?;
    command.get_arguments().find(|argument| {
        argument
            .get_long()
            .is_some_and(|long| name.strip_prefix("--") == Some(long))
            || argument
                .get_short()
                .is_some_and(|short| name.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])))
    })
}

fn names(argument: &Arg) -> String {
    match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => argument.get_id().to_string(),
    }
}

/// The sentence for a wrong number of arguments.
fn expected(command: &Grammar) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (mut least, mut most) = (0, Some(0));
    for positional in command.get_positionals() {
        let many = positional
            .get_num_args()
            .is_some_and(|range| range.max_values() > 1);
        least += usize::from(positional.is_required_set());
        most = if many {
            None
        } else {
            most.map(|most| most + 1)
        };
    }
    match most {
        None => format!("at least {least} arg{} required", plural(least)),
        Some(most) if most == least => format!("{least} arg{} required", plural(least)),
        Some(most) => format!("no more than {most} arg{} expected", plural(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("apps", "apps"), 0);
        assert_eq!(distance("aps", "apps"), 1);
        assert_eq!(distance("releaes", "releases"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
