//! Reading a log as text, from a point in time to its end or for ever.
//!
//! A reader owns nothing but an offset and one block of the file: it reads the
//! segments at its own pace and waits for growth when it has caught up, so a slow
//! reader costs the writer nothing, and nothing is lost or repeated between what
//! was there and what comes.
//!
//! What has just been written is read from memory, and the more followers a log has
//! the longer each of them waits before it looks again: what costs is to wake a thousand
//! of them, not what they are woken for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::try_unfold;
use futures::{Stream, TryStreamExt as _};
use jiff::Timestamp;
use rack_api::log::{self, Cursor, DEFAULT_SINCE, Filter, Options};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::line::{Line, MAX_LINE, TimeText};
use super::log::{Growth, Inner, Log};
use super::plain::plain;
use super::segment::Place;

/// Bytes read at once; holds at least one whole line.
const BLOCK: usize = 64 * 1024;
/// How long a follower waits between two looks, for each follower of the log.
const PACE: Duration = Duration::from_micros(50);
/// It never waits longer.
const LONGEST_PACE: Duration = Duration::from_millis(100);
/// Stream of the notice that something is missing.
const SKIPPED: &str = "system/log/skipped";
const _: () = assert!(BLOCK >= MAX_LINE);

/// Which streams of a log a reader wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Streams {
    /// Every stream.
    #[default]
    All,
    /// Streams whose name starts so, such as `service/web/`.
    Prefix(String),
    /// The stream of one process, by its id.
    Process(String),
    /// Streams of processes, other than these, whose names start so.
    Ended {
        /// How their streams begin.
        prefix: String,
        /// Ids of processes that are left out.
        alive: BTreeSet<String>,
    },
}

impl Streams {
    fn wants(&self, stream: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => stream.starts_with(prefix.as_str()),
            Self::Process(id) => stream.rsplit('/').next() == Some(id),
            Self::Ended { prefix, alive } => {
                stream.starts_with(prefix.as_str())
                    && stream
                        .rsplit('/')
                        .next()
                        .is_some_and(|id| !alive.contains(id))
            }
        }
    }
}

impl Log {
    /// Reads chunks of whole lines as clients see them.
    ///
    /// The oldest line is as old as `since` says at `now`; without it two minutes, or
    /// as old as it gets if `tail` limits the lines. Ends at the end of the log, or
    /// when the log is removed if the options say to follow.
    pub fn read(
        &self,
        options: &Options,
        now: Timestamp,
        streams: Streams,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        self.read_until(options, now, streams, CancellationToken::new())
    }

    /// Reads like [`Log::read`]; a follower also ends, at the then last line, once `end` is cancelled.
    pub fn read_until(
        &self,
        options: &Options,
        now: Timestamp,
        streams: Streams,
        end: CancellationToken,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        self.read_marked(options, now, streams, end)
            .map_ok(|(bytes, _)| bytes)
    }

    /// Reads like [`Log::read_until`]; each chunk comes with the place behind it, where a
    /// later reader can go on. If the options ask for places, the first chunk is empty
    /// and comes with the place where the reader begins.
    pub fn read_marked(
        &self,
        options: &Options,
        now: Timestamp,
        streams: Streams,
        end: CancellationToken,
    ) -> impl Stream<Item = io::Result<(Bytes, log::Place)>> + Send + use<> {
        let after = match options.cursor {
            Some(Cursor::After(place)) => Some(place),
            Some(Cursor::Wanted) | None => None,
        };
        let age = options
            .since
            .or(options.tail.is_none().then_some(DEFAULT_SINCE));
        let since = match after {
            Some(place) => place
                .since
                .and_then(|since| Timestamp::from_nanosecond(since.into()).ok()),
            None => age.map(|age| now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH)),
        };
        let filter = options.filter.as_deref().map(Filter::parse);
        let reader = Reader {
            growth: self.inner.growth(),
            log: Arc::clone(&self.inner),
            since,
            tells: options.cursor.is_some(),
            view: View {
                since: since.map(TimeText::new),
                streams,
                filter,
                prefix: options.prefix,
            },
            tail: options.tail.filter(|_| after.is_none()),
            after,
            follow: options.follow,
            end,
            position: None,
            stop: None,
            looked: Instant::now(),
        };
        try_unfold(reader, Reader::next)
    }
}

/// Which lines are wanted and how they are shown.
struct View {
    since: Option<TimeText>,
    streams: Streams,
    filter: Option<Filter>,
    prefix: bool,
}

impl View {
    /// The message to show of a line, if it is wanted.
    fn pass<'a>(&self, line: &Line<'a>) -> Option<Cow<'a, [u8]>> {
        if self.since.is_some_and(|since| line.time < since) || !self.streams.wants(line.stream) {
            return None;
        }
        let message = plain(line.message);
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.matches(&message))
            .then_some(message)
    }
}

/// A reader between two chunks.
struct Reader {
    log: Arc<Inner>,
    growth: watch::Receiver<Growth>,
    view: View,
    tail: Option<usize>,
    /// Where another reader has stopped.
    after: Option<log::Place>,
    since: Option<Timestamp>,
    /// The place of the beginning is still to be told.
    tells: bool,
    follow: bool,
    end: CancellationToken,
    /// Where it is; `None` before the first chunk.
    position: Option<Position>,
    /// Where it ends, once that is known.
    stop: Option<u64>,
    /// When it has looked for something new.
    looked: Instant,
}

/// Says to work on another thread that nobody waits for it any more.
struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads on another thread; a client that goes away meanwhile ends that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Abandoned) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    struct Waiting(Arc<AtomicBool>);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let waiting = Waiting(Arc::default());
    let abandoned = Abandoned(Arc::clone(&waiting.0));
    super::log::blocking(move || work(&abandoned)).await
}

/// Where a reader is in the files.
#[derive(Default)]
struct Position {
    offset: u64,
    /// The open segment. It stays readable when it is dropped meanwhile.
    open: Option<(u64, File)>,
    /// Bytes that could not be read since the last line shown.
    skipped: u64,
    /// Wanted lines to leave out, so that only the last ones are shown.
    leave_out: usize,
}

/// What memory says of what comes next.
enum Recent {
    /// Wanted lines.
    Shown(Bytes),
    /// There is nothing more.
    Nothing,
    /// It does not reach that far back.
    Unknown,
}

impl Reader {
    async fn next(mut self) -> io::Result<Option<((Bytes, log::Place), Self)>> {
        if std::mem::take(&mut self.tells) {
            self = blocking(move |abandoned| {
                self.position = Some(self.start(abandoned)?);
                Ok(self)
            })
            .await?;
            return Ok(Some(((Bytes::new(), self.place()), self)));
        }
        loop {
            // Seen before reading: growth after this wakes the wait below.
            let closed = self.growth.borrow_and_update().closed;
            if !self.follow || closed || self.end.is_cancelled() {
                let end = self.log.with(|segments| segments.end())?.unwrap_or(0);
                self.stop.get_or_insert(end);
            }
            self.looked = Instant::now();
            let chunk = match self.fill_from_memory() {
                Recent::Shown(chunk) => Some(chunk),
                Recent::Nothing => None,
                Recent::Unknown => {
                    let (reader, chunk) = blocking(move |abandoned| {
                        let chunk = self.fill(abandoned)?;
                        Ok((self, chunk))
                    })
                    .await?;
                    self = reader;
                    chunk
                }
            };
            match chunk {
                Some(chunk) => {
                    return Ok(Some(((chunk, self.place()), self)));
                }
                None if self.stop.is_some() => return Ok(None),
                None => {}
            }
            let pace = PACE.saturating_mul(self.log.followers()).min(LONGEST_PACE);
            let growth = async {
                let changed = self.growth.changed().await;
                tokio::time::sleep_until(self.looked + pace).await;
                changed
            };
            tokio::select! {
                // The log outlives its readers, so an error cannot happen; it would mean the end.
                changed = growth => if changed.is_err() { return Ok(None) },
                () = self.end.cancelled() => {}
            }
        }
    }

    /// Shows what has been written since the last look, if that is at hand.
    fn fill_from_memory(&mut self) -> Recent {
        let Some(position) = self.position.as_mut().filter(|_| self.stop.is_none()) else {
            return Recent::Unknown;
        };
        let mut shown = Vec::new();
        while shown.is_empty() {
            match self.log.recent(position.offset, BLOCK) {
                None => return Recent::Unknown,
                Some(stored) if stored.is_empty() => return Recent::Nothing,
                Some(stored) => {
                    // The files are opened again should it fall behind.
                    position.open = None;
                    position.show(&stored, &self.view, |message, line| {
                        let line = Line { message, ..*line };
                        line.show(self.view.prefix, &mut shown);
                    });
                }
            }
        }
        Recent::Shown(shown.into())
    }

    /// The place it has come to.
    fn place(&self) -> log::Place {
        let position = self.position.as_ref();
        log::Place {
            offset: position.map_or(0, |position| position.offset),
            since: self
                .since
                .and_then(|since| i64::try_from(since.as_nanosecond()).ok()),
            leave_out: position.map_or(0, |position| position.leave_out as u64),
        }
    }

    /// Reads until there is something to show or nothing more to read.
    fn fill(&mut self, abandoned: &Abandoned) -> io::Result<Option<Bytes>> {
        let mut position = match self.position.take() {
            Some(position) => position,
            None => self.start(abandoned)?,
        };
        let stop = self.stop.unwrap_or(u64::MAX);
        let mut shown = Vec::new();
        let mut block = vec![0; BLOCK];
        while shown.is_empty()
            && !abandoned.is_set()
            && position.step(&self.log, &self.view, stop, &mut block, |message, line| {
                let line = Line { message, ..*line };
                line.show(self.view.prefix, &mut shown);
            })?
        {}
        self.position = Some(position);
        Ok((!shown.is_empty()).then(|| shown.into()))
    }

    /// Finds where to begin.
    fn start(&self, abandoned: &Abandoned) -> io::Result<Position> {
        let mut position = Position {
            offset: self.log.with(|segments| segments.first())?.unwrap_or(0),
            ..Position::default()
        };
        if let Some(after) = self.after {
            let end = self.log.with(|segments| segments.end())?.unwrap_or(0);
            // A place this log never had is of a log that was removed: this one is new.
            if after.offset <= end {
                position.offset = after.offset;
                position.leave_out = usize::try_from(after.leave_out).unwrap_or(usize::MAX);
            }
        }
        if let Some(tail) = self.tail {
            // Counted first, read again after: memory does not depend on the number of lines.
            // From the last segment backwards, and no further than needed.
            let places = self.log.with(|segments| segments.newest_first())?;
            let (mut wanted, mut block) = (0_usize, vec![0; BLOCK]);
            for (place, _) in places.unwrap_or_default() {
                let mut counter = Position {
                    offset: place.start,
                    ..Position::default()
                };
                let mut count =
                    |_: &[u8], line: &Line<'_>| wanted += usize::from(line.stream != SKIPPED);
                while !abandoned.is_set()
                    && counter.step(&self.log, &self.view, place.end, &mut block, &mut count)?
                {
                }
                if counter.open.is_none() {
                    // Too old, and what is before it is older.
                    break;
                }
                position.offset = place.start;
                if wanted >= tail || abandoned.is_set() {
                    break;
                }
            }
            position.leave_out = wanted.saturating_sub(tail);
        }
        Ok(position)
    }
}

impl Position {
    /// Reads one block and shows its wanted lines. False when there is nothing to read before `stop`.
    fn step(
        &mut self,
        log: &Inner,
        view: &View,
        stop: u64,
        block: &mut [u8],
        show: impl FnMut(&[u8], &Line<'_>),
    ) -> io::Result<bool> {
        let Some(place) = log.with(|segments| segments.find(self.offset))?.flatten() else {
            return Ok(false);
        };
        if self.offset >= stop {
            return Ok(false);
        }
        let still_open = self
            .open
            .as_ref()
            .is_some_and(|(start, _)| *start == place.start);
        if place.start > self.offset {
            self.skipped += place.start - self.offset;
            self.offset = place.start;
        }
        if !still_open && !self.enter(log, view, &place)? {
            return Ok(true);
        }
        let (start, file) = self.open.as_mut().expect("entered above");
        let available =
            usize::try_from(place.end.min(stop).saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let block = &mut block[..available.min(BLOCK)];
        file.seek(SeekFrom::Start(self.offset - *start))?;
        if let Err(error) = file.read_exact(block) {
            if error.kind() != io::ErrorKind::UnexpectedEof {
                return Err(error);
            }
            // Cut short from outside while we hold it: what is missing is skipped and said.
            self.skipped += place.end - self.offset;
            self.offset = place.end;
            return Ok(true);
        }
        let whole = block
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(block.len(), |at| at + 1);
        self.show(&block[..whole], view, show);
        Ok(true)
    }

    /// Shows the wanted ones of the stored lines that come next.
    fn show(&mut self, stored: &[u8], view: &View, mut show: impl FnMut(&[u8], &Line<'_>)) {
        for bytes in stored.split_inclusive(|&byte| byte == b'\n') {
            let Some(line) = bytes.strip_suffix(b"\n").and_then(Line::parse) else {
                self.skipped += bytes.len() as u64;
                continue;
            };
            if self.skipped > 0 {
                let text = format!(
                    "{} bytes of log could not be read and are missing here",
                    self.skipped
                );
                show(
                    text.as_bytes(),
                    &Line {
                        stream: SKIPPED,
                        ..line
                    },
                );
                self.skipped = 0;
            }
            let Some(message) = view.pass(&line) else {
                continue;
            };
            if self.leave_out > 0 {
                self.leave_out -= 1;
                continue;
            }
            show(&message, &line);
        }
        self.offset += stored.len() as u64;
    }

    /// Opens a segment, or passes over it when everything in it is too old or it has just been
    /// dropped. Returns whether it is open.
    fn enter(&mut self, log: &Inner, view: &View, place: &Place) -> io::Result<bool> {
        if let Some(since) = view.since {
            let older = match log
                .with(|segments| segments.is_older(place.start, since))?
                .flatten()
            {
                Some(older) => older,
                None => log
                    .summary(place.start, &place.path)?
                    .newest
                    .is_none_or(|newest| newest < since),
            };
            if older {
                self.offset = place.end;
                return Ok(false);
            }
        }
        match File::open(&place.path) {
            Ok(file) => {
                self.open = Some((place.start, file));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Dropped since we asked; the next look finds what is there now.
                if log
                    .with(|segments| segments.find(self.offset))?
                    .flatten()
                    .as_ref()
                    == Some(place)
                {
                    self.skipped += place.end - self.offset;
                    self.offset = place.end;
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
