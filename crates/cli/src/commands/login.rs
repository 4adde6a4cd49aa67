//! `convox login`.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use clap::Args;
use rack_api::client::{Client, ClientError};

use crate::arguments::RackArgs;
use crate::context::{Context, variable};
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::server::{Answer, Server, is_loopback};

/// Where one logs in unless a host is given.
const DEFAULT_HOST: &str = "console.convox.com";

/// A host and its password.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// host of the console or rack
    #[arg(value_name = "host")]
    host: Option<String>,
    /// password
    #[arg(short, long, value_name = "password")]
    password: Option<String>,
    /// password, in the words of version 3
    #[arg(short, long, value_name = "token", hide = true)]
    token: Option<String>,
    #[command(flatten)]
    rack: RackArgs,
}

impl Login {
    /// Checks a password, stores it and makes its host current.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let host = host_of(
            self.host
                .as_deref()
                .filter(|host| !host.is_empty())
                .unwrap_or(DEFAULT_HOST),
        );
        let given = self
            .password
            .or(self.token)
            .filter(|password| !password.is_empty());
        let password = match given
            .or_else(|| variable("CONVOX_PASSWORD"))
            .or_else(|| variable("CONVOX_TOKEN"))
        {
            Some(password) => password,
            None => match context.settings.password(&host)? {
                Some(password) => password,
                None => ask(context)?,
            },
        };
        let progress = context.ui.start(format!("Authenticating with {host}"))?;
        if is_loopback(&host) && !context.settings.servers()?.contains_key(&host) {
            let server = Server {
                host: host.clone(),
                data: Path::new("").to_owned(),
            };
            if server.check().await? == Answer::Server {
                // Remembered as one of ours, though not as one to be started.
                context.settings.set_server(&host, &server.data)?;
            }
        }
        let endpoint = context
            .console(&host)?
            .with_password(Some(password.clone()));
        let id = Client::new(endpoint)
            .auth()
            .await
            .map_err(|error| match error {
                ClientError::Api {
                    status: 401 | 403, ..
                } => Error::failed("invalid login"),
                error => error.into(),
            })?;
        let keep_rack = current_host(context).await.as_deref() == Some(&host);
        context.settings.set_password(&host, &password)?;
        context.settings.set_host(&host, id.as_deref(), keep_rack)?;
        progress.ok()?;
        Ok(Exit::SUCCESS)
    }
}

/// The host of the current rack, if that can be told.
async fn current_host(context: &Context) -> Option<String> {
    let name = context.settings.current_rack().ok()??;
    let direct = context.settings.direct_racks().ok()?;
    let short = name.rsplit('/').next()?;
    if direct.contains_key(short) {
        context.find(&name).await.ok()?.host
    } else {
        None
    }
}

/// The host of what may be a URL.
fn host_of(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority).to_owned()
}

fn ask(context: &Context) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::failed(
            "standard input is no terminal: give --password or set CONVOX_PASSWORD",
        ));
    }
    context.ui.text("Password: ")?;
    rpassword::read_password().map_err(Error::io("can not read the password"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_for_hosts() {
        for text in [
            "console.example.com",
            "https://console.example.com/",
            "https://me:pw@console.example.com/x",
        ] {
            assert_eq!(host_of(text), "console.example.com", "{text}");
        }
        assert_eq!(host_of("127.0.0.1:5443"), "127.0.0.1:5443");
    }
}
