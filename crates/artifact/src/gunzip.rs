//! A strict gzip reader: every member to its checksum, then nothing but zeros.
//!
//! The usual readers either stop silently after the first member or fail on the
//! padding that tapes and some uploads append; neither proves that the last byte
//! was seen.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use crate::error::ArtifactError;

const MAGIC: u8 = 0x1f;
const HEADER: usize = 10;

enum State<R> {
    /// Before a member; `true` for the first.
    Between(R, bool),
    Member(Box<GzDecoder<R>>, bool),
    Ended,
}

/// Decompresses a gzip stream of one or more members.
pub(crate) struct Gunzip<R> {
    state: State<R>,
    place: String,
}

impl<R: BufRead> Gunzip<R> {
    /// Reads `source`; `place` names it in errors.
    pub(crate) fn new(source: R, place: impl Into<String>) -> Self {
        Self {
            state: State::Between(source, true),
            place: place.into(),
        }
    }

    fn begin(&self, mut source: R, first: bool) -> Result<State<R>, ArtifactError> {
        let start = source.fill_buf().map_err(ArtifactError::from_read)?;
        match start.first() {
            Some(&MAGIC) => {}
            None if first => {
                return Err(ArtifactError::NotAnArchive {
                    reason: "it is empty",
                });
            }
            None => return Ok(State::Ended),
            Some(_) if first => return Err(not_gzip(start)),
            Some(0) => {
                only_zeros(&mut source, &self.place)?;
                return Ok(State::Ended);
            }
            Some(_) => {
                return Err(ArtifactError::TrailingData {
                    place: self.place.clone(),
                });
            }
        }
        if first && let Some(message) = failed_export(start) {
            return Err(ArtifactError::FailedExport { message });
        }
        Ok(State::Member(Box::new(GzDecoder::new(source)), first))
    }

    fn explain(&self, error: io::Error, no_header: bool) -> ArtifactError {
        let error = match error.downcast::<ArtifactError>() {
            Ok(carried) => return carried,
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ArtifactError::Truncated {
                place: self.place.clone(),
            },
            _ if no_header => not_gzip(&[]),
            _ => ArtifactError::Damaged {
                place: self.place.clone(),
                reason: error.to_string(),
            },
        }
    }
}

/// What begins otherwise than gzip does; where it is an archive in other wrapping, with what
/// to do about it.
fn not_gzip(start: &[u8]) -> ArtifactError {
    let reason = match start {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            "it is compressed with zstd: `zstd -dc <file> | gzip` makes an archive of it"
        }
        [b'B', b'Z', b'h', ..] => {
            "it is compressed with bzip2: `bzip2 -dc <file> | gzip` makes an archive of it"
        }
        [0xfd, b'7', b'z', b'X', ..] => {
            "it is compressed with xz: `xz -dc <file> | gzip` makes an archive of it"
        }
        _ => "it is not compressed with gzip",
    };
    ArtifactError::NotAnArchive { reason }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(0),
                State::Between(source, first) => {
                    self.state = self.begin(source, first).map_err(ArtifactError::carried)?;
                }
                State::Member(mut member, first) => match member.read(buffer) {
                    Ok(0) => self.state = State::Between(member.into_inner(), false),
                    Ok(count) => {
                        self.state = State::Member(member, first);
                        return Ok(count);
                    }
                    Err(error) => {
                        let no_header = first && member.header().is_none();
                        return Err(self.explain(error, no_header).carried());
                    }
                },
            }
        }
    }
}

/// Consumes the rest of `source`, which must be zero padding.
pub(crate) fn only_zeros(source: &mut impl BufRead, place: &str) -> Result<(), ArtifactError> {
    loop {
        let rest = source.fill_buf().map_err(ArtifactError::from_read)?;
        if rest.is_empty() {
            return Ok(());
        }
        if rest.iter().any(|&byte| byte != 0) {
            return Err(ArtifactError::TrailingData {
                place: place.to_owned(),
            });
        }
        let count = rest.len();
        source.consume(count);
    }
}

/// Recognises a gzip header followed by a sentence instead of a stream.
fn failed_export(start: &[u8]) -> Option<String> {
    let text = start.get(HEADER..)?;
    let printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    if start[3] != 0 || !(8..2048).contains(&text.len()) || !text.iter().all(printable) {
        return None;
    }
    let text = String::from_utf8_lossy(text);
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn member(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, ArtifactError> {
        let mut out = Vec::new();
        Gunzip::new(bytes, "it")
            .read_to_end(&mut out)
            .map_err(ArtifactError::from_read)?;
        Ok(out)
    }

    #[test]
    fn reads_all_members_and_padding() {
        let mut bytes = [member(b"one "), member(b""), member(b"two")].concat();
        bytes.extend([0; 700]);
        assert_eq!(gunzip(&bytes).expect("valid"), b"one two");
    }

    #[test]
    fn refuses_what_follows() {
        let mut bytes = member(b"one");
        bytes.extend(b"\0\0x");
        let error = gunzip(&bytes).expect_err("padding must be zero");
        assert!(
            matches!(error, ArtifactError::TrailingData { .. }),
            "{error}"
        );
        let mut bytes = member(b"one");
        bytes.extend(b"x");
        let error = gunzip(&bytes).expect_err("must be refused");
        assert!(
            matches!(error, ArtifactError::TrailingData { .. }),
            "{error}"
        );
    }

    #[test]
    fn tells_other_files_apart() {
        for bytes in [
            &b""[..],
            b"PK\x03\x04",
            b"\x1f\x9d\x90 old compress file",
            b"{}",
        ] {
            let error = gunzip(bytes).expect_err("not gzip");
            assert!(
                matches!(error, ArtifactError::NotAnArchive { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn names_what_makes_an_archive_of_other_wrapping() {
        for (bytes, remedy) in [
            (&b"\x28\xb5\x2f\xfd\0"[..], "`zstd -dc <file> | gzip`"),
            (b"BZh91AY", "`bzip2 -dc <file> | gzip`"),
            (b"\xfd7zXZ\0", "`xz -dc <file> | gzip`"),
        ] {
            let error = gunzip(bytes).expect_err("not gzip");
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }

    #[test]
    fn shows_the_message_of_a_failed_export() {
        let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
        bytes.extend(b"Error response from daemon:\n no such image");
        let error = gunzip(&bytes).expect_err("no archive");
        assert_eq!(
            error.to_string(),
            "this is not a build archive but the message of a failed export: \
             Error response from daemon: no such image"
        );
    }

    #[test]
    fn notices_every_truncation_and_a_wrong_checksum() {
        let bytes = member(b"some text, some more text");
        for length in 1..bytes.len() {
            let error = gunzip(&bytes[..length]).expect_err("cut short");
            assert!(
                matches!(error, ArtifactError::Truncated { .. }),
                "{length}: {error}"
            );
        }
        let mut wrong = bytes.clone();
        let checksum = wrong.len() - 8;
        wrong[checksum] ^= 1;
        let error = gunzip(&wrong).expect_err("checksum");
        assert!(matches!(error, ArtifactError::Damaged { .. }), "{error}");
    }
}
