//! `convox services` with what is below it, and `convox restart`.

use clap::{Args, Subcommand};
use rack_api::Service;
use rack_api::service::ServicePort;

use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::racks::Rack;
use crate::settle;
use crate::ui::{Table, Ui};
use crate::view::ViewArgs;

/// Services.
#[derive(Debug, Args)]
pub(crate) struct Services {
    #[command(subcommand)]
    command: Option<ServicesCommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

#[derive(Debug, Subcommand)]
enum ServicesCommand {
    /// restart a service
    Restart {
        /// service name
        service: String,
        #[command(flatten)]
        app: AppArgs,
    },
}

impl Services {
    /// Lists services, or restarts one.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        if let Some(ServicesCommand::Restart { service, app }) = self.command {
            let name = context.app(&app)?;
            let rack = context.rack(&app.rack).await?;
            restart(&rack, &name, &service, &context.ui).await?;
            return Ok(Exit::SUCCESS);
        }
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let read = async || Ok(rack.client.service_list(&name).await?);
        let show = |services: Vec<Service>| {
            let mut table = Table::new(["SERVICE", "DOMAIN", "PORTS"]);
            for service in services {
                let ports: Vec<_> = service.ports.iter().map(port).collect();
                table.row(vec![service.name, service.domain, ports.join(" ")]);
            }
            table
        };
        self.view.show(context, read, show).await
    }
}

/// `balancer:container`, or whichever there is.
fn port(port: &ServicePort) -> String {
    match (port.balancer, port.container) {
        (balancer, 0) => balancer.to_string(),
        (0, container) => container.to_string(),
        (balancer, container) => format!("{balancer}:{container}"),
    }
}

async fn restart(rack: &Rack, app: &str, service: &str, ui: &Ui) -> Result<(), Error> {
    let progress = ui.start(format!("Restarting {service}"))?;
    rack.client.service_restart(app, service).await?;
    if rack.client.is_twinrack() {
        // Only our server can be waited for without fixed sleeps; a failed restart
        // leaves its reason with the active release.
        let settled = settle::quietly(rack, app).await?;
        let release = rack.client.release_get(app, &settled.release).await?;
        if !release.reason.is_empty() {
            return Err(Error::failed(format!("rollback: {}", release.reason)));
        }
    }
    progress.ok()
}

/// All services of an app, anew.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    app: AppArgs,
}

impl Restart {
    /// Restarts every service by name.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        restart_all(&rack, &name, &context.ui).await?;
        Ok(Exit::SUCCESS)
    }
}

/// Restarts every service of an app by name.
pub(super) async fn restart_all(rack: &Rack, app: &str, ui: &Ui) -> Result<(), Error> {
    let mut services = rack.client.service_list(app).await?;
    services.sort_by(|one, other| one.name.cmp(&other.name));
    for service in services {
        restart(rack, app, &service.name, ui).await?;
    }
    Ok(())
}
