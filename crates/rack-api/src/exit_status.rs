//! The marker that carries a process's exit status through a socket
//! (`rack-api.md` §2.3).
//!
//! The marker is the last thing of a stream. [`Scanner`] finds it however the
//! stream is cut into frames, and takes nothing for it that is followed by more
//! output: a program may print these very bytes.

use bytes::{Bytes, BytesMut};

/// Text before the decimal status; the whole marker travels in a frame of its own.
pub const MARKER: &str = "F1E49A85-0AD7-4AEF-A618-C249C6E6568D:";

/// Real racks of the third generation send an error after the marker.
const ERROR: &[u8] = b"ERROR: ";

/// Longest text held back behind a marker.
const ERROR_LIMIT: usize = 4096;

/// Digits of the longest status.
const DIGITS: usize = 18;

/// Status reported when a rack claims success and sends an error.
const FAILED: i64 = 1;

/// Writes the frame that reports a status.
pub fn encode(status: i64) -> String {
    format!("{MARKER}{status}\n")
}

/// Separates output from the exit status at its end.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The end of the stream so far, when it may be a marker or the start of one.
    held: BytesMut,
}

/// What was left when a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Output held back until now.
    pub output: Bytes,
    /// The status, when the stream ended with a marker.
    pub status: Option<i64>,
}

impl Scanner {
    /// Takes the next bytes of the stream and gives those that are output for
    /// certain; only what may belong to a marker is held back.
    pub fn scan(&mut self, bytes: Bytes) -> Bytes {
        if self.held.is_empty() {
            let start = marker_start(&bytes);
            self.held.extend_from_slice(&bytes[start..]);
            return bytes.slice(..start);
        }
        self.held.extend_from_slice(&bytes);
        let start = marker_start(&self.held);
        self.held.split_to(start).freeze()
    }

    /// Ends the stream.
    pub fn finish(self) -> Scanned {
        let held = self.held.freeze();
        match parse(&held) {
            Parsed::Status { status, rest } => {
                let output = held.slice(rest..);
                // An error is no success, whatever the marker says.
                let status = if status == 0 && !output.is_empty() {
                    FAILED
                } else {
                    status
                };
                Scanned {
                    output,
                    status: Some(status),
                }
            }
            Parsed::Prefix | Parsed::No => Scanned {
                output: held,
                status: None,
            },
        }
    }
}

/// Finds where the marker, or what may become one, starts; the length if nowhere.
fn marker_start(bytes: &[u8]) -> usize {
    let first = MARKER.as_bytes()[0];
    (0..bytes.len())
        .filter(|start| bytes[*start] == first)
        .find(|start| !matches!(parse(&bytes[*start..]), Parsed::No))
        .unwrap_or(bytes.len())
}

enum Parsed {
    /// Cannot be a marker, whatever follows.
    No,
    /// Can become a marker.
    Prefix,
    /// Is a marker if the stream ends here; an error text starts at `rest`.
    Status { status: i64, rest: usize },
}

/// Reads `MARKER`, an optional sign, digits, a line end, and perhaps an error.
fn parse(bytes: &[u8]) -> Parsed {
    let marker = MARKER.as_bytes();
    let Some(number) = bytes.strip_prefix(marker) else {
        return if marker.starts_with(bytes) {
            Parsed::Prefix
        } else {
            Parsed::No
        };
    };
    let sign = usize::from(number.starts_with(b"-"));
    let digits = number[sign..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, after) = number.split_at(sign + digits);
    if digits > DIGITS {
        return Parsed::No;
    }
    if digits == 0 {
        return if after.is_empty() {
            Parsed::Prefix
        } else {
            Parsed::No
        };
    }
    let Some(status) = std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse().ok())
    else {
        return Parsed::No;
    };
    let error = match after {
        [] | b"\r" => {
            return Parsed::Status {
                status,
                rest: bytes.len(),
            };
        }
        [b'\n', error @ ..] | [b'\r', b'\n', error @ ..] => error,
        _ => return Parsed::No,
    };
    let is_error = ERROR.starts_with(error) || error.starts_with(ERROR);
    if is_error && error.len() <= ERROR_LIMIT {
        Parsed::Status {
            status,
            rest: bytes.len() - error.len(),
        }
    } else {
        Parsed::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Scans pieces; gives all output and the status.
    fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<i64>) {
        let mut scanner = Scanner::default();
        let mut output = Vec::new();
        for piece in pieces {
            output.extend_from_slice(&scanner.scan(Bytes::copy_from_slice(piece)));
        }
        let last = scanner.finish();
        output.extend_from_slice(&last.output);
        (output, last.status)
    }

    #[test]
    fn statuses_are_found() {
        for status in [0, 3, 255, -1, 1_000_000] {
            let marker = encode(status);
            assert_eq!(scan([marker.as_bytes()]), (vec![], Some(status)));
            let joined = format!("out{marker}");
            assert_eq!(scan([joined.as_bytes()]), (b"out".to_vec(), Some(status)));
        }
    }

    #[test]
    fn streams_without_a_marker_have_no_status() {
        let started = format!("{MARKER}-");
        for text in ["", "F", "output", &MARKER[..20], MARKER, &started] {
            assert_eq!(
                scan([text.as_bytes()]),
                (text.as_bytes().to_vec(), None),
                "{text}"
            );
        }
    }

    #[test]
    fn a_printed_marker_is_output() {
        let printed = encode(0);
        let real = encode(7);
        let text = format!("{printed}more\n");
        assert_eq!(
            scan([text.as_bytes(), real.as_bytes()]),
            (text.into_bytes(), Some(7))
        );
        let source = format!("const MARKER: &str = \"{MARKER}\";\n{MARKER}{{status}}\n");
        assert_eq!(
            scan([source.as_bytes(), real.as_bytes()]),
            (source.into_bytes(), Some(7))
        );
        let twice = format!("{printed}{real}");
        assert_eq!(scan([twice.as_bytes()]), (printed.into_bytes(), Some(7)));
    }

    #[test]
    fn an_error_after_the_marker_is_shown_and_no_success() {
        let claimed = encode(0);
        let error: &[u8] = b"ERROR: no such process\n";
        assert_eq!(scan([claimed.as_bytes(), error]), (error.to_vec(), Some(1)));
        let honest = encode(9);
        assert_eq!(scan([honest.as_bytes(), error]), (error.to_vec(), Some(9)));
    }

    #[test]
    fn output_is_not_held_back() {
        let mut scanner = Scanner::default();
        assert_eq!(
            scanner.scan(Bytes::from_static(b"prompt> ")),
            &b"prompt> "[..]
        );
        assert_eq!(scanner.scan(Bytes::from_static(b"a F1E4")), &b"a "[..]);
        assert_eq!(scanner.scan(Bytes::from_static(b"!")), &b"F1E4!"[..]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut scanner = Scanner::default();
        let mut fed = scanner.scan(Bytes::from(encode(0) + "ERROR: ")).len();
        for _ in 0..100 {
            fed += scanner.scan(Bytes::from(vec![b'x'; 100])).len();
            assert!(scanner.held.len() <= MARKER.len() + DIGITS + ERROR_LIMIT + 2);
        }
        assert!(fed > 5000, "{fed}");
    }

    proptest! {
        #[test]
        fn markers_are_found_however_the_stream_is_cut(
            output in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'F'), Just(b'1'), Just(b'E')], 0..200),
            status in -1000i64..1000,
            cuts in proptest::collection::vec(1usize..30, 1..20),
        ) {
            let wire = [&output[..], encode(status).as_bytes()].concat();
            let mut pieces = Vec::new();
            let mut rest = &wire[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(*cuts.next().expect("cycles")));
                pieces.push(piece);
                rest = later;
            }
            prop_assert_eq!(scan(pieces), (output, Some(status)));
        }

        #[test]
        fn output_without_a_marker_is_untouched(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..10),
        ) {
            let all = pieces.concat();
            prop_assert_eq!(scan(pieces.iter().map(Vec::as_slice)), (all, None));
        }
    }
}
