//! Reading what a process wrote.
//!
//! Docker frames the log of a process without a terminal, one frame for each line
//! or piece of a very long one; that of a process with a terminal comes as it is.
//! Both carry a time stamp before each line, which also tells them apart: a frame
//! starts with a byte below 4, a time with a digit. The stamps have nanoseconds, and
//! `since` is passed on with them, so a follower can go on exactly where it was. The
//! pieces of one very long line share a stamp: following again from the stamp of a
//! piece skips the rest of that line.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};

use super::{Docker, error, transport};
use crate::engine::{EngineError, LogChunk, Result};

/// Docker cuts longer lines into pieces of this size.
const PIECE: usize = 16 * 1024;

/// A time stamp is never longer.
const STAMP: usize = 40;

/// A frame holds one piece and its stamp; anything much larger is no frame.
const FRAME: usize = 4 * 1024 * 1024;

impl Docker {
    pub(super) async fn process_logs(
        &self,
        id: &str,
        since: Option<Timestamp>,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        // The engine includes `since`; ours is the last one already seen.
        let since = since.map(|time| {
            time.checked_add(SignedDuration::from_nanos(1))
                .unwrap_or(time)
        });
        let reading = Reading {
            body: self.log_body(id, since, follow).await?,
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            docker: self.clone(),
            id: id.to_owned(),
            since,
            follow,
            given: 0,
            skip: 0,
        };
        let chunks = stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            match reading.next().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(reading))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(chunks.boxed())
    }

    /// Asks for a log from `since` on, that moment included.
    async fn log_body(&self, id: &str, since: Option<Timestamp>, follow: bool) -> Result<Incoming> {
        let follow = u8::from(follow);
        let since = since
            .map(|time| {
                format!(
                    "&since={}.{:09}",
                    time.as_second(),
                    time.subsec_nanosecond().max(0)
                )
            })
            .unwrap_or_default();
        let path =
            format!("/containers/{id}/logs?stdout=1&stderr=1&timestamps=1&follow={follow}{since}");
        let response = self
            .send(("process", id), http::Method::GET, &path, false, Vec::new())
            .await?;
        Ok(response.into_body())
    }
}

/// A log being read.
struct Reading {
    body: Incoming,
    decoder: Decoder,
    ready: VecDeque<LogChunk>,
    docker: Docker,
    id: String,
    /// Stamp of the last chunk given out, else where reading began.
    since: Option<Timestamp>,
    follow: bool,
    /// Chunks given out with the stamp `since`.
    given: usize,
    /// Chunks with the stamp `since` to pass over.
    skip: usize,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<LogChunk>> {
        loop {
            while let Some(chunk) = self.ready.pop_front() {
                if self.skip > 0 && self.since == Some(chunk.time) {
                    self.skip -= 1;
                    continue;
                }
                self.skip = 0;
                if self.since != Some(chunk.time) {
                    self.since = Some(chunk.time);
                    self.given = 0;
                }
                self.given += 1;
                return Ok(Some(chunk));
            }
            if let Some(data) = transport::next(&mut self.body).await? {
                self.decoder.feed(&data, &mut self.ready)?;
                continue;
            }
            self.decoder.finish(&mut self.ready)?;
            if self.ready.is_empty() && !self.resume().await? {
                return Ok(None);
            }
        }
    }

    /// A followed log may end (on engines before 23) without the last words of a
    /// process; by then they can be read, so they are asked for once more.
    async fn resume(&mut self) -> Result<bool> {
        if !std::mem::take(&mut self.follow) {
            return Ok(false);
        }
        self.body = match self.docker.log_body(&self.id, self.since, false).await {
            Ok(body) => body,
            Err(EngineError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.decoder = Decoder::default();
        self.skip = std::mem::take(&mut self.given);
        Ok(true)
    }
}

/// Cuts a log stream into chunks, holding at most one piece.
#[derive(Debug, Default)]
struct Decoder {
    buffer: BytesMut,
    framed: Option<bool>,
    /// Stamp of a terminal line whose beginning has been given out.
    within: Option<Timestamp>,
}

impl Decoder {
    fn feed(&mut self, data: &[u8], out: &mut VecDeque<LogChunk>) -> Result<()> {
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

    fn finish(&mut self, out: &mut VecDeque<LogChunk>) -> Result<()> {
        match self.framed {
            Some(false) => self.plain(out, true),
            _ if self.buffer.is_empty() => Ok(()),
            _ => Err(error::unreachable(
                "the log broke off in the middle of a line",
            )),
        }
    }

    fn frames(&mut self, out: &mut VecDeque<LogChunk>) -> Result<()> {
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
            out.push_back(LogChunk { time, line: frame });
        }
        Ok(())
    }

    fn plain(&mut self, out: &mut VecDeque<LogChunk>, last: bool) -> Result<()> {
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
            out.push_back(LogChunk {
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
