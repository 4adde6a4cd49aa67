//! `convox resources` and what is below it.

use clap::{Args, Subcommand};

use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::{Info, Table};

/// Resources.
#[derive(Debug, Args)]
pub(crate) struct Resources {
    #[command(subcommand)]
    command: Option<ResourcesCommand>,
    #[command(flatten)]
    app: AppArgs,
}

#[derive(Debug, Subcommand)]
enum ResourcesCommand {
    /// get information about a resource
    Info(OneResource),
    /// get url for a resource
    Url(OneResource),
}

#[derive(Debug, Args)]
struct OneResource {
    /// resource name
    resource: String,
    #[command(flatten)]
    app: AppArgs,
}

impl OneResource {
    async fn get(&self, context: &Context) -> Result<rack_api::Resource, Error> {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        Ok(rack.client.resource_get(&name, &self.resource).await?)
    }
}

impl Resources {
    /// Lists resources, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => {
                let name = context.app(&self.app)?;
                let rack = context.rack(&self.app.rack).await?;
                let mut table = Table::new(["NAME", "TYPE", "URL"]);
                for resource in rack.client.resource_list(&name).await? {
                    table.row(vec![resource.name, resource.kind, resource.url]);
                }
                context.ui.table(&table)?;
            }
            Some(ResourcesCommand::Info(resource)) => {
                let resource = resource.get(context).await?;
                let mut info = Info::default();
                info.add("Name", resource.name)
                    .add("Type", resource.kind)
                    .add_some("URL", resource.url);
                context.ui.info(&info)?;
            }
            Some(ResourcesCommand::Url(resource)) => {
                let resource = resource.get(context).await?;
                if resource.url.is_empty() {
                    return Err(Error::failed(format!(
                        "no url for resource: {}",
                        resource.name
                    )));
                }
                context.ui.line(resource.url)?;
            }
        }
        Ok(Exit::SUCCESS)
    }
}
