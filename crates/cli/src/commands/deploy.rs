//! `convox deploy`.

use clap::Args;

use super::promote::How;
use super::{build, promote};
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::Outcome;
use crate::exit::Exit;

/// A build and its promotion.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    source: build::BuildArgs,
    #[command(flatten)]
    app: AppArgs,
    /// print only the id of the release
    #[arg(long)]
    id: bool,
    #[command(flatten)]
    how: How,
}

impl Deploy {
    /// Builds a directory and promotes the release.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let app = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        self.how.check(&rack)?;
        let ui = context.ui.for_id(self.id);
        let build = build::make(context, &rack, &app, &self.source, &ui).await?;
        if !self.how.force {
            promote::wait_until_ready(&rack, &app, &ui).await?;
        }
        promote::promote(&rack, &app, &build.release, self.how, &ui).await?;
        if self.id {
            ui.data(build.release.as_bytes())?;
        }
        Ok(Exit::SUCCESS)
    }
}
