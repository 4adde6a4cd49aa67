//! `convox resources` and what is below it.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use rack_api::Resource;
use rack_api::client::ClientError;
use serde::Serialize;

use super::absent::{Absent, Reason};
use super::archive;
use super::exec::{self, Attached, Signals, terminal_size};
use super::proxy::{self, Route};
use super::rack_resource::{Create, Delete, Link, Update};
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::racks::Rack;
use crate::ui::{Info, Table};
use crate::view::{FormArgs, ViewArgs};

/// Resources.
#[derive(Debug, Args)]
pub(crate) struct Resources {
    #[command(subcommand)]
    command: Option<ResourcesCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

#[derive(Debug, Subcommand)]
enum ResourcesCommand {
    /// open a console of a resource
    Console(OneResource),
    /// in 2017: create a resource of the rack
    #[command(hide = true)]
    Create(Create),
    /// databases of a cloud account
    #[command(hide = true)]
    Db(Absent),
    /// in 2017: delete a resource of the rack
    #[command(hide = true)]
    Delete(Delete),
    /// export the data of a resource
    Export {
        #[command(flatten)]
        resource: OneResource,
        /// file to write
        #[arg(short, long, value_name = "file")]
        file: Option<PathBuf>,
    },
    /// databases of a cloud account
    #[command(hide = true)]
    Fix(Absent),
    /// import data into a resource
    Import {
        #[command(flatten)]
        resource: OneResource,
        /// file to read
        #[arg(short, long, value_name = "file")]
        file: Option<PathBuf>,
    },
    /// get information about a resource
    Info {
        #[command(flatten)]
        resource: OneResource,
        #[command(flatten)]
        view: ViewArgs,
    },
    /// in 2017: link a resource of the rack to an app
    #[command(hide = true)]
    Link(Link),
    /// proxy a local port to a resource
    Proxy {
        #[command(flatten)]
        resource: OneResource,
        #[command(flatten)]
        proxy: ProxyArgs,
    },
    /// in 2017: unlink a resource of the rack from an app
    #[command(hide = true)]
    Unlink(Link),
    /// in 2017: update a resource of the rack
    #[command(hide = true)]
    Update(Update),
    /// get url for a resource
    Url {
        #[command(flatten)]
        resource: OneResource,
        #[command(flatten)]
        form: FormArgs,
    },
}

#[derive(Debug, Args)]
struct OneResource {
    /// resource name
    resource: String,
    #[command(flatten)]
    app: AppArgs,
}

/// How a local port leads to a resource.
#[derive(Debug, Args)]
pub(super) struct ProxyArgs {
    /// local port; that of the resource if none is given
    #[arg(short, long, value_name = "port")]
    pub(super) port: Option<u16>,
    /// accepted for the sake of scripts; racks take no notice of it
    #[arg(short, long, hide = true)]
    tls: bool,
}

impl OneResource {
    async fn get(&self, context: &Context) -> Result<(Rack, Resource), Error> {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        match rack.client.resource_get(&name, &self.resource).await {
            Ok(resource) => Ok((rack, resource)),
            Err(error) => Err(legacy::without_resources(&rack, error).await),
        }
    }
}

impl Resources {
    /// Lists resources, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => list(context, &self.view, &self.app).await,
            Some(ResourcesCommand::Console(resource)) => console(context, &resource).await,
            Some(ResourcesCommand::Create(create)) => create.run(context).await,
            Some(ResourcesCommand::Db(absent) | ResourcesCommand::Fix(absent)) => {
                absent.run(Reason::Rds)
            }
            Some(ResourcesCommand::Delete(delete)) => delete.run(context).await,
            Some(ResourcesCommand::Export { resource, file }) => {
                export(context, &resource, file).await
            }
            Some(ResourcesCommand::Import { resource, file }) => {
                import(context, &resource, file).await
            }
            Some(ResourcesCommand::Info { resource, view }) => {
                let read = async || Ok(resource.get(context).await?.1);
                view.show(context, read, describe).await
            }
            Some(ResourcesCommand::Link(link)) => link.link(context).await,
            Some(ResourcesCommand::Proxy { resource, proxy }) => {
                let (rack, resource) = resource.get(context).await?;
                let url = url(&resource)?;
                let route = route(url, "https", proxy.port)?;
                proxy::serve(&context.ui, rack, vec![route]).await
            }
            Some(ResourcesCommand::Unlink(link)) => link.unlink(context).await,
            Some(ResourcesCommand::Update(update)) => update.run(context).await,
            Some(ResourcesCommand::Url { resource, form }) => {
                let (_, resource) = resource.get(context).await?;
                let url = url(&resource)?;
                form.print(&context.ui, &Address::new(&resource.name, url), url)?;
                Ok(Exit::SUCCESS)
            }
        }
    }
}

async fn list(context: &Context, view: &ViewArgs, app: &AppArgs) -> Outcome {
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let read = async || match rack.client.resource_list(&name).await {
        Ok(resources) => Ok(resources),
        Err(error) => Err(legacy::without_resources(&rack, error).await),
    };
    let show = |resources: Vec<Resource>| {
        let mut table = Table::new(["NAME", "TYPE", "URL"]);
        for resource in resources {
            table.row(vec![resource.name, resource.kind, resource.url]);
        }
        table
    };
    view.show(context, read, show).await
}

fn describe(resource: Resource) -> Info {
    let mut info = Info::default();
    info.add("Name", resource.name)
        .add("Type", resource.kind)
        .add_some("URL", resource.url);
    info
}

/// Where a resource is.
#[derive(Serialize)]
pub(super) struct Address<'a> {
    name: &'a str,
    url: &'a str,
}

impl<'a> Address<'a> {
    /// Of a resource with this name.
    pub(super) fn new(name: &'a str, url: &'a str) -> Self {
        Self { name, url }
    }
}

fn url(resource: &Resource) -> Result<&str, Error> {
    if resource.url.is_empty() {
        return Err(Error::failed(format!(
            "no url for resource: {}",
            resource.name
        )));
    }
    Ok(&resource.url)
}

/// Where the URL of a resource leads; one without a scheme is taken to have this one.
pub(super) fn route(url: &str, scheme: &str, local: Option<u16>) -> Result<Route, Error> {
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("{scheme}://{url}")
    };
    // A password must not show in an error.
    let unusable = || Error::failed("the url of the resource can not be read");
    let (scheme, rest) = whole.split_once("://").ok_or_else(unusable)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().map_err(|_| unusable())?)),
        None => (address, None),
    };
    let port = match (port, scheme) {
        (Some(port), _) => port,
        (None, "http") => 80,
        (None, "https") => 443,
        (None, scheme) => {
            return Err(Error::failed(format!(
                "unknown port for url: {scheme}://{host}"
            )));
        }
    };
    if host.is_empty() {
        return Err(unusable());
    }
    Ok(Route {
        local: local.unwrap_or(port),
        host: host.to_owned(),
        port,
    })
}

async fn console(context: &Context, resource: &OneResource) -> Outcome {
    let name = context.app(&resource.app)?;
    let rack = context.rack(&resource.app.rack).await?;
    let mut signals = Signals::listen()?;
    let size = terminal_size(&context.ui);
    let attached = async {
        let socket = rack
            .client
            .resource_console(&name, &resource.resource, size)
            .await?;
        exec::relay(&context.ui, socket).await
    };
    tokio::select! {
        attached = attached => match attached? {
            Attached::Ended(status) => Ok(Exit::remote(status)),
            // A console has no status (`rack-api.md` §3.10): an orderly end is all it says.
            Attached::Lost(Error::Client(ClientError::NoExitStatus)) => Ok(Exit::SUCCESS),
            Attached::Lost(error) => Err(error),
        },
        signal = signals.next() => Ok(Exit::signal(signal)),
    }
}

async fn export(context: &Context, resource: &OneResource, file: Option<PathBuf>) -> Outcome {
    archive::refuse_terminal(context, file.as_deref())?;
    let name = context.app(&resource.app)?;
    let rack = context.rack(&resource.app.rack).await?;
    let ui = context.ui.for_id(file.is_none());
    let progress = ui.start(format!("Exporting data from {}", resource.resource))?;
    let dump = rack
        .client
        .resource_export(&name, &resource.resource)
        .await?;
    archive::receive(dump, file.as_deref(), &ui).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn import(context: &Context, resource: &OneResource, file: Option<PathBuf>) -> Outcome {
    if file.is_none() && io::stdin().is_terminal() {
        return Err(Error::failed(
            "pipe a file into this command or specify --file",
        ));
    }
    let file = file.as_deref().map(archive::open).transpose()?;
    let name = context.app(&resource.app)?;
    let rack = context.rack(&resource.app.rack).await?;
    let progress = context
        .ui
        .start(format!("Importing data to {}", resource.resource))?;
    let body = archive::body(file, &context.ui);
    rack.client
        .resource_import(&name, &resource.resource, body.upload)
        .await?;
    drop(body.bar);
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_to_a_port() {
        for (url, scheme, wanted) in [
            (
                "postgres://u:p@h.internal:5432/db",
                "https",
                Ok(("h.internal", 5432)),
            ),
            ("https://h/x", "https", Ok(("h", 443))),
            ("http://h?x=1:2", "https", Ok(("h", 80))),
            ("h", "https", Ok(("h", 443))),
            ("h", "http", Ok(("h", 80))),
            ("h:81", "http", Ok(("h", 81))),
            ("redis://h", "https", Err("unknown port for url: redis://h")),
            (
                "postgres://u:secret@h:x/db",
                "https",
                Err("the url of the resource can not be read"),
            ),
        ] {
            let found = route(url, scheme, None);
            match wanted {
                Ok((host, port)) => {
                    let found = found.expect(url);
                    assert_eq!(
                        (found.host.as_str(), found.port, found.local),
                        (host, port, port)
                    );
                }
                Err(text) => assert_eq!(found.expect_err(url).to_string(), text),
            }
        }
        assert_eq!(route("h:81", "http", Some(9)).expect("a route").local, 9);
    }
}
