//! Images: looking up, fetching, naming, and what they are made of.
//!
//! With the classic store an image's id is the digest of its configuration. With
//! the containerd store it is the digest of a manifest, and no call offers the
//! configuration's; it stands in the image's saved form only, so that is read once
//! per image, up to the entry that names it, and remembered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures::StreamExt;
use tokio_util::io::SyncIoBridge;

use super::{Docker, error};
use crate::engine::{Credentials, EngineError, Image, Reader, Result};

/// The list of images in a saved archive is never larger.
const LIST_LIMIT: u64 = 4 * 1024 * 1024;

/// Config digests by image id.
#[derive(Debug, Default)]
pub(super) struct Digests {
    found: Mutex<HashMap<String, String>>,
}

impl Docker {
    pub(super) async fn image_find(&self, reference: &str) -> Result<Option<Image>> {
        if reference.is_empty() {
            return Ok(None);
        }
        let client = self.session().await?.client;
        match client.inspect_image(reference).await {
            Ok(found) => self.described(found).await.map(Some),
            Err(error) if error::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.failure("image", reference, error)),
        }
    }

    /// Looks up an image that was just made or fetched.
    pub(super) async fn image_made(&self, reference: &str) -> Result<Image> {
        let lost = || EngineError::NotFound {
            kind: "image",
            name: reference.to_owned(),
        };
        self.image_find(reference).await?.ok_or_else(lost)
    }

    async fn described(&self, found: ImageInspect) -> Result<Image> {
        let id = found
            .id
            .ok_or_else(|| EngineError::Failed("docker described an image without an id".into()))?;
        let by_manifest = found
            .descriptor
            .and_then(|descriptor| descriptor.digest)
            .is_some_and(|d| d == id);
        let config_digest = if by_manifest {
            self.config_digest(&id).await?
        } else if id.contains(':') {
            id.clone()
        } else {
            format!("sha256:{id}") // podman leaves the algorithm out
        };
        let config = found.config.unwrap_or_default();
        let mut exposed_ports: Vec<u16> = config
            .exposed_ports
            .iter()
            .flatten()
            .filter_map(|port| port.strip_suffix("/tcp").unwrap_or(port).parse().ok())
            .collect();
        exposed_ports.sort_unstable();
        Ok(Image {
            id,
            config_digest,
            diff_ids: found
                .root_fs
                .and_then(|layers| layers.layers)
                .unwrap_or_default(),
            size: found
                .size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            exposed_ports,
        })
    }

    async fn config_digest(&self, id: &str) -> Result<String> {
        if let Some(known) = self
            .digests()
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
        {
            return Ok(known.clone());
        }
        let tar = self.images_save(&[id.to_owned()]).await?;
        let digest = saved_config(tar).await?;
        self.digests()
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), digest.clone());
        Ok(digest)
    }

    pub(super) async fn image_pull(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Image> {
        if let Some(present) = self.image_find(reference).await? {
            return Ok(present);
        }
        let client = self.session().await?.unhurried();
        // Without a tag the engine would fetch all of them.
        let full = if has_tag(reference) {
            reference.to_owned()
        } else {
            format!("{reference}:latest")
        };
        let options = CreateImageOptionsBuilder::default()
            .from_image(&full)
            .build();
        let login = credentials.map(|login| DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.clone()),
            ..Default::default()
        });
        let mut progress = client.create_image(Some(options), None, login);
        while let Some(step) = progress.next().await {
            step.map_err(|error| match self.failure("image", reference, error) {
                EngineError::Failed(text) => {
                    EngineError::Failed(format!("cannot pull {reference}: {text}"))
                }
                other => other,
            })?;
        }
        self.image_made(reference).await
    }

    pub(super) async fn image_tag(&self, id: &str, reference: &str) -> Result<()> {
        let client = self.session().await?.client;
        let (repository, tag) = if has_tag(reference) {
            reference.rsplit_once(':').expect("a tag follows a colon")
        } else {
            (reference, "latest")
        };
        let options = TagImageOptionsBuilder::default()
            .repo(repository)
            .tag(tag)
            .build();
        client
            .tag_image(id, Some(options))
            .await
            .map_err(|error| self.failure("image", id, error))
    }

    /// Takes a tag away. A container that runs on the image keeps it alive without a name.
    pub(super) async fn image_untag(&self, reference: &str) -> Result<()> {
        let client = self.session().await?.unhurried();
        let options = |force| Some(RemoveImageOptionsBuilder::default().force(force).build());
        let mut done = client.remove_image(reference, options(false), None).await;
        if done
            .as_ref()
            .is_err_and(|error| error::status(error) == Some(409))
        {
            // The last tag, and a container exists: docker wants to be told that we mean it.
            done = client.remove_image(reference, options(true), None).await;
        }
        match done {
            Ok(_) => Ok(()),
            Err(error) if error::status(&error) == Some(404) => Ok(()),
            Err(error) => Err(self.failure("image", reference, error)),
        }
    }
}

/// Whether a reference ends with a tag or digest; a colon before a slash is a registry's port.
fn has_tag(reference: &str) -> bool {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    name.contains(':') || name.contains('@')
}

/// Reads the config digest out of a saved image, no further than to where it is named.
async fn saved_config(tar: Reader) -> Result<String> {
    let bridge = SyncIoBridge::new(tar);
    let found = tokio::task::spawn_blocking(move || find_config(bridge)).await;
    found.map_err(|error| EngineError::Failed(format!("cannot read the saved image: {error}")))?
}

fn find_config(tar: impl std::io::Read) -> Result<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Saved {
        config: String,
    }
    let missing = || EngineError::Failed("the saved image does not name its configuration".into());
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path_bytes().as_ref() != b"manifest.json" {
            continue;
        }
        let list: Vec<Saved> = serde_json::from_reader(std::io::Read::take(entry, LIST_LIMIT))
            .map_err(std::io::Error::from)?;
        let config = list.into_iter().next().ok_or_else(missing)?.config;
        let digest = config
            .strip_prefix("blobs/sha256/")
            .or(config.strip_suffix(".json"))
            .ok_or_else(missing)?;
        return Ok(format!("sha256:{digest}"));
    }
    Err(missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_port_is_not_a_tag() {
        assert!(has_tag("busybox:1.36"));
        assert!(has_tag("registry:5000/team/app:web.B"));
        assert!(has_tag("app@sha256:abc"));
        assert!(!has_tag("registry:5000/team/app"));
        assert!(!has_tag("busybox"));
    }

    #[test]
    fn the_config_digest_is_found_in_both_saved_layouts() {
        for (config, digest) in [
            ("blobs/sha256/abc", "sha256:abc"),
            ("def.json", "sha256:def"),
        ] {
            let list = format!("[{{\"Config\":\"{config}\",\"RepoTags\":null,\"Layers\":[]}}]");
            let mut builder = tar::Builder::new(Vec::new());
            for (name, text) in [("oci-layout", "{}"), ("manifest.json", list.as_str())] {
                let mut header = tar::Header::new_ustar();
                header.set_size(text.len() as u64);
                builder
                    .append_data(&mut header, name, text.as_bytes())
                    .expect("appended");
            }
            let tar = builder.into_inner().expect("a tar");
            assert_eq!(find_config(tar.as_slice()).expect("found"), digest);
        }
        let empty = tar::Builder::new(Vec::new()).into_inner().expect("a tar");
        assert!(find_config(empty.as_slice()).is_err());
    }
}
