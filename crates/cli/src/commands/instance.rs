//! `convox instances` and what is below it.

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rack_api::Instance;
use rack_api::instance::ShellOptions;

use super::exec::{self, Attached, Signals, terminal_size};
use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::legacy;
use crate::ui::{Table, ago};
use crate::view::ViewArgs;

/// Machines of a rack.
#[derive(Debug, Args)]
pub(crate) struct Instances {
    #[command(subcommand)]
    command: Option<InstancesCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum InstancesCommand {
    /// roll ssh key on instances
    Keyroll {
        #[command(flatten)]
        rack: RackArgs,
    },
    /// run a shell on an instance
    Ssh {
        /// instance id
        id: String,
        /// command and its arguments; an interactive shell without one
        #[arg(num_args = 0..)]
        command: Vec<String>,
        /// taken and ignored: nothing is reached by SSH
        #[arg(long, hide = true, value_name = "key")]
        key: Option<String>,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// terminate an instance
    Terminate {
        /// instance ids
        #[arg(required = true, value_name = "id")]
        ids: Vec<String>,
        #[command(flatten)]
        rack: RackArgs,
    },
}

impl Instances {
    /// Lists machines, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => {
                let rack = context.rack(&self.rack).await?;
                let list = async || Ok(rack.client.instance_list().await?);
                self.view.show(context, list, table).await
            }
            Some(InstancesCommand::Keyroll { rack }) => {
                let rack = context.rack(&rack).await?;
                let progress = context.ui.start("Rolling instance key")?;
                rack.client.instance_keyroll().await?;
                progress.ok()?;
                Ok(Exit::SUCCESS)
            }
            Some(InstancesCommand::Ssh {
                id, command, rack, ..
            }) => shell(context, &id, &command, &rack).await,
            Some(InstancesCommand::Terminate { ids, rack }) => {
                let rack = context.rack(&rack).await?;
                for id in ids {
                    let progress = context.ui.start("Terminating instance")?;
                    rack.client.instance_terminate(&id).await?;
                    progress.ok()?;
                }
                Ok(Exit::SUCCESS)
            }
        }
    }
}

fn table(instances: Vec<Instance>) -> Table {
    let now = Timestamp::now();
    let mut table = Table::new([
        "ID", "STATUS", "STARTED", "PS", "CPU", "MEM", "PUBLIC", "PRIVATE",
    ]);
    let percent = |share: f64| format!("{:.2}%", share * 100.0);
    for instance in instances {
        let (cpu, memory) = (instance.cpu_share(), instance.memory_share());
        table.row(vec![
            instance.id,
            instance.status,
            ago(instance.started, now),
            instance.processes.to_string(),
            percent(cpu),
            percent(memory),
            instance.public_ip,
            instance.private_ip,
        ]);
    }
    table
}

async fn shell(context: &Context, id: &str, command: &[String], rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let mut signals = Signals::listen()?;
    let (height, width) = terminal_size(&context.ui).unzip();
    let options = ShellOptions {
        command: (!command.is_empty()).then(|| command.join(" ")),
        tty: std::io::stdin().is_terminal(),
        height,
        width,
    };
    let attached = async {
        let socket = legacy::shell(&rack, id, &options).await?;
        exec::relay(&context.ui, socket).await
    };
    tokio::select! {
        attached = attached => match attached? {
            Attached::Ended(status) => Ok(Exit::remote(status)),
            Attached::Lost(error) => Err(error),
        },
        signal = signals.next() => Ok(Exit::signal(signal)),
    }
}
