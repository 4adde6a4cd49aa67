//! Removing what a test made from Docker, found by the server's label and by the
//! random build ids in its databases, and by nothing else.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions,
    RemoveVolumeOptions,
};

use crate::block_on;

async fn connect() -> Docker {
    let docker = Docker::connect_with_defaults().expect("a Docker address");
    docker.negotiate_version().await.expect("Docker answers")
}

async fn tags(docker: &Docker) -> Vec<String> {
    let images = docker
        .list_images(Some(ListImagesOptionsBuilder::default().build()))
        .await
        .expect("images");
    images
        .into_iter()
        .flat_map(|image| image.repo_tags)
        .collect()
}

/// Tags of the images a rack of a data directory keeps. Other servers may have
/// racks of the same name; their build ids are others.
pub fn image_tags(data: &Path, rack: &str) -> Vec<String> {
    let builds = builds(data);
    block_on(async {
        let docker = connect().await;
        let prefix = format!("twinrack/{rack}/");
        let ours = |tag: &String| {
            tag.starts_with(&prefix)
                && tag
                    .rsplit_once('.')
                    .is_some_and(|(_, build)| builds.contains(build))
        };
        let mut tags: Vec<_> = tags(&docker).await.into_iter().filter(ours).collect();
        tags.sort();
        tags
    })
}

/// Which of these tags the engine still has.
pub fn tags_left(wanted: &[String]) -> Vec<String> {
    block_on(async {
        let docker = connect().await;
        let mut tags = tags(&docker).await;
        tags.retain(|tag| wanted.contains(tag));
        tags
    })
}

/// Every build id that occurs in a server's files.
fn builds(data: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![data.join("racks")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("rack.db"))
            {
                let bytes = fs::read(&path).unwrap_or_default();
                for window in bytes.windows(11) {
                    if window[0] == b'B' && window[1..].iter().all(u8::is_ascii_uppercase) {
                        found.insert(String::from_utf8_lossy(window).into_owned());
                    }
                }
            }
        }
    }
    found
}

/// Id of the server of a data directory, if it has begun.
pub fn server_id(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join("server.json")).ok()?;
    let server: serde_json::Value = serde_json::from_str(&text).expect("server.json");
    Some(server["id"].as_str().expect("a server id").to_owned())
}

/// What carries a server's label.
struct Labelled {
    containers: Vec<ContainerSummary>,
    networks: Vec<String>,
    volumes: Vec<String>,
}

impl Labelled {
    async fn of(docker: &Docker, server: &str) -> Self {
        let label = format!("twinrack.server={server}");
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let containers = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let networks = ListNetworksOptionsBuilder::default()
            .filters(&filters)
            .build();
        let volumes = ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let networks = docker
            .list_networks(Some(networks))
            .await
            .expect("networks");
        let volumes = docker.list_volumes(Some(volumes)).await.expect("volumes");
        Self {
            containers: docker
                .list_containers(Some(containers))
                .await
                .expect("containers"),
            networks: networks
                .into_iter()
                .filter_map(|network| network.name)
                .collect(),
            volumes: volumes
                .volumes
                .unwrap_or_default()
                .into_iter()
                .map(|volume| volume.name)
                .collect(),
        }
    }
}

/// Removes containers, networks, volumes and images of the server of a data
/// directory, as far as they go.
pub(crate) fn remove_everything(data: &Path) {
    let Some(server) = server_id(data) else {
        return;
    };
    let builds = builds(data);
    block_on(async {
        let docker = connect().await;
        let labelled = Labelled::of(&docker, &server).await;
        for container in labelled.containers {
            let force = RemoveContainerOptionsBuilder::default()
                .force(true)
                .v(true)
                .build();
            let _ = docker
                .remove_container(&container.id.unwrap_or_default(), Some(force))
                .await;
        }
        for network in labelled.networks {
            let _ = docker.remove_network(&network).await;
        }
        for volume in labelled.volumes {
            let _ = docker
                .remove_volume(&volume, None::<RemoveVolumeOptions>)
                .await;
        }
        for tag in tags(&docker).await {
            let build = tag.rsplit_once('.').map(|(_, build)| build.to_owned());
            if tag.starts_with("twinrack/") && build.is_some_and(|build| builds.contains(&build)) {
                let _ = docker
                    .remove_image(&tag, None::<RemoveImageOptions>, None)
                    .await;
            }
        }
    });
}

/// Containers, networks and volumes that carry a server's label.
pub fn labelled(server: &str) -> Vec<String> {
    block_on(async {
        let labelled = Labelled::of(&connect().await, server).await;
        let containers = labelled
            .containers
            .into_iter()
            .flat_map(|container| container.names.unwrap_or_default());
        containers
            .map(|name| format!("container {name}"))
            .chain(
                labelled
                    .networks
                    .into_iter()
                    .map(|name| format!("network {name}")),
            )
            .chain(
                labelled
                    .volumes
                    .into_iter()
                    .map(|name| format!("volume {name}")),
            )
            .collect()
    })
}

/// Ports that containers of the server of a data directory publish on other
/// addresses than loopback ones.
pub(crate) fn published_beyond_loopback(data: &Path) -> Vec<String> {
    let server = server_id(data).expect("a server");
    block_on(async {
        let labelled = Labelled::of(&connect().await, &server).await;
        let ports: Vec<_> = labelled
            .containers
            .into_iter()
            .flat_map(|container| container.ports.unwrap_or_default())
            .collect();
        assert!(
            ports.iter().any(|port| port.public_port.is_some()),
            "something is published"
        );
        ports
            .into_iter()
            .filter(|port| {
                port.ip
                    .as_deref()
                    .is_some_and(|ip| ip != "127.0.0.1" && ip != "::1")
            })
            .map(|port| format!("{port:?}"))
            .collect()
    })
}
