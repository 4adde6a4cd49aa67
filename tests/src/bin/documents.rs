//! The pages that are made from the server's route table and from what its tests
//! called: `docs/openapi.json` and `docs/coverage.md`.
//!
//!     documents write [CALLS]     writes them
//!     documents check [CALLS]     fails when one is not what it should be
//!
//! CALLS is a directory with what the contract tests recorded (`TWINRACK_COVERAGE`);
//! without it only the first page is looked at.

#![expect(
    clippy::print_stderr,
    reason = "a tool of the repository talks to whoever runs it"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rack_server::api::{self, Client, Route};

/// Engines in the order of their columns.
const ENGINES: [&str; 2] = ["simulated", "docker"];
/// Clients in the order of their columns.
const CLIENTS: [Client; 4] = [Client::Y2017, Client::V2, Client::V3, Client::Own];

/// What came of the calls of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Every call was refused.
    Refused,
    /// A call was answered.
    Answered,
}

/// Outcomes by method and path, and engine.
type Calls = BTreeMap<(String, String), Outcome>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, calls) = match &words[..] {
        [command] => (command.as_str(), None),
        [command, calls] => (command.as_str(), Some(Path::new(calls))),
        _ => ("", None),
    };
    let done = match command {
        "write" => pages(calls).and_then(|pages| write(&pages)),
        "check" => pages(calls).and_then(|pages| check(&pages)),
        _ => Err("usage: documents write|check [CALLS]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The pages with what they should be.
fn pages(calls: Option<&Path>) -> Result<Vec<(PathBuf, String)>, String> {
    let docs = end_to_end::root().join("docs");
    let text = serde_json::to_string_pretty(&api::openapi()).expect("JSON");
    let mut pages = vec![(docs.join("openapi.json"), text + "\n")];
    if let Some(directory) = calls {
        pages.push((docs.join("coverage.md"), coverage(&read(directory)?)?));
    }
    Ok(pages)
}

fn write(pages: &[(PathBuf, String)]) -> Result<(), String> {
    for (path, text) in pages {
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn check(pages: &[(PathBuf, String)]) -> Result<(), String> {
    for (path, text) in pages {
        let found = fs::read_to_string(path).unwrap_or_default();
        if found != *text {
            let line = text
                .lines()
                .zip(found.lines())
                .find(|(new, old)| new != old);
            let line = line.map_or_else(
                || "its length differs".to_owned(),
                |(new, old)| format!("found {old:?} where {new:?} should be"),
            );
            return Err(format!(
                "{} is not what the routes and tests say; {line}; run `make documents` and commit it",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Reads what the tests recorded.
fn read(directory: &Path) -> Result<Calls, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut calls = Calls::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let text = fs::read_to_string(entry.map_err(failed)?.path()).map_err(failed)?;
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [method, path, engine, outcome] = words[..] else {
                return Err(format!("{}: unreadable line {line:?}", directory.display()));
            };
            let outcome = match outcome {
                "2xx" | "101" => Outcome::Answered,
                "4xx" => Outcome::Refused,
                // What tests break on purpose says nothing of a route.
                _ => continue,
            };
            let key = (format!("{method} {path}"), engine.to_owned());
            let best = calls.entry(key).or_insert(outcome);
            *best = outcome.max(*best);
        }
    }
    Ok(calls)
}

/// The page; fails when a route was not called on every engine.
fn coverage(calls: &Calls) -> Result<String, String> {
    let routes = api::table();
    let outcome = |route: &Route, engine: &str| {
        let name = format!("{} {}", route.method, route.path);
        calls.get(&(name, engine.to_owned())).copied()
    };
    let mut missing = Vec::new();
    let mut page = String::from(HEAD);
    for route in &routes {
        let socket = if matches!(route.answer, api::Answer::Socket) {
            "SOCKET"
        } else {
            route.method.as_str()
        };
        write!(page, "| `{socket} {}` |", route.path).expect("memory");
        for engine in ENGINES {
            let mark = match outcome(route, engine) {
                Some(Outcome::Answered) => " ● |",
                Some(Outcome::Refused) => " ○ |",
                None => {
                    missing.push(format!("{} {} on {engine}", route.method, route.path));
                    "   |"
                }
            };
            page.push_str(mark);
        }
        for client in CLIENTS {
            let uses = route.used_by.contains(&client);
            page.push_str(if uses { " ✓ |" } else { "   |" });
        }
        page.push('\n');
    }
    let count = |engine, wanted| {
        let found = routes
            .iter()
            .filter(|route| outcome(route, engine) == Some(wanted));
        found.count()
    };
    writeln!(page, "\n{} routes.", routes.len()).expect("memory");
    for engine in ENGINES {
        let (answered, refused) = (
            count(engine, Outcome::Answered),
            count(engine, Outcome::Refused),
        );
        writeln!(
            page,
            "On {engine}: {answered} answered, {refused} refused only."
        )
        .expect("memory");
    }
    if missing.is_empty() {
        Ok(page)
    } else {
        Err(format!(
            "no contract test calls these routes:\n  {}\nwrite one, or run `make documents` with Docker at hand",
            missing.join("\n  ")
        ))
    }
}

/// What stands above the table.
const HEAD: &str = "# Routes, tests and clients

Made by `make documents` from the route table and from what the contract tests called; `make test` fails
when it is out of date.

● a test has been answered · ○ tests have only been refused: on one machine the route means nothing, and
says so in one sentence · ✓ that generation of the command-line client calls it. `2017`, `v2` and `v3` are
official clients, `ours` is this project's.

| Route | simulated | Docker | 2017 | v2 | v3 | ours |
|---|---|---|---|---|---|---|
";
