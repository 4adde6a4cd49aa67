//! The pool of files that incremental builds of late 2017 are put together from.
//!
//! Files are kept under `index/<SHA-256 of the content>` in the rack's directory. Those
//! that no build has asked for in a month go. Blocking code.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rack_api::index::{Index, IndexItem};
use sha2::{Digest as _, Sha256};

use super::error::{Failure, Result};
use super::source;

/// A file that nobody has asked for in this long goes.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Bytes copied at a time.
const BUFFER: usize = 64 << 10;

/// The pool of one rack.
#[derive(Debug, Clone)]
pub struct Pool {
    directory: PathBuf,
    scratch: PathBuf,
}

fn failed(error: io::Error) -> Failure {
    Failure::io("the index")(error)
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::Invalid(format!("the update is not a readable gzip tar: {error}"))
}

/// Whether a text is a SHA-256 in lower-case hexadecimal; also a safe file name.
fn is_hash(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Pool {
    /// The pool in a rack's directory.
    pub fn new(rack: &Path, scratch: PathBuf) -> Self {
        Self {
            directory: rack.join("index"),
            scratch,
        }
    }

    fn path(&self, hash: &str) -> Result<PathBuf> {
        if is_hash(hash) {
            Ok(self.directory.join(hash))
        } else {
            Err(Failure::Invalid(format!(
                "the index names {hash:?}, which is no SHA-256"
            )))
        }
    }

    /// Which files of an index are not there yet; the others are kept longer.
    pub fn missing(&self, index: &Index) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for hash in index.keys() {
            match File::options().write(true).open(self.path(hash)?) {
                Ok(file) => file.set_modified(SystemTime::now()).map_err(failed)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.push(hash.clone());
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(missing)
    }

    /// Adds the files of a gzip tar, each named by its hash, and lets go of old ones.
    /// At most `limit` bytes in all are unpacked.
    pub fn add(&self, archive: &Path, limit: u64) -> Result<()> {
        fs::create_dir_all(&self.directory).map_err(failed)?;
        let file = File::open(archive).map_err(failed)?;
        let reader = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file));
        // One byte more than allowed tells too many from just enough.
        let mut archive = tar::Archive::new(reader.take(limit.saturating_add(1)));
        let mut left = limit;
        for entry in archive.entries().map_err(|error| unreadable(&error))? {
            let mut entry = entry.map_err(|error| unreadable(&error))?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            left = left.checked_sub(entry.size()).ok_or_else(|| {
                Failure::Invalid(format!("the update is larger than {limit} bytes"))
            })?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = self.path(&name)?;
            self.add_one(&mut entry, &name, &path)?;
        }
        self.forget(SystemTime::now() - KEPT)
    }

    fn add_one(&self, content: &mut impl Read, hash: &str, path: &Path) -> Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(&self.scratch).map_err(failed)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = content
                .read(&mut buffer)
                .map_err(|error| unreadable(&error))?;
            if length == 0 {
                break;
            }
            digest.update(&buffer[..length]);
            temporary.write_all(&buffer[..length]).map_err(failed)?;
        }
        if rack_api::id::to_hex(&digest.finalize()) != hash {
            return Err(Failure::Invalid(format!(
                "the file named {hash} has another SHA-256"
            )));
        }
        temporary.as_file().sync_all().map_err(failed)?;
        temporary
            .persist(path)
            .map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Removes files last asked for before some time.
    fn forget(&self, before: SystemTime) -> Result<()> {
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let asked = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .map_err(failed)?;
            if asked < before {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Writes the source that an index describes, as clients upload one.
    pub fn assemble(&self, index: &Index, to: &Path) -> Result<()> {
        let missing = self.missing(index)?;
        if let Some(first) = missing.first() {
            let name = &index[first].name;
            return Err(Failure::Invalid(format!(
                "{} of the index, {name} among them, have not been uploaded: run the build again",
                match missing.len() {
                    1 => "1 file".to_owned(),
                    more => format!("{more} files"),
                }
            )));
        }
        let file = File::create(to).map_err(failed)?;
        let gzip = GzEncoder::new(BufWriter::new(file), Compression::fast());
        let mut out = tar::Builder::new(gzip);
        // By name, as walking a directory would give them.
        let mut files: Vec<_> = index.iter().collect();
        files.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
        for (hash, item) in files {
            self.append(&mut out, hash, item)?;
        }
        let buffer = out.into_inner().and_then(GzEncoder::finish);
        let file = buffer.and_then(|buffer| buffer.into_inner().map_err(io::Error::from));
        file.and_then(|file| file.sync_all()).map_err(failed)
    }

    fn append(
        &self,
        out: &mut tar::Builder<impl io::Write>,
        hash: &str,
        item: &IndexItem,
    ) -> Result<()> {
        let name = source::clean(item.name.as_bytes())
            .map_err(|illegal| Failure::Invalid(illegal.to_string()))?;
        let content = File::open(self.path(hash)?).map_err(failed)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.metadata().map_err(failed)?.len());
        header.set_mode(item.mode & 0o777);
        let modified = item.mtime.map_or(0, jiff::Timestamp::as_second);
        header.set_mtime(u64::try_from(modified).unwrap_or(0));
        out.append_data(&mut header, name, content).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])], to: &Path) {
        let mut out = tar::Builder::new(GzEncoder::new(
            File::create(to).expect("a file"),
            Compression::fast(),
        ));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            out.append_data(&mut header, name, *content)
                .expect("written");
        }
        out.into_inner()
            .and_then(GzEncoder::finish)
            .expect("written");
    }

    fn hash(content: &[u8]) -> String {
        rack_api::id::to_hex(&Sha256::digest(content))
    }

    fn item(name: &str) -> IndexItem {
        IndexItem {
            name: name.into(),
            mode: 0o755,
            mtime: None,
        }
    }

    #[test]
    fn files_are_asked_for_once_and_put_together() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let pool = Pool::new(directory.path(), directory.path().to_owned());
        let (one, two) = (hash(b"one"), hash(b"two"));
        let index = Index::from([(one.clone(), item("b/one")), (two.clone(), item("a"))]);
        assert_eq!(pool.missing(&index).expect("asked").len(), 2);
        archive(&[(&one, b"one")], &path("update"));
        pool.add(&path("update"), 1 << 20).expect("added");
        assert_eq!(pool.missing(&index).expect("asked"), [two.as_str()]);
        let refused = pool.assemble(&index, &path("source"));
        let refused = refused.expect_err("one is missing").to_string();
        assert!(
            refused.starts_with("1 file of the index, a among"),
            "{refused}"
        );
        archive(&[(&two, b"two")], &path("update"));
        pool.add(&path("update"), 1 << 20).expect("added");
        pool.assemble(&index, &path("source")).expect("whole");
        let file = File::open(path("source")).expect("a file");
        let mut source = tar::Archive::new(MultiGzDecoder::new(file));
        let found: Vec<_> = source
            .entries()
            .expect("entries")
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let mut content = String::new();
                entry.read_to_string(&mut content).expect("text");
                let path = entry.path().expect("a name").into_owned();
                (path, entry.header().mode().expect("a mode"), content)
            })
            .collect();
        let expected = [
            (PathBuf::from("a"), 0o755, "two".to_owned()),
            (PathBuf::from("b/one"), 0o755, "one".to_owned()),
        ];
        assert_eq!(found, expected);
        // Long after, nobody wants them any more.
        pool.forget(SystemTime::now() + Duration::from_secs(60))
            .expect("forgotten");
        assert_eq!(pool.missing(&index).expect("asked").len(), 2);
    }

    #[test]
    fn what_is_not_what_it_says_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let update = directory.path().join("update");
        let pool = Pool::new(directory.path(), directory.path().to_owned());
        let one = hash(b"one");
        for (name, content, reason) in [
            (one.as_str(), &b"other"[..], "has another SHA-256"),
            ("../escaped", b"one", "which is no SHA-256"),
        ] {
            archive(&[(one.as_str(), b"one")], &update);
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            // Written as it is: the library would refuse to.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            let file = File::create(&update).expect("a file");
            let mut out = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
            out.append(&header, content).expect("written");
            out.into_inner()
                .and_then(GzEncoder::finish)
                .expect("written");
            let refused = pool.add(&update, 1 << 20).expect_err(name).to_string();
            assert!(refused.contains(reason), "{refused}");
        }
        archive(&[(one.as_str(), b"one")], &update);
        assert!(pool.add(&update, 2).is_err(), "larger than allowed");
        fs::write(&update, b"no gzip").expect("written");
        assert!(pool.add(&update, 1 << 20).is_err());
        let index = Index::from([("../x".to_owned(), item("x"))]);
        assert!(pool.missing(&index).is_err());
        archive(&[(one.as_str(), b"one")], &update);
        pool.add(&update, 1 << 20).expect("added");
        let climbing = Index::from([(one, item("../../x"))]);
        let to = directory.path().join("source");
        assert!(pool.assemble(&climbing, &to).is_err());
    }
}
