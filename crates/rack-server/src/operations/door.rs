//! Which ports of this machine lead to which services: those of balancers, `nlb`, `ports`
//! and a `port` that speaks no HTTP (`convox-yml.md` §11, §14).
//!
//! Whoever comes first gets the very port that the manifest names; another rack with the
//! same manifest, or an app beside a program that listens there, gets the next free one. A
//! door keeps its port for as long as it is declared, also over a restart of the server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use manifest::{BalancerProtocol, ListenerProtocol, Service};

use super::context::Context;
use super::error::Result;
use super::plan::Plan;
use crate::router::{Scheme, Way};

/// Ports tried after the wanted one.
const NEXT: u16 = 20;
/// Added to ports that only the system's own programs may have.
const UNPRIVILEGED: u16 = 10_000;

/// A door that a manifest wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Service it leads to.
    pub service: String,
    /// What it is called: in the log and where its port is remembered.
    pub name: String,
    /// Port it should have.
    pub port: u16,
    /// Port of the process.
    pub target: u16,
    /// Whether TLS ends at it.
    tls: bool,
    /// Networks that may come, in CIDR notation.
    allow: Vec<String>,
}

/// Name of the door of a balancer's port.
pub fn of_balancer(balancer: &str, port: u16) -> String {
    format!("balancer {balancer} port {port}")
}

/// Name of the door of a port of `nlb`.
pub fn of_listener(service: &str, port: u16) -> String {
    format!("nlb {service} port {port}")
}

/// Name of the door of a further port of a service.
pub fn of_port(service: &str, port: u16) -> String {
    format!("service {service} port {port}")
}

/// Ports of a service that get a door of the same number: what its router port does not
/// carry, unless the service is for the rack's own processes only.
pub fn further_ports(service: &Service) -> Vec<u16> {
    if service.internal && !service.internal_and_external {
        return Vec::new();
    }
    let other = service
        .port
        .as_ref()
        .filter(|port| Scheme::of(&port.scheme) == Scheme::Other);
    let mut ports: Vec<_> = other.map(|port| port.port).into_iter().collect();
    ports.extend(&service.ports);
    ports.dedup();
    ports
}

/// The doors of a release.
pub fn wanted(plan: &Plan) -> Vec<Wanted> {
    let mut all = Vec::new();
    for balancer in plan.manifest.balancers.values() {
        let ports = balancer.ports.iter();
        for port in ports.filter(|port| port.protocol == BalancerProtocol::Tcp) {
            all.push(Wanted {
                service: balancer.service.clone(),
                name: of_balancer(&balancer.name, port.source),
                port: port.source,
                target: port.target,
                tls: false,
                allow: balancer.whitelist.clone(),
            });
        }
    }
    for service in plan.services.iter().map(|plan| &plan.service) {
        for listener in &service.nlb {
            all.push(Wanted {
                service: service.name.clone(),
                name: of_listener(&service.name, listener.port),
                port: listener.port,
                target: listener.container_port,
                tls: listener.protocol == ListenerProtocol::Tls,
                allow: listener.allow_cidr.clone(),
            });
        }
        for port in further_ports(service) {
            all.push(Wanted {
                service: service.name.clone(),
                name: of_port(&service.name, port),
                port,
                target: port,
                tls: false,
                allow: service.whitelist.clone(),
            });
        }
    }
    all
}

/// Where a door may be: where it was, where it should be, next to that, anywhere.
fn candidates(remembered: Option<u16>, wanted: u16) -> impl Iterator<Item = u16> {
    let next = |port: u16| port..=port.saturating_add(NEXT);
    let high = (wanted < 1024).then(|| next(wanted + UNPRIVILEGED));
    remembered
        .into_iter()
        .chain(next(wanted))
        .chain(high.into_iter().flatten())
        .chain([0])
}

/// Opens the doors of the active release and closes all others of its app. A door that cannot
/// be opened is no reason for anything else to fail: the log says so.
pub async fn open(context: &Arc<Context>, app: &str, plan: &Plan) -> Result<()> {
    let wanted = wanted(plan);
    let remembered = context.store.doors(app).await?;
    context.doors.close_others(app, |service, door| {
        wanted
            .iter()
            .any(|wanted| wanted.service == service && wanted.name == door)
    });
    let mut ports = BTreeMap::new();
    for door in &wanted {
        let known = remembered.get(&door.name).copied();
        let way = Way {
            port: door.target,
            tls: door.tls.then(|| Arc::clone(&context.tls)),
            // Checked when the manifest was read.
            allow: door
                .allow
                .iter()
                .filter_map(|net| net.parse().ok())
                .collect(),
        };
        let places = candidates(known, door.port);
        match context
            .doors
            .open(app, &door.service, &door.name, way, places)
        {
            Ok(None) => {}
            Ok(Some(address)) if known == Some(address.port()) => {}
            Ok(Some(address)) => context.log(app, &door.service, &told(door, address)),
            Err(error) => {
                let text = format!("{} cannot be opened: {error}", door.name);
                context.log(app, &door.service, &text);
            }
        }
        let address = context.doors.address(app, &door.service, &door.name);
        if let Some(port) = address.map(|address| address.port()).or(known) {
            ports.insert(door.name.clone(), port);
        }
    }
    if ports != remembered {
        context.store.set_doors(app, ports).await?;
    }
    Ok(())
}

/// What the log says of a door.
fn told(door: &Wanted, address: SocketAddr) -> String {
    let Wanted {
        service,
        name,
        port,
        target,
        ..
    } = door;
    if address.port() == *port {
        format!("{name}: {address} leads to port {target} of {service}")
    } else {
        format!(
            "{name}: port {port} is not free here, {address} leads to port {target} of {service}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_stays_where_it_was_and_else_is_near_where_it_should_be() {
        let all = |remembered, wanted| candidates(remembered, wanted).collect::<Vec<_>>();
        assert_eq!(&all(Some(7001), 7000)[..3], [7001, 7000, 7001]);
        assert_eq!(&all(None, 7000)[..3], [7000, 7001, 7002]);
        let low = all(None, 25);
        assert_eq!((low[0], low[21], low.last()), (25, 10_025, Some(&0)));
        assert_eq!(all(None, 65_535), [65_535, 0]);
    }
}
