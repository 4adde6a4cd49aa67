//! `convox services` with what is below it, and `convox restart`.

use clap::{Args, Subcommand};
use rack_api::Service;
use rack_api::params::integer;
use rack_api::service::{NetworkPort, ServicePort, UpdateOptions};

use super::absent::{Absent, Reason};
use super::rack_resource::{Create, Delete, Link};
use super::scale;
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::racks::Rack;
use crate::settle::{self, Change, Rollback};
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
    /// in 2016: create a resource of the rack
    #[command(hide = true)]
    Create(Create),
    /// in 2016: delete a resource of the rack
    #[command(hide = true)]
    Delete(Delete),
    /// in 2016: link a resource of the rack to an app
    #[command(hide = true)]
    Link(Link),
    /// restart a service
    Restart {
        /// service name
        service: String,
        #[command(flatten)]
        app: AppArgs,
    },
    /// scale services by what they use
    #[command(hide = true)]
    Triggers(Absent),
    /// in 2016: unlink a resource of the rack from an app
    #[command(hide = true)]
    Unlink(Link),
    /// update a service
    Update {
        /// service name
        service: String,
        #[command(flatten)]
        size: SizeArgs,
        #[command(flatten)]
        app: AppArgs,
    },
}

/// The size of a service: shared with `convox scale`.
#[derive(Debug, Clone, Args)]
pub(super) struct SizeArgs {
    /// number of processes
    #[arg(long, value_name = "count", value_parser = integer)]
    count: Option<i64>,
    /// processor share, 1024 for one processor
    #[arg(long, value_name = "cpu", value_parser = integer)]
    cpu: Option<i64>,
    /// graphics processors, on racks that have them
    #[arg(long, value_name = "gpu", value_parser = integer)]
    gpu: Option<i64>,
    /// make of the graphics processors
    #[arg(long, value_name = "gpu-vendor")]
    gpu_vendor: Option<String>,
    /// most processes, on racks that scale by themselves
    #[arg(long, value_name = "max", value_parser = integer)]
    max: Option<i64>,
    /// memory in MiB
    #[arg(long, value_name = "memory", value_parser = integer)]
    memory: Option<i64>,
    /// fewest processes, on racks that scale by themselves
    #[arg(long, value_name = "min", value_parser = integer)]
    min: Option<i64>,
}

impl SizeArgs {
    /// What is asked of the rack; none if no flag was given.
    pub(super) fn options(&self) -> Result<Option<UpdateOptions>, Error> {
        let options = UpdateOptions {
            count: self.count,
            cpu: self.cpu,
            memory: self.memory,
            gpu: self.gpu,
            gpu_vendor: self.gpu_vendor.clone(),
            min: self.min,
            max: self.max,
        };
        let wrong = |text: &str| Err(Error::failed(text));
        let range = options.min.is_some() || options.max.is_some();
        if options.count.is_some() && range {
            return wrong("--min/--max and --count are mutually exclusive");
        }
        if options.min.is_some_and(|min| min < 0) {
            return wrong("--min must be >= 0");
        }
        if options.max.is_some_and(|max| max < 1) {
            return wrong("--max must be >= 1");
        }
        if let (Some(min), Some(max)) = (options.min, options.max)
            && max < min
        {
            return wrong("--max must be >= --min");
        }
        Ok((options != UpdateOptions::default()).then_some(options))
    }
}

/// Changes the size of a service. A range is told only to racks that know ranges: others
/// would take no notice and call it done.
pub(super) async fn resize(
    rack: &Rack,
    app: &str,
    service: &str,
    options: &UpdateOptions,
) -> Result<(), Error> {
    if options.min.is_some() || options.max.is_some() {
        let version = rack.client.system_get().await?.version;
        if !knows_ranges(&version) {
            return Err(Error::failed(format!(
                "--min / --max range scale requires rack version 3.24.6 or later; rack reports \"{version}\""
            )));
        }
    }
    legacy::resize(rack, app, service, options).await
}

/// Whether a version is 3.24.6 or later (`rack-api.md` §5).
fn knows_ranges(version: &str) -> bool {
    let version = version.strip_prefix('v').unwrap_or(version);
    let version = version.split(['-', '+']).next().unwrap_or(version);
    let mut numbers = version.split('.').take(3).map(|part| {
        let part = part.split("rc").next().unwrap_or(part);
        part.parse::<u64>().ok()
    });
    match [(); 3].map(|()| numbers.next().flatten()) {
        [Some(major), Some(minor), Some(patch)] => (major, minor, patch) >= (3, 24, 6),
        _ => false,
    }
}

impl Services {
    /// Lists services, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => self.list(context).await,
            Some(ServicesCommand::Create(create)) => create.run(context).await,
            Some(ServicesCommand::Delete(delete)) => delete.run(context).await,
            Some(ServicesCommand::Link(link)) => link.link(context).await,
            Some(ServicesCommand::Unlink(link)) => link.unlink(context).await,
            Some(ServicesCommand::Restart { service, app }) => {
                let name = context.app(&app)?;
                let rack = context.rack(&app.rack).await?;
                restart(&rack, &name, &service, &context.ui).await?;
                Ok(Exit::SUCCESS)
            }
            Some(ServicesCommand::Triggers(triggers)) => triggers.run(Reason::Triggers),
            Some(ServicesCommand::Update { service, size, app }) => {
                let options = size.options()?.unwrap_or_default();
                let name = context.app(&app)?;
                let rack = context.rack(&app.rack).await?;
                let mut progress = context.ui.start(format!("Updating {service}"))?;
                let change = Change::begin(&rack, &name).await;
                resize(&rack, &name, &service, &options).await?;
                settle::with_logs(&rack, &name, change, Rollback::Fails, &mut progress).await?;
                if rack.client.is_twinrack() {
                    scale::check(&rack, &name, &service).await?;
                }
                progress.ok()?;
                Ok(Exit::SUCCESS)
            }
        }
    }

    async fn list(self, context: &Context) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let read = async || legacy::services(&rack, &name).await;
        let show = |services: Vec<Service>| {
            let mut header = vec!["SERVICE", "DOMAIN", "PORTS"];
            let balanced = services.iter().any(|service| !service.nlb.is_empty());
            header.extend(balanced.then_some("NLB PORTS"));
            let mut table = Table::new(header);
            for service in services {
                let ports: Vec<_> = service.ports.iter().map(port).collect();
                let nlb: Vec<_> = service.nlb.iter().map(balancer_port).collect();
                let mut row = vec![service.name, service.domain, ports.join(" ")];
                row.extend(balanced.then(|| nlb.join(" ")));
                table.row(row);
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

/// `port:container`, with what is special about it.
fn balancer_port(port: &NetworkPort) -> String {
    let mut text = format!("{}:{}", port.port, port.container_port);
    if port.protocol == "tls" {
        text.push_str("/tls");
    }
    if port.scheme == "internal" {
        text.push_str("(internal)");
    }
    let networks = port.allow_cidr.len();
    let special: Vec<_> = [
        port.cross_zone.map(|on| format!("cz={on}")),
        (networks > 0).then(|| format!("allow={networks}")),
        port.preserve_client_ip.map(|on| format!("pcip={on}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !special.is_empty() {
        text.extend(["[", &special.join(" "), "]"]);
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_known_from_3_24_6_on() {
        for version in [
            "3.24.6",
            "v3.24.6",
            "3.24.6rc5",
            "3.24.6-local",
            "3.25.0",
            "4.0.0",
        ] {
            assert!(knows_ranges(version), "{version}");
        }
        for version in ["", "dev", "3.24", "3.24.5", "20260418101514", "3.x.1"] {
            assert!(!knows_ranges(version), "{version}");
        }
    }

    #[test]
    fn ports_of_network_balancers_say_what_is_special() {
        let port = NetworkPort {
            container_port: 3000,
            port: 443,
            protocol: "tls".to_owned(),
            scheme: "internal".to_owned(),
            cross_zone: Some(true),
            allow_cidr: vec!["10.0.0.0/8".to_owned()],
            preserve_client_ip: Some(false),
        };
        assert_eq!(
            balancer_port(&port),
            "443:3000/tls(internal)[cz=true allow=1 pcip=false]"
        );
        let plain = NetworkPort {
            container_port: 1,
            port: 2,
            ..NetworkPort::default()
        };
        assert_eq!(balancer_port(&plain), "2:1");
    }
}
