//! Networks and volumes, and the removal of everything that carries given labels.

use std::net::Ipv4Addr;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptions,
    ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptions,
};

use ipnet::Ipv4Net;

use super::connect::label_filter;
use super::{Docker, error};
use crate::engine::{EngineError, Labels, Result};

/// Where networks get their addresses from when the engine has no range of its own left:
/// seldom used by anybody, and room for a thousand networks.
const SPARE: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 212, 0, 0), 14);
/// Length of the prefix of one network, enough for 253 processes.
const NETWORK: u8 = 24;

/// The ranges that overlap with none of those in use.
fn spare_ranges(used: &[Ipv4Net]) -> impl Iterator<Item = Ipv4Net> {
    let (address, length) = SPARE;
    let all = Ipv4Net::new(address, length).expect("a short prefix");
    let overlaps = |range: &Ipv4Net| {
        used.iter()
            .any(|used| used.contains(range) || range.contains(used))
    };
    all.subnets(NETWORK)
        .expect("a longer prefix")
        .filter(move |range| !overlaps(range))
}

/// Where this machine sends packets, from the kernel's table; a default route leads everywhere
/// and is none. Other systems have no such file: engines there are in a machine of their own.
fn routes(table: &str) -> Vec<Ipv4Net> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (address, mask) = (number(fields.next()?)?, number(fields.nth(5)?)?);
            let length = u8::try_from(mask.leading_ones()).ok()?;
            Ipv4Net::new(Ipv4Addr::from(address), length).ok()
        })
        .filter(|route| route.prefix_len() > 0)
        .collect()
}

impl Docker {
    pub(super) async fn network_ensure(&self, name: &str, labels: &Labels) -> Result<()> {
        let _turn = self.network_turn().lock().await;
        if self.network_ours(name, labels).await? {
            return Ok(());
        }
        let client = self.session().await?.client;
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".into()),
            labels: Some(labels.clone().into_iter().collect()),
            ..Default::default()
        };
        match client.create_network(request.clone()).await {
            Ok(_) => Ok(()),
            // Somebody else made it meanwhile: fine if it carries our labels.
            Err(error)
                if error::status(&error) == Some(409)
                    && self.network_ours(name, labels).await? =>
            {
                Ok(())
            }
            Err(error) if error::mentions(&error, "address pool") => {
                self.network_elsewhere(request).await
            }
            Err(error) => Err(self.failure("network", name, error)),
        }
    }

    /// Creates a network with addresses that the engine would not have chosen by itself.
    async fn network_elsewhere(&self, request: NetworkCreateRequest) -> Result<()> {
        let client = self.session().await?.client;
        let request_name = request.name.clone();
        let networks = client
            .list_networks(None::<ListNetworksOptions>)
            .await
            .map_err(|error| self.failure("network", "list", error))?;
        let mut used: Vec<Ipv4Net> = networks
            .into_iter()
            .filter_map(|network| network.ipam?.config)
            .flatten()
            .filter_map(|config| config.subnet?.parse().ok())
            .collect();
        used.extend(routes(
            &std::fs::read_to_string("/proc/net/route").unwrap_or_default(),
        ));
        for range in spare_ranges(&used) {
            let config = IpamConfig {
                subnet: Some(range.to_string()),
                ..Default::default()
            };
            let request = NetworkCreateRequest {
                ipam: Some(Ipam {
                    config: Some(vec![config]),
                    ..Default::default()
                }),
                ..request.clone()
            };
            match client.create_network(request).await {
                Ok(_) => {
                    tracing::info!(%range, "the engine has no address range left: using a spare one");
                    return Ok(());
                }
                // Taken meanwhile, or by something that is not in the list.
                Err(error) if error::mentions(&error, "overlaps") => {}
                Err(error) => return Err(self.failure("network", &request_name, error)),
            }
        }
        Err(EngineError::Failed(format!(
            "docker has no address range left for network {request_name}; remove unused networks with `docker network prune`"
        )))
    }

    /// Whether a network of this name exists. One that lacks the labels is an error.
    async fn network_ours(&self, name: &str, labels: &Labels) -> Result<bool> {
        let client = self.session().await?.client;
        match client
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await
        {
            Ok(found) if found.name.as_deref() != Some(name) => Ok(false), // found by id prefix
            Ok(found) => {
                let carried = found.labels.unwrap_or_default();
                if labels
                    .iter()
                    .all(|(label, value)| carried.get(label) == Some(value))
                {
                    Ok(true)
                } else {
                    Err(EngineError::Failed(format!(
                        "network {name} exists but belongs to something else; remove it with `docker network rm {name}`"
                    )))
                }
            }
            Err(error) if error::status(&error) == Some(404) => Ok(false),
            Err(error) => Err(self.failure("network", name, error)),
        }
    }

    pub(super) async fn volume_ensure(&self, name: &str, labels: &Labels) -> Result<()> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..Default::default()
        };
        // The engine answers with the existing one of that name, if there is one.
        let client = self.session().await?.client;
        client
            .create_volume(request)
            .await
            .map(drop)
            .map_err(|error| self.failure("volume", name, error))
    }

    pub(super) async fn volume_remove(&self, name: &str) -> Result<()> {
        let client = self.session().await?.unhurried();
        match client
            .remove_volume(name, None::<RemoveVolumeOptions>)
            .await
        {
            Ok(()) => Ok(()),
            Err(error) if error::status(&error) == Some(404) => Ok(()),
            Err(error) => Err(self.failure("volume", name, error)),
        }
    }

    async fn network_remove(&self, id: &str) -> Result<()> {
        let client = self.session().await?.client;
        match client.remove_network(id).await {
            Ok(()) => Ok(()),
            Err(error) if error::status(&error) == Some(404) => Ok(()),
            Err(error) => Err(self.failure("network", id, error)),
        }
    }

    pub(super) async fn labelled_remove(&self, labels: &Labels) -> Result<()> {
        if labels.is_empty() {
            // No label matches everything, other people's containers included.
            return Err(EngineError::Failed(
                "refusing to remove objects without a label to choose them by".into(),
            ));
        }
        let filter = label_filter(labels);
        let client = self.session().await?.client;

        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filter)
            .build();
        let containers = client
            .list_containers(Some(options))
            .await
            .map_err(|error| self.failure("process", "list", error))?;
        let ids = containers.into_iter().filter_map(|container| container.id);
        futures::future::try_join_all(ids.map(|id| async move { self.process_remove(&id).await }))
            .await?;

        let options = ListNetworksOptionsBuilder::default()
            .filters(&filter)
            .build();
        let networks = client
            .list_networks(Some(options))
            .await
            .map_err(|error| self.failure("network", "list", error))?;
        for id in networks.into_iter().filter_map(|network| network.id) {
            self.network_remove(&id).await?;
        }

        let options = ListVolumesOptionsBuilder::default()
            .filters(&filter)
            .build();
        let volumes = client
            .list_volumes(Some(options))
            .await
            .map_err(|error| self.failure("volume", "list", error))?;
        for volume in volumes.volumes.unwrap_or_default() {
            self.volume_remove(&volume.name).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a network")
    }

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            tun0\t0000D40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            nonsense\n";
        assert_eq!(routes(table), [net("192.168.2.0/24"), net("10.212.0.0/16")]);
    }

    #[test]
    fn spare_ranges_are_used_by_nobody() {
        let used = [
            net("10.212.0.0/16"),
            net("10.213.0.128/25"),
            net("172.17.0.0/16"),
        ];
        assert_eq!(spare_ranges(&used).next(), Some(net("10.213.1.0/24")));
        assert_eq!(spare_ranges(&[net("10.0.0.0/8")]).next(), None);
        assert_eq!(spare_ranges(&[]).count(), 1024);
    }
}
