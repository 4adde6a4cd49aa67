//! Packaging an app's source: a gzip'd tar of the directory, less what its
//! `.dockerignore` names, written to a file so that memory stays constant and
//! the upload has a length.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use flate2::Compression;
use flate2::write::GzEncoder;
use rack_api::ignore::Ignore;
use tar::{Builder, EntryType, Header};

/// Source that can not be packaged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The directory is not there, or is none.
    #[error("no such directory: {}", .0.display())]
    NoDirectory(PathBuf),
    /// A file of the source can not be read.
    #[error("can not read {}: {source}; name it in .dockerignore if it is not part of the app", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file became shorter while it was read.
    #[error("{} changed while it was packaged, try again", .0.display())]
    Changed(PathBuf),
    /// The temporary file can not be written.
    #[error("can not write the source archive to {}: {source}", std::env::temp_dir().display())]
    Write {
        /// Why.
        #[from]
        source: io::Error,
    },
}

/// Packages a directory; the file returned is at its start, with its length.
pub(crate) fn package(directory: &Path, level: Compression) -> Result<(File, u64), SourceError> {
    // The root may be a symlink; nothing below it is followed.
    let root = directory
        .canonicalize()
        .map_err(|_| SourceError::NoDirectory(directory.to_owned()))?;
    if !root.is_dir() {
        return Err(SourceError::NoDirectory(directory.to_owned()));
    }
    let ignore = ignored(&root)?;
    let mut archive = Archive {
        tar: Builder::new(GzEncoder::new(BufWriter::new(tempfile::tempfile()?), level)),
        links: HashMap::new(),
    };
    archive.add_directory(&root, &ignore)?;
    let mut file = archive
        .tar
        .into_inner()?
        .finish()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    let length = file.stream_position()?;
    file.rewind()?;
    Ok((file, length))
}

/// What the `.dockerignore` of a source leaves out.
pub(crate) fn ignored(root: &Path) -> Result<Ignore, SourceError> {
    match fs::read(root.join(".dockerignore")) {
        Ok(text) => Ok(Ignore::parse(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ignore::default()),
        Err(source) => Err(SourceError::Read {
            path: root.join(".dockerignore"),
            source,
        }),
    }
}

/// Visits everything of a source that is not ignored, in order: what it is, its path
/// below the root with `/` between the parts, and what is known of it.
pub(crate) fn visit<E: From<SourceError>>(
    root: &Path,
    ignore: &Ignore,
    mut visit: impl FnMut(&Path, &str, &Metadata) -> Result<(), E>,
) -> Result<(), E> {
    let mut entries = walkdir::WalkDir::new(root)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| SourceError::Read {
            path: error.path().unwrap_or(root).to_owned(),
            source: error.into(),
        })?;
        let path = entry.path();
        let name = path.strip_prefix(root).expect("entries are below the root");
        let text = slashed(name);
        if ignore.excludes(&text) {
            if entry.file_type().is_dir() && !ignore.enters(&text) {
                entries.skip_current_dir();
            }
            continue;
        }
        let metadata = fs::symlink_metadata(path).map_err(|source| SourceError::Read {
            path: path.to_owned(),
            source,
        })?;
        visit(path, &text, &metadata)?;
    }
    Ok(())
}

struct Archive<W: Write> {
    tar: Builder<W>,
    /// First archived name of every file that has several.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Archive<W> {
    fn add_directory(&mut self, root: &Path, ignore: &Ignore) -> Result<(), SourceError> {
        visit(root, ignore, |path, _, metadata| {
            let name = path.strip_prefix(root).expect("entries are below the root");
            if metadata.is_dir() {
                self.add_header(EntryType::Directory, name, metadata, &mut io::empty(), 0)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(path).map_err(|source| SourceError::Read {
                    path: path.to_owned(),
                    source,
                })?;
                let mut header = header(EntryType::Symlink, metadata, 0);
                self.tar.append_link(&mut header, name, target)?;
            } else if metadata.is_file() {
                self.add_file(path, name, metadata)?;
            }
            // Sockets, pipes and devices mean nothing on another machine.
            Ok(())
        })
    }

    fn add_file(
        &mut self,
        path: &Path,
        name: &Path,
        metadata: &Metadata,
    ) -> Result<(), SourceError> {
        if let Some(inode) = shared_inode(metadata) {
            if let Some(first) = self.links.get(&inode) {
                let mut header = header(EntryType::Link, metadata, 0);
                self.tar.append_link(&mut header, name, first)?;
                return Ok(());
            }
            self.links.insert(inode, name.to_owned());
        }
        let file = File::open(path).map_err(|source| SourceError::Read {
            path: path.to_owned(),
            source,
        })?;
        // The header is written first, so exactly as many bytes have to follow.
        let mut content = Counted {
            inner: file.take(metadata.len()),
            count: 0,
            failure: None,
        };
        let added = self.add_header(
            EntryType::Regular,
            name,
            metadata,
            &mut content,
            metadata.len(),
        );
        if let Some(source) = content.failure {
            return Err(SourceError::Read {
                path: path.to_owned(),
                source,
            });
        }
        added?;
        if content.count == metadata.len() {
            Ok(())
        } else {
            Err(SourceError::Changed(path.to_owned()))
        }
    }

    fn add_header(
        &mut self,
        kind: EntryType,
        name: &Path,
        metadata: &Metadata,
        content: &mut impl Read,
        size: u64,
    ) -> Result<(), SourceError> {
        let mut header = header(kind, metadata, size);
        let directory;
        let name = if kind.is_dir() {
            directory = name.join("");
            &directory
        } else {
            name
        };
        Ok(self.tar.append_data(&mut header, name, content)?)
    }
}

fn header(kind: EntryType, metadata: &Metadata, size: u64) -> Header {
    let mut header = Header::new_gnu();
    // Type, mode and owner; the time is set apart because this leaves it out on some systems.
    header.set_metadata(metadata);
    header.set_entry_type(kind);
    header.set_size(size);
    let seconds = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    header.set_mtime(seconds.map_or(0, |seconds| seconds.as_secs()));
    header
}

/// Device and inode of a file that has more than one name.
#[cfg(unix)]
fn shared_inode(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn shared_inode(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// The path with `/` between its components.
fn slashed(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// Counts what is read, and keeps a failure apart from those of the writer.
struct Counted<R> {
    inner: R,
    count: u64,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(count) => {
                self.count += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failure = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

/// `build <hash> <subject>` of the last commit, if the working directory is a
/// git tree without unstaged changes.
pub(crate) fn git_description(working: &Path) -> Option<String> {
    let clean = git(working)
        .args(["diff", "--quiet"])
        .stdout(Stdio::null())
        .status()
        .ok()?
        .success();
    let commit = clean
        .then(|| output(git(working).args(["log", "-1", "--abbrev=10", "--pretty=%h %s"])))??;
    Some(format!("build {commit}"))
}

/// The hash of the last commit of the source, if it is in a git tree.
pub(crate) fn git_sha(directory: &Path) -> Option<String> {
    output(git(directory).args(["rev-parse", "HEAD"]))
}

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;

    /// Kind, name, mode and content (or link target) of every entry.
    fn entries(directory: &Path) -> Vec<(EntryType, String, u32, String)> {
        let (file, length) = package(directory, Compression::fast()).expect("packaged");
        assert_eq!(file.metadata().expect("a file").len(), length);
        let mut archive = tar::Archive::new(GzDecoder::new(file));
        let read = archive.entries().expect("a tar").map(|entry| {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a name").to_string_lossy().into_owned();
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("text");
            if let Some(target) = entry.link_name().expect("a target") {
                content = target.to_string_lossy().into_owned();
            }
            (
                entry.header().entry_type(),
                name,
                entry.header().mode().expect("a mode") & 0o7777,
                content,
            )
        });
        read.collect()
    }

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn names(directory: &Path) -> Vec<String> {
        entries(directory)
            .into_iter()
            .map(|(_, name, ..)| name)
            .collect()
    }

    #[test]
    fn directories_come_before_their_content_in_order() {
        let root = tempfile::tempdir().expect("a directory");
        for path in ["b/x", "a.txt", "b/c/y", ".git/HEAD"] {
            put(root.path(), path, path);
        }
        assert_eq!(
            names(root.path()),
            [".git/", ".git/HEAD", "a.txt", "b/", "b/c/", "b/c/y", "b/x"]
        );
        fs::create_dir(root.path().join("empty")).expect("a directory");
        assert!(names(root.path()).contains(&"empty/".to_owned()));
    }

    #[cfg(unix)]
    #[test]
    fn modes_and_links_survive() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let root = tempfile::tempdir().expect("a directory");
        put(root.path(), "bin/run", "#!/bin/sh\n");
        fs::set_permissions(
            root.path().join("bin/run"),
            fs::Permissions::from_mode(0o755),
        )
        .expect("a mode");
        fs::hard_link(root.path().join("bin/run"), root.path().join("bin/same")).expect("a link");
        symlink("../outside", root.path().join("link")).expect("a link");
        let socket =
            std::os::unix::net::UnixListener::bind(root.path().join("socket")).expect("a socket");
        let all = entries(root.path());
        let link = all
            .iter()
            .find(|(_, name, ..)| name == "link")
            .expect("the link");
        assert_eq!(
            (link.0, link.3.as_str()),
            (EntryType::Symlink, "../outside")
        );
        let run = all
            .iter()
            .find(|(_, name, ..)| name == "bin/run")
            .expect("the file");
        assert_eq!(
            (run.0, run.2, run.3.as_str()),
            (EntryType::Regular, 0o755, "#!/bin/sh\n")
        );
        let same = all
            .iter()
            .find(|(_, name, ..)| name == "bin/same")
            .expect("the second name");
        assert_eq!((same.0, same.3.as_str()), (EntryType::Link, "bin/run"));
        assert!(!all.iter().any(|(_, name, ..)| name == "socket"));
        drop(socket);
    }

    #[test]
    fn ignored_files_are_left_out_and_exceptions_kept() {
        let root = tempfile::tempdir().expect("a directory");
        for path in ["tmp/a", "docs/keep/b", "docs/c", "log/x.log", "app.rb"] {
            put(root.path(), path, "");
        }
        put(
            root.path(),
            ".dockerignore",
            "tmp\ndocs\n!docs/keep\n**/*.log\n",
        );
        assert_eq!(
            names(root.path()),
            [
                ".dockerignore",
                "app.rb",
                "docs/keep/",
                "docs/keep/b",
                "log/"
            ]
        );
    }

    #[test]
    fn long_names_survive() {
        let root = tempfile::tempdir().expect("a directory");
        let name = format!("{0}/{0}/{0}", "n".repeat(120));
        put(root.path(), &name, "deep");
        let all = entries(root.path());
        assert_eq!(
            all.last()
                .map(|(_, name, _, content)| (name.clone(), content.as_str())),
            Some((name, "deep"))
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_root_may_be_a_symlink() {
        let root = tempfile::tempdir().expect("a directory");
        put(root.path(), "app/file", "");
        std::os::unix::fs::symlink(root.path().join("app"), root.path().join("link"))
            .expect("a link");
        assert_eq!(names(&root.path().join("link")), ["file"]);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error =
            package(Path::new("/nowhere/at/all"), Compression::fast()).expect_err("missing");
        assert_eq!(error.to_string(), "no such directory: /nowhere/at/all");
    }
}
