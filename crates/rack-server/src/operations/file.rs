//! Files of processes on their way in and out.
//!
//! What goes in is kept on disk until all of it has come and every entry was looked
//! at, so that an upload that breaks off, is no tar or would replace a directory by a
//! file changes nothing. What comes out is renamed on the way, entry by entry. Neither
//! direction holds more than a few blocks in memory.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::io::SyncIoBridge;

use super::error::{Failure, Result};
use crate::engine::{Engine, PathKind, Reader, outflow};

/// Most bytes of one upload.
const MOST_BYTES: u64 = 16 << 30;
/// Most entries of one upload.
const MOST_ENTRIES: usize = 500_000;
/// Bytes read at once.
const BLOCK: usize = 64 << 10;
/// Questions asked of the engine at the same time.
const AT_ONCE: usize = 8;
/// Mode of directories an upload needs but does not bring.
const DIRECTORY: u32 = 0o755;

/// Longest name of a file, as file systems have it, in bytes.
const LONGEST_NAME: usize = 255;
/// Longest path of a file, in bytes.
pub const LONGEST_PATH: usize = 4095;

/// How an upload is unpacked: the flags of `tar` that version 3 lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unpacking {
    /// Leading parts of names that are dropped.
    strip: usize,
    /// Files belong to the process's user, not to whoever the archive says.
    own: bool,
    /// Modes lose what a umask of 022 takes away.
    masked: bool,
}

impl Unpacking {
    /// Reads `tar-extra`: flags separated by commas.
    pub fn parse(flags: &str) -> Result<Self> {
        let mut unpacking = Self::default();
        for flag in flags
            .split(',')
            .map(str::trim)
            .filter(|flag| !flag.is_empty())
        {
            let unsupported = || Failure::Invalid(format!("unsupported tar flag: {flag}"));
            match flag.split_once('=') {
                None if flag == "--no-same-owner" => unpacking.own = true,
                None if flag == "--no-same-permissions" => unpacking.masked = true,
                Some(("--strip-components", count)) => {
                    unpacking.strip = count.parse().map_err(|_| unsupported())?;
                }
                _ => return Err(unsupported()),
            }
        }
        Ok(unpacking)
    }

    /// The path an entry gets below the root; none when nothing is left of its name.
    fn place(self, name: &[u8]) -> Result<Option<String>> {
        let text = String::from_utf8_lossy(name);
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    return Err(Failure::Invalid(format!(
                        "illegal file path in archive: {text}"
                    )));
                }
                part if part.contains('\0') => {
                    return Err(Failure::Invalid("illegal file path in archive".into()));
                }
                part if part.len() > LONGEST_NAME => {
                    return Err(Failure::Invalid(format!(
                        "a name in the archive is longer than {LONGEST_NAME} bytes"
                    )));
                }
                part => parts.push(part),
            }
        }
        if text.len() > LONGEST_PATH {
            return Err(Failure::Invalid(format!(
                "a path in the archive is longer than {LONGEST_PATH} bytes"
            )));
        }
        let left = parts.get(self.strip..).unwrap_or_default();
        Ok((!left.is_empty()).then(|| left.join("/")))
    }
}

/// An upload that has come whole.
pub struct Upload {
    file: File,
    unpacking: Unpacking,
    /// Directories that entries need, and whether the upload brings them.
    directories: BTreeMap<String, bool>,
    /// Places of entries that are no directories.
    files: Vec<String>,
}

impl Upload {
    /// Takes an upload to its end and looks at every entry of it.
    pub async fn receive(
        scratch: &Path,
        mut body: impl AsyncRead + Unpin,
        unpacking: Unpacking,
    ) -> Result<Self> {
        let file = tempfile::tempfile_in(scratch).map_err(Failure::io("keeping the upload"))?;
        let mut kept = tokio::fs::File::from_std(file);
        let (mut block, mut total) = (vec![0; BLOCK], 0);
        loop {
            let read = body.read(&mut block).await.map_err(|_| {
                Failure::Invalid("the upload ended early: nothing was changed".into())
            })?;
            if read == 0 {
                break;
            }
            total += read as u64;
            if total > MOST_BYTES {
                return Err(Failure::Invalid("the upload is larger than 16 GiB".into()));
            }
            kept.write_all(&block[..read])
                .await
                .map_err(Failure::io("keeping the upload"))?;
        }
        kept.flush()
            .await
            .map_err(Failure::io("keeping the upload"))?;
        let file = kept.into_std().await;
        blocking(move || Self::examine(file, unpacking)).await
    }

    fn examine(mut file: File, unpacking: Unpacking) -> Result<Self> {
        let (mut directories, mut files, mut count) = (BTreeMap::new(), Vec::new(), 0);
        let mut linkable = HashSet::new();
        file.rewind().map_err(Failure::io("reading the upload"))?;
        let mut archive = tar::Archive::new(io::BufReader::with_capacity(BLOCK, &file));
        for entry in archive.entries().map_err(no_tar)? {
            let mut entry = entry.map_err(no_tar)?;
            count += 1;
            if count > MOST_ENTRIES {
                return Err(Failure::Invalid(format!(
                    "the upload has more than {MOST_ENTRIES} files"
                )));
            }
            let size = entry.size();
            if io::copy(&mut entry, &mut io::sink()).map_err(no_tar)? != size {
                return Err(no_tar(io::ErrorKind::UnexpectedEof.into()));
            }
            let Some(place) = unpacking.place(&entry.path_bytes())? else {
                continue;
            };
            for (at, _) in place.match_indices('/') {
                directories.entry(place[..at].to_owned()).or_insert(false);
            }
            let kind = entry.header().entry_type();
            if kind.is_dir() {
                directories.insert(place, true);
            } else if kind.is_hard_link() {
                // Its other name must have come before: nothing else can be linked to.
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = unpacking.place(&target)?.unwrap_or_default();
                if !linkable.contains(&target) {
                    return Err(Failure::Invalid(format!(
                        "/{place} is a link to /{target}, which is not in the upload before it"
                    )));
                }
                files.push(place);
            } else if kind.is_file() || kind.is_symlink() {
                linkable.insert(place.clone());
                files.push(place);
            } else if !kind.is_pax_global_extensions() {
                return Err(Failure::Invalid(format!(
                    "/{place} is a device or a pipe, which cannot be uploaded"
                )));
            }
        }
        // The engine would find out half way.
        let through = files.iter().find(|file| directories.contains_key(*file));
        if let Some(through) = through {
            return Err(Failure::Invalid(format!(
                "/{through} is a file in the upload and a directory of others"
            )));
        }
        if count == 0 && file.metadata().is_ok_and(|found| found.len() == 0) {
            return Err(Failure::Invalid("the upload is empty: send a tar".into()));
        }
        Ok(Self {
            file,
            unpacking,
            directories,
            files,
        })
    }

    /// Unpacks it into a process.
    pub async fn unpack(self, engine: &dyn Engine, id: &str) -> Result<()> {
        let asked: Vec<String> = self
            .directories
            .keys()
            .chain(&self.files)
            .cloned()
            .collect();
        let directories = &self.directories;
        let questions = asked.into_iter().map(|path| {
            let followed = directories.contains_key(&path);
            kind(engine, id, path, followed).boxed()
        });
        let kinds: BTreeMap<String, PathKind> = futures::stream::iter(questions)
            .buffered(AT_ONCE)
            .try_filter_map(|found| std::future::ready(Ok(found)))
            .try_collect()
            .await?;
        for path in &self.files {
            if kinds.get(path) == Some(&PathKind::Directory) {
                return Err(Failure::Invalid(format!(
                    "cannot overwrite directory /{path} with a file"
                )));
            }
        }
        for path in self.directories.keys() {
            if kinds
                .get(path)
                .is_some_and(|kind| *kind != PathKind::Directory)
            {
                return Err(Failure::Invalid(format!(
                    "cannot overwrite file /{path} with a directory"
                )));
            }
        }
        // What is there stays as it is, with its owner and its mode.
        let mut missing = self.directories;
        missing.retain(|path, _| !kinds.contains_key(path));
        let (mut file, unpacking) = (self.file, self.unpacking);
        let tar = outflow::reader(move |out| {
            file.rewind()?;
            write(&file, unpacking, &missing, out)
        });
        Ok(engine.write_files(id, "/", tar).await?)
    }
}

/// What is at a place of a process. A link to a directory may serve as one.
async fn kind(
    engine: &dyn Engine,
    id: &str,
    place: String,
    followed: bool,
) -> Result<Option<(String, PathKind)>> {
    let kind = match engine.path_kind(id, &format!("/{place}")).await? {
        Some(PathKind::Link(target)) if followed => engine.path_kind(id, &target).await?,
        kind => kind,
    };
    Ok(kind.map(|kind| (place, kind)))
}

/// Writes an examined upload as the engine is to unpack it.
fn write(
    file: &File,
    unpacking: Unpacking,
    missing: &BTreeMap<String, bool>,
    out: &mut outflow::Outflow,
) -> io::Result<()> {
    let illegal = |failure: Failure| io::Error::other(failure.to_string());
    let mut out = tar::Builder::new(out);
    for (path, brought) in missing {
        if !brought {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(DIRECTORY);
            header.set_size(0);
            out.append_data(&mut header, format!("{path}/"), io::empty())?;
        }
    }
    let mut archive = tar::Archive::new(io::BufReader::with_capacity(BLOCK, file));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(place) = unpacking.place(&entry.path_bytes()).map_err(illegal)? else {
            continue;
        };
        let kind = entry.header().entry_type();
        let mut header = plain(entry.header(), kind);
        if unpacking.masked {
            let mode = header.mode()?;
            header.set_mode(mode & 0o755);
        }
        if unpacking.own {
            header.set_uid(0);
            header.set_gid(0);
        }
        if kind.is_dir() {
            if missing.contains_key(&place) {
                header.set_size(0);
                out.append_data(&mut header, format!("{place}/"), io::empty())?;
            }
        } else if kind.is_file() {
            header.set_size(entry.size());
            out.append_data(&mut header, &place, &mut entry)?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let mut target = String::from_utf8_lossy(&target).into_owned();
            if kind.is_hard_link() {
                // It names another entry, which was moved like this one.
                let Some(moved) = unpacking.place(target.as_bytes()).map_err(illegal)? else {
                    continue;
                };
                target = moved;
            }
            header.set_size(0);
            out.append_link(&mut header, &place, &target)?;
        }
    }
    out.into_inner()?.flush()
}

/// A header that says the same of an entry, in a form that takes any name.
fn plain(from: &tar::Header, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    // Fields may be blank.
    header.set_mode(from.mode().unwrap_or(0o644) & 0o7777);
    header.set_uid(from.uid().unwrap_or(0));
    header.set_gid(from.gid().unwrap_or(0));
    header.set_mtime(from.mtime().unwrap_or(0));
    header
}

fn no_tar(error: io::Error) -> Failure {
    Failure::Invalid(format!("the upload is not a whole tar: {error}"))
}

/// Names entries of an engine's archive of `found` as clients want them: with the whole
/// of `wanted`, without its leading slash (`rack-api.md` §7.16).
pub fn renamed(archive: Reader, found: &str, wanted: &str) -> Reader {
    let base = found
        .trim_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let wanted = wanted.trim_matches('/').to_owned();
    let mut from = SyncIoBridge::new(archive);
    outflow::reader(move |out| {
        let mut out = tar::Builder::new(out);
        let moved = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            let name = name.trim_start_matches("./").trim_matches('/');
            let rest = match name.strip_prefix(base.as_str()) {
                Some(rest) if base.is_empty() || rest.is_empty() || rest.starts_with('/') => rest,
                _ => name,
            };
            let rest = rest.trim_start_matches('/');
            match (wanted.as_str(), rest) {
                (wanted, "" | ".") => wanted.to_owned(),
                ("", rest) => rest.to_owned(),
                (wanted, rest) => format!("{wanted}/{rest}"),
            }
        };
        {
            let mut entries = tar::Archive::new(&mut from);
            for entry in entries.entries()? {
                let mut entry = entry?;
                let name = moved(&entry.path_bytes());
                if name.is_empty() {
                    // The root itself has no name.
                    continue;
                }
                let kind = entry.header().entry_type();
                let mut header = plain(entry.header(), kind);
                if kind.is_dir() {
                    header.set_size(0);
                    out.append_data(&mut header, format!("{name}/"), io::empty())?;
                } else if kind.is_file() {
                    header.set_size(entry.size());
                    out.append_data(&mut header, &name, &mut entry)?;
                } else if kind.is_symlink() || kind.is_hard_link() {
                    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                    let target = if kind.is_hard_link() {
                        moved(&target)
                    } else {
                        String::from_utf8_lossy(&target).into_owned()
                    };
                    header.set_size(0);
                    out.append_link(&mut header, &name, &target)?;
                }
            }
        }
        // What breaks behind the end mark breaks the answer too.
        io::copy(&mut from, &mut io::sink())?;
        out.into_inner()?.flush()
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|gone| Failure::internal(format!("reading an upload ended early: {gone}")))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_three_flags_pass() {
        let parsed =
            Unpacking::parse("--no-same-owner,--strip-components=2, --no-same-permissions");
        let expected = Unpacking {
            strip: 2,
            own: true,
            masked: true,
        };
        assert_eq!(parsed.expect("allowed"), expected);
        assert_eq!(Unpacking::parse("").expect("none"), Unpacking::default());
        for flag in [
            "--to-command=sh",
            "-P",
            "--strip-components",
            "--strip-components=x",
            "--no-same-owner=1",
        ] {
            let error = Unpacking::parse(flag).expect_err(flag).to_string();
            assert_eq!(error, format!("unsupported tar flag: {flag}"));
        }
    }

    proptest! {
        #[test]
        fn places_are_below_the_root(name in ".{0,30}", strip in 0_usize..3) {
            let unpacking = Unpacking { strip, ..Unpacking::default() };
            if let Ok(Some(place)) = unpacking.place(name.as_bytes()) {
                let sound = |part: &str| !part.is_empty() && part != "." && part != "..";
                prop_assert!(place.split('/').all(sound), "{place:?}");
            }
        }
    }
}
