//! `convox version`.

use clap::Args;
use serde::Serialize;

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::target::TargetError;
use crate::view::FormArgs;

/// Versions of client and rack.
#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    rack: RackArgs,
}

/// Which versions there are.
#[derive(Serialize)]
struct Versions {
    client: &'static str,
    /// None where no rack can be told.
    server: Option<String>,
    host: Option<String>,
}

impl Version {
    /// Prints the client's version, then the rack's.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let ui = &context.ui;
        let client = env!("CARGO_PKG_VERSION");
        // What is known of the client is said even if the rack does not answer.
        if !self.form.json() {
            ui.line(format!("client: {client}"))?;
        }
        let mut versions = Versions {
            client,
            server: None,
            host: None,
        };
        let text = match context.rack(&self.rack).await {
            Err(Error::Target(TargetError::NoRacks | TargetError::NoCurrentRack)) => {
                "server: none".to_owned()
            }
            rack => {
                let rack = rack?;
                let version = rack.client.system_get().await?.version;
                let host = rack.client.endpoint().host();
                let text = format!("server: {version} ({host})");
                versions.server = Some(version);
                versions.host = Some(host);
                text
            }
        };
        self.form.print(ui, &versions, text)?;
        Ok(Exit::SUCCESS)
    }
}
