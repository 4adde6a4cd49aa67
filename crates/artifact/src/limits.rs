//! How much of an archive is accepted, counted on actual bytes.
//!
//! One [`Meter`] accompanies one reading through all nested layers of it, so a
//! small file cannot grow without bound by nesting compression in compression.

use std::cell::Cell;
use std::io::{self, Read};

use crate::error::ArtifactError;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// The most that a reader accepts of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the archive as it is received.
    pub compressed: u64,
    /// Bytes after decompression, compressed layers' content included.
    pub uncompressed: u64,
    /// Bytes of a single entry, decompressed layers included.
    pub entry: u64,
    /// Number of entries, those of nested tars included.
    pub entries: u64,
    /// Bytes of an entry's name.
    pub name: u64,
    /// Bytes of one JSON document.
    pub json: u64,
    /// Bytes of all JSON documents together; they are kept in memory.
    pub json_total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed: 64 * GIB,
            uncompressed: 256 * GIB,
            entry: 128 * GIB,
            entries: 50_000,
            name: 255,
            json: 4 * MIB,
            json_total: 24 * MIB,
        }
    }
}

/// Counts what one reading has consumed.
pub(crate) struct Meter {
    limits: Limits,
    compressed: Cell<u64>,
    uncompressed: Cell<u64>,
    entries: Cell<u64>,
    json: Cell<u64>,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            compressed: Cell::new(0),
            uncompressed: Cell::new(0),
            entries: Cell::new(0),
            json: Cell::new(0),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn count_entry(&self) -> Result<(), ArtifactError> {
        count(
            &self.entries,
            1,
            "the number of entries",
            self.limits.entries,
        )
    }

    pub(crate) fn count_json(&self, bytes: u64) -> Result<(), ArtifactError> {
        let limits = &self.limits;
        if bytes > limits.json {
            return Err(ArtifactError::Limit {
                what: "the size of a JSON document",
                limit: limits.json,
            });
        }
        let what = "the size of all JSON documents";
        count(&self.json, bytes, what, limits.json_total)
    }

    pub(crate) fn check_size(&self, size: u64) -> Result<(), ArtifactError> {
        if size > self.limits.entry {
            return Err(ArtifactError::Limit {
                what: "the size of an entry",
                limit: self.limits.entry,
            });
        }
        Ok(())
    }

    fn count_uncompressed(&self, bytes: u64) -> Result<(), ArtifactError> {
        let what = "the uncompressed size";
        count(&self.uncompressed, bytes, what, self.limits.uncompressed)
    }

    fn count_compressed(&self, bytes: u64) -> Result<(), ArtifactError> {
        let what = "the size of the archive";
        count(&self.compressed, bytes, what, self.limits.compressed)
    }
}

fn count(
    total: &Cell<u64>,
    more: u64,
    what: &'static str,
    limit: u64,
) -> Result<(), ArtifactError> {
    let sum = total.get().saturating_add(more);
    total.set(sum);
    if sum > limit {
        return Err(ArtifactError::Limit { what, limit });
    }
    Ok(())
}

/// The received bytes: counted, and their failures told apart from damage.
pub(crate) struct Received<'m, R> {
    source: R,
    meter: &'m Meter,
}

impl<'m, R: Read> Received<'m, R> {
    pub(crate) fn new(source: R, meter: &'m Meter) -> Self {
        Self { source, meter }
    }
}

impl<R: Read> Read for Received<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = loop {
            match self.source.read(buffer) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArtifactError::Read(error).carried()),
            }
        };
        self.meter
            .count_compressed(count as u64)
            .map_err(ArtifactError::carried)?;
        Ok(count)
    }
}

/// Decompressed bytes, counted for the whole reading and for one entry.
pub(crate) struct Unpacked<'m, R> {
    source: R,
    meter: &'m Meter,
    count: u64,
    within_entry: bool,
}

impl<'m, R: Read> Unpacked<'m, R> {
    /// Counts the archive's own content.
    pub(crate) fn archive(source: R, meter: &'m Meter) -> Self {
        Self {
            source,
            meter,
            count: 0,
            within_entry: false,
        }
    }

    /// Counts the content of one compressed entry.
    pub(crate) fn entry(source: R, meter: &'m Meter) -> Self {
        Self {
            source,
            meter,
            count: 0,
            within_entry: true,
        }
    }
}

impl<R: Read> Read for Unpacked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.count += count as u64;
        self.meter
            .count_uncompressed(count as u64)
            .map_err(ArtifactError::carried)?;
        if self.within_entry {
            self.meter
                .check_size(self.count)
                .map_err(ArtifactError::carried)?;
        }
        Ok(count)
    }
}
