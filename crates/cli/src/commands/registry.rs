//! `convox registries` and what is below it.

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::arguments::RackArgs;
use crate::context::{Context, variable};
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::ui::Table;
use crate::view::ViewArgs;

/// Logins to image registries.
#[derive(Debug, Args)]
pub(crate) struct Registries {
    #[command(subcommand)]
    command: Option<RegistriesCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum RegistriesCommand {
    /// add a private registry
    Add {
        /// registry
        server: String,
        /// user name; asked for on a terminal
        #[arg(value_name = "username")]
        user: Option<String>,
        /// password; asked for on a terminal, else a line of standard input
        #[arg(value_name = "password")]
        pass: Option<String>,
        #[arg(
            short,
            long,
            hide = true,
            value_name = "username",
            conflicts_with = "user"
        )]
        username: Option<String>,
        #[arg(
            short,
            long,
            hide = true,
            value_name = "password",
            conflicts_with = "pass"
        )]
        password: Option<String>,
        #[arg(short, long, hide = true, value_name = "email")]
        email: Option<String>,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// remove private registry
    Remove {
        /// registry
        server: String,
        #[command(flatten)]
        rack: RackArgs,
    },
}

/// A login without its password.
#[derive(Serialize)]
struct Login {
    server: String,
    username: String,
}

impl Registries {
    /// Lists registries, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => {
                let rack = context.rack(&self.rack).await?;
                let list = async || {
                    let registries = rack.client.registry_list().await?.into_iter();
                    let logins = registries.map(|registry| Login {
                        server: registry.server,
                        username: registry.username,
                    });
                    Ok(logins.collect::<Vec<_>>())
                };
                let show = |logins: Vec<Login>| {
                    let mut table = Table::new(["SERVER", "USERNAME"]);
                    for login in logins {
                        table.row(vec![login.server, login.username]);
                    }
                    table
                };
                self.view.show(context, list, show).await
            }
            Some(RegistriesCommand::Add {
                server,
                user,
                pass,
                username,
                password,
                email: _,
                rack,
            }) => {
                let username = match user.or(username) {
                    Some(username) => username,
                    None => ask("Username: ")?,
                };
                let password = match pass.or(password).or_else(|| variable("PASSWORD")) {
                    Some(password) => password,
                    None => secret("Password: ")?,
                };
                let rack = context.rack(&rack).await?;
                let progress = context.ui.start("Adding registry")?;
                rack.client
                    .registry_add(&server, &username, &password)
                    .await?;
                progress.ok()?;
                Ok(Exit::SUCCESS)
            }
            Some(RegistriesCommand::Remove { server, rack }) => {
                let rack = context.rack(&rack).await?;
                let progress = context.ui.start("Removing registry")?;
                legacy::remove_registry(&rack, &server).await?;
                progress.ok()?;
                Ok(Exit::SUCCESS)
            }
        }
    }
}

/// Without a terminal the words of the original for too few arguments.
fn terminal() -> Result<(), Error> {
    if std::io::stdin().is_terminal() {
        Ok(())
    } else {
        Err(missing())
    }
}

fn missing() -> Error {
    Error::with_hint(
        "3 args required",
        "the password may also come as a line of standard input, or in PASSWORD",
    )
}

fn ask(prompt: &str) -> Result<String, Error> {
    terminal()?;
    let failed = "can not read the terminal";
    let mut stderr = std::io::stderr();
    stderr
        .write_all(prompt.as_bytes())
        .and_then(|()| stderr.flush())
        .map_err(Error::io(failed))?;
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(Error::io(failed))?;
    Ok(line.trim().to_owned())
}

/// A password, which scripts may hand over on standard input, where no list of processes
/// shows it.
fn secret(prompt: &str) -> Result<String, Error> {
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .map_err(Error::io("can not read standard input"))?;
        let password = line.trim_end_matches(['\r', '\n']);
        return match password {
            "" => Err(missing()),
            password => Ok(password.to_owned()),
        };
    }
    rpassword::prompt_password(prompt).map_err(Error::io("can not read the terminal"))
}
