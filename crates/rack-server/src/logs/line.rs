//! One line of a log: how it stands in a file and how clients see it.

use std::io::Write as _;

use jiff::Timestamp;

/// Longest message of one line; longer ones are wrapped.
pub(super) const MAX_MESSAGE: usize = 32 * 1024;
/// Longest stream name; the rest is cut.
const MAX_STREAM: usize = 255;
/// Bytes of a time in a file.
const TIME: usize = 30;
/// Longest line a file can hold: time, blank, stream, blank, message, newline.
pub(super) const MAX_LINE: usize = TIME + 1 + MAX_STREAM + 1 + MAX_MESSAGE + 1;

/// A time as it stands in a file; compares like the time it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimeText([u8; TIME]);

impl TimeText {
    /// Writes a time; one before 1970 counts as 1970, since the text has a fixed width.
    pub(super) fn new(time: Timestamp) -> Self {
        let mut text = [0; TIME];
        write!(&mut text[..], "{:.9}", time.max(Timestamp::UNIX_EPOCH))
            .expect("thirty bytes hold every time");
        Self(text)
    }

    /// Reads thirty bytes that look like a time.
    fn read(bytes: &[u8]) -> Option<Self> {
        let text: [u8; TIME] = bytes.try_into().ok()?;
        let shape = b"0000-00-00T00:00:00.000000000Z";
        let fits = text.iter().zip(shape).all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            _ => byte == like,
        });
        fits.then_some(Self(text))
    }

    /// The time the text stands for.
    pub(super) fn timestamp(&self) -> Option<Timestamp> {
        str::from_utf8(&self.0).ok()?.parse().ok()
    }
}

/// A stored line, without its newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// When it was said.
    pub(super) time: TimeText,
    /// Who said it.
    pub(super) stream: &'a str,
    /// What was said.
    pub(super) message: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a stored line; `None` when it is damaged.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (time, rest) = bytes.split_at_checked(TIME)?;
        let rest = rest.strip_prefix(b" ")?;
        let blank = rest
            .iter()
            .take(MAX_STREAM + 1)
            .position(|&byte| byte == b' ')?;
        Some(Self {
            time: TimeText::read(time)?,
            stream: str::from_utf8(&rest[..blank]).ok()?,
            message: &rest[blank + 1..],
        })
    }

    /// Appends the line as it stands in a file, with its newline.
    pub(super) fn store(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.time.0);
        to.push(b' ');
        to.extend_from_slice(self.stream.as_bytes());
        to.push(b' ');
        to.extend_from_slice(self.message);
        to.push(b'\n');
    }

    /// Appends the line as clients see it: whole seconds, no nanoseconds.
    pub(super) fn show(&self, prefix: bool, to: &mut Vec<u8>) {
        if prefix {
            to.extend_from_slice(&self.time.0[..19]);
            to.extend_from_slice(b"Z ");
            to.extend_from_slice(self.stream.as_bytes());
            to.push(b' ');
        }
        to.extend_from_slice(self.message);
        to.push(b'\n');
    }
}

/// Makes a stream name safe to store: no blanks, no control characters, bounded.
pub(super) fn stream_name(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for char in name.chars() {
        if safe.len() + char.len_utf8() > MAX_STREAM {
            break;
        }
        safe.push(if char.is_whitespace() || char.is_control() {
            '-'
        } else {
            char
        });
    }
    safe
}

/// Cuts a message into the lines it is stored as: at newlines, and where a line
/// gets too long, between characters if it is text. One last newline is only the end.
pub(super) fn split(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let message = message.strip_suffix(b"\n").unwrap_or(message);
    message.split(|&byte| byte == b'\n').flat_map(|line| {
        let mut rest = Some(line);
        std::iter::from_fn(move || {
            let line = rest?;
            if line.len() <= MAX_MESSAGE {
                rest = None;
                return Some(line);
            }
            let (head, tail) = line.split_at(wrap_at(line));
            rest = Some(tail);
            Some(head)
        })
    })
}

/// Where to wrap a line that is too long: up to three bytes early, so that no character is cut.
fn wrap_at(line: &[u8]) -> usize {
    (MAX_MESSAGE - 3..=MAX_MESSAGE)
        .rev()
        .find(|&at| line[at] & 0b1100_0000 != 0b1000_0000)
        .unwrap_or(MAX_MESSAGE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a valid time")
    }

    #[test]
    fn times_have_a_fixed_width_and_compare_like_times() {
        let early = TimeText::new(at("2026-01-02T03:04:05Z"));
        let late = TimeText::new(at("2026-01-02T03:04:05.000000001Z"));
        assert!(early < late);
        assert_eq!(late.timestamp(), Some(at("2026-01-02T03:04:05.000000001Z")));
        assert_eq!(
            &TimeText::new(Timestamp::MIN).0,
            b"1970-01-01T00:00:00.000000000Z"
        );
        assert_eq!(
            TimeText::new(Timestamp::MAX).timestamp(),
            Some(Timestamp::MAX)
        );
    }

    #[test]
    fn clients_see_whole_seconds() {
        let line = Line {
            time: TimeText::new(at("2026-01-02T03:04:05.9Z")),
            stream: "service/web/1",
            message: b"hi",
        };
        let mut text = Vec::new();
        line.show(true, &mut text);
        line.show(false, &mut text);
        assert_eq!(text, b"2026-01-02T03:04:05Z service/web/1 hi\nhi\n");
    }

    #[test]
    fn messages_split_at_newlines_and_wrap_between_characters() {
        let lines: Vec<_> = split(b"a\n\nb\n").collect();
        assert_eq!(lines, [b"a".as_slice(), b"", b"b"]);
        assert_eq!(split(b"").count(), 1);
        let long = format!("a{}", "\u{20ac}".repeat(MAX_MESSAGE));
        let parts: Vec<_> = split(long.as_bytes()).collect();
        assert!(parts.len() > 3 && parts.iter().all(|part| part.len() <= MAX_MESSAGE));
        assert!(parts.iter().all(|part| str::from_utf8(part).is_ok()));
        assert_eq!(parts.concat(), long.as_bytes());
    }

    #[test]
    fn damaged_lines_are_not_lines() {
        for bytes in [
            b"".as_slice(),
            b"2026-01-02T03:04:05.000000000Z",
            &[0; 80],
            b"2026-01-02T03:04:05.000000000Z web",
        ] {
            assert_eq!(Line::parse(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn stored_lines_read_back(second in 0_i64..4_000_000_000, nano in 0_i32..1_000_000_000,
                                  name in ".{0,300}", message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let stream = stream_name(&name);
            let time = Timestamp::new(second, nano).expect("a time");
            for message in split(&message) {
                let line = Line { time: TimeText::new(time), stream: &stream, message };
                let mut stored = Vec::new();
                line.store(&mut stored);
                prop_assert!(stored.len() <= MAX_LINE);
                let (last, body) = stored.split_last().expect("not empty");
                prop_assert_eq!(*last, b'\n');
                prop_assert!(!body.contains(&b'\n'));
                prop_assert_eq!(Line::parse(body), Some(line));
                prop_assert_eq!(line.time.timestamp(), Some(time));
            }
        }

        #[test]
        fn splitting_loses_nothing_but_one_last_newline(message in proptest::collection::vec(any::<u8>(), 0..500)) {
            let joined = split(&message).collect::<Vec<_>>().join(&b'\n');
            prop_assert_eq!(joined, message.strip_suffix(b"\n").unwrap_or(&message));
        }
    }
}
