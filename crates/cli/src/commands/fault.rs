//! `convox rack faults`: what a rack on the simulated engine gets wrong on purpose.

use clap::{Args, Subcommand};
use rack_api::fault::Fault;

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::ui::Table;
use crate::view::ViewArgs;

/// Faults of a rack.
#[derive(Debug, Args)]
pub(crate) struct Faults {
    #[command(subcommand)]
    command: Option<FaultsCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum FaultsCommand {
    /// switch faults off, all if none is named
    Clear {
        /// faults, as they are listed
        #[arg(value_name = "fault")]
        faults: Vec<String>,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// switch faults on
    #[command(after_help = KNOWN)]
    Set {
        /// faults; those of processes may end in @SERVICE
        #[arg(required = true, value_name = "fault")]
        faults: Vec<String>,
        #[command(flatten)]
        rack: RackArgs,
    },
}

const KNOWN: &str = "Faults:
  build-fails       builds fail at their last step
  image-lost-N      the images of the next N builds are gone before the builds are over
  never-healthy     processes answer 503
  crash-loop        processes exit 1 right after their start
  out-of-memory     processes are killed for want of memory at their start
  slow-start        processes take no connections for 5 seconds after their start
  slow-start-MS     the same for so many milliseconds
  run-exits-N       commands in processes exit N
  import-corrupt    images that are loaded seem to be damaged
  pull-fails        images that are not there cannot be pulled
  engine-down       the engine does not answer

Those of processes may end in @SERVICE. They stay on until they are cleared, whatever restarts.";

impl Faults {
    /// Lists the faults that are on, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => {}
            Some(FaultsCommand::Clear { faults, rack }) => {
                return clear(context, &faults, &rack).await;
            }
            Some(FaultsCommand::Set { faults, rack }) => return set(context, &faults, &rack).await,
        }
        let rack = context.rack(&self.rack).await?;
        let list = async || Ok(rack.client.fault_list().await?);
        let show = |faults: Vec<Fault>| {
            let mut table = Table::new(["FAULT", "EFFECT"]);
            for Fault { name, effect } in faults {
                table.row(vec![name, effect]);
            }
            table
        };
        self.view.show(context, list, show).await
    }
}

async fn set(context: &Context, faults: &[String], rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let progress = context
        .ui
        .start(format!("Switching on {}", faults.join(", ")))?;
    rack.client.fault_set(faults).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn clear(context: &Context, faults: &[String], rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    if faults.is_empty() {
        let progress = context.ui.start("Switching off all faults")?;
        rack.client.fault_clear_all().await?;
        progress.ok()?;
    }
    for fault in faults {
        let progress = context.ui.start(format!("Switching off {fault}"))?;
        rack.client.fault_clear(fault).await?;
        progress.ok()?;
    }
    Ok(Exit::SUCCESS)
}
