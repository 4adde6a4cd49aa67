//! Reaching a process's port.
//!
//! Every declared port is published on a random port of 127.0.0.1, because desktop
//! and rootless engines give the host no way to container addresses; other ports are
//! tried at the container's own address, which works beside a native engine. What was found
//! is remembered for a few seconds only: once a container is gone, its port may
//! become another one's. Note that Docker's own proxy accepts before the process
//! listens and then closes, so a connection alone is no proof of health.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::models::{ContainerInspectResponse, PortBinding};
use bollard::query_parameters::InspectContainerOptions;

use super::Docker;
use crate::engine::{Connection, EngineError, Result};

/// How long a found port is believed.
const BELIEVED: Duration = Duration::from_secs(5);

/// Where ports were last seen, by container id and port.
#[derive(Debug, Default)]
pub(super) struct Ports {
    seen: Mutex<HashMap<(String, u16), (SocketAddr, Instant)>>,
}

impl Ports {
    fn get(&self, id: &str, port: u16) -> Option<SocketAddr> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(id.to_owned(), port))
            .filter(|(_, when)| when.elapsed() < BELIEVED)
            .map(|(address, _)| *address)
    }

    fn remember(&self, id: &str, port: u16, address: SocketAddr) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (_, when)| when.elapsed() < BELIEVED);
        seen.insert((id.to_owned(), port), (address, Instant::now()));
    }

    /// Forgets a container that starts, stops or goes.
    pub(super) fn forget(&self, id: &str) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(known, _), _| known != id);
    }
}

impl Docker {
    pub(super) async fn process_dial(&self, id: &str, port: u16) -> Result<Connection> {
        if let Some(address) = self.ports().get(id, port) {
            if let Ok(stream) = self.transport().dial(address).await {
                return Ok(stream);
            }
            self.ports().forget(id);
        }
        let places = self.places(id, port).await?;
        let mut refused = None;
        for address in places {
            match self.transport().dial(address).await {
                Ok(stream) => {
                    self.ports().remember(id, port, address);
                    return Ok(stream);
                }
                Err(error) => refused = Some((address, error)),
            }
        }
        Err(EngineError::Failed(match refused {
            Some((address, error)) => {
                format!("port {port} of process {id} does not accept at {address}: {error}")
            }
            None => format!("process {id} has no network"),
        }))
    }

    /// Where a port can be reached: as published, else at the process's own address.
    async fn places(&self, id: &str, port: u16) -> Result<Vec<SocketAddr>> {
        let client = self.session().await?.client;
        let found = client
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
            .map_err(|error| self.failure("process", id, error))?;
        if !found
            .state
            .as_ref()
            .and_then(|state| state.running)
            .unwrap_or_default()
        {
            return Err(EngineError::Failed(format!("process {id} is not running")));
        }
        if let Some(address) = binding(&found, port) {
            return Ok(vec![address]);
        }
        let networks = found
            .network_settings
            .and_then(|settings| settings.networks);
        let addresses = networks
            .iter()
            .flat_map(|networks| networks.values())
            .filter_map(|endpoint| endpoint.ip_address.as_deref()?.parse::<IpAddr>().ok());
        Ok(addresses
            .map(|address| SocketAddr::new(address, port))
            .collect())
    }
}

/// The address a port is published at. Engines may list several bindings: a
/// loopback one is taken, IPv4 first, and a wildcard one is reached over loopback.
fn binding(found: &ContainerInspectResponse, port: u16) -> Option<SocketAddr> {
    let ports = found.network_settings.as_ref()?.ports.as_ref()?;
    let bindings = ports.get(&format!("{port}/tcp"))?.as_ref()?;
    bindings
        .iter()
        .filter_map(address)
        .min_by_key(|address| (!address.ip().is_loopback(), address.is_ipv6()))
}

fn address(binding: &PortBinding) -> Option<SocketAddr> {
    let port: u16 = binding.host_port.as_deref()?.parse().ok()?;
    let ip = match binding.host_ip.as_deref().unwrap_or_default() {
        "" | "0.0.0.0" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "::" => IpAddr::V6(Ipv6Addr::LOCALHOST),
        text => text.parse().ok()?,
    };
    (port != 0).then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use bollard::models::NetworkSettings;

    use super::*;

    fn published(bindings: &[(&str, &str)]) -> ContainerInspectResponse {
        let bindings = bindings
            .iter()
            .map(|(ip, port)| PortBinding {
                host_ip: Some((*ip).into()),
                host_port: Some((*port).into()),
            })
            .collect();
        ContainerInspectResponse {
            network_settings: Some(NetworkSettings {
                ports: Some(HashMap::from([("80/tcp".to_owned(), Some(bindings))])),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_loopback_binding_is_chosen_among_several() {
        let found = published(&[("192.0.2.1", "7"), ("::1", "8"), ("127.0.0.1", "9")]);
        assert_eq!(
            binding(&found, 80),
            Some("127.0.0.1:9".parse().expect("an address"))
        );
        assert_eq!(binding(&found, 81), None);
        let wild = published(&[("::", "8"), ("0.0.0.0", "7")]);
        assert_eq!(
            binding(&wild, 80),
            Some("127.0.0.1:7".parse().expect("an address"))
        );
        assert_eq!(binding(&published(&[("", "0")]), 80), None);
    }

    #[test]
    fn what_was_seen_is_forgotten_with_its_container() {
        let ports = Ports::default();
        let address: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        ports.remember("a", 80, address);
        ports.remember("b", 80, address);
        ports.forget("a");
        assert_eq!(ports.get("a", 80), None);
        assert_eq!(ports.get("b", 80), Some(address));
    }
}
