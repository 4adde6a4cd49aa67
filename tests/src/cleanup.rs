//! Removing what a test made from Docker, found by the server's label and by the
//! random build ids in its databases, and by nothing else.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use bollard::Docker;
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

/// Removes containers, networks, volumes and images of the server of a data directory.
pub(crate) fn remove_everything(data: &Path) {
    let Ok(text) = fs::read_to_string(data.join("server.json")) else {
        return;
    };
    let server: serde_json::Value = serde_json::from_str(&text).expect("server.json");
    let id = server["id"].as_str().expect("a server id").to_owned();
    let builds = builds(data);
    block_on(async {
        let docker = connect().await;
        let filters = HashMap::from([("label".to_owned(), vec![format!("twinrack.server={id}")])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        for container in docker
            .list_containers(Some(options))
            .await
            .expect("containers")
        {
            let force = RemoveContainerOptionsBuilder::default()
                .force(true)
                .v(true)
                .build();
            let _ = docker
                .remove_container(&container.id.unwrap_or_default(), Some(force))
                .await;
        }
        let options = ListNetworksOptionsBuilder::default()
            .filters(&filters)
            .build();
        for network in docker.list_networks(Some(options)).await.expect("networks") {
            let _ = docker.remove_network(&network.id.unwrap_or_default()).await;
        }
        let options = ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        for volume in docker
            .list_volumes(Some(options))
            .await
            .expect("volumes")
            .volumes
            .unwrap_or_default()
        {
            let _ = docker
                .remove_volume(&volume.name, None::<RemoveVolumeOptions>)
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
    let filters = HashMap::from([(
        "label".to_owned(),
        vec![format!("twinrack.server={server}")],
    )]);
    block_on(async {
        let docker = connect().await;
        let mut found = Vec::new();
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        for container in docker
            .list_containers(Some(options))
            .await
            .expect("containers")
        {
            found.push(format!(
                "container {}",
                container.names.unwrap_or_default().join(" ")
            ));
        }
        let options = ListNetworksOptionsBuilder::default()
            .filters(&filters)
            .build();
        for network in docker.list_networks(Some(options)).await.expect("networks") {
            found.push(format!("network {}", network.name.unwrap_or_default()));
        }
        let options = ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        for volume in docker
            .list_volumes(Some(options))
            .await
            .expect("volumes")
            .volumes
            .unwrap_or_default()
        {
            found.push(format!("volume {}", volume.name));
        }
        found
    })
}

/// Ports that containers of the server of a data directory publish on other
/// addresses than loopback ones.
pub(crate) fn published_beyond_loopback(data: &Path) -> Vec<String> {
    let text = fs::read_to_string(data.join("server.json")).expect("server.json");
    let server: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let label = format!("twinrack.server={}", server["id"].as_str().expect("an id"));
    let filters = HashMap::from([("label".to_owned(), vec![label])]);
    block_on(async {
        let docker = connect().await;
        let options = ListContainersOptionsBuilder::default()
            .filters(&filters)
            .build();
        let containers = docker
            .list_containers(Some(options))
            .await
            .expect("containers");
        assert!(!containers.is_empty(), "something runs");
        let ports = containers
            .into_iter()
            .flat_map(|container| container.ports.unwrap_or_default());
        ports
            .filter(|port| {
                port.ip
                    .as_deref()
                    .is_some_and(|ip| ip != "127.0.0.1" && ip != "::1")
            })
            .map(|port| format!("{port:?}"))
            .collect()
    })
}
