//! `convox update`: the client itself.

use clap::Args;

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;

/// An update of the client, which package managers and cargo make.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// version
    version: Option<String>,
    #[command(flatten)]
    rack: RackArgs,
}

impl Update {
    /// Says that there is nothing to be done, as scripts expect it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        if let Some(version) = self.version {
            return Err(Error::with_hint(
                format!("this client does not update itself to {version}"),
                "install that version the way this one was installed",
            ));
        }
        context.ui.line("No update to be performed")?;
        Ok(Exit::SUCCESS)
    }
}
