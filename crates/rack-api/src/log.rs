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
    /// Lines of processes that have ended, in place of those that run (version 3).
    pub previous: bool,
    /// Where in the log to go on; see [`Cursor`].
    pub cursor: Option<Cursor>,
}

/// A place in a log, an addition of this project: a reader that asks for cursors is told
/// by pings where it has come to, and can go on there over another connection with no
/// line lost or repeated. Other servers take no notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// Begin as the other options say, and tell cursors.
    Wanted,
    /// Begin behind this place, whatever the other options say of time and number.
    After(u64),
}

/// Opens the payload of a ping that tells a cursor.
const CURSOR: &str = "cursor ";

impl Cursor {
    /// The value of the header.
    pub fn encode(self) -> String {
        match self {
            Self::Wanted => String::new(),
            Self::After(place) => place.to_string(),
        }
    }

    /// Reads the value of the header.
    pub fn decode(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Self::Wanted),
            place => place.parse().ok().map(Self::After),
        }
    }

    /// The payload that tells a place.
    pub fn tell(place: u64) -> String {
        format!("{CURSOR}{place}")
    }

    /// Reads the payload of a ping: a place, if it tells one.
    pub fn told(payload: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(payload).ok()?;
        text.strip_prefix(CURSOR)?.parse().ok()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            follow: true,
            prefix: false,
            since: None,
            filter: None,
            tail: None,
            previous: false,
            cursor: None,
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
            ("x ?a ?b", "b", false),
            ("x ?a ?b", "bx", true),
            ("Error", "an error", false),
            ("-\"an error\"", "no error", true),
            ("-\"an error\"", "an error", false),
            ("?\"a b\" ?c", "a b", true),
            ("?\"a b\" ?c", "a  b", false),
            ("-a -b", "b", false),
            ("  error  ", "error", true),
            ("\"open end", "an open end", true),
            ("-", "anything", true),
            ("\"\"", "anything", true),
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
