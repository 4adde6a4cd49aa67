//! Build archives coming and going: `builds export` and `builds import`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use futures::StreamExt as _;
use rack_api::Build;
use rack_api::client::{Download, Upload};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::build_id;
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::{Bar, Ui};

/// Size of the pieces a file is read in.
const PIECE: usize = 256 * 1024;

/// A body whose bytes the bar counts as they are sent.
pub(super) fn counted(reader: impl AsyncRead + Send + 'static, bar: &Bar) -> Upload {
    let count = bar.counter();
    let pieces = ReaderStream::with_capacity(reader, PIECE).inspect(move |piece| {
        if let Ok(piece) = piece {
            count(piece.len());
        }
    });
    Upload::from_stream(pieces)
}

/// Writes a build's archive to a file or to standard output.
pub(super) async fn export(
    context: &Context,
    app: &AppArgs,
    build: &str,
    file: Option<&Path>,
) -> Outcome {
    if file.is_none() && context.ui.stdout_is_terminal() {
        return Err(Error::failed(
            "pipe this command into a file or specify --file",
        ));
    }
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let ui = context.ui.for_id(file.is_none());
    let id = build_id(&rack, &name, build).await?;
    let progress = ui.start("Exporting build")?;
    // The rack checks all it can before the first byte, so nothing is written until then.
    let archive = rack.client.build_export(&name, &id).await?;
    match file {
        None => copy(archive, &ui, |bytes| ui.data(bytes)).await?,
        Some(path) => save(archive, path, &ui).await?,
    }
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

/// Copies an archive piece by piece; one that breaks off is an error.
async fn copy(
    mut archive: Download,
    ui: &Ui,
    mut write: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let bar = ui.bar("exporting", archive.length());
    while let Some(bytes) = archive.chunk().await? {
        bar.advance(bytes.len());
        write(&bytes)?;
    }
    Ok(())
}

/// Writes an archive to a file that has its name only once it is complete.
async fn save(archive: Download, path: &Path, ui: &Ui) -> Result<(), Error> {
    let doing = || format!("can not write {}", path.display());
    // Through a symlink to the file it names.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.exists() && !path.is_file() {
        // A device or a pipe is written to, never replaced.
        let mut file = File::options()
            .write(true)
            .open(&path)
            .map_err(Error::io(doing()))?;
        return copy(archive, ui, |bytes| {
            file.write_all(bytes).map_err(Error::io(doing()))
        })
        .await;
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".convox-export-");
    // A temporary file is private; an export is an ordinary file.
    #[cfg(unix)]
    temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = temporary
        .tempfile_in(directory)
        .map_err(Error::io(doing()))?;
    copy(archive, ui, |bytes| {
        file.write_all(bytes).map_err(Error::io(doing()))
    })
    .await?;
    file.as_file().sync_all().map_err(Error::io(doing()))?;
    file.persist(&path)
        .map_err(|error| Error::io(doing())(error.error))?;
    Ok(())
}

/// Sends an archive from a file or from standard input and names its release.
pub(super) async fn import(
    context: &Context,
    app: &AppArgs,
    file: Option<&Path>,
    foreign: bool,
    only_id: bool,
) -> Outcome {
    if file.is_none() && io::stdin().is_terminal() {
        return Err(Error::failed(
            "pipe a file into this command or specify --file",
        ));
    }
    let name = context.app(app)?;
    // Before anything is asked of the rack: a file that is not there.
    let file = file.map(open).transpose()?;
    let rack = context.rack(&app.rack).await?;
    let ui = context.ui.for_id(only_id);
    let progress = ui.start("Importing build")?;
    let (body, bar) = if let Some((file, length)) = file {
        let bar = ui.bar("importing", length);
        let body = counted(tokio::fs::File::from_std(file), &bar);
        (length.into_iter().fold(body, Upload::with_length), bar)
    } else {
        let bar = ui.bar("importing", None);
        (counted(tokio::io::stdin(), &bar), bar)
    };
    let build = if foreign {
        rack.client.build_import_foreign(&name, body).await?
    } else {
        rack.client.build_import(&name, body).await?
    };
    drop(bar);
    progress.ok_with(&build.release)?;
    tell(context, &build, &name, app.rack.rack.as_deref());
    if only_id {
        ui.data(build.release.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

/// Says on standard error what is worth knowing of a build that has come: that it was
/// here before, and what its environment lacks. `rack` is how the command named it.
pub(super) fn tell(context: &Context, build: &Build, app: &str, rack: Option<&str>) {
    let ui = &context.ui;
    if let Some(source) = &build.provenance {
        if !source.imported_before.is_empty() {
            let before = &source.imported_before;
            ui.note(format!(
                "note: the same archive was imported before, as build {before}"
            ));
        }
        if source.images_present && !source.archive.is_empty() {
            ui.note("note: the rack had all images already, none was loaded");
        }
    }
    if build.missing_environment.is_empty() {
        return;
    }
    let names = build.missing_environment.join(", ");
    let mut words = vec!["convox env set".to_owned()];
    words.extend(
        build
            .missing_environment
            .iter()
            .map(|name| format!("{name}=<value>")),
    );
    words.push(format!("-a {app}"));
    words.extend(rack.map(|rack| format!("-r {rack}")));
    ui.note(format!(
        "warning: {app} has no value for {names}: before promoting, `{}`",
        words.join(" ")
    ));
}

/// Opens an archive; only regular files have a length.
fn open(path: &Path) -> Result<(File, Option<u64>), Error> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(Error::io(format!("can not read {}", path.display())))?;
    if metadata.is_dir() {
        return Err(Error::failed(format!(
            "can not read {}: it is a directory",
            path.display()
        )));
    }
    Ok((file, metadata.is_file().then_some(metadata.len())))
}
