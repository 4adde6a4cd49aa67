//! `convox timers`: the timers that an app's manifest declares.
//!
//! Racks have no call for them: they are read from the manifest of the active release, which
//! is what the rack goes by.

use clap::{Args, Subcommand};
use rack_api::process::RunOptions;
use serde::Serialize;

use super::exec::terminal_size;
use super::manifest_of;
use super::run::OneOff;
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::racks::Rack;
use crate::ui::Table;
use crate::view::ViewArgs;

/// Timers of an app.
#[derive(Debug, Args)]
pub(crate) struct Timers {
    #[command(subcommand)]
    command: Option<TimersCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

#[derive(Debug, Subcommand)]
enum TimersCommand {
    /// run the command of a timer now, once
    Run {
        /// timer name
        timer: String,
        #[command(flatten)]
        app: AppArgs,
    },
}

/// A timer as it is declared.
#[derive(Serialize)]
struct Row {
    name: String,
    schedule: String,
    service: String,
    command: String,
}

impl Timers {
    /// Lists timers, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        if let Some(TimersCommand::Run { timer, app }) = self.command {
            return run(context, &timer, &app).await;
        }
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let read = async || timers(&rack, &name).await;
        let show = |timers: Vec<Row>| {
            let mut table = Table::new(["TIMER", "SCHEDULE", "SERVICE", "COMMAND"]);
            for Row {
                name,
                schedule,
                service,
                command,
            } in timers
            {
                table.row(vec![name, schedule, service, command]);
            }
            table
        };
        self.view.show(context, read, show).await
    }
}

async fn run(context: &Context, timer: &str, app: &AppArgs) -> Outcome {
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let found = timers(&rack, &name)
        .await?
        .into_iter()
        .find(|row| row.name == timer);
    let found = found.ok_or_else(|| {
        Error::with_hint(
            format!("timer not found: {timer}"),
            "`convox timers` lists those of the active release",
        )
    })?;
    let (height, width) = terminal_size(&context.ui).unzip();
    let one_off = OneOff {
        service: found.service,
        command: found.command,
        options: RunOptions {
            height,
            width,
            ..RunOptions::default()
        },
        lifetime: None,
        entrypoint: true,
    };
    one_off.attached(context, &rack, &name).await
}

/// The timers of the active release; none if no release is active.
async fn timers(rack: &Rack, app: &str) -> Result<Vec<Row>, Error> {
    let active = rack.client.app_get(app).await?.release;
    if active.is_empty() {
        return Ok(Vec::new());
    }
    let timers = manifest_of(rack, app, &active).await?.timers;
    Ok(timers
        .into_values()
        .map(|timer| Row {
            name: timer.name,
            schedule: timer.schedule,
            service: timer.service,
            command: timer.command,
        })
        .collect())
}

/// Names of the timers of the active release.
pub(super) async fn names(rack: &Rack, app: &str) -> Result<Vec<String>, Error> {
    let timers = timers(rack, app).await?;
    Ok(timers.into_iter().map(|timer| timer.name).collect())
}
