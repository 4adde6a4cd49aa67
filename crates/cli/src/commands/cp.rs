//! `convox cp`: files to, from and between processes.
//!
//! What travels is a tar. Names in it are given the destination's; nothing it holds
//! is written outside of that.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use futures::StreamExt as _;
use rack_api::client::Download;
use tar::EntryType;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::archive;
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::output::Whole;
use crate::parcel::{self, KEPT, Parcel};
use crate::racks::Rack;

/// A copy of files.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// path, or `pid:/path`
    #[arg(value_name = "[pid:]src")]
    source: String,
    /// path, or `pid:/path`
    #[arg(value_name = "[pid:]dst")]
    destination: String,
    /// flags of tar for v3 racks
    #[arg(long, hide = true, value_name = "tar-extra")]
    tar_extra: Option<String>,
    #[command(flatten)]
    app: AppArgs,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Local(PathBuf),
    Process { pid: String, path: String },
}

impl End {
    fn parse(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            // A path such as `./a:b` is one.
            Some((pid, path)) if !pid.is_empty() && !pid.contains('/') => {
                if !path.starts_with('/') {
                    return Err(Error::failed("must specify absolute paths for processes"));
                }
                Ok(Self::Process {
                    pid: pid.to_owned(),
                    path: path.to_owned(),
                })
            }
            _ if text.is_empty() => Err(Error::failed("a path must not be empty")),
            _ => Ok(Self::Local(text.into())),
        }
    }

    /// The name of what is there.
    fn base(&self) -> Result<PathBuf, Error> {
        let path = match self {
            // `.` and `..` have one too.
            Self::Local(path) => path
                .canonicalize()
                .map_err(Error::io(format!("can not read {}", path.display())))?,
            Self::Process { path, .. } => path.into(),
        };
        Ok(path.file_name().map(PathBuf::from).unwrap_or_default())
    }
}

impl Copy {
    /// Copies.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let source = End::parse(&self.source)?;
        let destination = End::parse(&self.destination)?;
        let base = source.base()?;
        let into = self.destination.ends_with('/');
        let rack = if let (End::Local(_), End::Local(_)) = (&source, &destination) {
            None
        } else {
            let app = context.app(&self.app)?;
            Some((context.rack(&self.app.rack).await?, app))
        };
        // What is copied gets the destination's name, or its own inside of a directory.
        let target = match &destination {
            End::Local(path) if into || path.is_dir() => path.join(&base),
            End::Local(path) => path.clone(),
            End::Process { pid, path } => {
                let (rack, app) = rack.as_ref().expect("an end is a process");
                let path = Path::new(path);
                if into || is_directory(rack, app, pid, path).await? {
                    path.join(&base)
                } else {
                    path.to_owned()
                }
            }
        };
        let name = match &destination {
            End::Local(_) => PathBuf::from(ROOT),
            End::Process { .. } => inside(&target),
        };
        let tar = match source {
            End::Local(path) => blocking(move || pack(&path, &name)).await?,
            End::Process { pid, path } => {
                let (rack, app) = rack.as_ref().expect("an end is a process");
                let download = rack.client.files_download(app, &pid, &path).await?;
                let download = archive::told(download, &context.ui);
                let from = SyncIoBridge::new(reader(download));
                blocking(move || rename(from, &path, &name)).await?
            }
        };
        match destination {
            End::Local(_) => blocking(move || unpack(tar, &target)).await?,
            End::Process { pid, .. } => {
                let (rack, app) = rack.as_ref().expect("an end is a process");
                parcel::send(rack, app, &pid, tar).await?;
            }
        }
        Ok(Exit::SUCCESS)
    }
}

/// Name of what is copied in a tar that stays on this machine.
const ROOT: &str = "copied";

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::failed(format!("the copy has stopped: {error}")))?
}

fn reader(download: Download) -> impl tokio::io::AsyncRead + Unpin + Send + 'static {
    StreamReader::new(
        download
            .map(|piece| piece.map_err(io::Error::other))
            .boxed(),
    )
}

/// Whether a path of a process is a directory, told by the first entry of its tar.
async fn is_directory(rack: &Rack, app: &str, pid: &str, path: &Path) -> Result<bool, Error> {
    let path = path.to_string_lossy();
    let download = match rack.client.files_download(app, pid, &path).await {
        Ok(download) => download,
        // What is not there is made.
        Err(error) if error.is_not_found() => return Ok(false),
        // Real racks say so in words, with whatever status.
        Err(rack_api::client::ClientError::Api { message, .. })
            if message.to_lowercase().contains("no such file") =>
        {
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    let from = SyncIoBridge::new(reader(download));
    blocking(move || {
        let mut archive = tar::Archive::new(from);
        let mut entries = archive.entries().map_err(Error::io(READING))?;
        match entries.next() {
            Some(Ok(entry)) => Ok(entry.header().entry_type().is_dir()),
            Some(Err(error)) => Err(Error::io(READING)(error)),
            None => Ok(false),
        }
    })
    .await
}

const READING: &str = "can not read what the rack has sent";

/// The name of a path of a process in a tar that is unpacked at its root.
fn inside(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .collect()
}

/// Packs a local file or directory under a name.
fn pack(path: &Path, name: &Path) -> Result<File, Error> {
    let unreadable = || format!("can not read {}", path.display());
    let mut parcel = Parcel::new()?;
    // The path itself may be a link; nothing below it is followed.
    let whole = fs::metadata(path).map_err(Error::io(unreadable()))?;
    if !whole.is_dir() && !whole.is_file() {
        return Err(Error::failed(format!(
            "{} is neither a file nor a directory",
            path.display()
        )));
    }
    let entries = walkdir::WalkDir::new(path)
        .follow_root_links(true)
        .sort_by_file_name();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(unreadable())(error.into()))?;
        let below = entry.path().strip_prefix(path).unwrap_or(Path::new(""));
        if below.as_os_str().is_empty() {
            parcel.add(path, name, &whole)?;
            continue;
        }
        let found = fs::symlink_metadata(entry.path()).map_err(Error::io(unreadable()))?;
        parcel.add(entry.path(), &name.join(below), &found)?;
    }
    parcel.finish()
}

/// What is below the path of a process in a name of the tar that was made of it: names
/// begin with the last part of the path, or with all of it.
fn below(name: &Path, path: &Path) -> Option<PathBuf> {
    let name: PathBuf = name
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .collect();
    if name
        .components()
        .any(|part| matches!(part, Component::ParentDir))
    {
        return None;
    }
    let whole = inside(path);
    let last = whole.file_name().map_or(Path::new(""), Path::new);
    name.strip_prefix(&whole)
        .or_else(|_| name.strip_prefix(last))
        .ok()
        .map(Path::to_owned)
}

/// Writes a tar anew, with what was copied under a name.
fn rename(from: impl Read, path: &str, name: &Path) -> Result<File, Error> {
    let mut parcel = Parcel::new()?;
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries().map_err(Error::io(READING))? {
        let mut entry = entry.map_err(Error::io(READING))?;
        let old = entry.path().map_err(Error::io(READING))?.into_owned();
        let Some(below) = below(&old, Path::new(path)) else {
            return Err(Error::failed(format!(
                "the rack has sent {}, which is not below {path}",
                old.display()
            )));
        };
        let new = if below.as_os_str().is_empty() {
            name.to_owned()
        } else {
            name.join(below)
        };
        let kind = entry.header().entry_type();
        let link = if kind.is_symlink() || kind.is_hard_link() {
            let link = entry.link_name().map_err(Error::io(READING))?;
            let link = link.ok_or_else(|| Error::failed(READING))?.into_owned();
            Some(if kind.is_hard_link() {
                let target = self::below(&link, Path::new(path));
                name.join(target.ok_or_else(|| Error::failed(READING))?)
            } else {
                link
            })
        } else {
            None
        };
        parcel
            .pass_on(&mut entry, &new, link.as_deref())
            .map_err(Error::io(READING))?;
    }
    if parcel.is_empty() {
        return Err(Error::failed(format!(
            "the rack has sent nothing of {path}"
        )));
    }
    parcel.finish()
}

/// Writes what a tar of ours holds to a path. Files appear whole; links are made last,
/// so that nothing is written through them.
fn unpack(tar: File, to: &Path) -> Result<(), Error> {
    let mut archive = tar::Archive::new(tar);
    let mut links = Vec::new();
    let mut modes = Vec::new();
    for entry in archive.entries().map_err(Error::keeping(KEPT))? {
        let mut entry = entry.map_err(Error::keeping(KEPT))?;
        let name = entry.path().map_err(Error::keeping(KEPT))?.into_owned();
        let below = name.strip_prefix(ROOT).expect("named by us");
        let path = if below.as_os_str().is_empty() {
            to.to_owned()
        } else {
            to.join(below)
        };
        let unwritable = || format!("can not write {}", path.display());
        let mode = entry.header().mode().map_err(Error::keeping(KEPT))? & 0o777;
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir_all(&path).map_err(Error::io(unwritable()))?;
                modes.push((path, mode));
            }
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name().map_err(Error::keeping(KEPT))?;
                let target = target.map(std::borrow::Cow::into_owned);
                links.push((path, target, entry.header().entry_type()));
            }
            kind if kind.is_file() => {
                write(&path, &mut entry, mode).map_err(Error::io(unwritable()))?;
            }
            _ => {
                return Err(Error::failed(format!(
                    "{} is neither a file nor a directory",
                    path.display()
                )));
            }
        }
    }
    for (path, target, kind) in links {
        let unwritable = || format!("can not write {}", path.display());
        let target = target.ok_or_else(|| Error::failed(READING))?;
        // As `cp` does, a file gives way and a directory does not.
        if path.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            fs::remove_file(&path).map_err(Error::io(unwritable()))?;
        }
        let made = if kind == EntryType::Symlink {
            std::os::unix::fs::symlink(&target, &path)
        } else {
            let below = target.strip_prefix(ROOT).unwrap_or(&target);
            fs::hard_link(to.join(below), &path)
        };
        made.map_err(Error::io(unwritable()))?;
    }
    // Last, as a directory without write permission takes no files.
    for (path, mode) in modes.into_iter().rev() {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(Error::io(format!("can not write {}", path.display())))?;
    }
    Ok(())
}

/// Writes a file that has its name only once it is complete.
fn write(path: &Path, from: &mut impl Read, mode: u32) -> io::Result<()> {
    // Through a link to the file it names.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if path.exists() && !path.is_file() {
        // A device or a pipe is written to, never replaced.
        let mut file = File::options().write(true).open(&path)?;
        return io::copy(from, &mut file).map(drop);
    }
    let mut whole = Whole::begin(&path, 0o600)?;
    io::copy(from, &mut whole.file)?;
    whole
        .file
        .set_permissions(fs::Permissions::from_mode(mode))?;
    whole.name(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_written_to_and_never_replaced() {
        use std::os::unix::fs::FileTypeExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a pipe");
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read_to_string(pipe))
        };
        write(&pipe, &mut "hello".as_bytes(), 0o644).expect("written");
        assert_eq!(reader.join().expect("read").expect("read"), "hello");
        let kind = fs::metadata(&pipe).expect("a pipe still").file_type();
        assert!(kind.is_fifo());
    }

    #[test]
    fn ends_are_paths_or_processes() {
        let process = |pid: &str, path: &str| End::Process {
            pid: pid.into(),
            path: path.into(),
        };
        for (text, wanted) in [
            ("a", Some(End::Local("a".into()))),
            ("./a:b", Some(End::Local("./a:b".into()))),
            ("/x/a:b", Some(End::Local("/x/a:b".into()))),
            ("abc:/tmp/x", Some(process("abc", "/tmp/x"))),
            ("abc:tmp", None),
            ("", None),
        ] {
            assert_eq!(End::parse(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn names_in_a_tar_are_below_the_path_or_refused() {
        for (name, path, wanted) in [
            ("hosts", "/etc/hosts", Some("")),
            ("etc/hosts", "/etc/hosts", Some("")),
            ("/etc/hosts", "/etc/hosts", Some("")),
            ("app/lib/a.rb", "/srv/app", Some("lib/a.rb")),
            ("srv/app/lib/a.rb", "/srv/app/", Some("lib/a.rb")),
            ("./app/", "/srv/app", Some("")),
            ("anything/below", "/", Some("anything/below")),
            ("other", "/etc/hosts", None),
            ("app/../../x", "/srv/app", None),
        ] {
            let found = below(Path::new(name), Path::new(path));
            assert_eq!(found, wanted.map(PathBuf::from), "{name} of {path}");
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_under_another_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let from = directory.path().join("from");
        fs::create_dir_all(from.join("sub")).expect("a directory");
        fs::write(from.join("sub/a"), [0, 255]).expect("a file");
        fs::set_permissions(from.join("sub/a"), fs::Permissions::from_mode(0o751)).expect("set");
        std::os::unix::fs::symlink("sub/a", from.join("link")).expect("a link");
        let to = directory.path().join("to");
        unpack(pack(&from, Path::new(ROOT)).expect("packed"), &to).expect("unpacked");
        assert_eq!(fs::read(to.join("link")).expect("read"), [0, 255]);
        let mode = fs::metadata(to.join("sub/a"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o751);
        assert_eq!(
            fs::read_link(to.join("link")).expect("a link"),
            Path::new("sub/a")
        );
        // Once more, over what is there.
        unpack(pack(&from, Path::new(ROOT)).expect("packed"), &to).expect("unpacked");
        let file = directory.path().join("file");
        unpack(
            pack(&from.join("sub/a"), Path::new(ROOT)).expect("packed"),
            &file,
        )
        .expect("unpacked");
        assert_eq!(fs::read(&file).expect("read"), [0, 255]);
    }
}
