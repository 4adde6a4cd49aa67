//! A session in a shell, written down so that it is the same every time: ids, times, ports
//! and passwords are replaced by what stands for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use end_to_end::{World, write};
use regex::{Captures, Regex};

/// What differs from run to run, and what stands for it. A name is as wide as what it
/// replaces, so that columns stay where they are.
const NAMED: [(&str, &str); 5] = [
    (r"\bsha256:[0-9a-f]{64}\b", "sha256:"),
    (r"\bcert-[0-9a-f]{40}\b", "cert-"),
    (r"\bB[A-Z]{10}\b", "BUILD"),
    (r"\bR[A-Z]{10}\b", "RELEASE"),
    (r"\b[0-9a-f]{12}\b", "process"),
];

/// What differs and needs no name.
const REPLACED: [(&str, &str); 8] = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"(?m)^(Started|Elapsed|Imported)( +)\S.*$", "$1$2<time>"),
    (r"(?m)^(Size +|archive +sha256:\w+ ).*$", "$1<size>"),
    (r"://([a-z]+):[A-Za-z0-9]{20,}@", "://$1:<password>@"),
    (r"://jwt:[\w.-]+@", "://jwt:<token>@"),
    (
        r"(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----",
        "<certificate>",
    ),
    (r"(?m)^client: .*$", "client: <version>"),
    // Old processes leave while the new ones are announced, in any order.
    (r"(?m)^\S+ system/\S+ stopping\n", ""),
];

/// Columns whose cells are times.
const TIMES: [&str; 5] = ["STARTED", "CREATED", "UPDATED", "EXPIRES", "ELAPSED"];

/// The manifest of the app that is prepared.
const MANIFEST: &str = "\
environment:
  - GREETING=hello
resources:
  database:
    type: postgres
services:
  web:
    build: .
    port: 3000
    resources:
      - database
    test: echo tested
";

/// A session with a rack of its own, `staging`.
pub(crate) struct Transcript {
    pub(crate) world: World,
    directory: PathBuf,
    text: String,
    names: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Transcript {
    /// A rack with an app, whose source is the working directory.
    pub(crate) fn begin() -> Self {
        let world = World::simulated();
        world.install(&["staging"]);
        let directory = world.example("tiny", "myapp");
        write(&directory, "convox.yml", MANIFEST);
        world
            .convox_in(&directory, &["apps", "create", "myapp"])
            .ok();
        Self {
            world,
            directory,
            text: String::new(),
            names: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// The same with a build, a release and a process.
    pub(crate) fn deployed() -> Self {
        let transcript = Self::begin();
        transcript
            .world
            .convox_in(&transcript.directory, &["deploy"])
            .ok();
        transcript
    }

    /// The working directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a line with bash and writes down what came of it. Gives its standard output.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let answer = self.world.script(&self.directory, line);
        let mut shown = format!("$ {line}\n");
        quote("|", &self.settled(&columns(&answer.stdout)), &mut shown);
        quote("!", &self.settled(&answer.stderr), &mut shown);
        if answer.status != 0 {
            shown.extend(["= ", &answer.status.to_string(), "\n"]);
        }
        let shown = self.named(self.settled(&shown));
        self.text.push_str(&shown);
        answer.stdout
    }

    /// Id of the only process of the app.
    pub(crate) fn process(&self) -> String {
        let processes = self.world.api("staging", "/apps/myapp/processes");
        let processes = processes.as_array().expect("a list");
        let mut running = processes
            .iter()
            .filter(|process| process["status"] == "running");
        let process = running.next().expect("a process");
        assert!(running.next().is_none(), "only one: {processes:?}");
        process["id"].as_str().expect("an id").to_owned()
    }

    /// A text without what is different every time and needs no name.
    fn settled(&self, text: &str) -> String {
        let mut text = text
            .replace(&self.directory.display().to_string(), "<source>")
            .replace(&self.world.path().display().to_string(), "<world>")
            // Ports that are given out are as long.
            .replace(&self.world.port().to_string(), "55555");
        for (pattern, replacement) in REPLACED {
            text = regex(pattern).replace_all(&text, replacement).into_owned();
        }
        text
    }

    /// A text with names for ids.
    fn named(&mut self, mut text: String) -> String {
        for (pattern, stem) in NAMED {
            let name = |found: &Captures<'_>| self.name(&found[0], stem);
            text = regex(pattern).replace_all(&text, name).into_owned();
        }
        text
    }

    /// The name of an id: the stem and which of its kind it is.
    fn name(&mut self, id: &str, stem: &'static str) -> String {
        if let Some(name) = self.names.get(id) {
            return name.clone();
        }
        let count = self.counts.entry(stem).or_default();
        *count += 1;
        let name = format!("{stem}{count:0>width$}", width = id.len() - stem.len());
        self.names.insert(id.to_owned(), name.clone());
        name
    }

    /// Compares all that was written down with what is expected.
    #[track_caller]
    pub(crate) fn is(self, name: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../golden");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, self.text));
    }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}

/// Marks each line of a stream, with the blanks at its end, and the lack of a last newline.
fn quote(mark: &str, text: &str, to: &mut String) {
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, ""),
            None => (line, "¬"),
        };
        let kept = line.trim_end_matches(' ');
        let blanks = "␣".repeat(line.len() - kept.len());
        to.push_str(format!("{mark} {kept}{blanks}{end}").trim_end());
        to.push('\n');
    }
}

/// A table with times and shares that are the same every time, laid out as it was: every
/// cell but the last as wide as its column.
fn columns(text: &str) -> String {
    let Some(header) = text.lines().next() else {
        return String::new();
    };
    let mut starts = vec![0];
    let mut cut = 0;
    while let Some(gap) = header[cut..].find("  ") {
        let rest = &header[cut + gap..];
        cut += gap + rest.len() - rest.trim_start_matches(' ').len();
        if cut == header.len() {
            break;
        }
        starts.push(cut);
    }
    let cells = |line: &str| -> Option<Vec<String>> {
        let ends = starts.iter().skip(1).map(|start| start - 2);
        let ends: Vec<_> = ends.chain([line.len()]).collect();
        let cells = starts.iter().zip(&ends).map(|(start, end)| {
            let cell = line.get(*start..*end)?;
            Some(cell.to_owned())
        });
        cells.collect()
    };
    let Some(names) = cells(header) else {
        return text.to_owned();
    };
    if starts.len() < 2 || header.chars().any(char::is_lowercase) {
        return text.to_owned();
    }
    let time = regex(r"^(now|\d+ (second|minute)s? ago|\d+s)$");
    let share = regex(r"^\d+\.\d\d%$");
    let mut rows = Vec::new();
    for line in text.lines() {
        let Some(mut row) = cells(line) else {
            return text.to_owned();
        };
        let last = row.len() - 1;
        for (index, cell) in row.iter_mut().enumerate() {
            if index < last {
                *cell = cell.trim_end().to_owned();
            }
            if TIMES.contains(&names[index].trim_end()) && time.is_match(cell) {
                "<time>".clone_into(cell);
            } else if share.is_match(cell) {
                "0.00%".clone_into(cell);
            }
        }
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..starts.len() - 1).map(width).chain([0]).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ") + "\n"
    });
    lines.collect()
}

#[test]
fn tables_keep_their_layout() {
    let table = "ID  STARTED        CPU     NAME\na   2 seconds ago  12.00%  \nbb  2 days ago     0.10%   x\n";
    assert_eq!(
        columns(table),
        "ID  STARTED     CPU    NAME\na   <time>      0.00%  \nbb  2 days ago  0.00%  x\n"
    );
    for other in ["", "text  more\n", "ONE\n"] {
        assert_eq!(columns(other), other);
    }
}
