//! Log options and lines (`rack-api.md` §2.5 and §2.6).

use std::time::Duration;

/// How far back a log starts when the client does not say.
pub const DEFAULT_SINCE: Duration = Duration::from_secs(120);

/// What a log socket takes; all of it travels in headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Keep the stream open for new lines.
    pub follow: bool,
    /// Put time and stream before each message.
    pub prefix: bool,
    /// Age of the oldest line wanted.
    pub since: Option<Duration>,
    /// Terms a line must hold; see [`Filter`].
    pub filter: Option<String>,
    /// Only the last lines of what exists.
    pub tail: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            follow: true,
            prefix: false,
            since: None,
            filter: None,
            tail: None,
        }
    }
}

/// A filter expression: every blank-separated term must occur, `"…"` is a
/// phrase, a leading `-` negates, terms with a leading `?` are alternatives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    all: Vec<String>,
    none: Vec<String>,
    any: Vec<String>,
}

impl Filter {
    /// Reads an expression; any text is one.
    pub fn parse(text: &str) -> Self {
        let mut filter = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (list, term) = match rest.as_bytes()[0] {
                b'-' => (&mut filter.none, &rest[1..]),
                b'?' => (&mut filter.any, &rest[1..]),
                _ => (&mut filter.all, rest),
            };
            let (word, after) = match term.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => term.split_once(char::is_whitespace).unwrap_or((term, "")),
            };
            if !word.is_empty() {
                list.push(word.to_owned());
            }
            rest = after.trim_start();
        }
        filter
    }

    /// Whether a message passes.
    pub fn matches(&self, message: &[u8]) -> bool {
        let has = |term: &String| {
            message
                .windows(term.len())
                .any(|part| part == term.as_bytes())
        };
        self.all.iter().all(has)
            && !self.none.iter().any(has)
            && (self.any.is_empty() || self.any.iter().any(has))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters() {
        let cases = [
            ("error web", "web: an error", true),
            ("error web", "an error", false),
            ("\"an error\"", "web: an error", true),
            ("error -web", "web: an error", false),
            ("?a ?b", "b", true),
            ("?a ?b", "c", false),
            ("", "anything", true),
        ];
        for (filter, message, passes) in cases {
            assert_eq!(
                Filter::parse(filter).matches(message.as_bytes()),
                passes,
                "{filter} on {message}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter(text in ".*", message in ".*") {
            let _ = Filter::parse(&text).matches(message.as_bytes());
        }
    }
}
