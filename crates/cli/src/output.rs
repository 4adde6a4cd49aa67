//! Files that have their name only once they are complete.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
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
    beside: Option<Beside>,
}

/// A file beside its place, under a name that goes away with this value.
struct Beside {
    temporary: TempPath,
    file: File,
    place: PathBuf,
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
        let directory = place
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut temporary = tempfile::Builder::new();
        temporary.prefix(".convox-");
        // A temporary file is private; an archive is an ordinary file.
        #[cfg(unix)]
        temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = temporary.tempfile_in(directory).map_err(doing())?;
        let (file, temporary) = file.into_parts();
        let writer = file.try_clone().map_err(doing())?;
        let beside = Some(Beside {
            temporary,
            file,
            place,
        });
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
        if let Some(Beside {
            temporary,
            file,
            place,
        }) = self.beside
        {
            let named: io::Result<()> = file
                .sync_all()
                .and_then(|()| temporary.persist(&place).map_err(|error| error.error));
            named.map_err(Error::io(format!("can not write {}", place.display())))?;
        }
        Ok(written)
    }
}
