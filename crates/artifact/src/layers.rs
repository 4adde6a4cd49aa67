//! One pass over an image tar that remembers everything needed to judge it
//! later: entries come in any order, and a stream cannot be read twice.
//!
//! Of each file it keeps the digest of its bytes and, if they are compressed, of
//! what they decompress to; of files that look like JSON also the text, within
//! limits.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use crate::digest::{Digest, HashingReader};
use crate::error::ArtifactError;
use crate::gunzip::Gunzip;
use crate::images::{DOCKER_MANIFEST, OCI_INDEX};
use crate::limits::{Meter, Unpacked};
use crate::load::layer_name;
use crate::record::FileEntry;
use crate::tarball::{Kind, TarReader};

const BLOBS: &str = "blobs/";
const SHA256_BLOBS: &str = "blobs/sha256/";
pub(crate) const BUFFER: usize = 64 << 10;
/// What says how images are put together is said anew, by us.
const NEVER_RELAYED: [&str; 4] = [DOCKER_MANIFEST, OCI_INDEX, "oci-layout", "repositories"];

/// What a file holds beneath its own bytes.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Nothing: the bytes are the content.
    Plain,
    /// A gzip stream that decompresses to as many bytes of this digest.
    Gzip { digest: Digest, size: u64 },
    /// A gzip stream that is damaged; an error once the file proves to be a layer.
    BrokenGzip(String),
    /// A compression that engines of the time do not load.
    Unsupported(&'static str),
}

/// What is known of one file after the pass.
#[derive(Clone, Debug)]
pub(crate) struct FileRecord {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
    pub(crate) content: Content,
    /// The name under which it was passed on while it was read, if it was.
    pub(crate) relayed: Option<String>,
}

/// Takes the bytes of an image tar's files while they are read and before anything
/// about them is proved.
pub(crate) trait Outlet {
    /// Starts a file of exactly `size` bytes; returns its name there.
    fn begin(&mut self, size: u64) -> Result<String, ArtifactError>;
    /// Takes the next bytes of the file.
    fn take(&mut self, bytes: &[u8]) -> Result<(), ArtifactError>;
}

/// Shows what is read through it to an outlet, if there is one.
struct Tee<'o, R> {
    source: R,
    outlet: Option<&'o mut dyn Outlet>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if let Some(outlet) = &mut self.outlet {
            outlet
                .take(&buffer[..count])
                .map_err(ArtifactError::carried)?;
        }
        Ok(count)
    }
}

/// All that one pass over an image tar has found.
#[derive(Debug)]
pub(crate) struct ImageTar {
    pub(crate) place: String,
    pub(crate) files: BTreeMap<String, FileRecord>,
    pub(crate) links: BTreeMap<String, String>,
    documents: BTreeMap<String, Vec<u8>>,
    /// Most values in one of the documents.
    pub(crate) most_values: u64,
    /// Whether layers may be missing.
    pub(crate) thin: bool,
}

impl ImageTar {
    /// Reads the tar in `source` to its very end, showing its files to the outlet.
    pub(crate) fn scan(
        source: impl Read,
        place: &str,
        meter: &Meter,
        mut outlet: Option<&mut dyn Outlet>,
    ) -> Result<Self, ArtifactError> {
        let mut tar = TarReader::new(source, place, meter);
        let mut scanned = Self {
            place: place.to_owned(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            documents: BTreeMap::new(),
            most_values: meter.limits().json_values,
            thin: false,
        };
        let mut buffer = vec![0; BUFFER];
        while let Some(entry) = tar.next_entry()? {
            match entry.kind {
                Kind::Directory => {}
                Kind::Link(target) => {
                    scanned.links.insert(entry.name, target);
                }
                Kind::File => {
                    let mut tee = Tee {
                        source: &mut tar,
                        outlet: None,
                    };
                    let mut relayed = None;
                    if let Some(outlet) = outlet.as_deref_mut()
                        && !NEVER_RELAYED.contains(&entry.name.as_str())
                    {
                        relayed = Some(outlet.begin(entry.size)?);
                        tee.outlet = Some(outlet);
                    }
                    let place = (entry.offset, entry.size);
                    let mut file =
                        scanned.file(&mut tee, &entry.name, place, meter, &mut buffer)?;
                    file.relayed = relayed;
                    scanned.files.insert(entry.name, file);
                }
            }
        }
        scanned.check_links()?;
        Ok(scanned)
    }

    fn file(
        &mut self,
        source: &mut impl Read,
        name: &str,
        (offset, size): (u64, u64),
        meter: &Meter,
        buffer: &mut [u8],
    ) -> Result<FileRecord, ArtifactError> {
        let place = format!("{}/{name}", self.place);
        let mut raw = HashingReader::aside(source);
        let start = fill(&mut raw, &mut buffer[..4])?;
        let start = &buffer[..start].to_vec()[..];
        let content = match start {
            [0x1f, 0x8b, ..] => gunzip(start, &mut raw, &place, meter, buffer)?,
            [0x28, 0xb5, 0x2f, 0xfd] => Content::Unsupported("zstd"),
            [b'B', b'Z', b'h', _] => Content::Unsupported("bzip2"),
            [0xfd, b'7', b'z', b'X'] => Content::Unsupported("xz"),
            [b'{' | b'[' | b' ' | b'\n' | b'\r' | b'\t', ..] if size <= meter.limits().json => {
                meter.count_json(size)?;
                // No more than the limit, whatever the size turns out to be.
                let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
                text.extend_from_slice(start);
                raw.read_to_end(&mut text)
                    .map_err(ArtifactError::from_read)?;
                self.documents.insert(name.to_owned(), text);
                Content::Plain
            }
            _ => Content::Plain,
        };
        drain(&mut raw, buffer)?;
        let (digest, _) = raw.finish();
        if let Some(hex) = name.strip_prefix(SHA256_BLOBS) {
            let expected: Digest = format!("sha256:{hex}").parse()?;
            if expected != digest {
                return Err(ArtifactError::DigestMismatch {
                    place,
                    expected,
                    actual: digest,
                });
            }
        } else if let Some(text) = name.strip_prefix(BLOBS) {
            return Err(ArtifactError::MalformedDigest {
                text: crate::error::shown(text.replace('/', ":").as_bytes()),
            });
        }
        Ok(FileRecord {
            offset,
            size,
            digest,
            content,
            relayed: None,
        })
    }

    /// Every link must lead to a file of the same tar, used or not.
    fn check_links(&self) -> Result<(), ArtifactError> {
        for (name, target) in &self.links {
            if self.resolve(name).is_none() {
                return Err(ArtifactError::DanglingLink {
                    name: format!("{}/{name}", self.place),
                    target: target.clone(),
                });
            }
        }
        Ok(())
    }

    /// Follows links from `path` to a file.
    pub(crate) fn resolve<'a>(&'a self, path: &'a str) -> Option<(&'a str, &'a FileRecord)> {
        /// More links in a row than any engine makes; ends loops.
        const LONGEST_CHAIN: usize = 8;
        let mut path = path;
        for _ in 0..LONGEST_CHAIN {
            if let Some(file) = self.files.get(path) {
                return Some((path, file));
            }
            path = self.links.get(path)?;
        }
        None
    }

    /// Whether a layer is missing and may be: it is called as we call it.
    pub(crate) fn withholds(&self, path: &str, diff_id: &Digest) -> bool {
        self.thin && path == layer_name(diff_id) && self.resolve(path).is_none()
    }

    /// Finds a file that must be there.
    pub(crate) fn file_at<'a>(
        &'a self,
        path: &'a str,
    ) -> Result<(&'a str, &'a FileRecord), ArtifactError> {
        self.resolve(path).ok_or_else(|| self.missing(path))
    }

    /// Returns the JSON text of a file that must be there.
    pub(crate) fn document(&self, path: &str) -> Result<&[u8], ArtifactError> {
        let (path, _) = self.file_at(path)?;
        match self.documents.get(path) {
            Some(text) => Ok(text),
            None => Err(ArtifactError::Document {
                place: format!("{}/{path}", self.place),
                reason: "it is not JSON, or too long".to_owned(),
            }),
        }
    }

    /// Lists the files for comparison with an index.
    pub(crate) fn listing(&self) -> Vec<FileEntry> {
        self.files
            .iter()
            .map(|(name, file)| FileEntry {
                name: name.clone(),
                size: file.size,
                digest: file.digest.clone(),
                files: Vec::new(),
            })
            .collect()
    }

    fn missing(&self, path: &str) -> ArtifactError {
        ArtifactError::MissingFile {
            place: self.place.clone(),
            path: crate::error::shown(path.as_bytes()),
        }
    }
}

fn gunzip(
    start: &[u8],
    raw: &mut impl Read,
    place: &str,
    meter: &Meter,
    buffer: &mut [u8],
) -> Result<Content, ArtifactError> {
    let compressed = BufReader::with_capacity(BUFFER, start.chain(raw));
    let unpacked = Unpacked::entry(Gunzip::new(compressed, place), meter);
    let mut hashing = HashingReader::aside(unpacked);
    match drain(&mut hashing, buffer) {
        Ok(()) => {
            let (digest, size) = hashing.finish();
            Ok(Content::Gzip { digest, size })
        }
        // The file may be no layer at all: it is for the image to say.
        Err(
            error @ (ArtifactError::Damaged { .. }
            | ArtifactError::NotAnArchive { .. }
            | ArtifactError::FailedExport { .. }
            | ArtifactError::TrailingData { .. }),
        ) => Ok(Content::BrokenGzip(error.to_string())),
        Err(ArtifactError::Truncated { place: cut }) if cut == place => Ok(Content::BrokenGzip(
            ArtifactError::Truncated { place: cut }.to_string(),
        )),
        Err(error) => Err(error),
    }
}

/// Reads until the buffer is full or the source at its end.
pub(crate) fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ArtifactError> {
    let mut count = 0;
    while count < buffer.len() {
        match source.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArtifactError::from_read(error)),
        }
    }
    Ok(count)
}

/// Reads to the end for the sake of what watches the bytes.
pub(crate) fn drain(source: &mut impl Read, buffer: &mut [u8]) -> Result<(), ArtifactError> {
    while fill(source, buffer)? > 0 {}
    Ok(())
}
