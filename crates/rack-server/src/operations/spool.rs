//! Keeping in a file what is read from elsewhere.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

/// Bytes written at once.
const BUFFER: usize = 256 << 10;

/// Copies what it reads into a file, and remembers if that cannot take it: whoever
/// reads only sees that reading failed.
pub struct Tee<R, W: Write = File> {
    from: R,
    to: BufWriter<W>,
    broke: Option<io::Error>,
}

impl<R, W: Write> Tee<R, W> {
    /// Reads `from` and keeps all of it in `to`.
    pub fn new(from: R, to: W) -> Self {
        Self {
            from,
            to: BufWriter::with_capacity(BUFFER, to),
            broke: None,
        }
    }

    /// Gives the file back with everything in it, or says why it could not be written.
    pub fn finish(self) -> io::Result<W> {
        match self.broke {
            Some(error) => Err(error),
            None => self.to.into_inner().map_err(io::IntoInnerError::into_error),
        }
    }
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        if let Err(error) = self.to.write_all(&buffer[..length]) {
            let kind = error.kind();
            self.broke = Some(error);
            return Err(kind.into());
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has room for so many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.checked_sub(bytes.len()) {
                Some(rest) => self.0 = rest,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::StorageFull,
                        "the disk is full",
                    ));
                }
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_that_is_read_is_kept() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at >> 4) as u8).collect();
        let mut tee = Tee::new(&bytes[..], Vec::new());
        let mut read = Vec::new();
        tee.read_to_end(&mut read).expect("memory");
        assert!(read == bytes);
        assert!(tee.finish().expect("memory") == bytes);
    }

    #[test]
    fn a_full_disk_is_the_reason() {
        // At once, and only when the last of it is written.
        for (length, reads) in [(2 * BUFFER, false), (1000, true)] {
            let bytes = vec![7; length];
            let mut tee = Tee::new(&bytes[..], Disk(500));
            let read = io::copy(&mut tee, &mut io::sink());
            assert_eq!(read.is_ok(), reads);
            let error = tee.finish().map(drop).expect_err("it does not fit");
            assert_eq!(error.to_string(), "the disk is full");
        }
    }
}
