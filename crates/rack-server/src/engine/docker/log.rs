//! Reading what a process wrote: every line once, in the order of the log.
//!
//! An engine keeps a log in a row of files. One that follows a log for us reads the
//! newest file and goes to the next one when that is begun. If it lags behind by more
//! than a file it loses its place, engine 20.10 more than others: it passes over whole
//! files, gives lines again, waits at the end of a file that nobody writes any more, and
//! ends before the log does. Reading without following makes none of these mistakes, but
//! each look costs a request. So
//!
//! - what is followed is passed on while the engine cannot have lost its place: to fill
//!   a file takes a while, so none has been passed over if the line before came in time
//!   or the next one was written right after it. In doubt a look at the last lines tells
//!   whether the two are neighbours;
//! - if they are not, or cannot be seen any more, or a line comes that is older than one
//!   before it, following ends and the log is read from behind the last line passed on,
//!   until nothing new is in it;
//! - when a log has become quiet, one look tells whether the engine still follows.
//!
//! The place of a line is its time and its number among the lines of that time, in the
//! order of the log. It is found by reading backwards from the end (`tail`), further and
//! further: engines do that without decoding what they leave out.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};

use super::log_frames::{Decoder, Entry, PIECE};
use super::{Docker, transport};
use crate::engine::{EngineError, LogChunk, LogPlace, Result};

/// No engine fills a file of a log in less time.
const IN_TIME: SignedDuration = SignedDuration::from_millis(100);
/// Lines written within this time stand in one file or in two that follow each other.
const RIGHT_AFTER: SignedDuration = SignedDuration::from_millis(20);
/// A followed log in which nothing is said for so long is looked at.
const QUIET: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1000 });
/// How many of the last lines are asked for when a place is looked for, one after the other.
const TAILS: [u64; 5] = [64, 512, 4096, 32_768, 262_144];
/// All lines.
const ALL: u64 = u64::MAX;
/// A look that finds fewer new lines has caught up.
const CAUGHT_UP: u64 = 2000;
/// By then an engine that was asked to follow has begun to.
const BEGUN: SignedDuration = SignedDuration::from_secs(1);

impl Docker {
    pub(super) async fn process_logs(
        &self,
        id: &str,
        after: Option<LogPlace>,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let log = ProcessLog {
            docker: self.clone(),
            id: id.to_owned(),
        };
        let reading = Reading::open(log, after, follow).await?;
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
}

/// A log as the engine gives it.
trait Source: Send + Sync {
    type Body: Body;
    /// Asks for the last lines, and for what comes after them if it is to be followed.
    fn open(&self, tail: u64, follow: bool) -> impl Future<Output = Result<Self::Body>> + Send;
    /// The time as the engine has it, more or less.
    fn now(&self) -> Timestamp;
}

/// What a log sends.
trait Body: Send {
    /// Adds the next entries, at least one; false at the end.
    fn read(&mut self, to: &mut VecDeque<Entry>) -> impl Future<Output = Result<bool>> + Send;
}

/// The log of a process of a Docker engine.
struct ProcessLog {
    docker: Docker,
    id: String,
}

impl Source for ProcessLog {
    type Body = Decoded;

    async fn open(&self, tail: u64, follow: bool) -> Result<Decoded> {
        let tail = match tail {
            ALL => String::new(),
            lines => format!("&tail={lines}"),
        };
        let path = format!(
            "/containers/{}/logs?stdout=1&stderr=1&timestamps=1&follow={}{tail}",
            self.id,
            u8::from(follow)
        );
        let response = self
            .docker
            .send(
                ("process", &self.id),
                http::Method::GET,
                &path,
                false,
                Vec::new(),
            )
            .await?;
        Ok(Decoded {
            body: response.into_body(),
            decoder: Decoder::default(),
            over: false,
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A log being decoded.
struct Decoded {
    body: Incoming,
    decoder: Decoder,
    over: bool,
}

impl Body for Decoded {
    async fn read(&mut self, to: &mut VecDeque<Entry>) -> Result<bool> {
        let before = to.len();
        while to.len() == before && !self.over {
            if let Some(data) = transport::next(&mut self.body).await? {
                self.decoder.feed(&data, to)?;
            } else {
                self.over = true;
                self.decoder.finish(to)?;
            }
        }
        Ok(to.len() > before)
    }
}

/// What is read at the moment.
enum Session<B> {
    /// Nothing: the log is to be looked at with this many lines from its end.
    Look { tail: u64 },
    /// A look, to its end.
    Looking { body: B, tail: u64, found: u64 },
    /// What the engine says as it comes.
    Following { body: B, watch: Watch },
}

/// A log being read.
struct Reading<S: Source> {
    source: S,
    session: Session<S::Body>,
    /// Entries that came and are not looked at yet.
    ready: VecDeque<Entry>,
    /// The last chunk passed on.
    last: Option<LogPlace>,
    /// It was a whole piece of a very long line.
    full: bool,
    /// The last entry of each stream, up to the last one passed on.
    times: [Option<LogPlace>; 4],
    /// Looking for the place behind `last`: chunks of its time seen so far.
    seeking: Option<u64>,
    /// Entries passed over in search of it.
    passed: u64,
    /// The place is no longer in the log: what is later is passed on.
    gone: bool,
    /// The next chunk comes behind a gap.
    gap: bool,
    follow: bool,
}

impl<S: Source> Reading<S> {
    async fn open(source: S, after: Option<LogPlace>, follow: bool) -> Result<Self> {
        let mut reading = Self {
            source,
            session: Session::Look { tail: TAILS[0] },
            ready: VecDeque::new(),
            last: after,
            full: false,
            times: [None; 4],
            seeking: None,
            passed: 0,
            gone: false,
            gap: false,
            follow,
        };
        // The first request tells whether there is such a process.
        if after.is_none() && follow {
            reading.follow(ALL).await?;
        } else {
            reading.look(TAILS[0]).await?;
        }
        Ok(reading)
    }

    async fn next(&mut self) -> Result<Option<LogChunk>> {
        loop {
            while let Some(entry) = self.ready.pop_front() {
                if !self.is_new(&entry) {
                    continue;
                }
                if self.fits(&entry) || self.is_next(&entry).await? {
                    return Ok(Some(self.pass(entry)));
                }
                self.session = Session::Look { tail: TAILS[0] };
                self.ready.clear();
            }
            let more = match self.session {
                Session::Look { tail } => self.look(tail).await.map(|()| true),
                _ => self.read().await,
            };
            match more {
                Ok(true) => {}
                // Or the process has been removed meanwhile.
                Ok(false) | Err(EngineError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads more entries, or goes on to another session. False at the end of the log.
    async fn read(&mut self) -> Result<bool> {
        match &mut self.session {
            Session::Look { .. } => {}
            Session::Looking { body, tail, found } => {
                let (tail, found) = (*tail, *found);
                if body.read(&mut self.ready).await? {
                    self.check_reach(tail);
                } else if self.seeking.is_some() && !self.gone {
                    self.look_further(tail);
                } else if found >= CAUGHT_UP {
                    self.session = Session::Look { tail };
                } else if self.follow {
                    let group = self.last.map_or(0, |last| last.nth);
                    self.follow(4 * found.max(TAILS[0]) + group).await?;
                } else {
                    return Ok(false);
                }
            }
            Session::Following { body, watch } => {
                let more = if watch.proven {
                    body.read(&mut self.ready).await?
                } else {
                    let more = tokio::time::timeout(QUIET, body.read(&mut self.ready)).await;
                    if let Ok(more) = more {
                        more?
                    } else {
                        self.check_quiet().await?;
                        true
                    }
                };
                if !more {
                    // It ends with the process, or before: the rest can be read by now.
                    self.follow = false;
                    self.session = Session::Look { tail: TAILS[0] };
                }
            }
        }
        Ok(true)
    }

    /// The last lines of the log.
    async fn peek(&self, tail: u64) -> Result<VecDeque<Entry>> {
        let mut entries = VecDeque::new();
        let mut body = self.source.open(tail, false).await?;
        while body.read(&mut entries).await? {}
        Ok(entries)
    }

    /// Asks whether a log in which nothing is said has been read to its end.
    async fn check_quiet(&mut self) -> Result<()> {
        let newest = self.peek(1).await?.pop_back();
        if newest.map(|entry| entry.time) == self.last.map(|last| last.time) {
            if let Session::Following { watch, .. } = &mut self.session {
                watch.proven = true;
            }
        } else {
            self.session = Session::Look { tail: TAILS[0] };
        }
        Ok(())
    }

    /// Asks whether an entry stands right behind the last chunk passed on.
    async fn is_next(&mut self, entry: &Entry) -> Result<bool> {
        let Some(last) = self.last else {
            return Ok(false);
        };
        let entries = match self.peek(TAILS[0]).await {
            Ok(entries) => entries,
            // Removed meanwhile: what has come is all there is.
            Err(EngineError::NotFound { .. }) => return Ok(true),
            Err(error) => return Err(error),
        };
        let place = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.time == last.time)
            .nth(usize::try_from(last.nth - 1).unwrap_or(usize::MAX));
        let neighbour = place.and_then(|(at, _)| entries.get(at + 1));
        let now = self.source.now();
        if let Session::Following { watch, .. } = &mut self.session {
            if let Some(newest) = entries.back()
                && now.duration_since(watch.begun) >= BEGUN
            {
                watch.end.get_or_insert(newest.time);
            }
            watch.note(entry, now);
        }
        Ok(neighbour == Some(entry))
    }

    /// Begins to look at the log, from behind the last chunk on.
    async fn look(&mut self, tail: u64) -> Result<()> {
        let tail = if self.last.is_none() { ALL } else { tail };
        let body = self.source.open(tail, false).await?;
        self.session = Session::Looking {
            body,
            tail,
            found: 0,
        };
        self.seek();
        Ok(())
    }

    /// Begins to follow the log, from behind the last chunk on.
    async fn follow(&mut self, tail: u64) -> Result<()> {
        let tail = if self.last.is_none() { ALL } else { tail };
        let body = self.source.open(tail, true).await?;
        self.session = Session::Following {
            body,
            watch: Watch::new(tail, self.source.now()),
        };
        self.seek();
        Ok(())
    }

    fn seek(&mut self) {
        self.ready.clear();
        self.times = [None; 4];
        self.seeking = self.last.map(|_| 0);
        self.passed = 0;
    }

    /// A look whose first line is not before the place does not reach it, or not for sure:
    /// no need to read on.
    fn check_reach(&mut self, tail: u64) {
        let first = self.ready.front().map(|entry| entry.time);
        let later = first
            .zip(self.last)
            .is_some_and(|(first, last)| first >= last.time);
        if self.seeking == Some(0) && self.passed == 0 && !self.gone && tail != ALL && later {
            self.ready.clear();
            self.look_further(tail);
        }
    }

    /// The place was not among the last lines.
    fn look_further(&mut self, tail: u64) {
        let further = TAILS.into_iter().find(|further| *further > tail);
        if tail == ALL {
            // It is nowhere: the file it stood in has been dropped.
            self.gone = true;
            self.gap = true;
        }
        self.session = Session::Look {
            tail: further.unwrap_or(ALL),
        };
    }

    /// Whether an entry stands behind the last chunk passed on.
    fn is_new(&mut self, entry: &Entry) -> bool {
        let (Some(seen), Some(last)) = (&mut self.seeking, self.last) else {
            return true;
        };
        if self.gone {
            let later = entry.time > last.time;
            if later {
                (self.seeking, self.gone) = (None, false);
            } else {
                // Something of what was before it is left, so it may not be gone at all.
                self.gap = false;
            }
            return later;
        }
        self.passed += 1;
        if entry.time == last.time {
            *seen += 1;
            if *seen == last.nth {
                self.seeking = None;
            }
        }
        let place = self.place(entry);
        self.times[slot(entry)] = Some(place);
        let astray = match &self.session {
            Session::Following { watch, .. } => self.passed > watch.tail,
            _ => false,
        };
        if astray && self.seeking.is_some() {
            self.session = Session::Look { tail: TAILS[0] };
            self.ready.clear();
        }
        false
    }

    /// Whether a new entry can only be the next one.
    fn fits(&mut self, entry: &Entry) -> bool {
        let before = self.times[slot(entry)];
        let Session::Following { watch, .. } = &mut self.session else {
            return true;
        };
        // Pieces of one line follow each other, and all but the last one are full.
        let goes_on = self.full && before == self.last;
        let again = before.is_some_and(|before| {
            entry.time < before.time || (entry.time == before.time && !goes_on)
        });
        let doubtful = again || watch.may_have_passed_over(entry, self.last);
        if !doubtful {
            watch.note(entry, self.source.now());
        }
        !doubtful
    }

    /// The place of an entry that comes next.
    fn place(&self, entry: &Entry) -> LogPlace {
        let before = self.times[slot(entry)].filter(|before| before.time == entry.time);
        LogPlace {
            time: entry.time,
            nth: before.map_or(1, |before| before.nth + 1),
        }
    }

    /// Passes an entry on.
    fn pass(&mut self, entry: Entry) -> LogChunk {
        if let Session::Looking { found, .. } = &mut self.session {
            *found += 1;
        }
        let place = self.place(&entry);
        self.times[slot(&entry)] = Some(place);
        self.last = Some(place);
        self.full = entry.line.len() >= PIECE;
        LogChunk {
            place,
            line: entry.line,
            gap: std::mem::take(&mut self.gap),
        }
    }
}

/// Number of the stream an entry came by.
fn slot(entry: &Entry) -> usize {
    usize::from(entry.stream.min(3))
}

/// Whether an engine that follows may have lost its place.
#[derive(Debug)]
struct Watch {
    /// Lines it was asked to begin with.
    tail: u64,
    /// When it was asked.
    begun: Timestamp,
    /// The line before came late.
    late: bool,
    /// By how much the engine's clock is ahead of ours, as far as seen.
    ahead: SignedDuration,
    /// The end of the log at some time after it had begun.
    end: Option<Timestamp>,
    /// It came to that end, so it follows, and has not been late since.
    proven: bool,
}

impl Watch {
    fn new(tail: u64, now: Timestamp) -> Self {
        Self {
            tail,
            begun: now,
            late: false,
            ahead: SignedDuration::ZERO,
            end: None,
            proven: false,
        }
    }

    /// Whether there may be more between an entry and the one before it.
    fn may_have_passed_over(&self, entry: &Entry, last: Option<LogPlace>) -> bool {
        let apart = |last: LogPlace| entry.time.duration_since(last.time) >= RIGHT_AFTER;
        (self.late || !self.proven) && last.is_some_and(apart)
    }

    /// Takes note of an entry that is passed on.
    fn note(&mut self, entry: &Entry, now: Timestamp) {
        let lag = now.duration_since(entry.time);
        self.ahead = self.ahead.max(-lag);
        self.late = lag + self.ahead >= IN_TIME;
        if self.late {
            (self.proven, self.end) = (false, None);
        } else if self.end == Some(entry.time) {
            self.proven = true;
        }
    }
}

#[cfg(test)]
mod tests;
