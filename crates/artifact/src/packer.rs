//! Writes tar archives whose every byte is decided here: POSIX headers, mode
//! 0600, no owner, no time. The length is known before the first byte.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::tarball::{BLOCK, LARGEST_OCTAL, padding};

/// The two zero blocks that end a tar.
const END: u64 = 2 * BLOCK;
/// The longest name a header holds without an extension.
pub(crate) const LONGEST_NAME: usize = 100;

/// Writes one tar to `out`.
pub(crate) struct Packer<W> {
    out: W,
    /// Zeros owed after the current entry's content.
    padding: u64,
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, padding: 0 }
    }

    /// Starts an entry of exactly `size` bytes, which the caller writes next.
    pub(crate) fn begin(&mut self, name: &str, size: u64) -> io::Result<()> {
        self.pad()?;
        if size > LARGEST_OCTAL {
            let record = size_record(size);
            let extension = header("PaxHeaders.0", record.len() as u64, EntryType::XHeader);
            self.out.write_all(extension.as_bytes())?;
            self.out.write_all(record.as_bytes())?;
            self.padding = padding(record.len() as u64);
            self.pad()?;
        }
        self.out
            .write_all(header(name, size, EntryType::Regular).as_bytes())?;
        self.padding = padding(size);
        Ok(())
    }

    /// Writes the end, and gives the destination back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.out.write_all(&[0; END as usize])?;
        Ok(self.out)
    }

    fn pad(&mut self) -> io::Result<()> {
        let zeros = [0; BLOCK as usize];
        self.out.write_all(&zeros[..self.padding as usize])?;
        self.padding = 0;
        Ok(())
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The length of a tar with entries of these sizes.
pub(crate) fn packed_size(sizes: impl IntoIterator<Item = u64>) -> u64 {
    let entry = |size: u64| {
        let extension = if size > LARGEST_OCTAL { 2 * BLOCK } else { 0 };
        extension + BLOCK + size + padding(size)
    };
    sizes.into_iter().map(entry).sum::<u64>() + END
}

fn header(name: &str, size: u64, kind: EntryType) -> Header {
    debug_assert!(name.len() <= LONGEST_NAME, "names are checked before");
    let mut header = Header::new_ustar();
    header.as_ustar_mut().expect("made as ustar").name[..name.len()]
        .copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    // A size with too many digits stands in the extended header alone, so no
    // reader can see two different ones.
    header.set_size(if size > LARGEST_OCTAL { 0 } else { size });
    header.set_cksum();
    header
}

/// A PAX record whose length counts its own digits.
fn size_record(size: u64) -> String {
    let body = format!(" size={size}\n");
    let length = body.len() + 2;
    debug_assert!(
        (10..100).contains(&length),
        "two digits suffice for any size"
    );
    format!("{length}{body}")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::limits::{Limits, Meter};
    use crate::tarball::TarReader;

    #[test]
    fn predicts_its_own_length() {
        let mut packer = Packer::new(Vec::new());
        for (name, size) in [("a", 0), ("b", 1), ("c", 511), ("d", 512), ("e", 513)] {
            packer.begin(name, size).expect("memory");
            packer.write_all(&vec![7; size as usize]).expect("memory");
        }
        let bytes = packer.finish().expect("memory");
        assert_eq!(bytes.len() as u64, packed_size([0, 1, 511, 512, 513]));
    }

    #[test]
    fn states_huge_sizes_once() {
        let size = 9 << 30;
        let mut packer = Packer::new(Vec::new());
        packer.begin("big.tar", size).expect("memory");
        assert_eq!(packer.out.len() as u64 + size + END, packed_size([size]));

        let meter = Meter::new(&Limits::default());
        let content = io::repeat(0).take(size + END);
        let mut reader = TarReader::new(packer.out.as_slice().chain(content), "tar", &meter);
        let entry = reader.next_entry().expect("valid").expect("an entry");
        assert_eq!((entry.name.as_str(), entry.size), ("big.tar", size));

        let mut archive = tar::Archive::new(packer.out.as_slice());
        let mut entries = archive.entries().expect("a tar");
        let entry = entries.next().expect("an entry").expect("valid");
        assert_eq!(entry.size(), size, "another reader agrees");
    }
}
