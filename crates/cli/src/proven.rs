//! That every command is driven by a test: it is typed in one of the sessions in
//! `tests/golden`, or a test elsewhere is named here.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Command as Grammar;

use crate::arguments::{Line, grammar};

/// Commands that a session can only see fail, as they need a certificate, a change under
/// way, or a signal to end: the file of the test that drives each, and how it does.
const ELSEWHERE: [(&str, &str, &str); 6] = [
    (
        "apps cancel",
        "tests/tests/commands.rs",
        r#"&["apps", "cancel"]"#,
    ),
    (
        "certs import",
        "tests/tests/commands.rs",
        r#"&["certs", "import", "pub.pem""#,
    ),
    ("proxy", "tests/tests/commands.rs", r#"&["proxy", "0:"#),
    (
        "rack resources proxy",
        "tests/tests/commands.rs",
        r#"&["rack", "resources", "proxy", "shared""#,
    ),
    (
        "resources proxy",
        "tests/tests/commands.rs",
        r#"&["resources", "proxy", "cache""#,
    ),
    ("start", "tests/tests/development.rs", r#"&["start", "-a"#),
];

/// Commands that a rack on one machine always refuses.
const REFUSED: [&str; 11] = [
    "budget",
    "cloud",
    "cost",
    "instances keyroll",
    "instances terminate",
    "letsencrypt",
    "rack sync",
    "runtimes",
    "ssl update",
    "update",
    "workflows",
];

/// Commands that do something by themselves.
fn all(grammar: &Grammar, words: &[&str], found: &mut BTreeSet<String>) {
    if !words.is_empty() && !grammar.is_subcommand_required_set() {
        found.insert(words.join(" "));
    }
    for command in grammar.get_subcommands() {
        all(command, &[words, &[command.get_name()]].concat(), found);
    }
}

/// What was typed in a session, and the first line that came of it.
struct Step {
    commands: Vec<String>,
    failed: bool,
    first: String,
}

fn steps(session: &str, grammar: &Grammar) -> Vec<Step> {
    let text = format!("\n{session}");
    let steps = text.split("\n$ ").skip(1).map(|step| {
        let mut lines = step.lines();
        let typed = lines.next().unwrap_or_default();
        let commands = typed.split("convox ").skip(1).map(|command| {
            let words = ["convox"].into_iter().chain(command.split_whitespace());
            let line = Line::read(words.map(OsString::from).collect(), grammar);
            line.words.join(" ")
        });
        let first = lines.next().and_then(|line| line.strip_prefix("| "));
        Step {
            commands: commands.collect(),
            failed: step.lines().any(|line| line.starts_with("= ")),
            first: first.unwrap_or_default().to_owned(),
        }
    });
    steps.collect()
}

/// All sessions.
fn sessions(grammar: &Grammar) -> Vec<Step> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/golden")).expect("the sessions") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "snap")
        {
            all.extend(steps(&read(&path), grammar));
        }
    }
    all
}

fn find<'a>(grammar: &'a Grammar, words: &str) -> &'a Grammar {
    words.split_whitespace().fold(grammar, |command, word| {
        command.find_subcommand(word).expect("a command")
    })
}

/// Whether a command only says why it is not here: it takes whatever it is given.
fn is_absent(grammar: &Grammar, words: &str) -> bool {
    let command = find(grammar, words);
    command.is_hide_set()
        && command
            .get_positionals()
            .any(|argument| argument.get_id() == "arguments")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the tests")
}

#[test]
fn every_command_is_proven() {
    let grammar = grammar();
    let mut proven = BTreeSet::new();
    for step in sessions(&grammar) {
        let refused =
            |command: &String| REFUSED.contains(&command.as_str()) || is_absent(&grammar, command);
        let commands = step.commands.into_iter();
        proven.extend(commands.filter(|command| !step.failed || refused(command)));
    }
    for (command, file, how) in ELSEWHERE {
        assert!(
            read(&root().join(file)).contains(how),
            "{file} does not drive `convox {command}` by {how:?} any more"
        );
        proven.insert(command.to_owned());
    }
    let mut commands = BTreeSet::new();
    all(&grammar, &[], &mut commands);
    let missing: Vec<_> = commands.difference(&proven).collect();
    assert!(
        missing.is_empty(),
        "no test drives these commands: {missing:?}; type them in tests/tests/goldens, or name the test in ELSEWHERE"
    );
}

#[test]
fn every_listing_is_there_as_json() {
    let grammar = grammar();
    let capital = |c: char| c.is_ascii_uppercase() || matches!(c, ' ' | '-');
    let mut listings = 0;
    for step in sessions(&grammar) {
        let header = step.first.starts_with(char::is_alphabetic) && step.first.contains("  ");
        if !header || !step.first.chars().all(capital) {
            continue;
        }
        let [words] = &step.commands[..] else {
            continue;
        };
        let command = find(&grammar, words);
        let json = |argument: &clap::Arg| argument.get_long() == Some("json");
        assert!(
            command.get_arguments().any(json),
            "`convox {words}` is a listing without --json"
        );
        listings += 1;
    }
    assert!(listings > 20, "the sessions have listings: {listings}");
}
