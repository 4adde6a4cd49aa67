//! `convox env mask`: variables whose values are not shown on a terminal.
//!
//! Their names are kept in a config of the app, where version 3 keeps them too, so both
//! hide the same ones. What is piped is never hidden: scripts want the values.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use rack_api::Environment;
use rack_api::client::ClientError;

use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::racks::Rack;
use crate::view::{Shown, ViewArgs};

/// Name of the config, as version 3 has it.
const CONFIG: &str = "cli-env-mask";
/// What is shown in a value's place.
const MASK: &str = "****";
/// Most names.
const MOST: usize = 500;

/// Variables that are not shown.
#[derive(Debug, Args)]
pub(super) struct Mask {
    #[command(subcommand)]
    command: Option<MaskCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

#[derive(Debug, Subcommand)]
enum MaskCommand {
    /// hide the values of env vars on terminals
    Set(Keys),
    /// show the values of env vars again
    Unset(Keys),
}

#[derive(Debug, Args)]
struct Keys {
    /// names of the variables
    #[arg(required = true, value_name = "key")]
    keys: Vec<String>,
    #[command(flatten)]
    app: AppArgs,
}

impl Mask {
    /// Lists the names, or does what the sub-command says.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => {
                let name = context.app(&self.app)?;
                let rack = context.rack(&self.app.rack).await?;
                let read = async || masked(&rack, &name).await;
                let show = |keys: BTreeSet<String>| Shown::Lines(keys.into_iter().collect());
                self.view.show(context, read, show).await
            }
            Some(MaskCommand::Set(keys)) => {
                keys.check()?;
                keys.change(context, "Setting", BTreeSet::insert).await
            }
            Some(MaskCommand::Unset(keys)) => {
                let remove = |masked: &mut BTreeSet<String>, key: String| masked.remove(&key);
                keys.change(context, "Unsetting", remove).await
            }
        }
    }
}

impl Keys {
    /// Names are shown to others later, on their terminals.
    fn check(&self) -> Result<(), Error> {
        for key in &self.keys {
            if key.contains('=') {
                return Err(Error::failed(
                    "use `convox env set KEY=VALUE` to set env values. `convox env mask set` takes key names only",
                ));
            }
            let unfit = |letter: char| letter.is_whitespace() || letter.is_control();
            if key.is_empty() || key.contains([',']) || key.contains(unfit) {
                return Err(Error::failed(format!(
                    "invalid env key name: {key:?} (must not contain whitespace, commas or control characters)"
                )));
            }
        }
        Ok(())
    }

    async fn change(
        self,
        context: &Context,
        doing: &str,
        change: impl Fn(&mut BTreeSet<String>, String) -> bool,
    ) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let mut keys = masked(&rack, &name).await?;
        let named: BTreeSet<_> = self.keys.iter().map(String::as_str).collect();
        let named = named.into_iter().collect::<Vec<_>>().join(", ");
        for key in self.keys {
            change(&mut keys, key);
        }
        if keys.len() > MOST {
            return Err(Error::failed(format!(
                "too many masked keys (max {MOST}, got {})",
                keys.len()
            )));
        }
        let progress = context
            .ui
            .start(format!("{doing} masked env keys {named}"))?;
        let value = keys.into_iter().collect::<Vec<_>>().join(",");
        let set = rack
            .client
            .config_set(&name, CONFIG, value.as_bytes())
            .await;
        set.map_err(unknown_to_old_racks)?;
        progress.ok()?;
        Ok(Exit::SUCCESS)
    }
}

/// Puts the mask in the place of values that are not shown.
pub(super) async fn hide(
    rack: &Rack,
    app: &str,
    environment: &mut Environment,
) -> Result<(), Error> {
    for name in masked(rack, app).await? {
        if environment.get(&name).is_some() {
            environment.set(name, MASK);
        }
    }
    Ok(())
}

/// Names of the variables that are not shown.
async fn masked(rack: &Rack, app: &str) -> Result<BTreeSet<String>, Error> {
    let config = match rack.client.config_get(app, CONFIG).await {
        Ok(config) => config,
        // Nothing was ever hidden, or the rack knows no configs.
        Err(ClientError::Api {
            status: 404,
            message,
        }) if message.contains("config not found") || message.starts_with("response status") => {
            return Ok(BTreeSet::new());
        }
        Err(error) => return Err(error.into()),
    };
    let names = config.value.split(',').map(str::trim);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// A bare 404 says that the rack has no such call.
fn unknown_to_old_racks(error: ClientError) -> Error {
    match error {
        ClientError::Api {
            status: 404,
            message,
        } if message.starts_with("response status") => Error::with_hint(
            "this rack is too old to remember which variables are hidden",
            "`convox env | sed 's/=.*//'` shows names only",
        ),
        error => error.into(),
    }
}
