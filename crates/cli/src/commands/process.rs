//! `convox ps` and what is below it.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rack_api::Process;

use super::release_id;
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::ui::{Info, Table, ago};
use crate::view::ViewArgs;

/// Processes.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    #[command(subcommand)]
    command: Option<PsCommand>,
    #[command(flatten)]
    view: ViewArgs,
    /// in 2017: with what processes use
    #[arg(long, hide = true)]
    stats: bool,
    #[command(flatten)]
    app: AppArgs,
    /// only processes of this release
    #[arg(long, value_name = "release")]
    release: Option<String>,
    /// only processes of this service
    #[arg(short, long, value_name = "service")]
    service: Option<String>,
}

#[derive(Debug, Subcommand)]
enum PsCommand {
    /// get information about a process
    Info {
        #[command(flatten)]
        process: OneProcess,
        #[command(flatten)]
        view: ViewArgs,
    },
    /// stop a process
    Stop(OneProcess),
}

#[derive(Debug, Args)]
struct OneProcess {
    /// process id
    pid: String,
    #[command(flatten)]
    app: AppArgs,
}

impl Ps {
    /// Lists processes, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match &self.command {
            None => self.list(context).await,
            Some(PsCommand::Info { process, view }) => info(context, process, view).await,
            Some(PsCommand::Stop(process)) => stop(context, process).await,
        }
    }

    async fn list(&self, context: &Context) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let release = match given(&self.release) {
            Some(id) => Some(release_id(&rack, &name, &id).await?),
            None => None,
        };
        let service = given(&self.service);
        let read = async || {
            let (service, release) = (service.as_deref(), release.as_deref());
            Ok(rack.client.process_list(&name, service, release).await?)
        };
        let show = |processes: Vec<Process>| {
            let now = Timestamp::now();
            let mut header = vec!["ID", "SERVICE", "STATUS", "RELEASE", "STARTED", "COMMAND"];
            if self.stats {
                header.splice(5..5, ["CPU", "MEM"]);
            }
            let mut table = Table::new(header);
            for process in processes {
                let started = ago(process.started, now);
                let mut row = vec![
                    process.id,
                    process.name,
                    process.status,
                    process.release,
                    started,
                    process.command,
                ];
                if self.stats {
                    let shares = [process.cpu, process.memory];
                    row.splice(5..5, shares.map(|share| format!("{:.2}%", share * 100.0)));
                }
                table.row(row);
            }
            table
        };
        self.view.show(context, read, show).await
    }
}

async fn info(context: &Context, process: &OneProcess, view: &ViewArgs) -> Outcome {
    let name = context.app(&process.app)?;
    let rack = context.rack(&process.app.rack).await?;
    let read = async || Ok(rack.client.process_get(&name, &process.pid).await?);
    let show = |process: Process| {
        let started = ago(process.started, Timestamp::now());
        let mut info = Info::default();
        info.add("Id", process.id)
            .add("App", process.app)
            .add("Command", process.command)
            .add("Instance", process.instance)
            .add("Release", process.release)
            .add("Service", process.name)
            .add("Started", started)
            .add("Status", process.status);
        info
    };
    view.show(context, read, show).await
}

async fn stop(context: &Context, process: &OneProcess) -> Outcome {
    let name = context.app(&process.app)?;
    let rack = context.rack(&process.app.rack).await?;
    let progress = context.ui.start(format!("Stopping {}", process.pid))?;
    rack.client.process_stop(&name, &process.pid).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}
