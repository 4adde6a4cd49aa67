//! A strict, streaming tar reader for hostile input.
//!
//! It reads V7, ustar, PAX and GNU long names as the engines and racks write
//! them, and nothing else. General readers are lenient where two programs may
//! understand the same bytes differently; here every such case is an error:
//! sizes stated twice, numbers that overflow, names that escape or collide,
//! a missing end, content after the end. Nothing is ever unpacked.

use std::collections::HashSet;
use std::io::{self, Read};

use crate::error::{ArtifactError, shown};
use crate::limits::Meter;

pub(crate) const BLOCK: u64 = 512;
const BLOCK_LEN: usize = 512;
/// The most an extended header may hold: generous for names, no room for a bomb.
const LONGEST_EXTENSION: u64 = 64 << 10;
/// The largest size that fits the octal digits of a header.
pub(crate) const LARGEST_OCTAL: u64 = 0o777_7777_7777;

/// What an entry is; anything else is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// Leads to the entry of this name, already resolved within the tar.
    Link(String),
}

/// One entry's header.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    /// Where the content starts, counted from the start of the tar.
    pub(crate) offset: u64,
}

/// What extended headers say about the entry that follows.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Reads entries one after the other; `Read` gives the current one's content.
pub(crate) struct TarReader<'m, R> {
    source: R,
    place: String,
    meter: &'m Meter,
    position: u64,
    /// Content of the current entry still to come.
    remaining: u64,
    padding: u64,
    seen: HashSet<String>,
    ended: bool,
}

impl<'m, R: Read> TarReader<'m, R> {
    /// Reads the tar in `source`; `place` names it in errors.
    pub(crate) fn new(source: R, place: impl Into<String>, meter: &'m Meter) -> Self {
        Self {
            source,
            place: place.into(),
            meter,
            position: 0,
            remaining: 0,
            padding: 0,
            seen: HashSet::new(),
            ended: false,
        }
    }

    /// Advances to the next entry, or verifies the end up to the last byte.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, ArtifactError> {
        if self.ended {
            return Ok(None);
        }
        self.skip(self.remaining + self.padding)?;
        (self.remaining, self.padding) = (0, 0);
        let mut extension = None;
        loop {
            let header = self.block()?;
            if header.iter().all(|&byte| byte == 0) {
                if extension.is_some() {
                    return Err(self.malformed("an extended header without an entry"));
                }
                self.end()?;
                return Ok(None);
            }
            self.meter.count_entry()?;
            self.check_sum(&header)?;
            let size = number(&header[124..136]).map_err(|reason| self.malformed(reason))?;
            match header[156] {
                b'x' => self.pax(size, extension.get_or_insert_default())?,
                b'g' => self.global(size)?,
                b'L' => {
                    let name = self.long_name(size)?;
                    let slot = &mut extension.get_or_insert_default().path;
                    self.set(slot, name)?;
                }
                b'K' => {
                    let name = self.long_name(size)?;
                    let slot = &mut extension.get_or_insert_default().link;
                    self.set(slot, name)?;
                }
                flag => {
                    let extension = extension.unwrap_or_default();
                    return self.entry(&header, flag, size, extension).map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &[u8; BLOCK_LEN],
        flag: u8,
        stated: u64,
        extension: Extension,
    ) -> Result<Entry, ArtifactError> {
        let raw = extension.path.unwrap_or_else(|| header_name(header));
        let name = self.clean(&raw, flag == b'5')?;
        let size = match extension.size {
            // Zero stands in the header where the size has too many digits for it.
            Some(size) if size == stated || (stated == 0 && size > LARGEST_OCTAL) => size,
            Some(size) => {
                return Err(ArtifactError::AmbiguousSize {
                    name,
                    header: stated,
                    extension: size,
                });
            }
            None => stated,
        };
        let kind = match flag {
            b'0' | 0 => Kind::File,
            b'5' => Kind::Directory,
            b'1' | b'2' => {
                let target = extension
                    .link
                    .unwrap_or_else(|| field(&header[157..257]).to_vec());
                let base = if flag == b'2' { name.as_str() } else { "" };
                Kind::Link(self.target(base, &target)?)
            }
            other => {
                return Err(ArtifactError::Forbidden {
                    name: shown(name.as_bytes()),
                    kind: special(other),
                });
            }
        };
        if kind != Kind::File && size != 0 {
            return Err(self.malformed("a link or directory with content"));
        }
        self.meter.check_size(size)?;
        if !self.seen.insert(name.to_lowercase()) {
            return Err(ArtifactError::Duplicate {
                name: shown(name.as_bytes()),
            });
        }
        self.remaining = size;
        self.padding = padding(size);
        Ok(Entry {
            name,
            kind,
            size,
            offset: self.position,
        })
    }

    /// Checks a name and brings it into its one spelling: no leading `./`, no
    /// closing slash.
    fn clean(&self, raw: &[u8], directory: bool) -> Result<String, ArtifactError> {
        let limit = self.meter.limits().name;
        if raw.len() as u64 > limit {
            return Err(ArtifactError::Limit {
                what: "the length of a name",
                limit,
            });
        }
        let unsafe_name = |reason| ArtifactError::UnsafeName {
            name: shown(raw),
            reason,
        };
        let mut name =
            std::str::from_utf8(raw).map_err(|_| unsafe_name("it is not valid UTF-8"))?;
        if name.chars().any(|c| c.is_control() || c == '\\') {
            return Err(unsafe_name("it has control characters or backslashes"));
        }
        if directory {
            // The root itself is "", ".", "./" or "/", depending on who packs it.
            name = name.strip_suffix('/').unwrap_or(name);
        }
        while let Some(rest) = name.strip_prefix("./") {
            name = rest;
        }
        if directory && (name.is_empty() || name == ".") {
            return Ok(String::new());
        }
        if name.starts_with('/') {
            return Err(unsafe_name("it is absolute"));
        }
        for part in name.split('/') {
            match part {
                "" | "." => return Err(unsafe_name("it has empty components")),
                ".." => return Err(unsafe_name("it leads outside")),
                _ => {}
            }
        }
        Ok(name.to_owned())
    }

    /// Resolves a link's target in thought only, from the directory of `base`.
    fn target(&self, base: &str, raw: &[u8]) -> Result<String, ArtifactError> {
        let unsafe_target = |reason| ArtifactError::UnsafeName {
            name: shown(raw),
            reason,
        };
        let text = std::str::from_utf8(raw)
            .map_err(|_| unsafe_target("the link's target is not valid UTF-8"))?;
        if text.starts_with('/') {
            return Err(unsafe_target("the link's target is absolute"));
        }
        let mut parts: Vec<&str> = base.split('/').collect();
        parts.pop();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Err(unsafe_target("the link leads outside"));
                    }
                }
                part => parts.push(part),
            }
        }
        self.clean(parts.join("/").as_bytes(), false)
    }

    fn pax(&mut self, size: u64, extension: &mut Extension) -> Result<(), ArtifactError> {
        let data = self.extension_data(size)?;
        for record in records(&data) {
            let (key, value) = record.map_err(|reason| self.malformed(reason))?;
            match key {
                b"path" => self.set(&mut extension.path, value.to_vec())?,
                b"linkpath" => self.set(&mut extension.link, value.to_vec())?,
                b"size" => {
                    let size = decimal(value)
                        .ok_or_else(|| self.malformed("a size that is not a number"))?;
                    self.set(&mut extension.size, size)?;
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(self.malformed("sparse files are not supported"));
                }
                // Times, owners and attributes say nothing about content.
                _ => {}
            }
        }
        Ok(())
    }

    /// A global header may comment, but not rename or resize what follows.
    fn global(&mut self, size: u64) -> Result<(), ArtifactError> {
        let mut extension = Extension::default();
        self.pax(size, &mut extension)?;
        if extension.path.is_some() || extension.link.is_some() || extension.size.is_some() {
            return Err(self.malformed("a global header that names or sizes entries"));
        }
        Ok(())
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ArtifactError> {
        let mut name = self.extension_data(size)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn set<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), ArtifactError> {
        if slot.replace(value).is_some() {
            return Err(self.malformed("a name or size stated twice"));
        }
        Ok(())
    }

    fn extension_data(&mut self, size: u64) -> Result<Vec<u8>, ArtifactError> {
        if size > LONGEST_EXTENSION {
            return Err(ArtifactError::Limit {
                what: "the size of an extended header",
                limit: LONGEST_EXTENSION,
            });
        }
        let mut data = vec![0; size as usize];
        self.fill(&mut data)?;
        self.skip(padding(size))?;
        Ok(data)
    }

    fn check_sum(&self, header: &[u8; BLOCK_LEN]) -> Result<(), ArtifactError> {
        let stated = number(&header[148..156]).map_err(|reason| self.malformed(reason))?;
        let spaces = 8 * u64::from(b' ');
        let sum: u64 = header[..148]
            .iter()
            .chain(&header[156..])
            .map(|&byte| u64::from(byte))
            .sum();
        if sum + spaces != stated {
            return Err(self.malformed("wrong header checksum"));
        }
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK_LEN], ArtifactError> {
        let mut block = [0; BLOCK_LEN];
        self.fill(&mut block)?;
        Ok(block)
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), ArtifactError> {
        while !buffer.is_empty() {
            let count = self.source.read(buffer).map_err(ArtifactError::from_read)?;
            if count == 0 {
                return Err(self.truncated());
            }
            self.position += count as u64;
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    fn skip(&mut self, mut count: u64) -> Result<(), ArtifactError> {
        let mut buffer = [0; 8192];
        while count > 0 {
            let step = count.min(buffer.len() as u64);
            self.fill(&mut buffer[..step as usize])?;
            count -= step;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ArtifactError> {
        let mut buffer = [0; 8192];
        loop {
            let count = self
                .source
                .read(&mut buffer)
                .map_err(ArtifactError::from_read)?;
            if count == 0 {
                self.ended = true;
                return Ok(());
            }
            if buffer[..count].iter().any(|&byte| byte != 0) {
                return Err(ArtifactError::TrailingData {
                    place: self.place.clone(),
                });
            }
            self.position += count as u64;
        }
    }

    fn truncated(&self) -> ArtifactError {
        ArtifactError::Truncated {
            place: self.place.clone(),
        }
    }

    fn malformed(&self, reason: &str) -> ArtifactError {
        ArtifactError::Malformed {
            place: self.place.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl<R: Read> Read for TarReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.remaining.min(buffer.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(self.truncated().carried());
        }
        self.position += count as u64;
        self.remaining -= count as u64;
        Ok(count)
    }
}

/// The zeros that fill the last block of `size` bytes.
pub(crate) fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

/// A field's bytes up to the first NUL.
fn field(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

fn header_name(header: &[u8; BLOCK_LEN]) -> Vec<u8> {
    let name = field(&header[..100]);
    let prefix = field(&header[345..500]);
    // Only POSIX headers continue the name in a prefix; GNU keeps times there.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

/// Reads an octal or base-256 number field.
fn number(bytes: &[u8]) -> Result<u64, &'static str> {
    if bytes[0] & 0x80 != 0 {
        if bytes[0] != 0x80 {
            return Err("a negative or huge number");
        }
        return bytes[1..]
            .iter()
            .try_fold(0u64, |sum, &byte| {
                sum.checked_mul(256)?.checked_add(u64::from(byte))
            })
            .filter(|&number| i64::try_from(number).is_ok())
            .ok_or("a huge number");
    }
    let text = bytes.trim_ascii_start();
    let end = text
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'7'))
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if rest.iter().any(|&byte| byte != 0 && byte != b' ') {
        return Err("a number that is not octal");
    }
    // Twelve octal digits cannot overflow.
    Ok(digits
        .iter()
        .fold(0, |sum, digit| sum * 8 + u64::from(digit - b'0')))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

/// The `length key=value` records of a PAX header.
fn records(mut data: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), &'static str>> {
    const BROKEN: &str = "a broken extended header";
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let record = || {
            let space = data.iter().position(|&byte| byte == b' ')?;
            let length = usize::try_from(decimal(&data[..space])?).ok()?;
            if length <= space + 1 || length > data.len() {
                return None;
            }
            let body = data[space + 1..length].strip_suffix(b"\n")?;
            let equals = body.iter().position(|&byte| byte == b'=')?;
            Some((length, &body[..equals], &body[equals + 1..]))
        };
        if let Some((length, key, value)) = record() {
            data = &data[length..];
            Some(Ok((key, value)))
        } else {
            data = &[];
            Some(Err(BROKEN))
        }
    })
}

fn special(flag: u8) -> &'static str {
    match flag {
        b'3' => "character device",
        b'4' => "block device",
        b'6' => "fifo",
        b'S' => "sparse file",
        _ => "special entry",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_as_tar_programs_write_them() {
        assert_eq!(number(b"00000000017\0"), Ok(15));
        assert_eq!(number(b"     17 \0\0\0\0"), Ok(15));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"777777777777"), Ok(0o777_777_777_777));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Ok(1 << 33));
    }

    #[test]
    fn refuses_negative_huge_and_garbled_numbers() {
        for bytes in [
            &[0xff; 12][..],
            b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
            b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
            b"\x81\0\0\0\0\0\0\0\0\0\0\0",
            b"-0000000001\0",
            b"0000000008\0\0",
            b"1 1\0\0\0\0\0\0\0\0\0",
        ] {
            assert!(number(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn reads_extended_records_to_the_byte() {
        let data = b"12 path=abc\n11 size=10\n";
        let all: Vec<_> = records(data).collect();
        assert_eq!(all, [Ok((&b"path"[..], &b"abc"[..])), Ok((b"size", b"10"))]);
        for broken in [
            &b"13 path=abc\n"[..],
            b"11 path=abc\n",
            b"0 path=abc\n",
            b"12 pathabcd\n",
            b"99999999999999999999 a=b\n",
            b"-1 a=b\n",
            b"path=abc\n",
        ] {
            assert!(
                records(broken).any(|record| record.is_err()),
                "{}",
                broken.escape_ascii()
            );
        }
    }
}
