//! Content-addressed bytes of images and volumes: hashed while written, kept
//! under their SHA-256. In memory or below one directory; both behave alike.
//!
//! A blob being written is invisible until [`Blobs::keep`]; dropping it leaves
//! nothing behind.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempPath};

/// Reads a blob from any position.
pub(super) trait BlobRead: Read + Seek + Send {}
impl<T: Read + Seek + Send> BlobRead for T {}

/// Where kept blobs live.
#[derive(Debug)]
pub(super) enum Blobs {
    /// Gone with the engine.
    Memory(Mutex<HashMap<String, Bytes>>),
    /// One file per blob, named by its hex digest.
    Directory(PathBuf),
}

impl Blobs {
    /// Keeps blobs in memory only.
    pub(super) fn in_memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// Keeps blobs below `directory`, which is created.
    pub(super) fn below(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self::Directory(directory.to_owned()))
    }

    /// Starts a new blob.
    pub(super) fn create(&self) -> io::Result<NewBlob> {
        let sink = match self {
            Self::Memory(_) => Sink::Memory(Vec::new()),
            Self::Directory(directory) => {
                Sink::File(NamedTempFile::with_prefix_in(".new-", directory)?)
            }
        };
        Ok(NewBlob {
            hash: Sha256::new(),
            size: 0,
            sink,
        })
    }

    /// Makes a blob of bytes at hand.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<Pending> {
        let mut blob = self.create()?;
        blob.write_all(bytes)?;
        blob.finish()
    }

    /// Makes a finished blob durable under its digest.
    pub(super) fn keep(&self, pending: &Pending) -> io::Result<()> {
        if self.contains(&pending.digest) {
            return Ok(());
        }
        match (self, &pending.content) {
            (Self::Memory(map), Content::Memory(bytes)) => {
                lock(map).insert(pending.digest.clone(), bytes.clone());
                Ok(())
            }
            (Self::Directory(directory), Content::File(path)) => {
                // The pending blob may still be read by a build that shares it, so it is linked, not moved.
                File::open(path)?.sync_all()?;
                let target = directory.join(hex_part(&pending.digest));
                match fs::hard_link(path, &target) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => Ok(()),
                }
            }
            (Self::Memory(_), Content::File(_)) | (Self::Directory(_), Content::Memory(_)) => {
                Err(io::Error::other("the blob was made by another engine"))
            }
        }
    }

    /// Whether the blob is kept.
    pub(super) fn contains(&self, digest: &str) -> bool {
        match self {
            Self::Memory(map) => lock(map).contains_key(digest),
            Self::Directory(directory) => directory.join(hex_part(digest)).is_file(),
        }
    }

    /// Opens a kept blob.
    pub(super) fn open(&self, digest: &str) -> io::Result<Box<dyn BlobRead>> {
        match self {
            Self::Memory(map) => match lock(map).get(digest) {
                Some(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
                None => Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("blob {digest} is missing"),
                )),
            },
            Self::Directory(directory) => File::open(directory.join(hex_part(digest)))
                .map(|file| Box::new(file) as Box<dyn BlobRead>)
                .map_err(|error| io::Error::new(error.kind(), format!("blob {digest}: {error}"))),
        }
    }

    /// Removes every kept blob that is not in `used`.
    pub(super) fn retain(&self, used: &BTreeSet<String>) -> io::Result<()> {
        match self {
            Self::Memory(map) => lock(map).retain(|digest, _| used.contains(digest)),
            Self::Directory(directory) => {
                for entry in fs::read_dir(directory)? {
                    let entry = entry?;
                    let name = entry.file_name();
                    let Some(name) = name.to_str() else { continue };
                    if is_hex_digest(name) && !used.contains(&format!("sha256:{name}")) {
                        remove_if_there(&entry.path())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes what writers of a killed server left; only for the sole owner of the directory.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let Self::Directory(directory) = self else {
            return Ok(());
        };
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".new-") {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
enum Sink {
    Memory(Vec<u8>),
    File(NamedTempFile),
}

/// A blob being written.
#[derive(Debug)]
pub(super) struct NewBlob {
    hash: Sha256,
    size: u64,
    sink: Sink,
}

impl NewBlob {
    /// Ends the blob and names it by its digest.
    pub(super) fn finish(self) -> io::Result<Pending> {
        let content = match self.sink {
            Sink::Memory(bytes) => Content::Memory(Bytes::from(bytes)),
            Sink::File(mut file) => {
                file.flush()?;
                // Only the path stays: an archive may hold more files than a process may keep open.
                Content::File(file.into_temp_path())
            }
        };
        Ok(Pending {
            digest: format!("sha256:{}", hex(&self.hash.finalize())),
            size: self.size,
            content,
        })
    }
}

impl Write for NewBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.sink {
            Sink::Memory(sink) => sink.write(bytes)?,
            Sink::File(sink) => sink.write(bytes)?,
        };
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    File(TempPath),
}

/// A finished blob that nobody has kept yet.
#[derive(Debug)]
pub(super) struct Pending {
    digest: String,
    size: u64,
    content: Content,
}

impl Pending {
    /// `sha256:…` of the bytes.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// Number of bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Opens it for reading.
    pub(super) fn open(&self) -> io::Result<Box<dyn BlobRead>> {
        match &self.content {
            Content::Memory(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            Content::File(path) => Ok(Box::new(File::open(path)?)),
        }
    }
}

/// `sha256:…` of some bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hexadecimal text of bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}

/// The digits of a digest.
pub(super) fn hex_part(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// Whether text is the 64 digits of a SHA-256.
pub(super) fn is_hex_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
