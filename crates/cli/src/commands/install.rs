//! `convox install` and `convox rack install`: a local rack, and the server it
//! lives in.

use std::num::NonZeroU16;
use std::path::Path;

use clap::Args;
use rack_api::client::{Client, ClientError, Endpoint};
use rack_api::id;
use rack_api::rack::{CreatedRack, ORGANIZATION};

use crate::container;
use crate::context::{Context, variable};
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::server::{Answer, Server, ServerError};

/// Name of a rack that is given none.
const DEFAULT_NAME: &str = "convox";
/// Longest name, as on real racks.
pub(super) const NAME_LIMIT: usize = 26;

/// A rack in the words of 2016; what concerns a cloud is taken and ignored.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// name of the rack
    #[arg(long, value_name = "name", env = "STACK_NAME", hide_env = true)]
    stack_name: Option<String>,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    ports: PortArgs,
    /// wait for completion
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    cloud: CloudArgs,
}

/// Where a rack builds and runs.
#[derive(Debug, Args)]
struct EngineArgs {
    /// what builds images and runs processes: docker or simulated
    #[arg(long, value_name = "engine")]
    engine: Option<String>,
    /// where the rack's Docker engine listens, for example ssh://user@host
    #[arg(long, value_name = "address")]
    docker_host: Option<String>,
    /// run the server in a container, which the engine starts again with itself
    #[arg(long)]
    in_docker: bool,
}

/// Further ports of the server.
#[derive(Debug, Args)]
struct PortArgs {
    /// port for http:// addresses without a port, 80
    #[arg(long, value_name = "port")]
    http: Option<NonZeroU16>,
    /// port for https:// addresses without a port, 443
    #[arg(long, value_name = "port")]
    https: Option<NonZeroU16>,
}

impl PortArgs {
    fn all(&self) -> Vec<u16> {
        let mut all: Vec<_> = [self.http, self.https]
            .into_iter()
            .flatten()
            .map(Into::into)
            .collect();
        all.dedup();
        all
    }
}

/// Flags and arguments that mean something on AWS only.
#[derive(Debug, Args)]
struct CloudArgs {
    #[arg(hide = true, value_name = "credentials.csv")]
    credentials: Option<String>,
    #[arg(long, hide = true)]
    region: Option<String>,
    #[arg(long, hide = true)]
    instance_count: Option<String>,
    #[arg(long, hide = true)]
    instance_type: Option<String>,
    #[arg(long, hide = true)]
    version: Option<String>,
    #[arg(long, hide = true)]
    password: Option<String>,
    #[arg(long, hide = true)]
    private: bool,
    #[arg(long, hide = true)]
    existing_vpc: Option<String>,
    #[arg(long, hide = true)]
    vpc_cidr: Option<String>,
    #[arg(long, hide = true)]
    subnet_cidrs: Option<String>,
    #[arg(long, hide = true)]
    private_cidrs: Option<String>,
    #[arg(long, hide = true)]
    internet_gateway: Option<String>,
    #[arg(long, hide = true)]
    ami: Option<String>,
    #[arg(long, hide = true)]
    build_instance: Option<String>,
    #[arg(long, hide = true)]
    dedicated: bool,
    #[arg(long, hide = true)]
    http_proxy: Option<String>,
    #[arg(long, hide = true)]
    no_autoscale: bool,
    #[arg(long, hide = true)]
    email: Option<String>,
}

impl CloudArgs {
    /// The flags that were given.
    fn given(&self) -> Vec<&'static str> {
        let texts = [
            ("credentials.csv", &self.credentials),
            ("--region", &self.region),
            ("--instance-count", &self.instance_count),
            ("--instance-type", &self.instance_type),
            ("--version", &self.version),
            ("--password", &self.password),
            ("--existing-vpc", &self.existing_vpc),
            ("--vpc-cidr", &self.vpc_cidr),
            ("--subnet-cidrs", &self.subnet_cidrs),
            ("--private-cidrs", &self.private_cidrs),
            ("--internet-gateway", &self.internet_gateway),
            ("--ami", &self.ami),
            ("--build-instance", &self.build_instance),
            ("--http-proxy", &self.http_proxy),
            ("--email", &self.email),
        ];
        let flags = [
            ("--private", self.private),
            ("--dedicated", self.dedicated),
            ("--no-autoscale", self.no_autoscale),
        ];
        let texts = texts
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .map(|(name, _)| name);
        texts
            .chain(
                flags
                    .into_iter()
                    .filter(|(_, value)| *value)
                    .map(|(name, _)| name),
            )
            .collect()
    }
}

impl Install {
    /// Makes a local rack.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        note_ignored(context, &self.cloud.given());
        let name = self.stack_name.filter(|name| !name.is_empty());
        install(
            context,
            name.as_deref().unwrap_or(DEFAULT_NAME),
            &self.engine,
            &self.ports.all(),
        )
        .await
    }
}

/// A rack in the words of versions 2 and 3.
#[derive(Debug, Args)]
pub(super) struct RackInstall {
    /// kind of rack: local
    #[arg(value_name = "type")]
    kind: String,
    /// name of the rack, and parameters, which are ignored
    #[arg(value_name = "name")]
    arguments: Vec<String>,
    /// name of the rack
    #[arg(short, long, value_name = "name")]
    name: Option<String>,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    ports: PortArgs,
    /// wait for completion
    #[arg(short, long)]
    wait: bool,
    #[arg(short, long, hide = true)]
    version: Option<String>,
    #[arg(short, long, hide = true)]
    runtime: Option<String>,
    #[arg(long, hide = true)]
    prepare: bool,
    #[arg(long, hide = true)]
    raw: bool,
}

impl RackInstall {
    /// Makes a local rack.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        if self.kind != "local" {
            return Err(Error::with_hint(
                format!("unknown provider: {}", self.kind),
                "this client installs local racks: `convox rack install local <name>`",
            ));
        }
        let (parameters, names): (Vec<_>, Vec<_>) = self
            .arguments
            .into_iter()
            .partition(|argument| argument.contains('='));
        let mut names = names.into_iter().chain(self.name);
        let name = names.next().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        if let Some(other) = names.find(|other| *other != name) {
            return Err(Error::failed(format!(
                "two names for one rack: {name} and {other}"
            )));
        }
        let flags = [
            ("--version", self.version.is_some()),
            ("--runtime", self.runtime.is_some()),
            ("--prepare", self.prepare),
            ("--raw", self.raw),
        ];
        let mut ignored: Vec<_> = flags
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name)
            .collect();
        ignored.extend(parameters.iter().map(String::as_str));
        note_ignored(context, &ignored);
        install(context, &name, &self.engine, &self.ports.all()).await
    }
}

fn note_ignored(context: &Context, ignored: &[&str]) {
    if !ignored.is_empty() {
        context.ui.note(format!(
            "note: ignored, a local rack has no use for it: {}",
            ignored.join(" ")
        ));
    }
}

async fn install(context: &Context, name: &str, engine: &EngineArgs, ports: &[u16]) -> Outcome {
    check_name(name)?;
    let stand_ins = context.settings.stand_ins()?;
    if !stand_ins.is_empty() {
        return stand_in(context, name, stand_ins.contains_key(name));
    }
    let server = context.local_server()?;
    let before = open_ports(&server, ports).await?;
    let password = match find_or_start(context, &server, engine.in_docker).await {
        Ok(password) => password,
        Err(error) => {
            // A server that cannot have them must not be kept from starting without.
            if let Some(before) = before {
                server.set_further_ports(&before)?;
            }
            return Err(error);
        }
    };
    let endpoint =
        Endpoint::parse(&format!("http://{}", server.host))?.with_password(Some(password));
    let client = Client::new(endpoint);
    let progress = context.ui.start("Installing rack")?;
    let rack = client
        .rack_create(
            name,
            engine.engine.as_deref(),
            engine.docker_host.as_deref(),
        )
        .await
        .map_err(|error| match error {
            ClientError::Api { status: 409, .. } => exists(name),
            ClientError::Api { message, .. } if message.contains("already exists") => exists(name),
            ClientError::Api { status: 401, .. } => Error::with_hint(
                format!(
                    "the server on {} does not take the stored password",
                    server.host
                ),
                format!(
                    "`convox login {} -p <password>` stores another",
                    server.host
                ),
            ),
            error => error.into(),
        })?;
    if let Err(error) = remember(context, &server.host, &rack) {
        // Without settings nobody would find it; the first error tells more than another.
        let _ = client.rack_delete(name).await;
        return Err(error);
    }
    progress.ok_with(&full_name(name))?;
    context
        .ui
        .line(format!("Switched to {}", full_name(name)))?;
    context.note_overrides();
    Ok(Exit::SUCCESS)
}

/// Has the server listen on further ports when it is started; returns those it had before.
/// One that runs has them already, or cannot get them.
async fn open_ports(server: &Server, ports: &[u16]) -> Result<Option<Vec<u16>>, Error> {
    if ports.is_empty() {
        return Ok(None);
    }
    let before = server.further_ports()?;
    let container = container::of(server)?;
    if server.check().await? == Answer::Server {
        for port in ports {
            if server.at(*port).check().await? != Answer::Server {
                return Err(Error::with_hint(
                    format!(
                        "the server on {} runs already and does not listen on port {port}",
                        server.host
                    ),
                    match container {
                        None => "stop it (SIGTERM to rack-server) and run this again: apps go on \
                                 meanwhile"
                            .to_owned(),
                        Some(name) => another_container(&name),
                    },
                ));
            }
        }
        return Ok(None);
    }
    if let Some(name) = container
        && ports.iter().any(|port| !before.contains(port))
    {
        return Err(Error::with_hint(
            format!("container {name} was made for a server with other ports"),
            another_container(&name),
        ));
    }
    server.set_further_ports(ports)?;
    Ok(Some(before))
}

/// What a container listens on is said when it is made.
fn another_container(name: &str) -> String {
    format!(
        "remove it with `docker rm --force {name}` and run this again with --in-docker: apps go \
         on meanwhile"
    )
}

/// In a `rack exec` the racks that were asked for are there already, and others would stay.
fn stand_in(context: &Context, name: &str, known: bool) -> Outcome {
    if !known {
        return Err(Error::with_hint(
            format!("`convox rack exec` has made no rack {name}"),
            format!("name it where the command is started: --racks …,{name}"),
        ));
    }
    let ui = &context.ui;
    let full_name = full_name(name);
    let progress = ui.start("Installing rack")?;
    context
        .settings
        .set_current_rack(None, &full_name, Some(name))?;
    progress.ok_with(&full_name)?;
    ui.line(format!("Switched to {full_name}"))?;
    ui.note("note: `convox rack exec` has made it before, and removes it at its end");
    Ok(Exit::SUCCESS)
}

pub(super) fn full_name(name: &str) -> String {
    format!("{ORGANIZATION}/{name}")
}

fn exists(name: &str) -> Error {
    Error::failed(format!(
        "Stack \"{name}\" already exists. Run `convox uninstall` then try again"
    ))
}

/// Names become host names, files and Docker objects.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let letter = name.starts_with(|first: char| first.is_ascii_lowercase());
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if letter && plain && name.len() <= NAME_LIMIT {
        Ok(())
    } else {
        Err(Error::failed(format!(
            "invalid rack name: {name}: use a letter, then letters, digits and dashes, all lower case, {NAME_LIMIT} at most"
        )))
    }
}

/// The password of the server at its address; the server is started if there is none.
pub(super) async fn find_or_start(
    context: &Context,
    server: &Server,
    in_docker: bool,
) -> Result<String, Error> {
    // Of two that install at the same time, the second finds the server of the first.
    let _lock = server.lock()?;
    let known = match variable("RACK_SERVER_PASSWORD") {
        Some(password) => Some(password),
        None => context.settings.password(&server.host)?,
    };
    match server.check().await? {
        Answer::Other => Err(ServerError::Taken {
            host: server.host.clone(),
        }
        .into()),
        Answer::Server if in_docker && container::of(server)?.is_none() => Err(Error::with_hint(
            format!("a server outside of Docker answers on {}", server.host),
            "end it (`pkill rack-server`) and run this again: racks, data and addresses stay",
        )),
        Answer::Server => {
            let known = known.ok_or_else(|| {
                Error::with_hint(
                    format!(
                        "a server answers on {} but its password is not known",
                        server.host
                    ),
                    format!("`convox login {} -p <password>` stores it", server.host),
                )
            })?;
            if !context.settings.servers()?.contains_key(&server.host) {
                context.settings.set_server(&server.host, Path::new(""))?;
            }
            // Known from one client generation, it is told to the others.
            context.settings.set_password(&server.host, &known)?;
            Ok(known)
        }
        Answer::Nothing => {
            let password = known.unwrap_or_else(id::password);
            let progress = context.ui.start("Starting server")?;
            if in_docker && container::of(server)?.is_none() {
                server.start_in_container(&password).await?;
            } else {
                server.start(Some(&password)).await?;
            }
            context.settings.set_server(&server.host, &server.data)?;
            context.settings.set_password(&server.host, &password)?;
            progress.ok_with(&server.host)?;
            Ok(password)
        }
    }
}

/// Writes the settings of all client generations and makes the rack current.
fn remember(context: &Context, host: &str, rack: &CreatedRack) -> Result<(), Error> {
    // The other clients speak TLS only, and never ask who is on the other side.
    let url = format!("https://convox:{}@{host}", rack.password);
    context.settings.offer_console(host)?;
    context.settings.set_direct_rack(&rack.name, &url)?;
    context
        .settings
        .set_current_rack(Some(host), &full_name(&rack.name), Some(&rack.name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_anything_is_made() {
        for name in ["staging", "a", "rack-2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "Staging",
            "../x",
            "-a",
            "2a",
            "a_b",
            "a b",
            "abcdefghijklmnopqrstuvwxyza",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
