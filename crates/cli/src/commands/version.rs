//! `convox version`.

use clap::Args;

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::Outcome;
use crate::exit::Exit;

/// Versions of client and rack.
#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    rack: RackArgs,
}

impl Version {
    /// Prints the client's version, then the rack's.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        context
            .ui
            .line(format!("client: {}", env!("CARGO_PKG_VERSION")))?;
        let _ = context.rack_name(&self.rack)?;
        Ok(Exit::SUCCESS)
    }
}
