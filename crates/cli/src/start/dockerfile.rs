//! Where a Dockerfile puts the files of its context.
//!
//! Only what can be known without building: `COPY` and `ADD` of files of the context
//! in the stage that a development build ends with and in the stages it stands on,
//! with `WORKDIR`, `ENV` and defaults of `ARG` resolved.

use std::collections::BTreeMap;

use rack_api::ignore::Pattern;

/// Name of the stage that development builds end with, where there is one.
const DEVELOPMENT: &str = "development";

/// Files of the context and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Copied {
    source: Pattern,
    /// The same for people: without a slash at either end, empty for the whole context.
    named: String,
    to: Place,
    /// Whether what is copied goes into that place, rather than being it.
    into: bool,
}

/// A path in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// From the root, without a slash at its beginning.
    Absolute(String),
    /// From the directory the base image starts in, which only a process knows.
    InBase(String),
}

impl Place {
    /// A path as the Dockerfile says it, from the directory that is the current one.
    fn from(&self, path: &str) -> Self {
        if let Some(path) = path.strip_prefix('/') {
            return Self::Absolute(clean(path));
        }
        match self {
            Self::Absolute(directory) => Self::Absolute(clean(&format!("{directory}/{path}"))),
            Self::InBase(directory) => Self::InBase(clean(&format!("{directory}/{path}"))),
        }
    }

    /// For people; relative to the directory processes start in as long as nobody knows it.
    pub(super) fn shown(&self, start: Option<&str>) -> String {
        match (self, start) {
            (Self::InBase(path), None) if path.is_empty() => ".".to_owned(),
            (Self::InBase(path), None) => path.clone(),
            (place, start) => format!("/{}", place.resolve(start.unwrap_or_default())),
        }
    }

    /// Whether it is another place, or below that.
    fn is_in(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absolute(path), Self::Absolute(other))
            | (Self::InBase(path), Self::InBase(other)) => is_below(path, other),
            _ => false,
        }
    }

    fn join(&self, below: &str) -> Self {
        match self {
            Self::Absolute(path) => Self::Absolute(clean(&format!("{path}/{below}"))),
            Self::InBase(path) => Self::InBase(clean(&format!("{path}/{below}"))),
        }
    }

    /// The path from the root, with the directory that processes start in for that of
    /// the base image.
    pub(super) fn resolve(&self, start: &str) -> String {
        match self {
            Self::Absolute(path) => path.clone(),
            Self::InBase(path) => clean(&format!("{start}/{path}")),
        }
    }
}

/// Whether a clean path is another one, or below that.
fn is_below(path: &str, other: &str) -> bool {
    let rest = path.strip_prefix(other);
    other.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path without empty parts, `.` and `..`.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where files of the context go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Copies {
    copies: Vec<Copied>,
    /// The image sets a directory after having copied to that of its base: what is
    /// relative to the base can not be told any more.
    pub(super) lost_base: bool,
}

impl Copies {
    /// Reads a Dockerfile.
    pub(super) fn read(text: &str) -> Self {
        let mut stages = stages(text);
        let Some(last) = stages.len().checked_sub(1) else {
            return Self::default();
        };
        let end = stages
            .iter()
            .position(|stage| stage.is_named(DEVELOPMENT))
            .unwrap_or(last);
        // From the end back to the base of all.
        let mut chain = vec![end];
        loop {
            let first = chain[chain.len() - 1];
            let base = &stages[first].base;
            let below = (0..first)
                .rev()
                .find(|index| stages[*index].is_named(base) || base.parse() == Ok(*index));
            match below {
                Some(below) => chain.push(below),
                None => break,
            }
        }
        let mut reading = Reading::default();
        for index in chain.into_iter().rev() {
            for line in std::mem::take(&mut stages[index].lines) {
                reading.read(&line);
            }
        }
        let in_base = |copied: &Copied| matches!(copied.to, Place::InBase(_));
        Self {
            lost_base: reading.copies.iter().any(in_base)
                && !matches!(reading.directory, Place::InBase(ref path) if path.is_empty()),
            copies: reading.copies,
        }
    }

    /// What is copied, and where to, without what another copy has in it.
    pub(super) fn pairs(&self) -> Vec<(&str, &Place)> {
        let mut pairs: Vec<(&str, &Place)> = Vec::new();
        for copied in &self.copies {
            let pair = (copied.named.as_str(), &copied.to);
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        let whole = pairs.clone();
        pairs.retain(|(source, to)| {
            !whole.iter().any(|other| {
                *other != (*source, *to) && is_below(source, other.0) && to.is_in(other.1)
            })
        });
        pairs
    }

    /// Where that goes which a file is copied with, by the last word on it.
    pub(super) fn target(&self, file: &str) -> Option<&Place> {
        let covering = |copied: &&Copied| copied.source.covers(file).is_some();
        let copied = self.copies.iter().rev().find(covering)?;
        Some(&copied.to)
    }

    /// Where a file goes, the last word last.
    pub(super) fn places(&self, file: &str) -> Vec<Place> {
        let parts: Vec<_> = file.split('/').collect();
        let mut places = Vec::new();
        for copied in &self.copies {
            let Some(depth) = copied.source.covers(file) else {
                continue;
            };
            let below = parts[depth..].join("/");
            let place = if below.is_empty() && copied.into {
                // A file by itself keeps its name in a directory.
                copied.to.join(parts[parts.len() - 1])
            } else {
                copied.to.join(&below)
            };
            places.retain(|known| *known != place);
            places.push(place);
        }
        places
    }
}

/// The images that a Dockerfile begins with: the bases of its stages that are no stages
/// themselves, with defaults of the `ARG`s before the first one.
pub(crate) fn bases(text: &str) -> Vec<String> {
    let mut before = Reading::default();
    for line in instructions(text) {
        let word = line.split_whitespace().next().unwrap_or_default();
        if word.eq_ignore_ascii_case("FROM") {
            break;
        }
        before.read(&line);
    }
    let stages = stages(text);
    let mut images = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let own = stages[..index]
            .iter()
            .any(|other| other.is_named(&stage.base));
        let image = before.expand(&stage.base);
        if !own && image != "scratch" && !images.contains(&image) {
            images.push(image);
        }
    }
    images
}

struct Stage {
    name: String,
    base: String,
    lines: Vec<String>,
}

impl Stage {
    fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) && !name.is_empty()
    }
}

/// The stages with their instructions, each on one line.
fn stages(text: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for line in instructions(text) {
        let words: Vec<_> = line.split_whitespace().collect();
        if words[0].eq_ignore_ascii_case("FROM") {
            let words: Vec<_> = words[1..]
                .iter()
                .filter(|word| !word.starts_with("--"))
                .collect();
            let named = words
                .get(1)
                .is_some_and(|word| word.eq_ignore_ascii_case("AS"));
            let name = if named { words.get(2) } else { None };
            stages.push(Stage {
                name: name.map_or_else(String::new, |name| (**name).to_owned()),
                base: words
                    .first()
                    .map_or_else(String::new, |word| (**word).to_owned()),
                lines: Vec::new(),
            });
        } else if let Some(stage) = stages.last_mut() {
            // What is before the first stage is for the name of its image only.
            stage.lines.push(line);
        }
    }
    stages
}

/// Instructions with continued lines joined; comments and bodies of here-documents
/// are left out.
fn instructions(text: &str) -> Vec<String> {
    let escape = text
        .lines()
        .map_while(|line| line.trim().strip_prefix('#'))
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("escape"))
        .and_then(|(_, value)| value.trim().chars().next())
        .unwrap_or('\\');
    let mut instructions = Vec::new();
    let mut open: Option<String> = None;
    let mut documents: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(end) = documents.first() {
            if line.trim_start_matches('\t') == end {
                documents.remove(0);
            }
            continue;
        }
        let trimmed = line.trim();
        if trimmed.starts_with('#') || (trimmed.is_empty() && open.is_some()) {
            continue;
        }
        let (part, continues) = match trimmed.strip_suffix(escape) {
            Some(part) => (part, true),
            None => (trimmed, false),
        };
        let whole = match open.take() {
            Some(before) => format!("{before} {part}"),
            None => part.to_owned(),
        };
        if continues {
            open = Some(whole);
            continue;
        }
        if whole.trim().is_empty() {
            continue;
        }
        documents = here_documents(&whole);
        instructions.push(whole);
    }
    instructions.extend(open.filter(|open| !open.trim().is_empty()));
    instructions
}

/// The words that end the here-documents an instruction opens.
fn here_documents(line: &str) -> Vec<String> {
    let takes = ["RUN", "COPY", "ADD"].iter().any(|word| {
        line.split_whitespace()
            .next()
            .is_some_and(|first| first.eq_ignore_ascii_case(word))
    });
    if !takes {
        return Vec::new();
    }
    line.split_whitespace()
        .filter_map(|word| word.strip_prefix("<<"))
        .map(|word| {
            word.trim_start_matches('-')
                .trim_matches(['"', '\''])
                .to_owned()
        })
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect()
}

/// What is known half way through a chain of stages.
struct Reading {
    directory: Place,
    variables: BTreeMap<String, String>,
    copies: Vec<Copied>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            directory: Place::InBase(String::new()),
            variables: BTreeMap::new(),
            copies: Vec::new(),
        }
    }
}

impl Reading {
    fn read(&mut self, line: &str) {
        let (word, rest) = line
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((line, ""));
        let rest = rest.trim();
        match word.to_ascii_uppercase().as_str() {
            "WORKDIR" => {
                let path = self.expand(rest.trim_matches(['"', '\'']));
                self.directory = self.directory.from(&path);
            }
            "ENV" => self.set(rest, true),
            "ARG" => self.set(rest, false),
            "COPY" | "ADD" => self.copy(rest),
            _ => {}
        }
    }

    /// `ENV a=b c=d`, `ENV a b`, `ARG a=b`.
    fn set(&mut self, rest: &str, spaced: bool) {
        let words = words(rest);
        let first = words.first().map(String::as_str).unwrap_or_default();
        if spaced && !first.contains('=') {
            if let Some((name, value)) = rest.split_once(char::is_whitespace) {
                let value = self.expand(value.trim());
                self.variables.insert(name.to_owned(), value);
            }
            return;
        }
        for word in &words {
            if let Some((name, value)) = word.split_once('=') {
                let value = self.expand(value);
                self.variables.insert(name.to_owned(), value);
            }
        }
    }

    fn copy(&mut self, rest: &str) {
        let mut rest = rest;
        while rest.starts_with("--") {
            let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if flag.starts_with("--from=") {
                // Another stage's, or another image's.
                return;
            }
            rest = after.trim_start();
        }
        let words: Vec<String> = if rest.starts_with('[') {
            serde_json::from_str(rest).unwrap_or_default()
        } else {
            words(rest)
        };
        let Some((to, sources)) = words.split_last() else {
            return;
        };
        let to = self.expand(to);
        let sources: Vec<_> = sources
            .iter()
            .map(|source| self.expand(source))
            .filter(|source| {
                !source.starts_with("<<") && !source.contains("://") && !source.starts_with("git@")
            })
            .collect();
        let place = self.directory.from(&to);
        let several = sources.len() > 1;
        for source in sources {
            let named = clean(&source);
            let source = Pattern::parse(&source);
            let into = several
                || source.is_wild()
                || to.ends_with('/')
                || to == "."
                || to.ends_with("/.")
                || place == self.directory;
            self.copies.push(Copied {
                source,
                named,
                to: place.clone(),
                into,
            });
        }
    }

    /// Replaces `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}`; unknown
    /// names are empty.
    fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\']) {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if rest[at..].starts_with('\\') {
                let mut chars = after.chars();
                out.extend(chars.next());
                rest = chars.as_str();
                continue;
            }
            if let Some((inner, behind)) = after
                .strip_prefix('{')
                .and_then(|rest| rest.split_once('}'))
            {
                let (name, word) = match inner.split_once(':') {
                    Some((name, word)) => (name, Some(word)),
                    None => (inner, None),
                };
                let value = self.variables.get(name).filter(|value| !value.is_empty());
                match (word, value) {
                    (Some(word), value) if word.starts_with('+') => {
                        if value.is_some() {
                            out.push_str(&word[1..]);
                        }
                    }
                    (Some(word), None) if word.starts_with('-') => out.push_str(&word[1..]),
                    (_, value) => out.push_str(value.map_or("", String::as_str)),
                }
                rest = behind;
                continue;
            }
            let end = after
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(after.len());
            if end == 0 {
                out.push('$');
            }
            out.push_str(self.variables.get(&after[..end]).map_or("", String::as_str));
            rest = &after[end..];
        }
        out.push_str(rest);
        out
    }
}

/// Words between blanks; quotes hold a word together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests;
