//! The uploaded source: a gzip tar, read in place and never unpacked.
//!
//! Files are looked up by streaming over it; build contexts are streamed out of
//! it, re-rooted at the service's directory and filtered by the `.dockerignore`
//! found there. Symlinks, hard links and modes survive. Blocking code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rack_api::ignore::Ignore;
use tokio_util::io::SyncIoBridge;

use super::error::{Failure, Result};
use crate::engine::Reader;

/// Largest text file (manifest, Dockerfile, `.dockerignore`) read into memory.
const LARGEST_TEXT: u64 = 4 << 20;
/// Bytes of context in flight between the reader and the engine.
const PIPE: usize = 256 << 10;

/// An uploaded source.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
}

impl Source {
    /// The source in a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn open(&self) -> Result<tar::Archive<MultiGzDecoder<BufReader<File>>>> {
        let file = File::open(&self.path).map_err(Failure::io("the uploaded source"))?;
        Ok(tar::Archive::new(MultiGzDecoder::new(
            BufReader::with_capacity(64 << 10, file),
        )))
    }

    /// Reads those of the named files that are there; text only.
    pub fn texts(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut archive = self.open()?;
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let name = clean(&entry.path_bytes())?;
            if !entry.header().entry_type().is_file() || !names.contains(&name) {
                continue;
            }
            let mut text = Vec::new();
            entry
                .by_ref()
                .take(LARGEST_TEXT + 1)
                .read_to_end(&mut text)
                .map_err(unreadable)?;
            if text.len() as u64 > LARGEST_TEXT {
                return Err(Failure::Failed(format!("{name} is larger than 4 MiB")));
            }
            let text = String::from_utf8(text)
                .map_err(|_| Failure::Failed(format!("{name} is not UTF-8 text")))?;
            found.insert(name, text);
        }
        Ok(found)
    }

    /// Streams the context below `root` (`.` for all of it) as an uncompressed tar.
    pub fn context(&self, root: &str, ignore: Ignore, keep: Vec<String>) -> Reader {
        let (reader, writer) = tokio::io::duplex(PIPE);
        let source = self.clone();
        let root = clean(root.as_bytes()).unwrap_or_default();
        tokio::task::spawn_blocking(move || {
            let mut writer = SyncIoBridge::new(writer);
            if let Err(error) = source.copy(&root, &ignore, &keep, &mut writer) {
                // The engine sees a tar without its end and fails; a build that was
                // cancelled has closed the pipe, which is no news.
                tracing::debug!(%error, "the build context ended early");
            }
        });
        Box::pin(reader)
    }

    fn copy(
        &self,
        root: &str,
        ignore: &Ignore,
        keep: &[String],
        to: &mut impl Write,
    ) -> Result<()> {
        let mut archive = self.open()?;
        let mut out = tar::Builder::new(to);
        let broken = |error: io::Error| Failure::Io {
            what: "the build context".into(),
            source: error,
        };
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let name = clean(&entry.path_bytes())?;
            let Some(name) = below(root, &name) else {
                continue;
            };
            if name.is_empty() || (ignore.excludes(name) && !keep.iter().any(|kept| kept == name)) {
                continue;
            }
            let name = name.to_owned();
            let mut header = entry.header().clone();
            // Clients put file-type bits into the mode (`rack-api.md` §6.2).
            header.set_mode(entry.header().mode().unwrap_or(0o644) & 0o7777);
            header.set_uid(0);
            header.set_gid(0);
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry
                    .link_name_bytes()
                    .map(std::borrow::Cow::into_owned)
                    .unwrap_or_default();
                let mut target = String::from_utf8(target).map_err(|_| {
                    Failure::Failed(format!("the target of link {name} is not UTF-8"))
                })?;
                if kind.is_hard_link() {
                    let cleaned = clean(target.as_bytes())?;
                    let Some(moved) = below(root, &cleaned) else {
                        continue;
                    };
                    moved.clone_into(&mut target);
                }
                header.set_size(0);
                out.append_link(&mut header, &name, &target)
                    .map_err(broken)?;
            } else if kind.is_dir() {
                header.set_size(0);
                out.append_data(&mut header, format!("{name}/"), io::empty())
                    .map_err(broken)?;
            } else if kind.is_file() {
                header.set_size(entry.size());
                out.append_data(&mut header, &name, &mut entry)
                    .map_err(broken)?;
            }
        }
        out.into_inner().map_err(broken)?.flush().map_err(broken)
    }

    /// Reads the source to its end, so that a damaged upload fails before anything is built.
    pub fn check(&self) -> Result<()> {
        let mut archive = self.open()?;
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            clean(&entry.path_bytes())?;
            io::copy(&mut entry, &mut io::sink()).map_err(unreadable)?;
        }
        Ok(())
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Failed(format!(
        "the uploaded source is not a readable gzip tar: {error}"
    ))
}

/// The path of an entry, relative and without `.`; those that leave the root are refused.
pub(super) fn clean(path: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(path);
    let illegal = || Failure::Failed(format!("illegal file path in archive: {text}"));
    if text.starts_with('/') || text.contains('\0') {
        return Err(illegal());
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(illegal()),
            _ => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// What is left of a path below a root.
fn below<'a>(root: &str, path: &'a str) -> Option<&'a str> {
    if root.is_empty() {
        return Some(path);
    }
    path.strip_prefix(root)?.strip_prefix('/')
}

/// Joins a directory and a file of it, as names inside the source.
pub fn join(directory: &str, file: &str) -> String {
    let path = Path::new(directory).join(file);
    clean(path.to_string_lossy().as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(clean(b"./a//b/").expect("fine"), "a/b");
        assert!(clean(b"../a").is_err());
        assert!(clean(b"/a").is_err());
        assert_eq!(below("api", "api/main.rb"), Some("main.rb"));
        assert_eq!(below("api", "apis/main.rb"), None);
        assert_eq!(join(".", "Dockerfile"), "Dockerfile");
        assert_eq!(join("./api", "Dockerfile"), "api/Dockerfile");
    }
}
