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
use super::segment::{Segments, Summary};

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
    closed: bool,
    buffer: Vec<u8>,
    /// Lines that could not be written since the last one that could.
    lost: u64,
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

    /// The time of the newest line of a stream, so that collecting can go on from there.
    pub async fn last_time(&self, stream: &str) -> io::Result<Option<Timestamp>> {
        let (inner, stream) = (Arc::clone(&self.inner), line::stream_name(stream));
        blocking(move || inner.last_time(&stream)).await
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
        let result = self
            .opened(state)
            .and_then(|segments| segments.append(line, &buffer));
        state.buffer = buffer;
        result
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.segments = None;
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

    fn last_time(&self, stream: &str) -> io::Result<Option<Timestamp>> {
        if let Some(time) = self
            .with(|segments| segments.newest_in_active(stream))?
            .flatten()
        {
            return Ok(time.timestamp());
        }
        for (place, summary) in self
            .with(|segments| segments.newest_first())?
            .unwrap_or_default()
        {
            let summary = match summary {
                Some(summary) => summary,
                None => self.summary(place.start, &place.path)?,
            };
            if let Some(time) = summary.streams.get(stream) {
                return Ok(time.timestamp());
            }
        }
        Ok(None)
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
