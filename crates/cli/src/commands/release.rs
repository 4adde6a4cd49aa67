//! `convox releases` and what is below it.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rack_api::release::CreateOptions;
use rack_api::time::whole_seconds;
use rack_api::{Environment, Release};
use serde::Serialize;

use super::promote::How;
use super::{build, mask, promote, release_id};
use crate::arguments::{AppArgs, limit};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::{Info, Table, ago};
use crate::view::{FormArgs, ViewArgs};

/// Releases.
#[derive(Debug, Args)]
pub(crate) struct Releases {
    #[command(subcommand)]
    command: Option<ReleasesCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
    /// number of releases to list
    #[arg(short, long, value_name = "limit", value_parser = limit)]
    limit: Option<u32>,
}

#[derive(Debug, Subcommand)]
enum ReleasesCommand {
    /// create a release from the build of one release and the environment of another
    CreateFrom(CreateFrom),
    /// get information about a release
    Info {
        #[command(flatten)]
        release: OneRelease,
        /// show what `env mask` hides on a terminal
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        view: ViewArgs,
    },
    /// get manifest for a release
    Manifest {
        #[command(flatten)]
        release: OneRelease,
        #[command(flatten)]
        form: FormArgs,
    },
    /// promote a release
    Promote {
        /// release to promote; the latest if none is given
        release: Option<String>,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        app: AppArgs,
    },
    /// copy an old release forward and promote it
    Rollback {
        #[command(flatten)]
        release: OneRelease,
        /// print only the id of the new release
        #[arg(long)]
        id: bool,
        /// do not check that the app is ready
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
struct OneRelease {
    /// release id, or the id of its build
    release: String,
    #[command(flatten)]
    app: AppArgs,
}

/// Where a new release has its build and its environment from.
#[derive(Debug, Args)]
struct CreateFrom {
    /// release, or build, whose build it has
    #[arg(long, value_name = "release")]
    build_from: Option<String>,
    /// release, or build, whose environment it has
    #[arg(long, value_name = "release")]
    env_from: Option<String>,
    /// it has the build of the active release
    #[arg(long)]
    use_active_release_build: bool,
    /// it has the environment of the active release
    #[arg(long)]
    use_active_release_env: bool,
    /// promote the release
    #[arg(short, long)]
    promote: bool,
    /// print only the id of the release
    #[arg(long)]
    id: bool,
    #[command(flatten)]
    app: AppArgs,
}

impl Releases {
    /// Lists releases, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => list(context, &self.view, &self.app, self.limit).await,
            Some(ReleasesCommand::CreateFrom(from)) => create_from(context, &from).await,
            Some(ReleasesCommand::Info {
                release,
                reveal,
                view,
            }) => info(context, &release, reveal, &view).await,
            Some(ReleasesCommand::Manifest { release, form }) => {
                manifest(context, &release, &form).await
            }
            Some(ReleasesCommand::Promote { release, how, app }) => {
                promote(context, release, how, &app).await
            }
            Some(ReleasesCommand::Rollback { release, id, force }) => {
                rollback(context, &release, id, force).await
            }
        }
    }
}

/// A release and whether it is the active one.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    release: Release,
    status: &'static str,
}

async fn list(context: &Context, view: &ViewArgs, app: &AppArgs, limit: Option<u32>) -> Outcome {
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let read = async || {
        let active = rack.client.app_get(&name).await?.release;
        let releases = rack.client.release_list(&name, limit).await?;
        let rows = releases.into_iter().map(|release| Row {
            status: if release.id == active { "active" } else { "" },
            release,
        });
        Ok(rows.collect::<Vec<_>>())
    };
    let show = |rows: Vec<Row>| {
        let now = Timestamp::now();
        let mut table = Table::new(["ID", "STATUS", "BUILD", "CREATED", "DESCRIPTION"]);
        for Row { release, status } in rows {
            let created = ago(release.created, now);
            table.row(vec![
                release.id,
                status.to_owned(),
                release.build,
                created,
                release.description,
            ]);
        }
        table
    };
    view.show(context, read, show).await
}

async fn info(context: &Context, release: &OneRelease, reveal: bool, view: &ViewArgs) -> Outcome {
    let name = context.app(&release.app)?;
    let rack = context.rack(&release.app.rack).await?;
    let id = release_id(&rack, &name, &release.release).await?;
    // As `env` shows it.
    let hide = context.ui.stdout_is_terminal() && !reveal;
    let read = async || {
        let mut release = rack.client.release_get(&name, &id).await?;
        if hide {
            let mut environment = Environment::parse(&release.env);
            mask::hide(&rack, &name, &mut environment).await?;
            release.env = environment.to_string();
        }
        Ok(release)
    };
    let show = |release: Release| {
        let mut info = Info::default();
        info.add("Id", release.id)
            .add("Build", release.build)
            .add(
                "Created",
                release.created.map(whole_seconds).unwrap_or_default(),
            )
            .add("Description", release.description)
            .add("Env", release.env)
            .add_some("Reason", release.reason);
        build::came_from(&mut info, release.provenance);
        build::image_digests(&mut info, release.images);
        info
    };
    view.show(context, read, show).await
}

async fn create_from(context: &Context, from: &CreateFrom) -> Outcome {
    let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (build_from, env_from) = (named(&from.build_from), named(&from.env_from));
    if build_from.is_some() == from.use_active_release_build {
        return Err(Error::failed(
            "either build-from or use-active-release-build is required",
        ));
    }
    if env_from.is_some() == from.use_active_release_env {
        return Err(Error::failed(
            "either env-from or use-active-release-env is required",
        ));
    }
    let name = context.app(&from.app)?;
    let rack = context.rack(&from.app.rack).await?;
    let active = rack.client.app_get(&name).await?.release;
    let find = async |id: Option<String>| {
        let id = match id {
            Some(id) => release_id(&rack, &name, &id).await?,
            None if active.is_empty() => return Err(Error::failed("no release is active")),
            None => active.clone(),
        };
        Ok(rack.client.release_get(&name, &id).await?)
    };
    let build = find(build_from).await?;
    let environment = find(env_from).await?;
    if build.build.is_empty() {
        return Err(Error::failed(format!("no build for release: {}", build.id)));
    }
    let ui = context.ui.for_id(from.id);
    let progress = ui.start("Creating release")?;
    let options = CreateOptions {
        build: Some(build.build),
        env: Some(environment.env),
        description: Some(format!(
            "build from {}, env from {}",
            build.id, environment.id
        )),
        ..CreateOptions::default()
    };
    let made = rack.client.release_create(&name, &options).await?;
    progress.ok_with(&made.id)?;
    if from.promote {
        promote::wait_until_ready(&rack, &name, &ui).await?;
        promote::promote(&rack, &name, &made.id, How::default(), &ui).await?;
    }
    if from.id {
        ui.data(made.id.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

/// The manifest of a release.
#[derive(Serialize)]
struct OfRelease {
    release: String,
    build: String,
    manifest: String,
}

async fn manifest(context: &Context, release: &OneRelease, form: &FormArgs) -> Outcome {
    let name = context.app(&release.app)?;
    let rack = context.rack(&release.app.rack).await?;
    let id = release_id(&rack, &name, &release.release).await?;
    let release = rack.client.release_get(&name, &id).await?;
    if release.build.is_empty() {
        return Err(Error::failed(format!("no build for release: {id}")));
    }
    let build = rack.client.build_get(&name, &release.build).await?;
    let found = OfRelease {
        release: id,
        build: build.id,
        manifest: build.manifest,
    };
    form.print(&context.ui, &found, found.manifest.trim())?;
    Ok(Exit::SUCCESS)
}

async fn promote(context: &Context, release: Option<String>, how: How, app: &AppArgs) -> Outcome {
    let name = context.app(app)?;
    if release.as_deref() == Some("") {
        return Err(Error::failed("no release to promote"));
    }
    let rack = context.rack(&app.rack).await?;
    how.check(&rack)?;
    let id = if let Some(id) = release {
        let id = release_id(&rack, &name, &id).await?;
        promote::note_newer_environment(&rack, &name, &id, &context.ui).await;
        id
    } else {
        let latest = rack
            .client
            .release_list(&name, Some(1))
            .await?
            .into_iter()
            .next();
        let latest = latest.ok_or_else(|| Error::failed("no releases to promote"))?;
        promote::note_newer_build(&rack, &name, &latest, &context.ui).await;
        latest.id
    };
    if !how.force {
        promote::wait_until_ready(&rack, &name, &context.ui).await?;
    }
    promote::promote(&rack, &name, &id, how, &context.ui).await?;
    Ok(Exit::SUCCESS)
}

async fn rollback(context: &Context, release: &OneRelease, only_id: bool, force: bool) -> Outcome {
    let name = context.app(&release.app)?;
    let rack = context.rack(&release.app.rack).await?;
    let ui = context.ui.for_id(only_id);
    let id = release_id(&rack, &name, &release.release).await?;
    let progress = ui.start(format!("Rolling back to {id}"))?;
    let old = rack.client.release_get(&name, &id).await?;
    let copy = CreateOptions {
        build: Some(old.build),
        env: Some(old.env),
        ..CreateOptions::default()
    };
    let new = rack.client.release_create(&name, &copy).await?;
    progress.ok_with(&new.id)?;
    promote::promote(&rack, &name, &new.id, How::forced(force), &ui).await?;
    if only_id {
        ui.data(new.id.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}
