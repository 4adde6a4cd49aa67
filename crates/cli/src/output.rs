//! Files that have their name only once they are complete.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::commands::Signals;
use crate::error::Error;

/// Whether standard output was closed before this program began: it is the null device
/// then, opened for reading too. Some programs throw output away in this very way, which
/// does an archive no good either.
pub(crate) fn is_closed() -> bool {
    let stdout = rustix::stdio::stdout();
    let device = stdout
        .try_clone_to_owned()
        .and_then(|stdout| File::from(stdout).metadata());
    let null = std::fs::metadata("/dev/null");
    let same = matches!((device, null), (Ok(device), Ok(null)) if device.rdev() == null.rdev());
    same && rustix::fs::fcntl_getfl(stdout)
        .is_ok_and(|flags| flags.contains(rustix::fs::OFlags::RDWR))
}

/// A file that is being written.
pub(crate) struct Output {
    /// Listened to before there is anything to clean up.
    signals: Signals,
    /// Nothing for a device or a pipe: those are written to, never replaced.
    beside: Option<(Whole, PathBuf)>,
}

impl Output {
    /// Begins a file. What is at its place stays there until [`Self::complete`].
    pub(crate) fn create(path: &Path) -> Result<(File, Self), Error> {
        let doing = || Error::io(format!("can not write {}", path.display()));
        let signals = Signals::listen()?;
        // Through a symlink to the file it names.
        let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if place.exists() && !place.is_file() {
            let file = File::options().write(true).open(&place).map_err(doing())?;
            let beside = None;
            return Ok((file, Self { signals, beside }));
        }
        // A temporary file is private; an archive is an ordinary file.
        let whole = Whole::begin(&place, 0o666).map_err(doing())?;
        if let Ok(before) = place.metadata() {
            // One that was private stays so.
            let kept = whole.file.set_permissions(before.permissions());
            kept.map_err(doing())?;
        }
        let writer = whole.file.try_clone().map_err(doing())?;
        let beside = Some((whole, place));
        Ok((writer, Self { signals, beside }))
    }

    /// Waits for the file to be written and gives it its name. Nothing of it stays after
    /// a failure, nor when the program is asked to leave.
    pub(crate) async fn complete<T>(
        mut self,
        writing: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let written = tokio::select! {
            written = writing => written?,
            signal = self.signals.next() => return Err(Error::Interrupted(signal)),
        };
        if let Some((whole, place)) = self.beside {
            let named = whole.file.sync_all().and_then(|()| whole.name(&place));
            named.map_err(Error::io(format!("can not write {}", place.display())))?;
        }
        Ok(written)
    }
}

/// A file that gets its name when it is whole. Where the system can, it has none before, so
/// that nothing of it stays, however the program ends; elsewhere a temporary one beside its
/// place, which goes away with this value.
pub(crate) struct Whole {
    pub(crate) file: File,
    temporary: Option<TempPath>,
}

impl Whole {
    /// Begins a file that is to stand at a place.
    pub(crate) fn begin(place: &Path, mode: u32) -> io::Result<Self> {
        let directory = directory_of(place);
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed::create(directory, mode) {
            let temporary = None;
            return Ok(Self { file, temporary });
        }
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(directory)
            .map_err(without_place)?;
        let (file, temporary) = file.into_parts();
        let temporary = Some(temporary);
        Ok(Self { file, temporary })
    }

    /// Puts it in its place, instead of what is there.
    pub(crate) fn name(self, place: &Path) -> io::Result<()> {
        match self.temporary {
            Some(temporary) => temporary.persist(place).map_err(|error| error.error),
            #[cfg(target_os = "linux")]
            None => unnamed::link(&self.file, place),
            #[cfg(not(target_os = "linux"))]
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// How names of files begin that are not in their place yet.
const PREFIX: &str = ".convox-";

fn directory_of(place: &Path) -> &Path {
    place
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// An error of a temporary file without its path, which nobody has asked for.
pub(crate) fn without_place(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.rsplit_once(" at path ") {
        Some((reason, _)) if error.get_ref().is_some() => io::Error::new(error.kind(), reason),
        _ => error,
    }
}

/// Files without a name, which Linux has.
#[cfg(target_os = "linux")]
mod unnamed {
    use std::fs::{self, File};
    use std::io;
    use std::os::fd::AsRawFd as _;
    use std::path::Path;

    use rack_api::id;
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    use rustix::io::Errno;

    use super::{PREFIX, directory_of};

    /// Where open files can be linked from.
    const OPEN: &str = "/proc/self/fd";

    /// Creates one; nothing where that can not be done.
    pub(super) fn create(directory: &Path, mode: u32) -> Option<File> {
        if !Path::new(OPEN).is_dir() {
            return None;
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        // What fails for another reason fails with a name too, and says why.
        let file = open(directory, flags, Mode::from_raw_mode(mode)).ok()?;
        Some(file.into())
    }

    /// Gives it a name that may be another file's.
    pub(super) fn link(file: &File, place: &Path) -> io::Result<()> {
        let from = format!("{OPEN}/{}", file.as_raw_fd());
        let link = |to: &Path| linkat(CWD, from.as_str(), CWD, to, AtFlags::SYMLINK_FOLLOW);
        match link(place) {
            Err(Errno::EXIST) => {}
            linked => return Ok(linked?),
        }
        // A link replaces nothing; a new name does.
        let beside = directory_of(place).join(format!("{PREFIX}{}", id::hex(16)));
        link(&beside)?;
        fs::rename(&beside, place).inspect_err(|_| {
            // The failure that is told is the first one.
            let _ = fs::remove_file(&beside);
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("x");
        for text in ["first", "second"] {
            let mut whole = Whole::begin(&place, 0o640).expect("begun");
            whole.file.write_all(text.as_bytes()).expect("written");
            if cfg!(target_os = "linux") {
                assert!(!names(directory.path()).iter().any(|name| name != "x"));
            }
            whole.name(&place).expect("named");
            assert_eq!(fs::read_to_string(&place).expect("read"), text);
            assert_eq!(names(directory.path()), ["x"]);
        }
        let mode = fs::metadata(&place).expect("there").permissions().mode();
        assert_eq!(mode & 0o137, 0o000, "as private as was said: {mode:o}");
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut whole = Whole::begin(&directory.path().join("x"), 0o600).expect("begun");
        whole.file.write_all(b"half").expect("written");
        drop(whole);
        assert_eq!(names(directory.path()), Vec::<String>::new());
        // A directory does not give way, and nothing stays beside it.
        let place = directory.path().join("d");
        fs::create_dir(&place).expect("a directory");
        let whole = Whole::begin(&place, 0o600).expect("begun");
        whole.name(&place).expect_err("a directory is there");
        assert_eq!(names(directory.path()), ["d"]);
    }

    #[test]
    fn errors_name_no_temporary_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = Whole::begin(&directory.path().join("no/x"), 0o600).map(drop);
        let error = error.expect_err("no directory").to_string();
        assert!(!error.contains(PREFIX), "{error}");
        assert!(error.starts_with("No such file"), "{error}");
    }
}
