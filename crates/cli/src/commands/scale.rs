//! `convox scale`.

use clap::Args;
use rack_api::Service;
use rack_api::process::status;
use serde::Serialize;

use super::service::{SizeArgs, resize};
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::racks::Rack;
use crate::settle::{self, Change, Rollback};
use crate::ui::Table;
use crate::view::ViewArgs;

/// Size of services.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// service name
    service: Option<String>,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

/// A service and how many of its processes there are.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    service: Service,
    running: usize,
}

impl Scale {
    /// Shows the size of services, or changes that of one.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let Some(options) = self.size.options()? else {
            return show(context, self.service.as_deref(), &self.view, &self.app).await;
        };
        let service = self.service.filter(|service| !service.is_empty());
        let service = service.ok_or_else(|| Error::failed("service name required"))?;
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let mut progress = context.ui.start(format!("Scaling {service}"))?;
        let change = Change::begin(&rack, &name).await;
        resize(&rack, &name, &service, &options).await?;
        if self.app.rack.waits() {
            settle::with_logs(&rack, &name, change, Rollback::Fails, &mut progress).await?;
        } else if rack.client.is_twinrack() {
            settle::quietly(&rack, &name).await?;
        }
        if rack.client.is_twinrack() {
            check(&rack, &name, &service).await?;
        }
        progress.ok()?;
        Ok(Exit::SUCCESS)
    }
}

/// Success means that as many processes run as were asked for.
pub(super) async fn check(rack: &Rack, app: &str, service: &str) -> Result<(), Error> {
    let services = rack.client.service_list(app).await?;
    let wanted = services
        .iter()
        .find(|known| known.name == service)
        .map_or(0, |known| known.count);
    let processes = rack.client.process_list(app, Some(service), None).await?;
    let running = processes
        .iter()
        .filter(|process| process.status == status::RUNNING)
        .count();
    if (running as i64) < wanted {
        return Err(Error::failed(format!(
            "{running} of {wanted} processes of {service} are running: see `convox logs`"
        )));
    }
    Ok(())
}

async fn show(context: &Context, only: Option<&str>, view: &ViewArgs, app: &AppArgs) -> Outcome {
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let read = async || {
        let mut services = legacy::services(&rack, &name).await?;
        if let Some(only) = only {
            services.retain(|service| service.name == only);
            if services.is_empty() {
                return Err(Error::failed(format!("service not found: {only}")));
            }
        }
        services.sort_by(|one, other| one.name.cmp(&other.name));
        let processes = rack.client.process_list(&name, None, None).await?;
        let rows = services.into_iter().map(|service| {
            let its = processes.iter().filter(|process| {
                process.name == service.name && process.status != status::STOPPING
            });
            Row {
                running: its.count(),
                service,
            }
        });
        Ok(rows.collect::<Vec<_>>())
    };
    let show = |rows: Vec<Row>| {
        let mut table = Table::new(["SERVICE", "DESIRED", "RUNNING", "CPU", "MEMORY"]);
        for Row { service, running } in rows {
            let numbers = [service.count, running as i64, service.cpu, service.memory];
            let numbers = numbers.map(|number| number.to_string());
            table.row(std::iter::once(service.name).chain(numbers).collect());
        }
        table
    };
    view.show(context, read, show).await
}
