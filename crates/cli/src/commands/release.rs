//! `convox releases` and what is below it.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rack_api::release::CreateOptions;
use rack_api::time::whole_seconds;

use super::{build, promote, release_id};
use crate::arguments::{AppArgs, limit};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::{Info, Table, ago};

/// Releases.
#[derive(Debug, Args)]
pub(crate) struct Releases {
    #[command(subcommand)]
    command: Option<ReleasesCommand>,
    #[command(flatten)]
    app: AppArgs,
    /// number of releases to list
    #[arg(short, long, value_name = "limit", value_parser = limit)]
    limit: Option<u32>,
}

#[derive(Debug, Subcommand)]
enum ReleasesCommand {
    /// get information about a release
    Info(OneRelease),
    /// get manifest for a release
    Manifest(OneRelease),
    /// promote a release
    Promote {
        /// release to promote; the latest if none is given
        release: Option<String>,
        /// do not wait for the app to be ready
        #[arg(long)]
        force: bool,
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

impl Releases {
    /// Lists releases, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => list(context, &self.app, self.limit).await,
            Some(ReleasesCommand::Info(release)) => info(context, &release).await,
            Some(ReleasesCommand::Manifest(release)) => manifest(context, &release).await,
            Some(ReleasesCommand::Promote {
                release,
                force,
                app,
            }) => promote(context, release, force, &app).await,
            Some(ReleasesCommand::Rollback { release, id, force }) => {
                rollback(context, &release, id, force).await
            }
        }
    }
}

async fn list(context: &Context, app: &AppArgs, limit: Option<u32>) -> Outcome {
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let active = rack.client.app_get(&name).await?.release;
    let now = Timestamp::now();
    let mut table = Table::new(["ID", "STATUS", "BUILD", "CREATED", "DESCRIPTION"]);
    for release in rack.client.release_list(&name, limit).await? {
        let status = if release.id == active { "active" } else { "" };
        let created = ago(release.created, now);
        table.row(vec![
            release.id,
            status.to_owned(),
            release.build,
            created,
            release.description,
        ]);
    }
    context.ui.table(&table)?;
    Ok(Exit::SUCCESS)
}

async fn info(context: &Context, release: &OneRelease) -> Outcome {
    let name = context.app(&release.app)?;
    let rack = context.rack(&release.app.rack).await?;
    let id = release_id(&rack, &name, &release.release).await?;
    let release = rack.client.release_get(&name, &id).await?;
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
    context.ui.info(&info)?;
    Ok(Exit::SUCCESS)
}

async fn manifest(context: &Context, release: &OneRelease) -> Outcome {
    let name = context.app(&release.app)?;
    let rack = context.rack(&release.app.rack).await?;
    let id = release_id(&rack, &name, &release.release).await?;
    let release = rack.client.release_get(&name, &id).await?;
    if release.build.is_empty() {
        return Err(Error::failed(format!("no build for release: {id}")));
    }
    let build = rack.client.build_get(&name, &release.build).await?;
    context.ui.line(build.manifest.trim())?;
    Ok(Exit::SUCCESS)
}

async fn promote(
    context: &Context,
    release: Option<String>,
    force: bool,
    app: &AppArgs,
) -> Outcome {
    let name = context.app(app)?;
    if release.as_deref() == Some("") {
        return Err(Error::failed("no release to promote"));
    }
    let rack = context.rack(&app.rack).await?;
    let id = if let Some(id) = release {
        release_id(&rack, &name, &id).await?
    } else {
        let latest = rack
            .client
            .release_list(&name, Some(1))
            .await?
            .into_iter()
            .next();
        latest
            .ok_or_else(|| Error::failed("no releases to promote"))?
            .id
    };
    if !force {
        promote::wait_until_ready(&rack, &name, &context.ui).await?;
    }
    promote::promote(&rack, &name, &id, force, &context.ui).await?;
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
    promote::promote(&rack, &name, &new.id, force, &ui).await?;
    if only_id {
        ui.data(new.id.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}
