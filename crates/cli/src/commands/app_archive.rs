//! An app in one file: `apps export` and `apps import`.
//!
//! The file is a gzip'd tar of `app.json`, `env`, `build.tgz` and, for each resource
//! whose data the rack gives, `resources/<name>.tgz` (`cli.md` §3.1).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rack_api::app::App;
use rack_api::client::{ClientError, Download};
use rack_api::release::CreateOptions;

use super::{archive, promote};
use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::racks::Rack;
use crate::settle;
use crate::ui::Ui;

const APP: &str = "app.json";
const ENVIRONMENT: &str = "env";
const BUILD: &str = "build.tgz";
const RESOURCES: &str = "resources";

/// Most bytes of what is read into memory: the app's description and environment.
const MOST_TEXT: u64 = 16 * 1024 * 1024;
/// Parameters that belong to the rack an app comes from.
const OF_THE_RACK: [&str; 4] = ["Rack", "LogBucket", "ResourcePassword", "ParamPassword"];
/// What version 3 shows of a secret parameter.
const MASKED: &str = "****";

const KEPT: &str = "the app";
const READING: &str = "can not read the export of an app";

/// Writes an app to a file or to standard output.
pub(super) async fn export(
    context: &Context,
    app: &str,
    rack: &RackArgs,
    file: Option<&Path>,
) -> Outcome {
    archive::refuse_terminal(context, file)?;
    let rack = context.rack(rack).await?;
    let ui = context.ui.for_id(file.is_none());
    let progress = ui.start(format!("Exporting app {app}"))?;
    let mut described = rack.client.app_get(app).await?;
    if let Some(parameters) = &mut described.parameters {
        parameters.retain(|name, value| !OF_THE_RACK.contains(&name.as_str()) && value != MASKED);
    }
    let mut package = Package::new()?;
    let json = serde_json::to_vec(&described)
        .map_err(|error| Error::failed(format!("can not describe {app}: {error}")))?;
    package.add(APP, &json)?;
    progress.ok()?;
    if !described.release.is_empty() {
        let progress = ui.start("Exporting env")?;
        let release = rack.client.release_get(app, &described.release).await?;
        package.add(ENVIRONMENT, release.env.as_bytes())?;
        progress.ok()?;
        if !release.build.is_empty() {
            let progress = ui.start(format!("Exporting build {}", release.build))?;
            let build = rack.client.build_export(app, &release.build, None).await?;
            package.add_download(BUILD, build, &ui).await?;
            progress.ok()?;
        }
        add_resources(&rack, app, &mut package, &ui).await?;
    }
    let progress = ui.start("Packaging export")?;
    let whole = package.finish()?;
    archive::write_file(whole, file, &ui).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn add_resources(
    rack: &Rack,
    app: &str,
    package: &mut Package,
    ui: &Ui,
) -> Result<(), Error> {
    for resource in rack.client.resource_list(app).await? {
        let name = resource.name;
        match rack.client.resource_export(app, &name).await {
            Ok(dump) => {
                let progress = ui.start(format!("Exporting resource {name}"))?;
                let entry = format!("{RESOURCES}/{name}.tgz");
                package.add_download(&entry, dump, ui).await?;
                progress.ok()?;
            }
            // A rack, or a type of resource, that gives no data.
            Err(ClientError::Api {
                status: 400..=499,
                message,
            }) => ui.note(format!(
                "warning: the export has no data of resource {name}: {message}"
            )),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// An export in the making, in a file without a name.
struct Package {
    tar: tar::Builder<GzEncoder<File>>,
}

impl Package {
    fn new() -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(Error::keeping(KEPT))?;
        // What weighs is compressed already.
        let tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        Ok(Self { tar })
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.append(name, bytes.len() as u64, bytes)
    }

    fn append(&mut self, name: &str, length: u64, from: impl Read) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_size(length);
        header.set_mode(0o600);
        self.tar
            .append_data(&mut header, name, from)
            .map_err(Error::keeping(KEPT))
    }

    /// Adds what is downloaded, once all of it has come: a tar states lengths first.
    async fn add_download(&mut self, name: &str, download: Download, ui: &Ui) -> Result<(), Error> {
        let mut download = archive::told(download, ui);
        let mut spool = tempfile::tempfile().map_err(Error::keeping(KEPT))?;
        let bar = ui.bar("exporting", download.length());
        let mut length = 0;
        while let Some(bytes) = download.chunk().await? {
            bar.advance(bytes.len());
            length += bytes.len() as u64;
            spool.write_all(&bytes).map_err(Error::keeping(KEPT))?;
        }
        spool.rewind().map_err(Error::keeping(KEPT))?;
        self.append(name, length, spool)
    }

    fn finish(self) -> Result<File, Error> {
        let mut file = self
            .tar
            .into_inner()
            .and_then(GzEncoder::finish)
            .map_err(Error::keeping(KEPT))?;
        file.rewind().map_err(Error::keeping(KEPT))?;
        Ok(file)
    }
}

/// What an export holds; large parts wait in files without a name.
#[derive(Default)]
struct Contents {
    app: Option<App>,
    environment: Option<String>,
    build: Option<File>,
    resources: BTreeMap<String, File>,
}

/// Makes an app of an export.
pub(super) async fn import(
    context: &Context,
    app: &str,
    rack: &RackArgs,
    file: Option<PathBuf>,
) -> Outcome {
    if file.is_none() && io::stdin().is_terminal() {
        return Err(Error::failed(
            "pipe a file into this command or specify --file",
        ));
    }
    let opened = file.as_deref().map(archive::open).transpose()?;
    // All of it is there and readable before anything is made.
    let contents = tokio::task::spawn_blocking(move || match opened {
        Some((file, _)) => read(file),
        None => read(io::stdin().lock()),
    })
    .await
    .map_err(|error| Error::failed(error.to_string()))??;
    let rack = context.rack(rack).await?;
    let described = contents
        .app
        .as_ref()
        .ok_or_else(|| Error::failed(format!("{READING}: it has no {APP}")))?;
    let progress = context.ui.start(format!("Creating app {app}"))?;
    let generation = Some(described.generation.as_str()).filter(|text| !text.is_empty());
    // Until here nothing was made: an app of this name that is there is the user's own.
    rack.client.app_create(app, generation).await?;
    let made = async {
        settle::quietly(&rack, app).await?;
        progress.ok()?;
        fill(context, &rack, app, contents).await
    };
    let made = made.await;
    if made.is_err() {
        // What stands already is the user's to keep or to remove.
        context.ui.note(format!(
            "note: `convox apps delete {app}` removes what was imported so far"
        ));
    }
    made?;
    Ok(Exit::SUCCESS)
}

/// Gives a new app what an export holds.
async fn fill(context: &Context, rack: &Rack, app: &str, contents: Contents) -> Result<(), Error> {
    let described = contents.app.unwrap_or_default();
    let ui = &context.ui;
    let mut release = None;
    if let Some(build) = contents.build {
        let progress = ui.start("Importing build")?;
        let archive::Body { upload, bar } = archive::body(Some(with_length(build)?), ui);
        // Under another name the app is meant all the same.
        let imported = if described.name == app {
            rack.client.build_import(app, upload).await?
        } else {
            rack.client.build_import_foreign(app, upload).await?
        };
        drop(bar);
        progress.ok_with(&imported.release)?;
        release = Some(imported.release);
    }
    if let Some(environment) = contents.environment {
        let progress = ui.start("Importing env")?;
        let options = CreateOptions {
            env: Some(environment),
            ..CreateOptions::default()
        };
        let made = rack.client.release_create(app, &options).await?;
        progress.ok_with(&made.id)?;
        release = Some(made.id);
    }
    if let Some(release) = release {
        promote::promote(rack, app, &release, promote::How::default(), ui).await?;
    }
    for (name, dump) in contents.resources {
        let progress = ui.start(format!("Importing resource {name}"))?;
        let archive::Body { upload, bar } = archive::body(Some(with_length(dump)?), ui);
        rack.client.resource_import(app, &name, upload).await?;
        drop(bar);
        progress.ok()?;
    }
    set_parameters(rack, app, described.parameters.unwrap_or_default(), ui).await
}

async fn set_parameters(
    rack: &Rack,
    app: &str,
    mut wanted: BTreeMap<String, String>,
    ui: &Ui,
) -> Result<(), Error> {
    wanted.retain(|name, _| !OF_THE_RACK.contains(&name.as_str()));
    if wanted.is_empty() {
        return Ok(());
    }
    let there = rack.client.app_get(app).await?;
    let there = there.parameters.unwrap_or_default();
    if wanted
        .iter()
        .all(|(name, value)| there.get(name) == Some(value))
    {
        return Ok(());
    }
    let progress = ui.start("Updating parameters")?;
    rack.client.app_parameters(app, &wanted).await?;
    settle::quietly(rack, app).await?;
    progress.ok()
}

fn with_length(file: File) -> Result<(File, Option<u64>), Error> {
    let length = file.metadata().map_err(Error::keeping(KEPT))?.len();
    Ok((file, Some(length)))
}

/// Reads an export to its end. Nothing is written to a path that it names.
fn read(from: impl Read) -> Result<Contents, Error> {
    let mut contents = Contents::default();
    let mut archive = tar::Archive::new(MultiGzDecoder::new(from));
    for entry in archive.entries().map_err(Error::io(READING))? {
        let mut entry = entry.map_err(Error::io(READING))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(Error::io(READING))?.into_owned();
        let path = path.strip_prefix(".").unwrap_or(&path);
        match path.to_str() {
            Some(APP) => {
                let text = text(&mut entry, APP)?;
                let app = serde_json::from_str(&text)
                    .map_err(|error| Error::failed(format!("{READING}: {APP}: {error}")))?;
                contents.app = Some(app);
            }
            Some(ENVIRONMENT) => contents.environment = Some(text(&mut entry, ENVIRONMENT)?),
            Some(BUILD) => contents.build = Some(spool(&mut entry)?),
            Some(other) => {
                let name = other
                    .strip_prefix(RESOURCES)
                    .and_then(|name| name.strip_prefix('/'))
                    .and_then(|name| name.strip_suffix(".tgz"));
                if let Some(name) = name {
                    contents
                        .resources
                        .insert(name.to_owned(), spool(&mut entry)?);
                }
            }
            None => {}
        }
    }
    // To the end of the stream, where its checksum is.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(Error::io(READING))?;
    Ok(contents)
}

fn text(entry: &mut impl Read, name: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    entry
        .take(MOST_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io(READING))?;
    if bytes.len() as u64 > MOST_TEXT {
        return Err(Error::failed(format!("{READING}: {name} is too large")));
    }
    String::from_utf8(bytes).map_err(|_| Error::failed(format!("{READING}: {name} is not text")))
}

fn spool(entry: &mut impl Read) -> Result<File, Error> {
    let mut file = tempfile::tempfile().map_err(Error::keeping(KEPT))?;
    // Copying says nothing of which side has failed; of a full disk the kind does.
    io::copy(entry, &mut file).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::keeping(KEPT)(error),
        _ => Error::io(READING)(error),
    })?;
    file.rewind().map_err(Error::keeping(KEPT))?;
    Ok(file)
}
