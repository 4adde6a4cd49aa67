//! `convox build`, and `convox builds` with what is below it.

use std::collections::BTreeMap;
use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use artifact::Format;
use clap::{Args, Subcommand};
use flate2::Compression;
use jiff::Timestamp;
use rack_api::build::{CreateOptions, Provenance, status};
use rack_api::client::ClientError;
use rack_api::id;
use rack_api::time::whole_seconds;

use super::image::ImportImage;
use super::{archive, build_id, copy};
use crate::arguments::{AppArgs, limit};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy::Uploads;
use crate::racks::Rack;
use crate::source;
use crate::ui::{Info, Table, Ui, ago, elapsed};
use crate::view::ViewArgs;

/// What is said when the packaged source can not be read again.
const UNREADABLE: &str = "can not read the packaged source";
/// How often a real rack is asked whether a build has ended.
const POLL: Duration = Duration::from_secs(1);

/// Makes a build of a directory.
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    source: BuildArgs,
    #[command(flatten)]
    app: AppArgs,
    /// print only the id of the release
    #[arg(long)]
    id: bool,
}

/// What is built, and how; shared with `convox deploy`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// directory of the source
    #[arg(value_name = "dir")]
    directory: Option<PathBuf>,
    /// build argument, may be repeated
    #[arg(long = "build-args", value_name = "KEY=VALUE")]
    variables: Vec<String>,
    /// description of the build
    #[arg(short, long, value_name = "description")]
    description: Option<String>,
    /// build the development stage
    #[arg(long)]
    development: bool,
    /// file name of the manifest
    #[arg(short, long, value_name = "manifest")]
    manifest: Option<String>,
    /// file name of the manifest, in the words of 2017
    #[arg(short, long, value_name = "manifest", hide = true)]
    file: Option<String>,
    /// build without cache
    #[arg(long)]
    no_cache: bool,
    /// taken and ignored: the rack builds
    #[arg(long, hide = true)]
    external: bool,
    /// taken and ignored: every upload is complete
    #[arg(long, hide = true)]
    incremental: bool,
    /// taken and ignored: wildcard domains need no build
    #[arg(long, hide = true)]
    wildcard_domain: bool,
}

impl Build {
    /// Makes the build and names its release.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let app = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let ui = context.ui.for_id(self.id);
        let build = make(context, &rack, &app, &self.source, &ui).await?;
        ui.line(format!("Build:   {}", build.id))?;
        ui.line(format!("Release: {}", build.release))?;
        if self.id {
            ui.data(build.release.as_bytes())?;
        }
        Ok(Exit::SUCCESS)
    }
}

/// Packages, uploads and builds a directory, showing the log.
pub(super) async fn make(
    context: &Context,
    rack: &Rack,
    app: &str,
    arguments: &BuildArgs,
    ui: &Ui,
) -> Result<rack_api::Build, Error> {
    let directory = arguments
        .directory
        .clone()
        .unwrap_or_else(|| PathBuf::from("."));
    let directory = context.settings.working().join(directory);
    let options = options(context, arguments, &directory);
    from(rack, app, directory, &options, ui).await
}

/// Packages, uploads and builds a directory with options.
pub(super) async fn from(
    rack: &Rack,
    app: &str,
    directory: PathBuf,
    options: &CreateOptions,
    ui: &Ui,
) -> Result<rack_api::Build, Error> {
    let progress = ui.start("Packaging source")?;
    // Within one machine bytes are cheaper than compressing them well.
    let level = if rack.local {
        Compression::fast()
    } else {
        Compression::default()
    };
    let packaged = tokio::task::spawn_blocking(move || source::package(&directory, level)).await;
    let (file, length) = packaged.map_err(|error| Error::failed(error.to_string()))??;
    progress.ok()?;

    let progress = ui.start("Uploading source")?;
    let key = format!("tmp/{}.tgz", id::hex(30));
    let bar = ui.bar("uploading", Some(length));
    let mut again = file.try_clone().map_err(Error::io(UNREADABLE))?;
    let body = archive::counted(tokio::fs::File::from_std(file), &bar).with_length(length);
    let stored = rack.client.object_store(app, &key, body).await;
    let build = if Uploads::after(rack, &stored).await == Uploads::Plain {
        let object = stored?;
        drop(bar);
        progress.ok()?;
        let progress = ui.start("Starting build")?;
        let build = rack.client.build_create(app, &object.url, options).await?;
        progress.ok()?;
        build
    } else {
        drop(bar);
        again.rewind().map_err(Error::io(UNREADABLE))?;
        let bar = ui.bar("uploading", Some(length));
        let body = archive::counted(tokio::fs::File::from_std(again), &bar).with_length(length);
        let build = rack.client.legacy_build_create(app, body, options).await?;
        drop(bar);
        progress.ok()?;
        build
    };
    follow(rack, app, &build.id, ui).await
}

fn options(context: &Context, arguments: &BuildArgs, directory: &Path) -> CreateOptions {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    CreateOptions {
        build_args: arguments.variables.clone(),
        description: given(&arguments.description)
            .or_else(|| source::git_description(context.settings.working())),
        development: arguments.development,
        manifest: given(&arguments.file).or_else(|| given(&arguments.manifest)),
        no_cache: arguments.no_cache,
        git_sha: source::git_sha(directory),
    }
}

/// Shows the log of a build until that has ended.
async fn follow(rack: &Rack, app: &str, id: &str, ui: &Ui) -> Result<rack_api::Build, Error> {
    // A stream that breaks is made up for by reading the log again at the end.
    let (shown, _) = copy_log(rack, app, id, 0, ui).await?;
    let build = ended(rack, app, id).await?;
    if let (_, Some(lost)) = copy_log(rack, app, id, shown, ui).await? {
        ui.note(format!("the end of the build log is missing: {lost}"));
    }
    match build.status.as_str() {
        status::COMPLETE => Ok(build),
        status::FAILED if build.reason.is_empty() => Err(Error::failed("build failed")),
        status::FAILED => Err(Error::failed(format!("build failed: {}", build.reason))),
        other => Err(Error::failed(format!("unexpected build status: {other}"))),
    }
}

/// Copies a build log but for the first `skip` bytes. Returns how many bytes
/// are known now, and why there are no more if the stream broke.
async fn copy_log(
    rack: &Rack,
    app: &str,
    id: &str,
    skip: usize,
    ui: &Ui,
) -> Result<(usize, Option<ClientError>), Error> {
    let mut seen = 0;
    let mut stream = match rack.client.build_logs(app, id).await {
        Ok(stream) => stream,
        Err(error) => return Ok((skip, Some(error))),
    };
    loop {
        match stream.next().await {
            Ok(Some(bytes)) => {
                let known = skip.saturating_sub(seen).min(bytes.len());
                ui.bytes(&bytes[known..])?;
                seen += bytes.len();
            }
            Ok(None) => return Ok((seen.max(skip), None)),
            Err(error) => return Ok((seen.max(skip), Some(error))),
        }
    }
}

/// Waits until a build has ended; usually it has, for its log has.
async fn ended(rack: &Rack, app: &str, id: &str) -> Result<rack_api::Build, Error> {
    let mut pause = Duration::from_millis(20);
    loop {
        let build = rack.client.build_get(app, id).await?;
        if !matches!(build.status.as_str(), status::RUNNING | "created") {
            return Ok(build);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL);
    }
}

/// Builds.
#[derive(Debug, Args)]
pub(crate) struct Builds {
    #[command(subcommand)]
    command: Option<BuildsCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
    /// number of builds to list
    #[arg(short, long, value_name = "limit", value_parser = limit)]
    limit: Option<u32>,
}

#[derive(Debug, Subcommand)]
enum BuildsCommand {
    /// create a build
    #[command(hide = true)]
    Create(Build),
    /// copy a build to another rack
    Copy {
        /// build id, or the id of one of its releases
        build: String,
        #[command(flatten)]
        route: copy::Route,
        /// print only the id of the release
        #[arg(long)]
        id: bool,
        #[command(flatten)]
        app: AppArgs,
    },
    /// delete a build
    Delete(OneBuild),
    /// export a build
    Export {
        /// build id, or the id of one of its releases
        build: String,
        /// file to write; standard output if none is given
        #[arg(short, long, value_name = "file")]
        file: Option<PathBuf>,
        /// format of the archive: default, v2 or v3
        #[arg(long, value_name = "format")]
        format: Option<Format>,
        #[command(flatten)]
        app: AppArgs,
    },
    /// import a build
    Import {
        /// file to read; standard input for `-` or none
        #[arg(value_name = "file")]
        positional: Option<PathBuf>,
        /// file to read
        #[arg(short, long, value_name = "file", conflicts_with = "positional")]
        file: Option<PathBuf>,
        /// take the build of another app too
        #[arg(long)]
        force: bool,
        /// print only the id of the release
        #[arg(long)]
        id: bool,
        #[command(flatten)]
        app: AppArgs,
    },
    /// import a prebuilt container image into a new build
    ImportImage(ImportImage),
    /// get information about a build
    Info {
        #[command(flatten)]
        build: OneBuild,
        #[command(flatten)]
        view: ViewArgs,
    },
    /// get logs for a build
    Logs(OneBuild),
}

#[derive(Debug, Args)]
struct OneBuild {
    /// build id, or the id of one of its releases
    build: String,
    #[command(flatten)]
    app: AppArgs,
}

impl Builds {
    /// Lists builds, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => list(context, &self.view, &self.app, self.limit).await,
            Some(BuildsCommand::Create(build)) => build.run(context).await,
            Some(BuildsCommand::Copy {
                build,
                route,
                id,
                app,
            }) => copy::copy(context, &app, &build, &route, id).await,
            Some(BuildsCommand::Delete(build)) => delete(context, &build).await,
            Some(BuildsCommand::ImportImage(import)) => import.run(context).await,
            Some(BuildsCommand::Export {
                build,
                file,
                format,
                app,
            }) => {
                let file = file.filter(|file| file != Path::new("-"));
                archive::export(context, &app, &build, file.as_deref(), format).await
            }
            Some(BuildsCommand::Import {
                positional,
                file,
                force,
                id,
                app,
            }) => {
                let file = file.or(positional).filter(|file| file != Path::new("-"));
                archive::import(context, &app, file.as_deref(), force, id).await
            }
            Some(BuildsCommand::Info { build, view }) => info(context, &build, &view).await,
            Some(BuildsCommand::Logs(build)) => logs(context, &build).await,
        }
    }
}

async fn list(context: &Context, view: &ViewArgs, app: &AppArgs, limit: Option<u32>) -> Outcome {
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let read = async || Ok(rack.client.build_list(&name, limit).await?);
    let show = |builds: Vec<rack_api::Build>| {
        let now = Timestamp::now();
        let mut table = Table::new([
            "ID",
            "STATUS",
            "RELEASE",
            "STARTED",
            "ELAPSED",
            "DESCRIPTION",
        ]);
        for build in builds {
            let (started, took) = (ago(build.started, now), elapsed(build.started, build.ended));
            table.row(vec![
                build.id,
                build.status,
                build.release,
                started,
                took,
                build.description,
            ]);
        }
        table
    };
    view.show(context, read, show).await
}

async fn info(context: &Context, build: &OneBuild, view: &ViewArgs) -> Outcome {
    let name = context.app(&build.app)?;
    let rack = context.rack(&build.app.rack).await?;
    let id = build_id(&rack, &name, &build.build).await?;
    let read = async || Ok(rack.client.build_get(&name, &id).await?);
    let show = |build: rack_api::Build| {
        let mut info = Info::default();
        info.add("Id", build.id)
            .add("Status", build.status)
            .add("Release", build.release)
            .add("Description", build.description)
            .add("Started", ago(build.started, Timestamp::now()))
            .add("Elapsed", elapsed(build.started, build.ended))
            .add_some("Reason", build.reason);
        came_from(&mut info, build.provenance);
        image_digests(&mut info, build.images);
        info
    };
    view.show(context, read, show).await
}

/// Shows where a build came from.
pub(super) fn came_from(info: &mut Info, provenance: Option<Provenance>) {
    let Some(source) = provenance else {
        return;
    };
    let words = |words: [String; 3]| {
        let words = words.into_iter().filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    };
    info.add_some("Source", words([source.rack, source.app, source.build]));
    if let Some(origin) = source.origin {
        info.add_some("Origin", words([origin.rack, origin.app, origin.build]));
    }
    info.add_some("Archive", source.archive);
    let imported = source.imported.map(whole_seconds).unwrap_or_default();
    info.add_some("Imported", imported);
}

/// Shows which images exactly a build is made of.
pub(super) fn image_digests(info: &mut Info, images: BTreeMap<String, String>) {
    // One label, whatever services are called: the width of the block is that of others'.
    let images = images
        .into_iter()
        .map(|(service, digest)| format!("{service} {digest}"));
    let images: Vec<_> = images.collect();
    info.add_some("Images", images.join("\n"));
}

async fn delete(context: &Context, build: &OneBuild) -> Outcome {
    let name = context.app(&build.app)?;
    let rack = context.rack(&build.app.rack).await?;
    let id = build_id(&rack, &name, &build.build).await?;
    let progress = context.ui.start(format!("Deleting build {id}"))?;
    rack.client.build_delete(&name, &id).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn logs(context: &Context, build: &OneBuild) -> Outcome {
    let name = context.app(&build.app)?;
    let rack = context.rack(&build.app.rack).await?;
    let id = build_id(&rack, &name, &build.build).await?;
    // Racks say in the log itself, as if it were data, that there is no such build.
    rack.client.build_get(&name, &id).await?;
    match copy_log(&rack, &name, &id, 0, &context.ui).await? {
        (_, None) => Ok(Exit::SUCCESS),
        (_, Some(lost)) => Err(lost.into()),
    }
}
