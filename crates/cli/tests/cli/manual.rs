//! Help, manual pages and the reference of commands: all from one grammar.

use std::path::PathBuf;

use crate::support::{Env, FakeRack, Reply};

#[test]
fn the_reference_is_up_to_date() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let kept = std::fs::read_to_string(&file).expect("docs/commands.md");
    let made = Env::new().convox("man --markdown");
    assert_eq!((made.stderr.as_str(), made.status), ("", 0));
    assert!(
        kept == made.stdout,
        "docs/commands.md is out of date: `cargo run --bin convox -- man --markdown > docs/commands.md`"
    );
}

#[test]
fn there_is_a_page_for_every_command() {
    let env = Env::new();
    env.convox("man pages/man1")
        .prints("Writing manual... OK\n");
    let page = |name: &str| {
        env.get(&format!("work/myapp/pages/man1/{name}.1"))
            .unwrap_or_else(|| panic!("no page {name}"))
    };
    assert!(page("convox-releases-promote").contains("promote a release"));
    assert!(page("convox").contains("EXIT STATUS"));
    assert!(env.get("work/myapp/pages/man1/convox-budget.1").is_none());
    let listed = env.convox("help").stdout;
    for line in listed.lines().take_while(|line| !line.is_empty()) {
        let words = line.split("  ").next().expect("a command");
        page(&words.replace(' ', "-"));
    }
    let first = env.convox("man");
    assert!(first.stdout.starts_with(".ie") || first.stdout.contains(".TH convox 1"));
    assert_eq!(first.status, 0);
    env.put("work/myapp/file", "");
    let run = env.convox("man file");
    assert_eq!(run.status, 1);
    assert!(
        run.stderr.starts_with("ERROR: can not write file: "),
        "{run:?}"
    );
}

#[test]
fn help_tells_exit_statuses() {
    let env = Env::new();
    let all = env.convox("help").stdout;
    assert!(all.contains("\nEXIT STATUS\n  0              what was asked has happened"));
    assert!(all.contains("  141            the reader of standard output went away\n"));
    let diff = env.convox("artifact diff --help").stdout;
    assert!(
        diff.ends_with(
            "\nEXIT STATUS\n  1              the archives differ\n  \
             2              anything failed, wrong usage included\n"
        ),
        "{diff}"
    );
    assert!(!env.convox("apps --help").stdout.contains("EXIT STATUS"));
}

#[test]
fn every_command_has_help_and_says_what_it_is_for() {
    let env = Env::new();
    let all = env.convox("help").stdout;
    for line in all.lines().take_while(|line| !line.is_empty()) {
        let (words, about) = line.split_once("  ").expect("two columns");
        assert!(!about.trim().is_empty(), "{line}");
        let words = words.strip_prefix("convox ").expect("the program");
        let help = env.convox(&format!("{words} --help"));
        assert_eq!((help.stderr.as_str(), help.status), ("", 0), "{words}");
        assert!(help.stdout.starts_with(&format!("USAGE\n  convox {words}")));
        let text = format!("\nDESCRIPTION\n  {}\n", about.trim());
        assert!(help.stdout.contains(&text), "{words}: {}", help.stdout);
    }
}

#[test]
fn colours_are_for_terminals_only_and_errors_have_hints() {
    let rack = FakeRack::start(|_| Reply::Status(401, "unauthorized\n"));
    let mut env = Env::with(&rack);
    env.set("NO_COLOR", "1");
    env.convox("apps").fails(
        "ERROR: unauthorized\nhint: `convox login <host> -p <password>` stores a password\n",
    );
    env.unset("NO_COLOR");
    let plain = env.convox("apps");
    assert!(!plain.stderr.contains('\u{1b}'), "{plain:?}");
}
