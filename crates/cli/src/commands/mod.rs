//! The commands, one file per family.
//!
//! A family is a `clap` type with a `run` method; it is registered by a variant
//! of [`Command`] and an arm of [`Command::run`].

mod version;

use clap::Subcommand;

use crate::context::Context;
use crate::error::Outcome;

/// Everything that can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// display version
    Version(version::Version),
}

impl Command {
    /// Does what was asked for.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Version(command) => command.run(context).await,
        }
    }
}
