//! `convox rack resources` and what is below it.

use clap::{Args, Subcommand};
use rack_api::Resource;
use rack_api::resource::{ResourceParameter, ResourceType};

use super::proxy;
use super::resource::{Address, ProxyArgs, route};
use crate::arguments::{AppArgs, RackArgs, pairs};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::racks::Rack;
use crate::settle;
use crate::ui::{Info, Table};
use crate::view::{FormArgs, ViewArgs};

/// Resources of the rack.
#[derive(Debug, Args)]
pub(crate) struct RackResources {
    #[command(subcommand)]
    command: Option<RackResourcesCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum RackResourcesCommand {
    /// create a resource
    Create(Create),
    /// delete a resource
    Delete(Delete),
    /// get information about a resource
    Info {
        #[command(flatten)]
        view: ViewArgs,
        #[command(flatten)]
        resource: OneResource,
    },
    /// link a resource to an app
    Link(Link),
    /// list options for a resource type
    Options {
        /// type
        #[arg(value_name = "type")]
        kind: String,
        #[command(flatten)]
        view: ViewArgs,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// proxy a local port to a resource
    Proxy {
        #[command(flatten)]
        resource: OneResource,
        #[command(flatten)]
        proxy: ProxyArgs,
    },
    /// list resource types
    Types {
        #[command(flatten)]
        view: ViewArgs,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// unlink a resource from an app
    Unlink(Link),
    /// update resource options
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
    rack: RackArgs,
}

impl OneResource {
    async fn get(&self, context: &Context) -> Result<(Rack, Resource), Error> {
        let rack = context.rack(&self.rack).await?;
        let resource = rack.client.rack_resource_get(&self.resource).await?;
        Ok((rack, resource))
    }
}

/// A resource of the rack to be made.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// type
    #[arg(value_name = "type")]
    kind: String,
    /// options
    #[arg(value_name = "Option=Value")]
    options: Vec<String>,
    /// resource name
    #[arg(short, long, value_name = "name")]
    name: Option<String>,
    #[command(flatten)]
    rack: RackArgs,
}

/// A resource of the rack to be removed.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// resource name
    resource: String,
    #[command(flatten)]
    rack: RackArgs,
}

/// A resource of the rack and an app.
#[derive(Debug, Args)]
pub(super) struct Link {
    /// resource name
    resource: String,
    #[command(flatten)]
    app: AppArgs,
}

/// A resource of the rack to be changed.
#[derive(Debug, Args)]
pub(super) struct Update {
    /// resource name
    resource: String,
    /// options
    #[arg(value_name = "Option=Value")]
    options: Vec<String>,
    #[command(flatten)]
    rack: RackArgs,
}

impl RackResources {
    /// Lists the rack's resources, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => list(context, &self.view, &self.rack).await,
            Some(RackResourcesCommand::Create(create)) => create.run(context).await,
            Some(RackResourcesCommand::Delete(delete)) => delete.run(context).await,
            Some(RackResourcesCommand::Info { view, resource }) => {
                let rack = context.rack(&resource.rack).await?;
                let read = async || Ok(rack.client.rack_resource_get(&resource.resource).await?);
                view.show(context, read, describe).await
            }
            Some(RackResourcesCommand::Link(link)) => link.link(context).await,
            Some(RackResourcesCommand::Options { kind, view, rack }) => {
                options(context, &kind, &view, &rack).await
            }
            Some(RackResourcesCommand::Proxy { resource, proxy }) => {
                let (rack, resource) = resource.get(context).await?;
                let route = route(&resource.url, "http", proxy.port)?;
                proxy::serve(&context.ui, rack, vec![route]).await
            }
            Some(RackResourcesCommand::Types { view, rack }) => {
                let rack = context.rack(&rack).await?;
                let read = async || Ok(rack.client.rack_resource_types().await?);
                let show = |types: Vec<ResourceType>| {
                    let mut table = Table::new(["TYPE"]);
                    for kind in types {
                        table.row(vec![kind.name]);
                    }
                    table
                };
                view.show(context, read, show).await
            }
            Some(RackResourcesCommand::Unlink(link)) => link.unlink(context).await,
            Some(RackResourcesCommand::Update(update)) => update.run(context).await,
            Some(RackResourcesCommand::Url { resource, form }) => {
                let (_, resource) = resource.get(context).await?;
                let address = Address::new(&resource.name, &resource.url);
                form.print(&context.ui, &address, &resource.url)?;
                Ok(Exit::SUCCESS)
            }
        }
    }
}

async fn list(context: &Context, view: &ViewArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let read = async || Ok(rack.client.rack_resource_list().await?);
    let show = |resources: Vec<Resource>| {
        let mut table = Table::new(["NAME", "TYPE", "STATUS"]);
        for resource in resources {
            table.row(vec![resource.name, resource.kind, resource.status]);
        }
        table
    };
    view.show(context, read, show).await
}

fn describe(resource: Resource) -> Info {
    let options = resource
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>();
    let apps: Vec<_> = resource.apps.into_iter().map(|app| app.name).collect();
    let mut info = Info::default();
    info.add("Name", resource.name)
        .add("Type", resource.kind)
        .add("Status", resource.status)
        .add("Options", options.join("\n"))
        .add_some("URL", resource.url)
        .add_some("Apps", apps.join(", "));
    info
}

async fn options(context: &Context, kind: &str, view: &ViewArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let read = async || {
        let types = rack.client.rack_resource_types().await?;
        let found = types.into_iter().find(|known| known.name == kind);
        let mut parameters = found
            .ok_or_else(|| Error::failed(format!("no such resource type: {kind}")))?
            .parameters;
        parameters.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(parameters)
    };
    let show = |parameters: Vec<ResourceParameter>| {
        let mut table = Table::new(["NAME", "DEFAULT", "DESCRIPTION"]);
        for parameter in parameters {
            table.row(vec![
                parameter.name,
                parameter.default,
                parameter.description,
            ]);
        }
        table
    };
    view.show(context, read, show).await
}

impl Create {
    /// Makes the resource.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let options = pairs(&self.options, "Name=Value expected")?;
        let rack = context.rack(&self.rack).await?;
        let progress = context.ui.start("Creating resource")?;
        let made =
            legacy::create_resource(&rack, &self.kind, self.name.as_deref(), &options).await?;
        if self.rack.waits() || rack.client.is_twinrack() {
            settle::resource(&rack, &made.name).await?;
        }
        progress.ok_with(&made.name)?;
        Ok(Exit::SUCCESS)
    }
}

impl Delete {
    /// Removes the resource.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let rack = context.rack(&self.rack).await?;
        let progress = context.ui.start("Deleting resource")?;
        rack.client.rack_resource_delete(&self.resource).await?;
        if self.rack.waits() || rack.client.is_twinrack() {
            settle::until_resource_deleted(&rack, &self.resource).await?;
        }
        progress.ok()?;
        Ok(Exit::SUCCESS)
    }
}

impl Update {
    /// Gives the resource other options.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let options = pairs(&self.options, "Key=Value expected")?;
        let rack = context.rack(&self.rack).await?;
        let progress = context.ui.start("Updating resource")?;
        legacy::update_resource(&rack, &self.resource, &options).await?;
        if self.rack.waits() || rack.client.is_twinrack() {
            settle::resource(&rack, &self.resource).await?;
        }
        progress.ok()?;
        Ok(Exit::SUCCESS)
    }
}

impl Link {
    /// Gives the app the address of the resource.
    pub(super) async fn link(self, context: &Context) -> Outcome {
        let app = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let progress = context.ui.start(format!("Linking to {app}"))?;
        rack.client.rack_resource_link(&self.resource, &app).await?;
        self.wait(&rack).await?;
        progress.ok()?;
        Ok(Exit::SUCCESS)
    }

    /// Takes it away.
    pub(super) async fn unlink(self, context: &Context) -> Outcome {
        let app = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let progress = context.ui.start(format!("Unlinking from {app}"))?;
        rack.client
            .rack_resource_unlink(&self.resource, &app)
            .await?;
        self.wait(&rack).await?;
        progress.ok()?;
        Ok(Exit::SUCCESS)
    }

    async fn wait(&self, rack: &Rack) -> Result<(), Error> {
        if self.app.rack.waits() && !rack.client.is_twinrack() {
            settle::resource(rack, &self.resource).await?;
        }
        Ok(())
    }
}
