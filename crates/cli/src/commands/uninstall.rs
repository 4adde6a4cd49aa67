//! `convox uninstall` and `convox rack uninstall`.

use std::io::{self, IsTerminal as _};

use clap::Args;
use rack_api::client::{Client, ClientError};
use rack_api::rack::ORGANIZATION;

use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::target::TargetError;

/// Kinds of racks that other generations name before the rack.
const KINDS: [&str; 7] = ["local", "aws", "azure", "do", "gcp", "metal", "exoscale"];

/// The end of a local rack.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// name of the rack, after its kind or before its region if one is given
    #[arg(required = true, value_name = "name")]
    arguments: Vec<String>,
    /// do not ask
    #[arg(short, long)]
    force: bool,
    /// wait for completion
    #[arg(short, long)]
    wait: bool,
}

impl Uninstall {
    /// Removes a local rack and everything in it.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let name = name(&self.arguments)?;
        let name = name
            .strip_prefix(ORGANIZATION)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(name);
        if !self.force && !confirm(context)? {
            return Err(Error::failed("aborting"));
        }
        let known = context.settings.direct_racks()?.contains_key(name);
        let full_name = format!("{ORGANIZATION}/{name}");
        if context.settings.stand_ins()?.contains_key(name) {
            let progress = context.ui.start(format!("Uninstalling {full_name}"))?;
            context.settings.forget_stand_in(name, &full_name)?;
            progress.ok()?;
            context
                .ui
                .note("note: it goes when `convox rack exec` ends, which has made it");
            return Ok(Exit::SUCCESS);
        }
        let host = if known {
            let reach = context.find(name).await?;
            reach
                .host
                .ok_or_else(|| Error::failed(format!("not a local rack: {name}")))?
        } else {
            context.local_server()?.host
        };
        context.wake(&host).await?;
        let client = Client::new(context.console(&host)?);
        let progress = context.ui.start(format!("Uninstalling {full_name}"))?;
        match client.rack_delete(name).await {
            Ok(()) => {}
            // Gone already: what is left are the settings.
            Err(ClientError::Api { status: 404, .. }) if known => {}
            Err(ClientError::Api { status: 404, .. } | ClientError::Unreachable { .. })
                if !known =>
            {
                return Err(TargetError::NotFound(name.to_owned()).into());
            }
            Err(error) => return Err(error.into()),
        }
        context.settings.forget_rack(&host, &full_name, name)?;
        progress.ok()?;
        Ok(Exit::SUCCESS)
    }
}

/// The rack among `NAME`, `KIND NAME` and `NAME REGION [CREDENTIALS]`.
fn name(arguments: &[String]) -> Result<&str, Error> {
    match arguments {
        [kind, name] if KINDS.contains(&kind.as_str()) => match kind.as_str() {
            "local" => Ok(name),
            _ => Err(Error::with_hint(
                format!("unknown provider: {kind}"),
                "this client uninstalls local racks: `convox rack uninstall local <name>`",
            )),
        },
        [name, ..] if arguments.len() <= 3 => Ok(name),
        _ => Err(Error::failed("no more than 3 args expected")),
    }
}

fn confirm(context: &Context) -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::failed(
            "must use --force for non-interactive uninstall",
        ));
    }
    context.ui.text("Delete everything? [y/N]: ")?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(Error::io("can not read the answer"))?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_all_generations() {
        let name = |text: &str| {
            let arguments: Vec<_> = text.split(' ').map(str::to_owned).collect();
            name(&arguments)
                .map(str::to_owned)
                .map_err(|error| error.to_string())
        };
        assert_eq!(name("staging"), Ok("staging".to_owned()));
        assert_eq!(name("local staging"), Ok("staging".to_owned()));
        assert_eq!(name("staging us-east-1"), Ok("staging".to_owned()));
        assert_eq!(
            name("staging us-east-1 creds.csv"),
            Ok("staging".to_owned())
        );
        assert_eq!(name("local"), Ok("local".to_owned()));
        assert_eq!(name("aws staging"), Err("unknown provider: aws".to_owned()));
    }
}
