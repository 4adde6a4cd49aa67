//! Reading the command line.
//!
//! clap does the parsing; this module gives it the grammar of the original
//! client: the last of repeated flags wins, flags stand anywhere after the
//! command words, a flag may say `--flag=false`, and `--app`, `--rack` and
//! `--wait` may stand before the command words too.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{ArgAction, Args, Command as Grammar, CommandFactory as _, FromArgMatches as _, Parser};
use rack_api::{log, params};

use crate::commands::Command;
use crate::context::variable;
use crate::error::Error;
use crate::help;
use crate::ui::Ui;
use crate::usage::UsageError;

/// A command line for local and real racks.
#[derive(Debug, Parser)]
#[command(
    name = "convox",
    disable_help_subcommand = true,
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

/// Which rack a command is for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RackArgs {
    /// rack name
    #[arg(short, long, value_name = "rack")]
    pub(crate) rack: Option<String>,
    /// wait for completion
    #[arg(short, long)]
    wait: bool,
}

impl RackArgs {
    /// A rack given in other words than `--rack`.
    pub(crate) fn named(rack: String) -> Self {
        Self {
            rack: Some(rack),
            wait: false,
        }
    }

    /// Whether to wait: the flag, or `CONVOX_WAIT` as in 2017.
    pub(crate) fn waits(&self) -> bool {
        self.wait || matches!(variable("CONVOX_WAIT").as_deref(), Some("true" | "1"))
    }
}

/// Which app on which rack a command is for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AppArgs {
    /// app name
    #[arg(short, long, value_name = "app")]
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) rack: RackArgs,
}

/// Which lines of a log are wanted.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LogArgs {
    /// only lines with this text
    #[arg(long, value_name = "filter")]
    filter: Option<String>,
    /// only lines younger than this, such as 5m
    #[arg(long, value_name = "since", value_parser = params::duration)]
    since: Option<Duration>,
    /// do not wait for new lines
    #[arg(long)]
    no_follow: bool,
    /// only so many of the last lines that are there
    #[arg(long, value_name = "tail", value_parser = count)]
    tail: Option<usize>,
    /// lines of processes that have ended, in place of those that run
    #[arg(long)]
    allow_previous: bool,
    /// taken and ignored: how many logs a rack of version 3 reads at once
    #[arg(long, hide = true, value_name = "max-log-requests")]
    max_log_requests: Option<String>,
    /// `--follow=false`, in the words of 2017
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    follow: Option<String>,
}

impl LogArgs {
    /// What is asked of the rack.
    pub(crate) fn options(&self) -> log::Options {
        let follow = !self.no_follow && self.follow.as_deref().is_none_or(params::boolean);
        log::Options {
            follow,
            prefix: true,
            since: self.since,
            filter: self.filter.clone(),
            tail: self.tail,
            previous: self.allow_previous,
            ..log::Options::default()
        }
    }
}

/// Reads `Key=Value` words; `wrong` is what is said of one that is none.
pub(crate) fn pairs(words: &[String], wrong: &str) -> Result<BTreeMap<String, String>, Error> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Error::failed(format!("{wrong}: {word}"))),
        })
        .collect()
}

/// A number of rows, for `value_parser`.
pub(crate) fn limit(text: &str) -> Result<u32, String> {
    let number = params::integer(text).map_err(|error| error.to_string())?;
    u32::try_from(number).map_err(|_| "out of range".to_owned())
}

/// A number of lines, for `value_parser`.
fn count(text: &str) -> Result<usize, String> {
    let number = params::integer(text).map_err(|error| error.to_string())?;
    usize::try_from(number).map_err(|_| "out of range".to_owned())
}

/// What the arguments ask for.
pub(crate) enum Parsed {
    /// Help or the version was wanted and has been printed.
    Answered,
    /// A command is to be run.
    Command(Box<Command>),
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    ui: &Ui,
) -> Result<Parsed, Error> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    if arguments.is_empty() {
        arguments.push("convox".into());
    }
    // The version alone is asked for most often, and needs no grammar.
    if let Some("-v" | "--version") = arguments.get(1).and_then(|argument| argument.to_str()) {
        return answer(ui, &format!("{}\n", env!("CARGO_PKG_VERSION")));
    }
    let grammar = grammar();
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        None if arguments.len() == 1 => return answer(ui, &help::all(&grammar)),
        Some("-h" | "--help" | "help") => return answer(ui, &help::all(&grammar)),
        _ => {}
    }
    let line = Line::read(arguments, &grammar);
    let matches = match grammar.clone().try_get_matches_from(line.arguments()) {
        Ok(matches) => matches,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {
            return answer(ui, &help::one(line.command(&grammar), &line.words));
        }
        Err(error) => {
            let error = UsageError::from_clap(&error, &line, line.command(&grammar)).into();
            return Err(match line.words.join(" ").as_str() {
                // Its status 1 is an answer.
                "artifact diff" => Error::troubled(error),
                _ => error,
            });
        }
    };
    let parsed = Arguments::from_arg_matches(&matches)
        .map_err(|error| UsageError::from_clap(&error, &line, line.command(&grammar)))?;
    match parsed.command {
        Some(command) => Ok(Parsed::Command(Box::new(command))),
        None => answer(ui, &help::all(&grammar)),
    }
}

fn answer(ui: &Ui, text: &str) -> Result<Parsed, Error> {
    ui.text(text)?;
    Ok(Parsed::Answered)
}

/// The derived grammar as it is described to people.
pub(crate) fn described() -> Grammar {
    fn without_help_commands(grammar: Grammar) -> Grammar {
        grammar
            .disable_help_subcommand(true)
            .mut_subcommands(without_help_commands)
    }
    without_help_commands(Arguments::command())
}

/// The derived grammar, made to behave like the original's.
pub(crate) fn grammar() -> Grammar {
    // Sub-commands are looked up by `Line`, so they have to be built first.
    let mut grammar = adapt(Arguments::command()).args_override_self(true);
    grammar.build();
    grammar
}

fn adapt(grammar: Grammar) -> Grammar {
    grammar
        .disable_help_subcommand(true)
        .mut_args(|argument| match argument.get_action() {
            // `--flag=<v>` is true for the exact word `true` only.
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .default_value("false")
                .value_parser(|value: &str| Ok::<_, std::convert::Infallible>(value == "true")),
            // The word after a flag is its value, whatever it looks like.
            ArgAction::Set | ArgAction::Append if !argument.is_positional() => {
                argument.allow_hyphen_values(true)
            }
            _ => argument,
        })
        .mut_subcommands(adapt)
}

/// A command line taken apart: the command words, then everything else.
#[derive(Debug)]
pub(crate) struct Line {
    program: OsString,
    /// The words that name the command, as typed.
    pub(crate) words: Vec<String>,
    /// Flags and arguments, flags found before or between the words first.
    pub(crate) rest: Vec<OsString>,
}

impl Line {
    /// Takes a command line apart, the program's name first.
    pub(crate) fn read(arguments: Vec<OsString>, grammar: &Grammar) -> Self {
        let mut arguments = arguments.into_iter().peekable();
        let program = arguments.next().unwrap_or_default();
        let mut words = Vec::new();
        let mut rest = Vec::new();
        let mut command = grammar;
        while command.has_subcommands() {
            let Some(token) = arguments.peek().and_then(|token| token.to_str()) else {
                break;
            };
            if let Some(found) = command.find_subcommand(token) {
                command = found;
                words.push(token.to_owned());
                arguments.next();
                continue;
            }
            let Some(takes_next) = hoistable(token) else {
                break;
            };
            rest.extend(arguments.next());
            if takes_next {
                rest.extend(arguments.next());
            }
        }
        rest.extend(arguments);
        if matches!(
            words.iter().map(String::as_str).collect::<Vec<_>>()[..],
            [.., "resources", "create" | "update"] | ["services", "create"]
        ) {
            rest = options_of_2017(rest, command);
        }
        Self {
            program,
            words,
            rest,
        }
    }

    /// The command the words name.
    pub(crate) fn command<'a>(&self, grammar: &'a Grammar) -> &'a Grammar {
        self.words.iter().fold(grammar, |command, word| {
            command.find_subcommand(word).unwrap_or(command)
        })
    }

    fn arguments(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(self.program.as_os_str())
            .chain(self.words.iter().map(OsStr::new))
            .chain(self.rest.iter().map(OsString::as_os_str))
    }
}

/// In 2017 the options of a resource were flags of their own: `--size=1` or `--size 1`
/// is `size=1` where the command has no such flag.
fn options_of_2017(rest: Vec<OsString>, command: &Grammar) -> Vec<OsString> {
    let has = |name: &str| {
        command
            .get_arguments()
            .any(|flag| flag.get_long() == Some(name))
    };
    let mut options = Vec::new();
    let mut rest = rest.into_iter();
    while let Some(token) = rest.next() {
        let flag = token.to_str().and_then(|token| token.strip_prefix("--"));
        match flag.map(|flag| flag.split_once('=').unwrap_or((flag, ""))) {
            Some((name, _)) if name.is_empty() || has(name) => options.push(token),
            Some((name, "")) => {
                let mut option = OsString::from(format!("{name}="));
                option.push(rest.next().unwrap_or_default());
                options.push(option);
            }
            Some((name, value)) => options.push(format!("{name}={value}").into()),
            None => options.push(token),
        }
    }
    options
}

/// Whether a token is a flag that may stand before the command words, and if so
/// whether the next token is its value.
fn hoistable(token: &str) -> Option<bool> {
    match token {
        "-a" | "--app" | "-r" | "--rack" => Some(true),
        "-w" | "--wait" => Some(false),
        _ if ["--app=", "--rack=", "--wait="]
            .iter()
            .any(|flag| token.starts_with(flag)) =>
        {
            Some(false)
        }
        _ if !token.starts_with("--") && (token.starts_with("-a") || token.starts_with("-r")) => {
            Some(false)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::read(text.split(' ').map(OsString::from).collect(), &grammar())
    }

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
        adapt(Arguments::command()).debug_assert();
    }

    #[test]
    fn rack_app_and_wait_may_stand_anywhere() {
        let cases = [
            ("convox -a x releases", "releases", "-a x"),
            ("convox apps -r x create y", "apps create", "-r x y"),
            (
                "convox --app=x -w releases promote -r y Z",
                "releases promote",
                "--app=x -w -r y Z",
            ),
            ("convox apps -r create", "apps", "-r create"),
            (
                "convox releases --limit 1 promote",
                "releases",
                "--limit 1 promote",
            ),
            ("convox env set -a x", "env set", "-a x"),
            (
                "convox resources create redis --name=r --size 1 --x=y",
                "resources create",
                "redis --name=r size=1 x=y",
            ),
        ];
        for (text, words, rest) in cases {
            let line = line(text);
            let rest_read: Vec<_> = line
                .rest
                .iter()
                .filter_map(|token| token.to_str())
                .collect();
            assert_eq!(line.words.join(" "), words, "{text}");
            assert_eq!(rest_read.join(" "), rest, "{text}");
        }
    }

    #[test]
    fn flags_have_values_like_the_originals() {
        let waits = |text: &str| {
            let matches = grammar()
                .try_get_matches_from(text.split(' '))
                .map_err(|error| error.to_string());
            let (_, matches) = matches
                .expect("valid")
                .remove_subcommand()
                .expect("a command");
            (
                matches.get_flag("wait"),
                matches.get_one::<String>("rack").cloned(),
            )
        };
        assert_eq!(waits("convox racks -w"), (true, None));
        assert_eq!(waits("convox racks --wait=true"), (true, None));
        assert_eq!(waits("convox racks --wait=1"), (false, None));
        assert_eq!(
            waits("convox racks -wr foo"),
            (true, Some("foo".to_owned()))
        );
        assert_eq!(
            waits("convox racks -r=foo -r bar"),
            (false, Some("bar".to_owned()))
        );
        assert_eq!(waits("convox racks --wait --wait=false"), (false, None));
        assert_eq!(waits("convox racks -r -x"), (false, Some("-x".to_owned())));
    }
}
