//! `convox test`: the commands that services name as their tests, in processes of a
//! build.

use std::path::PathBuf;

use clap::Args;
use rack_api::build::CreateOptions;
use rack_api::params::integer;
use rack_api::process::RunOptions;

use super::exec::terminal_size;
use super::run::OneOff;
use super::{build, manifest_of, release_id};
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::source;

/// Tests of an app.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// directory of the source
    #[arg(value_name = "dir")]
    directory: Option<PathBuf>,
    /// description of the build
    #[arg(short, long, value_name = "description")]
    description: Option<String>,
    /// release to test, or the id of its build; a new one if none is given
    #[arg(long, value_name = "release")]
    release: Option<String>,
    /// seconds each test may take
    #[arg(short, long, value_name = "timeout", value_parser = integer)]
    timeout: Option<i64>,
    #[command(flatten)]
    app: AppArgs,
}

impl Test {
    /// Builds, unless a release is given, and runs the tests one after the other.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let app = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let release = if let Some(id) = self.release.as_deref().filter(|id| !id.is_empty()) {
            release_id(&rack, &app, id).await?
        } else {
            let directory = self.directory.unwrap_or_else(|| PathBuf::from("."));
            let directory = context.settings.working().join(directory);
            let options = CreateOptions {
                description: self
                    .description
                    .or_else(|| source::git_description(context.settings.working())),
                development: true,
                git_sha: source::git_sha(&directory),
                ..CreateOptions::default()
            };
            let ui = &context.ui;
            build::from(&rack, &app, directory, &options, ui)
                .await?
                .release
        };
        let manifest = manifest_of(&rack, &app, &release).await?;
        let tests = manifest
            .services
            .into_iter()
            .filter_map(|(name, service)| Some((name, service.test?)));
        let mut any = false;
        for (service, command) in tests {
            any = true;
            let ui = &context.ui;
            ui.line(format!("Running {command} on {service}"))?;
            let (height, width) = terminal_size(ui).unzip();
            let one_off = OneOff {
                service,
                command,
                options: RunOptions {
                    height,
                    width,
                    release: Some(release.clone()),
                    ..RunOptions::default()
                },
                lifetime: self.timeout,
                entrypoint: true,
            };
            let exit = one_off.attached(context, &rack, &app).await?;
            if exit != Exit::SUCCESS {
                return Err(Error::failed(format!("exit {exit}")));
            }
        }
        if !any {
            // Nothing that could fail has not succeeded.
            context
                .ui
                .note("note: no service of the manifest names a test");
        }
        Ok(Exit::SUCCESS)
    }
}
