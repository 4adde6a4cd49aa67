//! `convox version`.

use clap::Args;

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::target::TargetError;

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
        let rack = match context.rack(&self.rack).await {
            Err(Error::Target(TargetError::NoRacks | TargetError::NoCurrentRack)) => {
                context.ui.line("server: none")?;
                return Ok(Exit::SUCCESS);
            }
            rack => rack?,
        };
        let system = rack.client.system_get().await?;
        context.ui.line(format!(
            "server: {} ({})",
            system.version,
            rack.client.endpoint().host()
        ))?;
        Ok(Exit::SUCCESS)
    }
}
