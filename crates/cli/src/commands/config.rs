//! `convox configs` and `convox config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rack_api::config::AppConfig;

use super::service::restart_all;
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::Table;
use crate::view::ViewArgs;

/// Configs of an app.
#[derive(Debug, Args)]
pub(crate) struct Configs {
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

impl Configs {
    /// Lists configs.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let list = async || Ok(rack.client.config_list(&name).await?);
        let show = |configs: Vec<AppConfig>| {
            let mut table = Table::new(["CONFIG-ID"]);
            for config in configs {
                table.row(vec![config.name]);
            }
            table
        };
        self.view.show(context, list, show).await
    }
}

/// One config of an app.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// get a config
    Get {
        /// name of the config
        name: String,
        #[command(flatten)]
        app: AppArgs,
    },
    /// set a config
    Set {
        /// name of the config
        name: String,
        /// file that holds the value
        #[arg(short, long, value_name = "file", conflicts_with = "value")]
        file: Option<PathBuf>,
        /// the value
        #[arg(long, value_name = "value")]
        value: Option<String>,
        /// restart the app, so that its processes get it
        #[arg(long)]
        restart: bool,
        #[command(flatten)]
        app: AppArgs,
    },
}

impl Config {
    /// Reads or sets a config.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            ConfigCommand::Get { name, app } => {
                let app_name = context.app(&app)?;
                let rack = context.rack(&app.rack).await?;
                let config = rack.client.config_get(&app_name, &name).await?;
                context.ui.line(config.value)?;
                Ok(Exit::SUCCESS)
            }
            ConfigCommand::Set {
                name,
                file,
                value,
                restart,
                app,
            } => {
                let value = match (file, value) {
                    (Some(path), _) => std::fs::read(&path)
                        .map_err(Error::io(format!("can not read {}", path.display())))?,
                    (None, Some(value)) => value.into_bytes(),
                    (None, None) => return Err(Error::failed("specify --file or --value")),
                };
                let app_name = context.app(&app)?;
                let rack = context.rack(&app.rack).await?;
                let progress = context.ui.start(format!("Setting {name}"))?;
                rack.client.config_set(&app_name, &name, &value).await?;
                progress.ok()?;
                if restart {
                    restart_all(&rack, &app_name, &context.ui).await?;
                }
                Ok(Exit::SUCCESS)
            }
        }
    }
}
