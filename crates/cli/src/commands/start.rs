//! `convox start`.

use clap::Args;

use super::exec::Signals;
use super::manifest::{generation_1, is_generation_1};
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::start;

/// An app for local development.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// services whose output is shown and whose source is kept in step; all if none is given
    #[arg(value_name = "service")]
    services: Vec<String>,
    /// file name of the manifest
    #[arg(short, long, value_name = "manifest")]
    manifest: Option<String>,
    /// in 2017: file name of the manifest
    #[arg(short, long, value_name = "manifest", hide = true)]
    file: Option<String>,
    /// generation of the app: 2
    #[arg(short, long, value_name = "generation")]
    generation: Option<String>,
    /// use the build that is there
    #[arg(long)]
    no_build: bool,
    /// build without cache
    #[arg(long)]
    no_cache: bool,
    /// do not keep the source in step
    #[arg(long)]
    no_sync: bool,
    /// accepted for the sake of scripts of generation 1
    #[arg(short, long, value_name = "shift", hide = true)]
    shift: Option<String>,
    /// accepted for the sake of version 3: the rack builds
    #[arg(short, long, hide = true)]
    external: bool,
    #[command(flatten)]
    app: AppArgs,
}

impl Start {
    /// Runs the working directory until interrupted.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let manifest = self
            .manifest
            .or(self.file)
            .unwrap_or_else(|| "convox.yml".to_owned());
        let generation = match self.generation {
            Some(generation) => Some(generation),
            None => context.settings.working_directory("generation")?,
        };
        if generation.as_deref() == Some("1")
            || manifest == "docker-compose.yml"
            || is_generation_1(context.settings.working(), &manifest)
        {
            return Err(generation_1());
        }
        if let Some(other) = generation.filter(|generation| generation != "2") {
            return Err(Error::with_hint(
                format!("invalid generation: {other}"),
                "apps are of generation 2: leave --generation out",
            ));
        }
        let app = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let mut signals = Signals::listen()?;
        let start = start::Start {
            rack: &rack,
            app: &app,
            root: context.settings.working().to_owned(),
            manifest,
            services: self.services,
            build: !self.no_build,
            cache: !self.no_cache,
            sync: !self.no_sync,
            ui: &context.ui,
        };
        let before = start
            .run(async {
                signals.next().await;
            })
            .await?;
        tokio::select! {
            done = start.put_back(before) => done.map(|()| Exit::SUCCESS),
            // Once more is a wish to leave at once.
            signal = signals.next() => Ok(Exit::signal(signal)),
        }
    }
}
