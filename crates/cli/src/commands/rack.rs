//! `convox rack` and what is below it.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::install::RackInstall;
use super::uninstall::Uninstall;
use crate::arguments::{LogArgs, RackArgs};
use crate::context::Context;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::ui::{Info, Table, ago};

/// The rack itself.
#[derive(Debug, Args)]
pub(crate) struct RackCommand {
    #[command(subcommand)]
    command: Option<RackSubcommand>,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum RackSubcommand {
    /// install a local rack
    Install(RackInstall),
    /// get logs for the rack
    Logs {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// display rack parameters
    Params {
        /// show secrets
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// list rack processes
    Ps {
        /// with the processes of apps
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// list rack version history
    Releases(RackArgs),
    /// uninstall a local rack
    Uninstall(Uninstall),
}

impl RackCommand {
    /// Shows the rack, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => info(context, &self.rack).await,
            Some(RackSubcommand::Install(install)) => install.run(context).await,
            Some(RackSubcommand::Logs { log, rack }) => logs(context, &log, &rack).await,
            Some(RackSubcommand::Params { reveal, rack }) => {
                parameters(context, reveal, &rack).await
            }
            Some(RackSubcommand::Ps { all, rack }) => processes(context, all, &rack).await,
            Some(RackSubcommand::Releases(rack)) => releases(context, &rack).await,
            Some(RackSubcommand::Uninstall(uninstall)) => uninstall.run(context).await,
        }
    }
}

async fn info(context: &Context, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let system = rack.client.system_get().await?;
    let router = match system.outputs.get("DomainInternal") {
        Some(internal) => format!("{} (external)\n{internal} (internal)", system.domain),
        None => system.domain,
    };
    let mut info = Info::default();
    info.add("Name", system.name)
        .add("Provider", system.provider)
        .add_some("Region", system.region)
        .add_some("Router", router)
        .add("Status", system.status)
        .add("Version", system.version);
    context.ui.info(&info)?;
    Ok(Exit::SUCCESS)
}

async fn logs(context: &Context, log: &LogArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let mut stream = rack.client.system_logs(&log.options()).await?;
    while let Some(bytes) = stream.next().await? {
        context.ui.bytes(&bytes)?;
    }
    Ok(Exit::SUCCESS)
}

async fn parameters(context: &Context, reveal: bool, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    // Scripts that store them want the values.
    let mask = context.ui.stdout_is_terminal() && !reveal;
    let mut info = Info::default();
    for (name, value) in rack.client.system_get().await?.parameters {
        let secret = matches!(name.as_str(), "Password" | "HttpProxy") && !value.is_empty();
        info.add(
            name,
            if secret && mask {
                "**********".to_owned()
            } else {
                value
            },
        );
    }
    context.ui.info(&info)?;
    Ok(Exit::SUCCESS)
}

async fn processes(context: &Context, all: bool, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let now = Timestamp::now();
    let mut table = Table::new([
        "ID", "APP", "SERVICE", "STATUS", "RELEASE", "STARTED", "COMMAND",
    ]);
    for process in rack.client.system_processes(all).await? {
        let started = ago(process.started, now);
        table.row(vec![
            process.id,
            process.app,
            process.name,
            process.status,
            process.release,
            started,
            process.command,
        ]);
    }
    context.ui.table(&table)?;
    Ok(Exit::SUCCESS)
}

async fn releases(context: &Context, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let now = Timestamp::now();
    let mut table = Table::new(["VERSION", "UPDATED"]);
    for release in rack.client.system_releases().await? {
        table.row(vec![release.id, ago(release.created, now)]);
    }
    context.ui.table(&table)?;
    Ok(Exit::SUCCESS)
}
