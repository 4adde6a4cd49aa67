//! `.dockerignore` patterns (`rack-api.md` §6.2): what a client leaves out of the
//! source and a build out of its context.
//!
//! Unlike gitignore, patterns are anchored at the root, the last match wins, and
//! `!` may bring back what lies below an excluded directory.

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// `!`: brings back.
    negated: bool,
    /// Path components; `**` stands for any number of them.
    parts: Vec<String>,
}

/// The patterns of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

impl Ignore {
    /// Reads the file's text; blank lines and lines starting with `#` are skipped.
    pub fn parse(text: &str) -> Self {
        let rules = text
            .trim_start_matches('\u{feff}')
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::trim)
            .filter_map(|line| {
                let (negated, pattern) = match line.strip_prefix('!') {
                    Some(rest) => (true, rest.trim_start()),
                    None => (false, line),
                };
                let parts = clean(pattern);
                (!parts.is_empty()).then_some(Rule { negated, parts })
            })
            .collect();
        Self { rules }
    }

    /// Whether a path is left out. Paths are relative, with `/` between components.
    pub fn excludes(&self, path: &str) -> bool {
        let path: Vec<&str> = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        let mut excluded = false;
        for rule in &self.rules {
            // Whatever matches a directory matches everything below it.
            let hit = (1..=path.len()).any(|depth| matches(&rule.parts, &path[..depth]));
            if hit {
                excluded = !rule.negated;
            }
        }
        excluded
    }

    /// Whether something below an excluded directory may still be wanted, so that
    /// the directory must be entered.
    pub fn enters(&self, directory: &str) -> bool {
        !self.excludes(directory) || self.rules.iter().any(|rule| rule.negated)
    }
}

/// One pattern of names, as `COPY` in a Dockerfile has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; that of the root has no components.
    pub fn parse(text: &str) -> Self {
        Self { parts: clean(text) }
    }

    /// The number of leading components of a relative path that the pattern names: what
    /// follows them is below what is meant.
    pub fn covers(&self, path: &str) -> Option<usize> {
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        (0..=path.len()).find(|depth| matches(&self.parts, &path[..*depth]))
    }

    /// Whether it may name several things.
    pub fn is_wild(&self) -> bool {
        self.parts.iter().any(|part| part.contains(['*', '?', '[']))
    }
}

/// Splits a pattern into components, resolving `.` and `..` as a path would be.
fn clean(pattern: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part.to_owned()),
        }
    }
    parts
}

fn matches(pattern: &[String], path: &[&str]) -> bool {
    // reach[i]: the pattern so far matches the first i components of the path.
    let mut reach = vec![false; path.len() + 1];
    reach[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        if part == "**" {
            let mut seen = false;
            for (at, reached) in reach.iter().enumerate() {
                seen |= reached;
                next[at] = seen;
            }
        } else {
            for at in 0..path.len() {
                next[at + 1] = reach[at] && component(part, path[at]);
            }
        }
        reach = next;
    }
    reach[path.len()]
}

/// Matches one component: `*`, `?`, `[a-z]`, `[^a-z]` and `\` before a literal.
/// A malformed class matches nothing.
fn component(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut on) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if at == pattern.len() && on == name.len() {
            return true;
        }
        if at < pattern.len() {
            if pattern[at] == '*' {
                star = Some((at, on));
                at += 1;
                continue;
            }
            if on < name.len()
                && let Some(next) = single(&pattern, at, name[on])
            {
                at = next;
                on += 1;
                continue;
            }
        }
        match star {
            Some((back, from)) if from < name.len() => {
                star = Some((back, from + 1));
                at = back + 1;
                on = from + 1;
            }
            _ => return false,
        }
    }
}

/// Matches one character; returns where the pattern goes on.
fn single(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern[at] {
        '?' => Some(at + 1),
        '\\' => (pattern.get(at + 1) == Some(&c)).then_some(at + 2),
        '[' => {
            let mut on = at + 1;
            let negated = pattern.get(on) == Some(&'^');
            on += usize::from(negated);
            let mut found = false;
            let mut first = true;
            loop {
                let low = *pattern.get(on)?;
                if low == ']' && !first {
                    return (found != negated).then_some(on + 1);
                }
                first = false;
                if pattern.get(on + 1) == Some(&'-')
                    && pattern.get(on + 2).is_some_and(|high| *high != ']')
                {
                    found |= (low..=pattern[on + 2]).contains(&c);
                    on += 3;
                } else {
                    found |= low == c;
                    on += 1;
                }
            }
        }
        literal => (literal == c).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_is_below_what_it_names() {
        for (pattern, path, covered) in [
            (".", "a/b", Some(0)),
            ("/", "a/b", Some(0)),
            ("a", "a", Some(1)),
            ("./a/", "a/b/c", Some(1)),
            ("a/*", "a/b/c", Some(2)),
            ("*.rb", "app.rb", Some(1)),
            ("*.rb", "lib/app.rb", None),
            ("a", "ab", None),
            ("a/b", "a", None),
        ] {
            assert_eq!(
                Pattern::parse(pattern).covers(path),
                covered,
                "{pattern} {path}"
            );
        }
        assert!(Pattern::parse("a/*.rb").is_wild());
        assert!(!Pattern::parse("a/b.rb").is_wild());
    }
    use proptest::prelude::*;

    #[test]
    fn docker_rules() {
        for (file, path, excluded) in [
            ("tmp", "tmp", true),
            ("tmp", "tmp/deep/file", true),
            ("tmp", "src/tmp", false),
            ("**/tmp", "src/tmp/x", true),
            ("**/tmp", "tmp", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("*/*.md", "docs/README.md", true),
            ("*.md\n!README.md", "README.md", false),
            ("!README.md\n*.md", "README.md", true),
            ("docs\n!docs/keep", "docs/keep/file", false),
            ("docs\n!docs/keep", "docs/other", true),
            ("/tmp/", "tmp/x", true),
            ("./a/../b", "b", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[", "[", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("**", "anything/at/all", true),
            ("# a comment", "# a comment", false),
            ("", "x", false),
            ("\u{feff}tmp", "tmp", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
        ] {
            assert_eq!(
                Ignore::parse(file).excludes(path),
                excluded,
                "{file:?} on {path:?}"
            );
        }
    }

    #[test]
    fn excluded_directories_are_entered_for_exceptions() {
        assert!(!Ignore::parse("docs").enters("docs"));
        assert!(Ignore::parse("docs\n!docs/keep").enters("docs"));
    }

    proptest! {
        #[test]
        fn never_panics(file in ".{0,60}", path in ".{0,40}") {
            let _ = Ignore::parse(&file).excludes(&path);
        }

        #[test]
        fn stars_are_bounded(stars in 1..30_usize, length in 1..200_usize) {
            let file = "*a".repeat(stars);
            let _ = Ignore::parse(&file).excludes(&"b".repeat(length));
        }

        #[test]
        fn a_literal_excludes_itself_and_below(name in "[a-z]{1,8}", below in "[a-z]{1,8}") {
            let ignore = Ignore::parse(&name);
            prop_assert!(ignore.excludes(&name));
            let path = format!("{name}/{below}");
            prop_assert!(ignore.excludes(&path));
        }
    }
}
