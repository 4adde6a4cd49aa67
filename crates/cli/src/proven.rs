//! That every command is driven by a test: it is typed in one of the sessions in
//! `tests/golden`, or a test elsewhere is named here.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

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

/// Commands typed in the lines of a session that have succeeded, or failed as they must.
fn typed(session: &str, grammar: &Grammar) -> BTreeSet<String> {
    let steps = format!("\n{session}");
    let lines = steps.split("\n$ ").skip(1).filter_map(|step| {
        let line = step.lines().next()?;
        let failed = step.lines().any(|line| line.starts_with("= "));
        (!failed || REFUSED.iter().any(|refused| line.contains(refused))).then_some(line)
    });
    let commands = lines.flat_map(|line| line.split("convox ").skip(1));
    commands
        .map(|command| {
            let words = ["convox"].into_iter().chain(command.split_whitespace());
            let line = Line::read(words.map(OsString::from).collect(), grammar);
            line.words.join(" ")
        })
        .collect()
}

#[test]
fn every_command_is_proven() {
    let grammar = grammar();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file of the tests");
    let mut proven = BTreeSet::new();
    for entry in std::fs::read_dir(root.join("tests/golden")).expect("the sessions") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "snap")
        {
            proven.extend(typed(&read(&path), &grammar));
        }
    }
    for (command, file, how) in ELSEWHERE {
        assert!(
            read(&root.join(file)).contains(how),
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
