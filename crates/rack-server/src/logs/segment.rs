//! The files of one log: an ordered row of segments, the last one open for writing.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::line::{Line, TimeText};
use super::log::Limits;

/// What a segment holds, so that readers can pass over it unread.
#[derive(Debug, Default, Clone)]
pub(super) struct Summary {
    /// The newest time in it.
    pub(super) newest: Option<TimeText>,
    /// Where each stream ends in it.
    pub(super) streams: HashMap<Box<str>, Last>,
}

/// The last line of a stream in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last {
    /// Its time.
    pub(super) time: TimeText,
    /// How many lines in a row, this one included, have that time.
    pub(super) count: u64,
    /// No line of the stream in the segment has another one.
    pub(super) only: bool,
}

impl Summary {
    /// Takes a line in.
    fn add(&mut self, line: &Line<'_>) {
        self.newest = self.newest.max(Some(line.time));
        let one = |only| Last {
            time: line.time,
            count: 1,
            only,
        };
        match self.streams.get_mut(line.stream) {
            Some(last) if last.time == line.time => last.count += 1,
            Some(last) => *last = one(false),
            None => {
                self.streams.insert(line.stream.into(), one(true));
            }
        }
    }

    /// Reads a whole segment. Also returns the length of its whole lines.
    pub(super) fn scan(path: &Path) -> io::Result<(Self, u64)> {
        let mut file = BufReader::with_capacity(64 * 1024, File::open(path)?);
        let (mut summary, mut whole, mut bytes) = (Self::default(), 0, Vec::new());
        loop {
            bytes.clear();
            let length = file.read_until(b'\n', &mut bytes)?;
            let Some(body) = bytes.strip_suffix(b"\n") else {
                return Ok((summary, whole));
            };
            whole += length as u64;
            if let Some(line) = Line::parse(body) {
                summary.add(&line);
            }
        }
    }
}

/// A segment that is complete.
#[derive(Debug)]
struct Sealed {
    start: u64,
    end: u64,
    /// Made when first needed.
    summary: Option<Arc<Summary>>,
}

/// The segment being written.
#[derive(Debug)]
struct Active {
    start: u64,
    end: u64,
    file: File,
    summary: Summary,
    /// A failed write may have left part of a line behind `end`.
    torn: bool,
}

/// All segments of a log, opened.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    limits: Limits,
    sealed: VecDeque<Sealed>,
    active: Option<Active>,
    /// Offset of the next byte when nothing is active.
    end: u64,
}

/// Where an offset is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Offset of the segment's first byte.
    pub(super) start: u64,
    /// Offset behind its last whole line so far.
    pub(super) end: u64,
    /// Its file.
    pub(super) path: PathBuf,
}

impl Segments {
    /// Opens what is in a directory, which need not exist yet, and cuts off a torn last line.
    pub(super) fn open(directory: PathBuf, limits: Limits) -> io::Result<Self> {
        let mut starts = Vec::new();
        match fs::read_dir(&directory) {
            Ok(entries) => {
                for entry in entries {
                    starts.extend(segment_start(&entry?.path()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        starts.sort_unstable();
        let mut segments = Self {
            directory,
            limits,
            sealed: VecDeque::new(),
            active: None,
            end: 0,
        };
        let last = starts.pop();
        for start in starts {
            let length = fs::metadata(segments.path(start))?.len();
            segments.sealed.push_back(Sealed {
                start,
                end: start + length,
                summary: None,
            });
        }
        if let Some(start) = last {
            let path = segments.path(start);
            let (summary, whole) = Summary::scan(&path)?;
            let file = OpenOptions::new().append(true).open(&path)?;
            if file.metadata()?.len() > whole {
                file.set_len(whole)?;
            }
            segments.end = start + whole;
            segments.active = Some(Active {
                start,
                end: segments.end,
                file,
                summary,
                torn: false,
            });
        }
        Ok(segments)
    }

    /// Offset behind the last line.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Writes one stored line, newline included: all of it or nothing.
    pub(super) fn append(&mut self, line: &Line<'_>, stored: &[u8]) -> io::Result<()> {
        let full =
            |active: &Active| active.end - active.start + stored.len() as u64 > self.limits.segment;
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.end > active.start && full(active))
        {
            self.seal();
        }
        if self.active.is_none() {
            self.begin()?;
        }
        let active = self.active.as_mut().expect("begun above");
        if active.torn {
            active.file.set_len(active.end - active.start)?;
            active.torn = false;
        }
        if let Err(error) = active.file.write_all(stored) {
            active.torn = true;
            return Err(error);
        }
        active.end += stored.len() as u64;
        self.end = active.end;
        active.summary.add(line);
        Ok(())
    }

    /// Starts a segment at the end of the last one.
    fn begin(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        // A file of that name can only be what a failed start of this segment left: it is
        // cut before the first line is written.
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(self.end))?;
        self.active = Some(Active {
            start: self.end,
            end: self.end,
            file,
            summary: Summary::default(),
            torn: true,
        });
        Ok(())
    }

    /// Ends the active segment and drops the oldest ones beyond the limit.
    fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            let Active {
                start,
                end,
                summary,
                ..
            } = active;
            self.sealed.push_back(Sealed {
                start,
                end,
                summary: Some(Arc::new(summary)),
            });
        }
        // One more segment is about to be filled: make room for it.
        let keep = self.limits.total.saturating_sub(self.limits.segment);
        while let Some(oldest) = self.sealed.front() {
            if self.end - oldest.start <= keep {
                break;
            }
            let path = self.path(oldest.start);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // Lines matter more than the limit; the next rotation tries again.
                    tracing::warn!(path = %path.display(), %error, "cannot delete an old log segment");
                    break;
                }
                _ => self.sealed.pop_front(),
            };
        }
    }

    /// Hands everything written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.active
            .as_ref()
            .map_or(Ok(()), |active| active.file.sync_data())
    }

    /// Offset of the first line there is.
    pub(super) fn first(&self) -> u64 {
        let active = self.active.as_ref().map_or(self.end, |active| active.start);
        self.sealed.front().map_or(active, |sealed| sealed.start)
    }

    /// Finds the segment of an offset, or the next one if that is gone; `None` at the end.
    pub(super) fn find(&self, offset: u64) -> Option<Place> {
        let active = self
            .active
            .as_ref()
            .map(|active| (active.start, active.end));
        self.sealed
            .iter()
            .map(|sealed| (sealed.start, sealed.end))
            .chain(active)
            .find(|&(_, end)| offset < end)
            .map(|(start, end)| Place {
                start,
                end,
                path: self.path(start),
            })
    }

    /// The segments, newest first, each with its summary as far as it is known.
    pub(super) fn newest_first(&self) -> Vec<(Place, Option<Arc<Summary>>)> {
        let place = |start, end| Place {
            start,
            end,
            path: self.path(start),
        };
        let active = self.active.iter().map(|active| {
            (
                place(active.start, active.end),
                Some(Arc::new(active.summary.clone())),
            )
        });
        let sealed = self
            .sealed
            .iter()
            .rev()
            .map(|sealed| (place(sealed.start, sealed.end), sealed.summary.clone()));
        active.chain(sealed).collect()
    }

    /// Where a stream ends in the active segment, which needs no reading.
    pub(super) fn last_in_active(&self, stream: &str) -> Option<Last> {
        self.active.as_ref()?.summary.streams.get(stream).copied()
    }

    /// Whether everything in a segment is older than a time; `None` when that is not known yet.
    pub(super) fn is_older(&self, start: u64, than: TimeText) -> Option<bool> {
        let older = |summary: &Summary| summary.newest.is_none_or(|newest| newest < than);
        match self.sealed.iter().find(|sealed| sealed.start == start) {
            Some(sealed) => sealed.summary.as_deref().map(older),
            None => Some(
                self.active
                    .as_ref()
                    .is_some_and(|active| active.start == start && older(&active.summary)),
            ),
        }
    }

    /// Remembers the summary of a sealed segment.
    pub(super) fn remember(&mut self, start: u64, summary: Arc<Summary>) {
        if let Some(sealed) = self.sealed.iter_mut().find(|sealed| sealed.start == start) {
            sealed.summary = Some(summary);
        }
    }

    fn path(&self, start: u64) -> PathBuf {
        self.directory.join(segment_name(start))
    }
}

fn segment_name(start: u64) -> String {
    format!("{start:020}.log")
}

fn segment_start(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}
