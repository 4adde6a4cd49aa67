//! Writing to logs, and the questions other rooms ask of them.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::watch;

use super::line::{self, Line, TimeText};
use super::segment::{Last, Segments, Summary};

/// How much a log may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes at which a segment ends.
    pub segment: u64,
    /// Bytes of all segments; beyond it the oldest are deleted.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment: 16 * 1024 * 1024,
            total: 256 * 1024 * 1024,
        }
    }
}

/// Characters that may stand in a directory name as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The logs of one rack.
#[derive(Debug)]
pub struct Logs {
    directory: PathBuf,
    limits: Limits,
    rack: Arc<Log>,
    apps: Mutex<HashMap<String, Arc<Log>>>,
}

impl Logs {
    /// Opens the logs in a directory with the default limits.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        Self::open_with(directory, Limits::default())
    }

    /// Opens the logs in a directory, creating it if needed. Each log's files are read on first use.
    pub fn open_with(directory: impl Into<PathBuf>, limits: Limits) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(directory.join("apps"))?;
        let rack = Arc::new(Log::new(directory.join("rack"), limits));
        Ok(Self {
            directory,
            limits,
            rack,
            apps: Mutex::default(),
        })
    }

    /// The log of an app; it comes into being with its first line.
    pub fn app(&self, name: &str) -> Arc<Log> {
        let mut apps = lock(&self.apps);
        if let Some(log) = apps.get(name) {
            return Arc::clone(log);
        }
        let log = Arc::new(Log::new(self.app_directory(name), self.limits));
        apps.insert(name.to_owned(), Arc::clone(&log));
        log
    }

    /// The rack's own log.
    pub fn rack(&self) -> Arc<Log> {
        Arc::clone(&self.rack)
    }

    /// Deletes the log of an app. Its followers reach their end; whoever still
    /// holds it writes into nothing.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        // The lock is held throughout, so that an app of the same name starts with an empty log.
        let mut apps = lock(&self.apps);
        if let Some(log) = apps.remove(name) {
            log.inner.close();
        }
        match fs::remove_dir_all(self.app_directory(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Hands everything written to the disk, against power loss.
    pub fn flush(&self) -> io::Result<()> {
        let apps: Vec<_> = lock(&self.apps).values().cloned().collect();
        apps.iter()
            .chain([&self.rack])
            .try_for_each(|log| log.flush())
    }

    fn app_directory(&self, name: &str) -> PathBuf {
        self.directory
            .join("apps")
            .join(utf8_percent_encode(name, PLAIN).to_string())
    }
}

/// One log: any number of writers and readers, none of which waits for a reader.
#[derive(Debug)]
pub struct Log {
    pub(super) inner: Arc<Inner>,
}

/// What writers and readers of a log share.
#[derive(Debug)]
pub(super) struct Inner {
    directory: PathBuf,
    limits: Limits,
    state: Mutex<State>,
    /// Offset behind the last line; closed readers see `Growth::closed`.
    growth: watch::Sender<Growth>,
}

/// How far a log has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Growth {
    /// Offset behind the last line.
    pub(super) end: u64,
    /// Nothing will follow.
    pub(super) closed: bool,
}

#[derive(Debug, Default)]
struct State {
    segments: Option<Segments>,
    recent: Recent,
    closed: bool,
    buffer: Vec<u8>,
    /// Lines that could not be written since the last one that could.
    lost: u64,
}

/// What was written last, as it is stored; kept while somebody follows.
#[derive(Debug, Default)]
struct Recent {
    /// Offset of the first byte.
    start: u64,
    bytes: Vec<u8>,
}

impl Recent {
    /// How much of it there is for sure.
    const KEPT: usize = 64 * 1024;

    /// Takes in a line that stands at an offset.
    fn add(&mut self, offset: u64, stored: &[u8]) {
        if self.start + self.bytes.len() as u64 != offset {
            self.bytes.clear();
            self.start = offset;
        }
        self.bytes.extend_from_slice(stored);
        if self.bytes.len() > 2 * Self::KEPT {
            let spare = self.bytes.len() - Self::KEPT;
            // Whole lines go.
            let end = self.bytes[spare..].iter().position(|&byte| byte == b'\n');
            let spare = end.map_or(self.bytes.len(), |end| spare + end + 1);
            self.bytes.drain(..spare);
            self.start += spare as u64;
        }
    }

    /// Whole lines from an offset on, as many as there are or fit; `None` when it is
    /// not known what stands there.
    fn read(&self, offset: u64, most: usize) -> Option<Vec<u8>> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let rest = self.bytes.get(from..).filter(|_| !self.bytes.is_empty())?;
        let rest = &rest[..rest.len().min(most)];
        let whole = rest.iter().rposition(|&byte| byte == b'\n');
        Some(rest[..whole.map_or(0, |at| at + 1)].to_vec())
    }
}

impl Log {
    fn new(directory: PathBuf, limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                directory,
                limits,
                state: Mutex::default(),
                growth: watch::Sender::default(),
            }),
        }
    }

    /// Writes a message: one line, or several if it holds newlines or is very long.
    ///
    /// When this returns, the operating system has the lines. If it refuses them
    /// (disk full), the server's own log says so once, and the log itself says how
    /// many lines it lacks as soon as it can be written again.
    pub fn append(&self, time: Timestamp, stream: &str, message: &[u8]) {
        let stream = line::stream_name(stream);
        let time = TimeText::new(time);
        let mut state = self.inner.lock();
        if state.closed {
            return;
        }
        for message in line::split(message) {
            if state.lost > 0 {
                let notice = format!(
                    "{} lines could not be written and are missing here",
                    state.lost
                );
                let notice = Line {
                    time,
                    stream: "system/log/lost",
                    message: notice.as_bytes(),
                };
                if self.inner.write(&mut state, &notice).is_ok() {
                    state.lost = 0;
                }
            }
            let line = Line {
                time,
                stream: &stream,
                message,
            };
            match self.inner.write(&mut state, &line) {
                Ok(()) => {}
                Err(error) => {
                    if state.lost == 0 {
                        let directory = self.inner.directory.display();
                        tracing::error!(%directory, %error, "cannot write to a log");
                    }
                    state.lost += 1;
                }
            }
        }
        let end = state.segments.as_ref().map_or(0, Segments::end);
        self.inner
            .growth
            .send_if_modified(|growth| std::mem::replace(&mut growth.end, end) != end);
    }

    /// Hands everything written to the disk, against power loss.
    pub fn flush(&self) -> io::Result<()> {
        self.inner
            .lock()
            .segments
            .as_ref()
            .map_or(Ok(()), Segments::sync)
    }

    /// The time of the last line of a stream, and how many lines in a row have that time,
    /// so that collecting can go on from there.
    pub async fn last_place(&self, stream: &str) -> io::Result<Option<(Timestamp, u64)>> {
        let (inner, stream) = (Arc::clone(&self.inner), line::stream_name(stream));
        blocking(move || inner.last_place(&stream)).await
    }

    /// The last messages of a stream, oldest first.
    pub async fn last_lines(&self, stream: &str, count: usize) -> io::Result<Vec<Vec<u8>>> {
        let (inner, stream) = (Arc::clone(&self.inner), line::stream_name(stream));
        blocking(move || inner.last_lines(&stream, count)).await
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Runs `work` on the opened segments; `None` when the log has been removed.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Segments) -> T) -> io::Result<Option<T>> {
        let mut state = self.lock();
        if state.closed {
            return Ok(None);
        }
        self.opened(&mut state).map(|segments| Some(work(segments)))
    }

    /// Watches the log grow.
    pub(super) fn growth(&self) -> watch::Receiver<Growth> {
        self.growth.subscribe()
    }

    fn opened<'a>(&self, state: &'a mut State) -> io::Result<&'a mut Segments> {
        if state.segments.is_none() {
            let segments = Segments::open(self.directory.clone(), self.limits)?;
            self.growth
                .send_modify(|growth| growth.end = segments.end());
            state.segments = Some(segments);
        }
        Ok(state.segments.as_mut().expect("opened above"))
    }

    fn write(&self, state: &mut State, line: &Line<'_>) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut state.buffer);
        buffer.clear();
        line.store(&mut buffer);
        let result = self.opened(state).and_then(|segments| {
            segments.append(line, &buffer)?;
            Ok(segments.end() - buffer.len() as u64)
        });
        if self.growth.receiver_count() == 0 {
            state.recent = Recent::default();
        } else if let Ok(offset) = result {
            state.recent.add(offset, &buffer);
        }
        state.buffer = buffer;
        result.map(drop)
    }

    /// Whole lines just written, from an offset on: none at the end of the log, and
    /// `None` when they are not at hand any more.
    pub(super) fn recent(&self, offset: u64, most: usize) -> Option<Vec<u8>> {
        self.lock().recent.read(offset, most)
    }

    /// How many follow the log.
    pub(super) fn followers(&self) -> u32 {
        u32::try_from(self.growth.receiver_count()).unwrap_or(u32::MAX)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.segments = None;
        state.recent = Recent::default();
        self.growth.send_modify(|growth| growth.closed = true);
    }

    /// The summary of a sealed segment, read once.
    pub(super) fn summary(&self, start: u64, path: &Path) -> io::Result<Arc<Summary>> {
        let summary = match Summary::scan(path) {
            Ok((summary, _)) => Arc::new(summary),
            // Dropped to make room since we looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Arc::default(),
            Err(error) => return Err(error),
        };
        self.with(|segments| segments.remember(start, Arc::clone(&summary)))?;
        Ok(summary)
    }

    fn last_place(&self, stream: &str) -> io::Result<Option<(Timestamp, u64)>> {
        let shown = |last: Last| last.time.timestamp().map(|time| (time, last.count));
        if let Some(last) = self
            .with(|segments| segments.last_in_active(stream))?
            .flatten()
            .filter(|last| !last.only)
        {
            return Ok(shown(last));
        }
        let mut found: Option<Last> = None;
        for (place, summary) in self
            .with(|segments| segments.newest_first())?
            .unwrap_or_default()
        {
            let summary = match summary {
                Some(summary) => summary,
                None => self.summary(place.start, &place.path)?,
            };
            let Some(before) = summary.streams.get(stream) else {
                continue;
            };
            found = match found {
                None => Some(*before),
                // Lines of one time may stand in two segments.
                Some(last) if last.time == before.time => Some(Last {
                    count: last.count + before.count,
                    ..*before
                }),
                Some(last) => return Ok(shown(last)),
            };
            if let Some(last) = found.filter(|last| !last.only) {
                return Ok(shown(last));
            }
        }
        Ok(found.and_then(shown))
    }

    fn last_lines(&self, stream: &str, count: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for (place, summary) in self
            .with(|segments| segments.newest_first())?
            .unwrap_or_default()
        {
            if found.len() >= count {
                break;
            }
            if summary.is_some_and(|summary| !summary.streams.contains_key(stream)) {
                continue;
            }
            let mut lines = last_lines_of(
                &place.path,
                place.end - place.start,
                stream,
                count - found.len(),
            )?;
            lines.append(&mut found);
            found = lines;
        }
        Ok(found)
    }
}

/// The last messages of a stream in one segment.
fn last_lines_of(path: &Path, length: u64, stream: &str, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut file = BufReader::with_capacity(64 * 1024, file.take(length));
    let (mut lines, mut bytes) = (VecDeque::new(), Vec::new());
    while file.read_until(b'\n', &mut bytes)? > 0 {
        let line = bytes.strip_suffix(b"\n").and_then(Line::parse);
        if let Some(line) = line.filter(|line| line.stream == stream) {
            if lines.len() == count {
                lines.pop_front();
            }
            lines.push_back(line.message.to_vec());
        }
        bytes.clear();
    }
    Ok(lines.into())
}

/// Runs file work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// Locks; a panic of another holder leaves nothing half changed that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_written_last_is_at_hand_in_whole_lines(
            start in 0_u64..1000,
            lengths in proptest::collection::vec(1_usize..9000, 1..60),
            most in 9000_usize..20_000,
        ) {
            let mut recent = Recent::default();
            let mut written = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                let offset = start + written.len() as u64;
                let mut line = vec![b'a' + (number % 26) as u8; *length];
                line.push(b'\n');
                recent.add(offset, &line);
                prop_assert!(recent.bytes.len() <= 3 * Recent::KEPT);
                written.extend(line);
                // Who is there is given exactly what follows; who is behind nothing.
                let mut at = offset;
                while let Some(lines) = recent.read(at, most).filter(|lines| !lines.is_empty()) {
                    let from = (at - start) as usize;
                    prop_assert!(lines.len() <= most);
                    prop_assert_eq!(&lines, &written[from..from + lines.len()]);
                    at += lines.len() as u64;
                }
                prop_assert_eq!(at, start + written.len() as u64);
            }
            prop_assert_eq!(recent.read(start + written.len() as u64 + 1, most), None);
            if written.len() > 2 * Recent::KEPT {
                prop_assert_eq!(recent.read(start, most), None);
            }
        }
    }

    #[test]
    fn a_line_elsewhere_begins_anew() {
        let mut recent = Recent::default();
        assert_eq!(recent.read(0, 100), None, "nothing is known");
        recent.add(0, b"one\n");
        assert_eq!(recent.read(4, 100).as_deref(), Some(&b""[..]), "the end");
        recent.add(10, b"two\n");
        assert_eq!(recent.read(0, 100), None);
        assert_eq!(recent.read(10, 100).as_deref(), Some(&b"two\n"[..]));
    }
}
