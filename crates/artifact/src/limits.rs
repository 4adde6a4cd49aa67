//! How much of an archive is accepted, counted on actual bytes.
//!
//! One [`Meter`] accompanies one reading through all nested layers of it, so a
//! small file cannot grow without bound by nesting compression in compression.

use std::cell::Cell;
use std::io::{self, Read};
use std::str::FromStr;

use crate::error::{ArtifactError, shown};

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
    /// Values in one JSON document: once read, each takes far more memory than the two
    /// bytes it may be written in.
    pub json_values: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed: 64 * GIB,
            uncompressed: 256 * GIB,
            entry: 128 * GIB,
            entries: 20_000,
            name: 255,
            json: 4 * MIB,
            json_total: 16 * MIB,
            json_values: 100_000,
        }
    }
}

impl Limits {
    /// The names by which limits are set, in the order of the documentation.
    pub const NAMES: [&'static str; 8] = [
        "archive",
        "uncompressed",
        "entry",
        "entries",
        "name",
        "json",
        "json-total",
        "json-values",
    ];

    fn named(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "archive" => &mut self.compressed,
            "uncompressed" => &mut self.uncompressed,
            "entry" => &mut self.entry,
            "entries" => &mut self.entries,
            "name" => &mut self.name,
            "json" => &mut self.json,
            "json-total" => &mut self.json_total,
            "json-values" => &mut self.json_values,
            _ => return None,
        })
    }
}

/// Reads `name=number` pairs separated by commas, such as
/// `uncompressed=512GiB,entries=100000`; what is not named keeps its default.
impl FromStr for Limits {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        let mut limits = Self::default();
        for pair in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let malformed = |reason: String| ArtifactError::MalformedLimits {
                text: shown(pair.as_bytes()),
                reason,
            };
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| malformed("expected name=number".to_owned()))?;
            let Some(limit) = limits.named(name.trim()) else {
                let names = Self::NAMES.join(", ");
                return Err(malformed(format!("the limits are {names}")));
            };
            *limit = amount(value.trim()).ok_or_else(|| {
                malformed("expected a number, or one with KiB, MiB, GiB or TiB".to_owned())
            })?;
        }
        Ok(limits)
    }
}

/// Reads a number with an optional binary unit.
fn amount(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [
        ("KiB", 1 << 10),
        ("MiB", MIB),
        ("GiB", GIB),
        ("TiB", 1 << 40),
    ];
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1));
    let digits = digits.trim_end();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
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

    pub(crate) fn check_values(&self, json: &[u8]) -> Result<(), ArtifactError> {
        check_values(json, self.limits.json_values)
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

/// Bounds the values in a JSON document before any of them is made: each but the first
/// of a list or object follows a comma. What is no JSON is for its reader to say.
pub(crate) fn check_values(json: &[u8], limit: u64) -> Result<(), ArtifactError> {
    let (mut values, mut within_text, mut escaped) = (0_u64, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within_text => escaped = true,
            b'"' => within_text = !within_text,
            b',' | b'[' | b'{' if !within_text => values += 1,
            _ => {}
        }
    }
    if values > limit {
        return Err(ArtifactError::Limit {
            what: "the number of values in a JSON document",
            limit,
        });
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_name() {
        let limits: Limits = "uncompressed=512GiB, entries=100000,name=1 KiB,"
            .parse()
            .expect("valid");
        let expected = Limits {
            uncompressed: 512 * GIB,
            entries: 100_000,
            name: 1024,
            ..Limits::default()
        };
        assert_eq!(limits, expected);
        assert_eq!("".parse::<Limits>().expect("valid"), Limits::default());
        let mut limits = Limits::default();
        for name in Limits::NAMES {
            assert!(limits.named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn values_are_counted_outside_of_texts() {
        for (json, values) in [
            (r#""a,b,[{""#, 0),
            (r#"["a\",,,","\\",3]"#, 3),
            (r#"{"a":[1,2],"b":{}}"#, 5),
            ("[[[[", 4),
            (r#""never ends,,,"#, 0),
        ] {
            assert!(check_values(json.as_bytes(), values).is_ok(), "{json}");
            let fewer = values.checked_sub(1);
            let refused = fewer.is_none_or(|fewer| check_values(json.as_bytes(), fewer).is_err());
            assert!(refused, "{json}");
        }
    }

    #[test]
    fn what_sets_no_limit_is_refused() {
        for text in [
            "entries",
            "entries=",
            "entries=-1",
            "entries=1.5GiB",
            "entries=1GB",
            "entry=99999999999TiB",
            "memory=1",
            "=1",
            "entries=+1",
        ] {
            let error = text.parse::<Limits>().expect_err(text);
            assert!(
                matches!(error, ArtifactError::MalformedLimits { .. }),
                "{text}: {error}"
            );
        }
    }
}
