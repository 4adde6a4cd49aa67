//! Help, manual pages and the reference of commands: all from one grammar.

use std::fs;
use std::path::{Path, PathBuf};

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
    for name in ["convox", "convox-apps", "convox-exec"] {
        let page = page(name);
        let title = name.to_uppercase();
        assert!(page.contains(&format!(".TH {title} 1 ")), "{page}");
        for section in [".SH NAME", ".SH \"EXIT STATUS\"", ".SH ENVIRONMENT"] {
            assert!(page.contains(section), "{section}: {page}");
        }
    }
    assert!(env.get("work/myapp/pages/man1/convox-budget.1").is_none());
    let listed = env.convox("help").stdout;
    for line in listed.lines().take_while(|line| !line.is_empty()) {
        let words = line.split("  ").next().expect("a command");
        page(&words.replace(' ', "-"));
    }
    let first = env.convox("man");
    assert!(first.stdout.starts_with(".ie") || first.stdout.contains(".TH CONVOX 1"));
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
        "ERROR: unauthorized\nhint: RACK_URL names the rack and its credentials: \
         correct it, or unset it to use what is stored\n",
    );
    env.unset("RACK_URL");
    env.set("CONVOX_HOST", &rack.host);
    env.set("X_DEV_ALLOW_HTTP", "true");
    env.convox("apps").fails(
        "ERROR: unauthorized\nhint: `convox login <host> -p <password>` stores a password\n",
    );
    env.unset("NO_COLOR");
    let plain = env.convox("apps");
    assert!(!plain.stderr.contains('\u{1b}'), "{plain:?}");
}

/// The text of every source file below a directory.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn differences_between_generations_are_shown_by_tests_that_exist() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/cli-compat.md")).expect("docs/cli-compat.md");
    let mut code = String::new();
    for directory in ["crates", "tests"] {
        sources(&root.join(directory), &mut code);
    }
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let [_, _, shown] = cells[..] else {
            panic!("three columns: {row}");
        };
        let shown = shown.trim_end_matches(" |");
        if shown == "Shown by" {
            continue;
        }
        let word = shown
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix('`'))
            .unwrap_or_else(|| panic!("a test or a command: {row}"));
        if word.contains(' ') {
            assert!(word.starts_with("convox "), "{row}");
        } else {
            named += 1;
            assert!(code.contains(&format!("fn {word}(")), "{row}");
        }
    }
    assert!(named > 20, "{named}");
}
