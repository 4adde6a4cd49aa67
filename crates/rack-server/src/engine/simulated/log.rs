//! The log of one process: lines with times, kept while anybody holds it, so
//! that followers read to the end of processes that are gone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::super::{LogChunk, LogPlace};

/// Longer lines are logged in pieces, as a real engine does.
const MAX_LINE: usize = 16 << 10;
/// Lines kept per process; older ones go.
const MAX_LINES: usize = 20_000;

/// The log of one process.
#[derive(Debug)]
pub(super) struct ProcessLog {
    lines: Mutex<Lines>,
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<LogChunk>,
    /// Number of lines that went.
    dropped: u64,
    /// Time of the last one of them.
    gone: Option<Timestamp>,
    partial: Vec<u8>,
    /// The last piece filled a line whose end has not come yet.
    broken: bool,
}

impl Default for ProcessLog {
    fn default() -> Self {
        Self {
            lines: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl ProcessLog {
    /// Tells of new lines.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Adds output.
    pub(super) fn push(&self, now: Timestamp, bytes: &[u8]) {
        let mut lines = self.lock();
        for &byte in bytes {
            if byte != b'\n' {
                lines.partial.push(byte);
                lines.broken = false;
            } else if !std::mem::take(&mut lines.broken) {
                lines.end(now);
            }
            if lines.partial.len() == MAX_LINE {
                lines.end(now);
                lines.broken = true;
            }
        }
        drop(lines);
        self.count.send_modify(|count| *count += 1);
    }

    /// Ends a line that was begun.
    pub(super) fn flush(&self, now: Timestamp) {
        let mut lines = self.lock();
        lines.broken = false;
        if !lines.partial.is_empty() {
            lines.end(now);
        }
        drop(lines);
        self.count.send_modify(|count| *count += 1);
    }

    /// Lines from the `from`-th on that stand behind `after`, and the number of the next one.
    pub(super) fn lines(&self, from: u64, after: Option<LogPlace>) -> (Vec<LogChunk>, u64) {
        let lines = self.lock();
        let skip = from.saturating_sub(lines.dropped) as usize;
        let later = |line: &&LogChunk| after.is_none_or(|after| line.place.time > after.time);
        let mut found: Vec<_> = lines
            .kept
            .iter()
            .skip(skip)
            .filter(later)
            .cloned()
            .collect();
        let gone = match (from, after) {
            (0, None) => false,
            // The reader's last line stands before the first one kept, and others did between.
            (0, Some(after)) => lines.gone.is_some_and(|gone| after.time < gone),
            (from, _) => from < lines.dropped,
        };
        if let Some(first) = found.first_mut() {
            first.gap = gone;
        }
        (found, lines.dropped + lines.kept.len() as u64)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn end(&mut self, now: Timestamp) {
        let line = Bytes::from(std::mem::take(&mut self.partial));
        // No two lines have the same time, so each is the first of its own.
        let time = match self.kept.back().map(|last| last.place.time) {
            Some(last) if last >= now => last
                .checked_add(SignedDuration::from_nanos(1))
                .unwrap_or(last),
            _ => now,
        };
        self.kept.push_back(LogChunk {
            place: LogPlace { time, nth: 1 },
            line,
            gap: false,
        });
        if self.kept.len() > MAX_LINES {
            self.gone = self.kept.pop_front().map(|line| line.place.time);
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_their_times_differ() {
        let log = ProcessLog::default();
        log.push(Timestamp::UNIX_EPOCH, b"one\ntw");
        log.push(Timestamp::UNIX_EPOCH, b"o\n\nend");
        log.flush(Timestamp::UNIX_EPOCH);
        let (lines, next) = log.lines(0, None);
        let texts: Vec<&[u8]> = lines.iter().map(|line| &line.line[..]).collect();
        assert_eq!(texts, [&b"one"[..], b"two", b"", b"end"]);
        assert_eq!(next, 4);
        assert!(lines.is_sorted_by(|a, b| a.place.time < b.place.time));
        assert_eq!(log.lines(0, Some(lines[1].place)).0, lines[2..]);
        assert_eq!(log.lines(3, None).0, lines[3..]);
    }

    #[test]
    fn long_lines_come_in_pieces() {
        let log = ProcessLog::default();
        log.push(Timestamp::UNIX_EPOCH, &vec![b'x'; MAX_LINE]);
        log.push(Timestamp::UNIX_EPOCH, b"\ny\n");
        let sizes: Vec<usize> = log
            .lines(0, None)
            .0
            .iter()
            .map(|line| line.line.len())
            .collect();
        assert_eq!(sizes, [MAX_LINE, 1]);
    }

    #[test]
    fn old_lines_go_and_numbers_stay() {
        let log = ProcessLog::default();
        log.push(
            Timestamp::UNIX_EPOCH,
            "x\n".repeat(MAX_LINES + 5).as_bytes(),
        );
        let (lines, next) = log.lines(0, None);
        assert_eq!((lines.len(), next), (MAX_LINES, MAX_LINES as u64 + 5));
        log.push(Timestamp::UNIX_EPOCH, b"last\n");
        assert_eq!(log.lines(next, None).0.len(), 1);
        // Who has not read what went is told so, once and nobody else.
        let gaps = |from, after| -> Vec<bool> {
            let (lines, _) = log.lines(from, after);
            lines.iter().map(|line| line.gap).collect()
        };
        assert!(gaps(0, None).iter().all(|gap| !gap), "a first look");
        assert!(gaps(next, None).iter().all(|gap| !gap), "read to the end");
        let late = gaps(3, None);
        assert!(late[0] && late[1..].iter().all(|gap| !gap));
        assert!(!gaps(0, Some(lines[0].place))[0], "the last one that went");
        let early = LogPlace {
            time: Timestamp::UNIX_EPOCH,
            nth: 1,
        };
        assert!(gaps(0, Some(early))[0]);
    }
}
