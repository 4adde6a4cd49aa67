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

/// Where to begin in a log, an addition of this project: a reader that asks for places
/// is told by pings where it has come to, and can go on there over another connection
/// with no line lost or repeated. Other servers take no notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// Begin as the other options say, and tell places.
    Wanted,
    /// Begin at this place, whatever the other options say of time and number.
    After(Place),
}

/// A place in a log, as its server tells it; clients only hand it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the log before it.
    pub offset: u64,
    /// Lines older than this are not wanted, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// Wanted lines behind it that are to be left out.
    pub leave_out: u64,
}

/// Opens the payload of a ping that tells a place.
const CURSOR: &str = "cursor ";

impl Place {
    /// Its text in headers and pings.
    pub fn encode(self) -> String {
        let since = self.since.map(|since| since.to_string());
        format!(
            "{}.{}.{}",
            self.offset,
            since.unwrap_or_default(),
            self.leave_out
        )
    }

    /// Reads its text.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let place = Self {
            offset: parts.next()?.parse().ok()?,
            since: match parts.next()? {
                "" => None,
                since => Some(since.parse().ok()?),
            },
            leave_out: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    }

    /// The payload of the ping that tells it.
    pub fn tell(self) -> String {
        format!("{CURSOR}{}", self.encode())
    }

    /// Reads the payload of a ping, if it tells a place.
    pub fn told(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        Self::decode(text.strip_prefix(CURSOR)?)
    }
}

impl Cursor {
    /// The value of the header.
    pub fn encode(self) -> String {
        match self {
            Self::Wanted => String::new(),
            Self::After(place) => place.encode(),
        }
    }

    /// Reads the value of the header; a strange one is none.
    pub fn decode(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Self::Wanted),
            place => Place::decode(place).map(Self::After),
        }
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

    #[test]
    fn strange_cursors_are_none() {
        assert_eq!(Cursor::decode(" "), Some(Cursor::Wanted));
        for text in ["1", "x", "-1..0", "1.x.0", "1..0.0", "1..", "1..-1"] {
            assert_eq!(Cursor::decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn places_survive(offset: u64, since: Option<i64>, leave_out: u64) {
            let place = Place { offset, since, leave_out };
            prop_assert_eq!(Cursor::decode(&Cursor::After(place).encode()), Some(Cursor::After(place)));
            prop_assert!(place.tell().len() <= 125, "fits a ping");
            prop_assert_eq!(Place::told(place.tell().as_bytes()), Some(place));
        }

        #[test]
        fn any_text_is_a_filter(text in ".*", message in ".*") {
            let _ = Filter::parse(&text).matches(message.as_bytes());
        }
    }
}
