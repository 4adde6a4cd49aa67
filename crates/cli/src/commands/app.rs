//! `convox apps` and what is below it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use rack_api::params::integer;
use rack_api::{App, release};

use super::app_archive;
use crate::arguments::{AppArgs, RackArgs, pairs};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::settle::{self, Change, Rollback};
use crate::ui::{Info, Table};
use crate::view::ViewArgs;

/// Apps.
#[derive(Debug, Args)]
pub(crate) struct Apps {
    #[command(subcommand)]
    command: Option<AppsCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum AppsCommand {
    /// cancel an app update
    Cancel(OneApp),
    /// create an app
    Create {
        #[command(flatten)]
        app: OneApp,
        /// generation of the app
        #[arg(short, long, value_name = "generation")]
        generation: Option<String>,
        /// seconds to wait for it at most
        #[arg(long, value_name = "timeout", value_parser = integer)]
        timeout: Option<i64>,
    },
    /// delete an app
    Delete {
        /// app name
        app: String,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// export an app
    Export {
        #[command(flatten)]
        app: OneApp,
        /// file to write
        #[arg(short, long, value_name = "file")]
        file: Option<PathBuf>,
    },
    /// import an app
    Import {
        #[command(flatten)]
        app: OneApp,
        /// file to read
        #[arg(short, long, value_name = "file")]
        file: Option<PathBuf>,
    },
    /// get information about an app
    Info {
        #[command(flatten)]
        app: OneApp,
        #[command(flatten)]
        view: ViewArgs,
    },
    /// enable termination protection
    Lock(OneApp),
    /// display app parameters
    Params(Params),
    /// disable termination protection
    Unlock(OneApp),
    /// wait for an app to finish updating
    Wait(OneApp),
}

/// An app by argument, flag, settings or directory.
#[derive(Debug, Args)]
struct OneApp {
    /// app name
    #[arg(value_name = "app")]
    name: Option<String>,
    #[command(flatten)]
    app: AppArgs,
}

impl OneApp {
    fn name(&self, context: &Context) -> Result<String, Error> {
        match &self.name {
            Some(name) if !name.is_empty() => Ok(name.clone()),
            _ => context.app(&self.app),
        }
    }
}

#[derive(Debug, Args)]
struct Params {
    #[command(subcommand)]
    command: Option<ParamsCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: OneApp,
}

#[derive(Debug, Subcommand)]
enum ParamsCommand {
    /// set app parameters
    Set {
        /// parameters
        #[arg(required = true, value_name = "Key=Value")]
        parameters: Vec<String>,
        #[command(flatten)]
        app: AppArgs,
    },
}

impl Apps {
    /// Lists apps, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => list(context, &self.view, &self.rack).await,
            Some(AppsCommand::Cancel(app)) => cancel(context, &app).await,
            Some(AppsCommand::Create {
                app,
                generation,
                timeout,
            }) => create(context, &app, generation.as_deref(), timeout).await,
            Some(AppsCommand::Delete { app, rack }) => delete(context, &app, &rack).await,
            Some(AppsCommand::Export { app, file }) => {
                let name = app.name(context)?;
                app_archive::export(context, &name, &app.app.rack, file.as_deref()).await
            }
            Some(AppsCommand::Import { app, file }) => {
                let name = app.name(context)?;
                app_archive::import(context, &name, &app.app.rack, file).await
            }
            Some(AppsCommand::Info { app, view }) => info(context, &app, &view).await,
            Some(AppsCommand::Lock(app)) => lock(context, &app, true).await,
            Some(AppsCommand::Unlock(app)) => lock(context, &app, false).await,
            Some(AppsCommand::Wait(app)) => wait(context, &app).await,
            Some(AppsCommand::Params(Params {
                command: None,
                app,
                view,
            })) => show_parameters(context, &app, &view).await,
            Some(AppsCommand::Params(Params {
                command: Some(ParamsCommand::Set { parameters, app }),
                ..
            })) => set_parameters(context, &parameters, &app).await,
        }
    }
}

async fn list(context: &Context, view: &ViewArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let read = async || Ok(rack.client.app_list().await?);
    let show = |apps: Vec<App>| {
        let mut table = Table::new(["APP", "STATUS", "RELEASE"]);
        for app in apps {
            table.row(vec![app.name, app.status, app.release]);
        }
        table
    };
    view.show(context, read, show).await
}

async fn create(
    context: &Context,
    app: &OneApp,
    generation: Option<&str>,
    timeout: Option<i64>,
) -> Outcome {
    let name = app.name(context)?;
    let rack = context.rack(&app.app.rack).await?;
    let progress = context.ui.start(format!("Creating {name}"))?;
    rack.client.app_create(&name, generation).await?;
    // Creating is synchronous on our own server; real racks take a while.
    if rack.client.is_twinrack() || app.app.rack.waits() {
        let settled = settle::quietly(&rack, &name);
        match timeout.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) if seconds > 0 => {
                tokio::time::timeout(Duration::from_secs(seconds), settled)
                    .await
                    .map_err(|_| Error::failed("timeout"))??
            }
            _ => settled.await?,
        };
    }
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn delete(context: &Context, name: &str, rack: &RackArgs) -> Outcome {
    let wait = rack.waits();
    let rack = context.rack(rack).await?;
    let progress = context.ui.start(format!("Deleting {name}"))?;
    rack.client.app_delete(name).await?;
    if wait {
        settle::until_deleted(&rack, name).await?;
    }
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn info(context: &Context, app: &OneApp, view: &ViewArgs) -> Outcome {
    let name = app.name(context)?;
    let rack = context.rack(&app.app.rack).await?;
    let read = async || Ok(rack.client.app_get(&name).await?);
    let show = |app: App| {
        let mut info = Info::default();
        info.add("Name", app.name)
            .add("Status", app.status)
            .add("Generation", app.generation)
            .add("Locked", app.locked.to_string())
            .add("Release", app.release)
            .add_some("Router", app.router);
        info
    };
    view.show(context, read, show).await
}

async fn wait(context: &Context, app: &OneApp) -> Outcome {
    let name = app.name(context)?;
    let rack = context.rack(&app.app.rack).await?;
    let mut progress = context.ui.start("Waiting for app")?;
    let change = Change::begin(&rack, &name).await;
    settle::with_logs(&rack, &name, change, Rollback::Fails, &mut progress).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn lock(context: &Context, app: &OneApp, lock: bool) -> Outcome {
    let name = app.name(context)?;
    let rack = context.rack(&app.app.rack).await?;
    let doing = if lock { "Locking" } else { "Unlocking" };
    let progress = context.ui.start(format!("{doing} {name}"))?;
    rack.client.app_lock(&name, lock).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn show_parameters(context: &Context, app: &OneApp, view: &ViewArgs) -> Outcome {
    let name = app.name(context)?;
    let rack = context.rack(&app.app.rack).await?;
    let read = async || legacy::parameters(&rack, &name).await;
    let show = |parameters: BTreeMap<String, String>| {
        let mut info = Info::default();
        for (name, value) in parameters {
            info.add(name, value);
        }
        info
    };
    view.show(context, read, show).await
}

async fn set_parameters(context: &Context, words: &[String], app: &AppArgs) -> Outcome {
    let parameters = pairs(words, "Key=Value expected")?;
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let mut progress = context.ui.start("Updating parameters")?;
    let change = Change::begin(&rack, &name).await;
    legacy::set_parameters(&rack, &name, &parameters).await?;
    if app.rack.waits() {
        let set = settle::with_logs(&rack, &name, change, Rollback::Fails, &mut progress)
            .await?
            .parameters
            .unwrap_or_default();
        if parameters
            .iter()
            .any(|(name, value)| set.get(name) != Some(value))
        {
            return Err(Error::failed("rollback"));
        }
    }
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn cancel(context: &Context, app: &OneApp) -> Outcome {
    let name = app.name(context)?;
    let rack = context.rack(&app.app.rack).await?;
    context
        .ui
        .line(format!("Cancelling deployment of {name}..."))?;
    let change = Change::begin(&rack, &name).await;
    rack.client.app_cancel(&name).await?;
    let mut progress = context.ui.start("Rewriting last active release")?;
    settle::with_logs(&rack, &name, change, Rollback::Wanted, &mut progress).await?;
    // A promote without an id takes the latest release: that must not be the cancelled one.
    let active = rack.client.app_get(&name).await?.release;
    if !active.is_empty() {
        let release = rack.client.release_get(&name, &active).await?;
        let copy = release::CreateOptions {
            build: Some(release.build).filter(|build| !build.is_empty()),
            env: Some(release.env),
            description: Some(release.description).filter(|description| !description.is_empty()),
            ..release::CreateOptions::default()
        };
        rack.client.release_create(&name, &copy).await?;
    }
    progress.ok()?;
    Ok(Exit::SUCCESS)
}
