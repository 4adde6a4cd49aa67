//! What Docker sends of a log, cut into the entries it has kept.
//!
//! Docker frames the log of a process without a terminal, one frame for each line
//! or piece of a very long one; that of a process with a terminal comes as it is.
//! Both carry a time stamp before each line, which also tells them apart: a frame
//! starts with a byte below 4, a time with a digit. The stamps have nanoseconds; the
//! pieces of one very long line share theirs.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use jiff::Timestamp;

use super::error;
use crate::engine::{EngineError, Result};

/// Docker cuts longer lines into pieces of this size.
pub(super) const PIECE: usize = 16 * 1024;

/// A time stamp is never longer.
const STAMP: usize = 40;

/// A frame holds one piece and its stamp; anything much larger is no frame.
const FRAME: usize = 4 * 1024 * 1024;

/// One line of a log, or a piece of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The stream it came by: output or errors, or both where there is a terminal.
    pub(super) stream: u8,
    /// When the engine saw it.
    pub(super) time: Timestamp,
    /// Its bytes without the line end.
    pub(super) line: Bytes,
}

/// Cuts a log stream into entries, holding at most one piece.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    framed: Option<bool>,
    /// Stamp of a terminal line whose beginning has been given out.
    within: Option<Timestamp>,
}

impl Decoder {
    /// Takes bytes in and gives out the entries that are whole.
    pub(super) fn feed(&mut self, data: &[u8], out: &mut VecDeque<Entry>) -> Result<()> {
        self.buffer.extend_from_slice(data);
        let Some(first) = self.buffer.first() else {
            return Ok(());
        };
        if *self.framed.get_or_insert(*first < 4) {
            self.frames(out)
        } else {
            self.plain(out, false)
        }
    }

    /// Gives out what is left at the end of the stream.
    pub(super) fn finish(&mut self, out: &mut VecDeque<Entry>) -> Result<()> {
        match self.framed {
            Some(false) => self.plain(out, true),
            _ if self.buffer.is_empty() => Ok(()),
            _ => Err(error::unreachable(
                "the log broke off in the middle of a line",
            )),
        }
    }

    fn frames(&mut self, out: &mut VecDeque<Entry>) -> Result<()> {
        while let Some(head) = self.buffer.first_chunk::<8>() {
            let [kind, _, _, _, a, b, c, d] = *head;
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if kind > 3 || length > FRAME {
                return Err(EngineError::Failed(
                    "docker sent a log that cannot be read".into(),
                ));
            }
            if self.buffer.len() < 8 + length {
                break;
            }
            self.buffer.advance(8);
            let mut frame = self.buffer.split_to(length).freeze();
            if kind == 3 {
                // The engine's own voice: it could not read the log any further.
                return Err(EngineError::Failed(error::sentence(
                    &String::from_utf8_lossy(&frame),
                )));
            }
            let time = stamp(&mut frame)?;
            if frame.last() == Some(&b'\n') {
                frame.truncate(frame.len() - 1);
            }
            out.push_back(Entry {
                stream: kind,
                time,
                line: frame,
            });
        }
        Ok(())
    }

    fn plain(&mut self, out: &mut VecDeque<Entry>, last: bool) -> Result<()> {
        loop {
            let time = match self.within {
                Some(time) => time,
                None if self.buffer.is_empty() => return Ok(()),
                None if self.buffer.len() > STAMP || self.buffer.contains(&b' ') => {
                    let mut rest = std::mem::take(&mut self.buffer).freeze();
                    let time = stamp(&mut rest)?;
                    self.buffer = BytesMut::from(rest);
                    *self.within.insert(time)
                }
                None if last => {
                    return Err(error::unreachable(
                        "the log broke off in the middle of a line",
                    ));
                }
                None => return Ok(()),
            };
            let end = self
                .buffer
                .iter()
                .take(PIECE + 1)
                .position(|byte| *byte == b'\n');
            let line = if let Some(end) = end {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                if line.last() == Some(&b'\r') {
                    line.truncate(end - 1);
                }
                self.within = None;
                line
            } else if self.buffer.len() > PIECE + STAMP || (last && self.buffer.len() > PIECE) {
                let piece = self.buffer.split_to(PIECE);
                // A further piece of a long line usually has a stamp of its own in the middle of it.
                if stamp(&mut Bytes::copy_from_slice(
                    &self.buffer[..self.buffer.len().min(STAMP)],
                ))
                .is_ok()
                {
                    self.within = None;
                }
                piece
            } else if last {
                self.within = None;
                self.buffer.split()
            } else {
                return Ok(());
            };
            out.push_back(Entry {
                stream: 0,
                time,
                line: line.freeze(),
            });
        }
    }
}

/// Takes the time stamp and the blank after it off the front.
fn stamp(text: &mut Bytes) -> Result<Timestamp> {
    let parsed = text
        .iter()
        .take(STAMP)
        .position(|byte| *byte == b' ')
        .and_then(|end| {
            let time = std::str::from_utf8(&text[..end])
                .ok()?
                .parse::<Timestamp>()
                .ok()?;
            Some((time, end))
        });
    match parsed {
        Some((time, end)) => {
            text.advance(end + 1);
            Ok(time)
        }
        None => Err(EngineError::Failed(
            "docker sent a log line without a time".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-22T20:51:10.000000001Z";

    fn frame(kind: u8, text: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(text.len()).expect("small").to_be_bytes());
        frame.extend_from_slice(text);
        frame
    }

    /// Feeds `data` in pieces of `step` bytes.
    fn decode(data: &[u8], step: usize) -> Result<Vec<Vec<u8>>> {
        let mut decoder = Decoder::default();
        let mut out = VecDeque::new();
        for piece in data.chunks(step) {
            decoder.feed(piece, &mut out)?;
        }
        decoder.finish(&mut out)?;
        assert!(
            out.iter()
                .all(|chunk| chunk.time == AT.parse().expect("a time"))
        );
        Ok(out.into_iter().map(|chunk| chunk.line.to_vec()).collect())
    }

    #[test]
    fn frames_and_terminals_give_the_same_lines_however_they_are_cut() {
        let framed = [
            frame(1, format!("{AT} one\n").as_bytes()),
            frame(2, format!("{AT} two ").as_bytes()),
        ]
        .concat();
        let plain = format!("{AT} one\r\n{AT} two ");
        for step in [1, 2, 7, 40, 4096] {
            assert_eq!(
                decode(&framed, step).expect("frames"),
                [b"one".to_vec(), b"two ".to_vec()]
            );
            assert_eq!(
                decode(plain.as_bytes(), step).expect("plain"),
                [b"one".to_vec(), b"two ".to_vec()]
            );
        }
    }

    #[test]
    fn long_terminal_lines_come_in_pieces_and_lose_the_inner_stamps() {
        let long = "x".repeat(PIECE);
        let log = format!("{AT} {long}{AT} {long}{AT} end\r\n{AT} after\r\n");
        for step in [1000, 16 * 1024, 1 << 20] {
            let lines = decode(log.as_bytes(), step).expect("plain");
            let sizes: Vec<_> = lines.iter().map(Vec::len).collect();
            assert_eq!(sizes, [PIECE, PIECE, 3, 5], "step {step}");
        }
    }

    #[test]
    fn a_cut_log_is_an_error_and_so_is_the_engines_own_voice() {
        let whole = frame(1, format!("{AT} one\n").as_bytes());
        assert!(decode(&whole[..whole.len() - 2], 5).is_err());
        let voice = decode(&frame(3, b"Error grabbing logs"), 100).expect_err("an error");
        assert_eq!(voice.to_string(), "error grabbing logs");
    }

    #[test]
    fn an_empty_line_is_a_line() {
        let framed = frame(1, format!("{AT} \n").as_bytes());
        assert_eq!(decode(&framed, 3).expect("frames"), [Vec::<u8>::new()]);
        assert_eq!(
            decode(format!("{AT} \r\n").as_bytes(), 3).expect("plain"),
            [Vec::<u8>::new()]
        );
    }
}
