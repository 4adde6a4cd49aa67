//! Networks and volumes, and the removal of everything that carries given labels.

use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveVolumeOptions,
};

use super::connect::label_filter;
use super::{Docker, error};
use crate::engine::{EngineError, Labels, Result};

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
        match client.create_network(request).await {
            Ok(_) => Ok(()),
            // Somebody else made it meanwhile: fine if it carries our labels.
            Err(error)
                if error::status(&error) == Some(409)
                    && self.network_ours(name, labels).await? =>
            {
                Ok(())
            }
            Err(error) if error::mentions(&error, "address pool") => {
                Err(EngineError::Failed(format!(
                    "docker has no address range left for network {name}; remove unused networks with `docker network prune`"
                )))
            }
            Err(error) => Err(self.failure("network", name, error)),
        }
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
