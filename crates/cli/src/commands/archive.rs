//! Build archives coming and going: `builds export` and `builds import`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use artifact::Format;
use bytes::Bytes;
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
use crate::legacy::Uploads;
use crate::output::Output;
use crate::ui::{Bar, Ui, size};

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
    format: Option<Format>,
) -> Outcome {
    refuse_terminal(context, file)?;
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let ui = context.ui.for_id(file.is_none());
    let id = build_id(&rack, &name, build).await?;
    let progress = ui.start("Exporting build")?;
    // The rack checks all it can before the first byte, so nothing is written until then.
    let archive = rack
        .client
        .build_export(&name, &id, format.map(Format::name))
        .await?;
    if let Some(format) = format
        && !rack.client.is_twinrack()
    {
        return Err(Error::with_hint(
            format!("this rack cannot be asked for the format {format}"),
            format!(
                "export without --format, then `convox artifact convert <file> --to {format} -o <other>`"
            ),
        ));
    }
    receive(archive, file, &ui).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

/// Fails when bytes would go to a terminal.
pub(super) fn refuse_terminal(context: &Context, file: Option<&Path>) -> Result<(), Error> {
    if file.is_none() && (context.ui.stdout_is_terminal() || crate::output::is_closed()) {
        return Err(Error::failed(
            "pipe this command into a file or specify --file",
        ));
    }
    Ok(())
}

/// Writes a file of ours to a named one or to standard output.
pub(super) async fn write_file(from: File, file: Option<&Path>, ui: &Ui) -> Result<(), Error> {
    let reading = || Error::io("can not read the temporary file");
    let length = from.metadata().map_err(reading())?.len();
    let mut pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(from), PIECE);
    let next = async move || pieces.next().await.transpose().map_err(reading());
    receive_pieces(next, Some(length), file, ui).await
}

/// Writes what comes to a file or to standard output.
pub(super) async fn receive(archive: Download, file: Option<&Path>, ui: &Ui) -> Result<(), Error> {
    let length = archive.length();
    let mut archive = told(archive, ui);
    let next = async move || Ok(archive.chunk().await?);
    receive_pieces(next, length, file, ui).await
}

/// Has said on standard error that a connection broke and the download goes on.
pub(super) fn told(download: Download, ui: &Ui) -> Download {
    let ui = ui.clone();
    download.on_resume(move |had, attempt| {
        ui.note(format!(
            "note: the connection broke behind {}, asking for the rest (try {attempt})",
            size(had)
        ));
    })
}

async fn receive_pieces(
    next: impl AsyncFnMut() -> Result<Option<Bytes>, Error>,
    length: Option<u64>,
    file: Option<&Path>,
    ui: &Ui,
) -> Result<(), Error> {
    let bar = ui.bar("exporting", length);
    match file {
        None => copy(next, &bar, |bytes| ui.data(bytes)).await,
        Some(path) => save(next, path, &bar).await,
    }
}

/// Copies an archive piece by piece; one that breaks off is an error.
async fn copy(
    mut next: impl AsyncFnMut() -> Result<Option<Bytes>, Error>,
    bar: &Bar,
    mut write: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    while let Some(bytes) = next().await? {
        bar.advance(bytes.len());
        write(&bytes)?;
    }
    Ok(())
}

/// Writes an archive to a file that has its name only once it is complete.
async fn save(
    next: impl AsyncFnMut() -> Result<Option<Bytes>, Error>,
    path: &Path,
    bar: &Bar,
) -> Result<(), Error> {
    let (mut file, output) = Output::create(path)?;
    let writing = copy(next, bar, |bytes| {
        let doing = || Error::io(format!("can not write {}", path.display()));
        file.write_all(bytes).map_err(doing())
    });
    output.complete(writing).await
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
    let Body { upload, bar } = body(file, &ui);
    let client = &rack.client;
    let build = match Uploads::before(&rack).await {
        Uploads::Plain if foreign => client.build_import_foreign(&name, upload).await?,
        Uploads::Plain => client.build_import(&name, upload).await?,
        Uploads::Object => {
            let object = client.object_store(&name, "", upload).await?;
            client.legacy_build_import_url(&name, &object.url).await?
        }
        Uploads::Form => client.legacy_build_import(&name, upload).await?,
    };
    drop(bar);
    progress.ok_with(&build.release)?;
    tell(context, &build, &name, app.rack.rack.as_deref());
    if only_id {
        ui.data(build.release.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

/// A body that is sent, and the bar that shows how far.
pub(super) struct Body {
    pub(super) upload: Upload,
    pub(super) bar: Bar,
}

/// Sends an opened file, or standard input.
pub(super) fn body(file: Option<(File, Option<u64>)>, ui: &Ui) -> Body {
    let Some((file, length)) = file else {
        let bar = ui.bar("importing", None);
        let upload = counted(tokio::io::stdin(), &bar);
        return Body { upload, bar };
    };
    let bar = ui.bar("importing", length);
    let upload = counted(tokio::fs::File::from_std(file), &bar);
    let upload = length.into_iter().fold(upload, Upload::with_length);
    Body { upload, bar }
}

/// Says on standard error what is worth knowing of a build that has come: that it was
/// here before, what may not run, and what its environment lacks. `rack` is how the command named it.
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
        for (service, architecture) in &source.emulated {
            ui.note(format!(
                "warning: the image of {service} is made for {architecture}, which the rack's engine is not: \
                 it runs only where the engine emulates that"
            ));
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
        "warning: {app} has no value for {names}: `{}`, and promote the release that it makes",
        words.join(" ")
    ));
}

/// Opens an archive; only regular files have a length.
pub(super) fn open(path: &Path) -> Result<(File, Option<u64>), Error> {
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
