//! `COPY` and `ADD`: which files go where.

use std::io;

use super::blob::Blobs;
use super::blob::Pending;
use super::dockerfile::Document;
use super::tree::{self, Kind, Node, Open, Tree};

/// One `COPY` or `ADD`, variables put in.
pub(super) struct Job {
    /// Sources and, last, the destination.
    pub(super) words: Vec<String>,
    /// Files that stand in the Dockerfile.
    pub(super) documents: Vec<Document>,
    /// Whether sources may be addresses.
    pub(super) remote: bool,
    /// Where relative destinations begin.
    pub(super) directory: String,
    /// Permission bits to set.
    pub(super) mode: Option<u32>,
}

impl Job {
    /// Makes the layer. `lenient` sources may lack files that only a real run would have made.
    pub(super) fn run(
        &self,
        blobs: &Blobs,
        source: &Tree,
        beneath: &Tree,
        lenient: bool,
        open: &Open<'_>,
    ) -> io::Result<Pending> {
        let Some((destination, sources)) = self
            .words
            .split_last()
            .filter(|(_, sources)| !sources.is_empty())
        else {
            return Err(io::Error::other(
                "COPY and ADD need at least one source and a destination",
            ));
        };
        let target = if destination.starts_with('/') {
            tree::clean(destination)
        } else {
            tree::clean(&format!("{}/{destination}", self.directory))
        };
        let into_directory = destination.ends_with('/')
            || sources.len() > 1
            || target.is_empty()
            || target == tree::clean(&self.directory)
            || matches!(
                beneath.get(&target),
                Some(Node {
                    kind: Kind::Directory,
                    ..
                })
            );
        let mut made = Vec::new();
        let mut layer = Tree::new();
        for word in sources {
            if let Some(text) = self.inline(word) {
                let (name, text) = text;
                let content = blobs.write(text.as_bytes())?;
                let kind = Kind::File {
                    blob: content.digest().to_owned(),
                    offset: 0,
                    size: content.size(),
                };
                made.push(content);
                let path = if into_directory {
                    tree::join(&target, &name)
                } else {
                    target.clone()
                };
                self.put(&mut layer, &path, Node { mode: 0o644, kind });
                continue;
            }
            let matches = find(source, word);
            if matches.is_empty() && !lenient {
                return Err(io::Error::other(format!(
                    "failed to compute cache key: failed to calculate checksum: \"/{}\": not found",
                    tree::clean(word)
                )));
            }
            let several = into_directory || matches.len() > 1;
            if matches.is_empty() {
                let content = blobs.write(format!("simulated: {word}\n").as_bytes())?;
                let kind = Kind::File {
                    blob: content.digest().to_owned(),
                    offset: 0,
                    size: content.size(),
                };
                made.push(content);
                let name = word
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or(word);
                let path = if several {
                    tree::join(&target, name)
                } else {
                    target.clone()
                };
                self.put(&mut layer, &path, Node { mode: 0o755, kind });
            }
            for found in matches {
                self.take(source, &found, &target, several, &mut layer);
            }
        }
        tree::write_layer(blobs, &layer, &|digest| match made
            .iter()
            .find(|content| content.digest() == digest)
        {
            Some(content) => content.open(),
            None => open(digest),
        })
    }

    /// Takes a file, or what is in a directory.
    fn take(&self, source: &Tree, found: &str, target: &str, several: bool, layer: &mut Tree) {
        let directory = found.is_empty()
            || matches!(
                source.get(found),
                Some(Node {
                    kind: Kind::Directory,
                    ..
                })
            );
        if directory {
            if !target.is_empty() {
                let node = Node {
                    mode: 0o755,
                    kind: Kind::Directory,
                };
                tree::insert(layer, target, node);
            }
            for (path, node) in source {
                if let Some(rest) = tree::below(path, found).filter(|rest| !rest.is_empty()) {
                    self.put(layer, &tree::join(target, rest), node.clone());
                }
            }
        } else if let Some(node) = source.get(found) {
            let name = found.rsplit('/').next().unwrap_or(found);
            let path = if several {
                tree::join(target, name)
            } else {
                target.to_owned()
            };
            self.put(layer, &path, node.clone());
        }
    }

    fn put(&self, layer: &mut Tree, path: &str, mut node: Node) {
        if let Some(mode) = self.mode {
            node.mode = mode;
        }
        tree::insert(layer, path, node);
    }

    /// Name and text of a source that is no file: a here-document, or an address nobody asks.
    fn inline(&self, word: &str) -> Option<(String, String)> {
        if let Some(name) = word.strip_prefix("<<") {
            let name = name.trim_start_matches('-');
            let document = self
                .documents
                .iter()
                .find(|document| document.name == name)?;
            return Some((document.name.clone(), document.body.clone()));
        }
        if self.remote && (word.starts_with("http://") || word.starts_with("https://")) {
            let name = word
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or(word);
            return Some((name.to_owned(), format!("simulated: {word}\n")));
        }
        None
    }
}

/// Paths a source names; patterns match part by part.
fn find(source: &Tree, word: &str) -> Vec<String> {
    let path = tree::clean(word);
    if path.is_empty() {
        return vec![path];
    }
    let resolved = tree::resolve(source, &path);
    if source.contains_key(&resolved) {
        return vec![resolved];
    }
    if !path.contains(['*', '?', '[']) {
        return Vec::new();
    }
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |have: &&String| {
        have.split('/').count() == parts.len()
            && have
                .split('/')
                .zip(&parts)
                .all(|(text, part)| matches(part, text))
    };
    source.keys().filter(fits).cloned().collect()
}

/// Whether a name fits a pattern of `*`, `?`, `[a-z]` and `\x`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(first) = rest.next() else {
        return text.is_empty();
    };
    let mut tail = text.chars();
    match first {
        '*' => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| matches(rest.as_str(), &text[at..])),
        '?' => tail.next().is_some() && matches(rest.as_str(), tail.as_str()),
        '[' => {
            let (Some(end), Some(c)) = (rest.as_str().find(']'), tail.next()) else {
                return false;
            };
            let class = &rest.as_str()[..end];
            let (class, negated) = class
                .strip_prefix('^')
                .map_or((class, false), |class| (class, true));
            in_class(class, c) != negated && matches(&rest.as_str()[end + 1..], tail.as_str())
        }
        '\\' => {
            rest.next().is_some_and(|c| tail.next() == Some(c))
                && matches(rest.as_str(), tail.as_str())
        }
        c => tail.next() == Some(c) && matches(rest.as_str(), tail.as_str()),
    }
}

fn in_class(class: &str, c: char) -> bool {
    let class: Vec<char> = class.chars().collect();
    let mut at = 0;
    while at < class.len() {
        if class.get(at + 1) == Some(&'-') && at + 2 < class.len() {
            if (class[at]..=class[at + 2]).contains(&c) {
                return true;
            }
            at += 3;
        } else {
            if class[at] == c {
                return true;
            }
            at += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_shells_do() {
        for (pattern, text, fits) in [
            ("*.rb", "app.rb", true),
            ("*.rb", "app.rbx", false),
            ("Gemfile*", "Gemfile", true),
            ("[a-c]?", "bx", true),
            ("[^a-c]?", "bx", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    fn layer_of(words: &[&str], directory: &str) -> Vec<String> {
        let blobs = Blobs::in_memory();
        let content = blobs.write(b"x").expect("written");
        blobs.keep(&content).expect("kept");
        let mut source = Tree::new();
        for path in ["Gemfile", "Gemfile.lock", "lib/a.rb", "lib/deep/b.rb"] {
            let kind = Kind::File {
                blob: content.digest().to_owned(),
                offset: 0,
                size: 1,
            };
            tree::insert(&mut source, path, Node { mode: 0o644, kind });
        }
        let job = Job {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            documents: Vec::new(),
            remote: false,
            directory: directory.to_owned(),
            mode: None,
        };
        let layer = job
            .run(&blobs, &source, &Tree::new(), false, &|digest| {
                blobs.open(digest)
            })
            .expect("copied");
        let mut tree = Tree::new();
        tree::apply_layer(&mut tree, layer.digest(), layer.open().expect("opened")).expect("read");
        tree.into_iter()
            .filter(|(_, node)| node.kind != Kind::Directory)
            .map(|(path, _)| path)
            .collect()
    }

    #[test]
    fn files_land_where_a_builder_puts_them() {
        assert_eq!(layer_of(&["Gemfile", "/app/Other"], ""), ["app/Other"]);
        assert_eq!(layer_of(&["Gemfile", "/app/"], ""), ["app/Gemfile"]);
        assert_eq!(
            layer_of(&["Gemfile*", "./"], "/app"),
            ["app/Gemfile", "app/Gemfile.lock"]
        );
        assert_eq!(layer_of(&["lib", "/x"], ""), ["x/a.rb", "x/deep/b.rb"]);
        assert_eq!(layer_of(&[".", "."], "/srv").len(), 4);
    }
}
