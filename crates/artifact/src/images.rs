//! The images in a scanned image tar: what `manifest.json` or an OCI layout
//! says, proved against the bytes.
//!
//! An image is accepted only if its configuration has the digest it is called
//! by and every layer decompresses to the digest the configuration lists.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{ArtifactError, shown};
use crate::layers::{Content, FileRecord, ImageTar};
use crate::limits::check_values;
use crate::record::{ServiceImage, document};

pub(crate) const DOCKER_MANIFEST: &str = "manifest.json";
pub(crate) const OCI_INDEX: &str = "index.json";
pub(crate) const OCI_LAYOUT: &str = "oci-layout";
/// The version of OCI indexes and manifests; it has no minor part.
const SCHEMA_VERSION: u32 = 2;

/// A proved layer: what it is, and how it stands in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Layer {
    /// The digest of the uncompressed bytes, by which the image names the layer.
    pub diff_id: Digest,
    /// The digest of the bytes in the archive.
    pub digest: Digest,
    /// How those are compressed.
    pub compression: Compression,
    /// The number of bytes in the archive.
    pub stored: u64,
    /// The number of uncompressed bytes.
    pub size: u64,
}

/// How a layer is compressed within an image tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip.
    Gzip,
}

/// What an image is made for, in Go's words for systems and processors; empty where its
/// configuration does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// The system, such as `linux`.
    pub os: String,
    /// The processor, such as `amd64`.
    pub architecture: String,
}

/// A proved image and where its parts are.
#[derive(Debug)]
pub(crate) struct Image {
    /// Names given to it in the tar.
    pub(crate) tags: Vec<String>,
    pub(crate) platform: Platform,
    pub(crate) service: ServiceImage,
    /// The path of the configuration.
    pub(crate) config: String,
    /// Whether the configuration is named by its digest.
    pub(crate) named: bool,
    /// The paths of the layers, lowest first, links resolved.
    pub(crate) layers: Vec<String>,
}

/// One image of a docker archive's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Vec<String>,
}

/// An OCI reference to a blob.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing)]
    platform: Option<IndexedPlatform>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
        }
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest.hex())
    }
}

/// What an index says a manifest is for; attestations are for `unknown`.
#[derive(Debug, Deserialize)]
struct IndexedPlatform {
    #[serde(default)]
    os: String,
}

/// An OCI index: `index.json`, or an image of several platforms.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OciIndex {
    pub(crate) schema_version: u32,
    pub(crate) manifests: Vec<Descriptor>,
}

/// An OCI image manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OciManifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// The marker of an OCI layout.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OciLayout {
    image_layout_version: String,
}

/// The parts of an image configuration that matter here.
#[derive(Deserialize)]
struct ImageConfig {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    config: Option<ContainerConfig>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct ContainerConfig {
    #[serde(rename = "Entrypoint", default)]
    entrypoint: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

impl ImageTar {
    /// Describes the layers of one of the images found here, but for those left out.
    pub(crate) fn layers_of(&self, image: &Image) -> Result<Vec<Layer>, ArtifactError> {
        let paths = image.layers.iter().zip(&image.service.diff_ids);
        paths
            .filter(|(path, diff_id)| !self.withholds(path, diff_id))
            .map(|(path, diff_id)| {
                let (_, file) = self.file_at(path)?;
                let (compression, size) = match file.content {
                    Content::Gzip { size, .. } => (Compression::Gzip, size),
                    _ => (Compression::None, file.size),
                };
                Ok(Layer {
                    diff_id: diff_id.clone(),
                    digest: file.digest.clone(),
                    compression,
                    stored: file.size,
                    size,
                })
            })
            .collect()
    }

    /// Tells a docker archive from an OCI layout.
    pub(crate) fn is_docker(&self) -> bool {
        self.files.contains_key(DOCKER_MANIFEST)
    }

    /// Proves and returns all images of a docker archive.
    pub(crate) fn docker_images(&self) -> Result<Vec<Image>, ArtifactError> {
        let listed: Vec<DockerImage> = self.json(DOCKER_MANIFEST)?;
        // Each is read once, however many images claim to have it.
        let mut configs = BTreeMap::new();
        let mut images = Vec::new();
        for image in listed {
            let (path, _) = self.file_at(&image.config)?;
            if !configs.contains_key(path) {
                let config: ImageConfig = self.json(path)?;
                configs.insert(path.to_owned(), config);
            }
            let tags = image.repo_tags.unwrap_or_default();
            images.push(self.image(&image.config, &configs[path], &image.layers, tags)?);
        }
        Ok(images)
    }

    /// Proves and returns the one image of an OCI layout.
    pub(crate) fn oci_image(&self) -> Result<Image, ArtifactError> {
        if let Some(name) = self.links.keys().next() {
            return Err(ArtifactError::Forbidden {
                name: shown(name.as_bytes()),
                kind: "link",
            });
        }
        if !self.files.contains_key(OCI_INDEX) {
            return Err(ArtifactError::MissingFile {
                place: self.place.clone(),
                path: format!("{DOCKER_MANIFEST} or {OCI_INDEX}"),
            });
        }
        self.check_layout()?;
        let index = self.oci_index(OCI_INDEX)?;
        let manifest = self.oci_manifest(index, 0)?;
        let config = self.blob(&manifest.config)?;
        let layers = manifest
            .layers
            .iter()
            .map(|layer| self.blob(layer))
            .collect::<Result<Vec<_>, _>>()?;
        self.image(&config, &self.json(&config)?, &layers, Vec::new())
    }

    /// Follows an index to its only image, past attestations and nested indexes.
    fn oci_manifest(&self, index: OciIndex, depth: u8) -> Result<OciManifest, ArtifactError> {
        const DEEPEST: u8 = 4;
        let images: Vec<_> = index
            .manifests
            .iter()
            .filter(|it| it.platform.as_ref().is_none_or(|it| it.os != "unknown"))
            .collect();
        let [image] = images[..] else {
            return Err(ArtifactError::ImageCount {
                place: self.place.clone(),
                count: images.len(),
            });
        };
        let path = self.blob(image)?;
        let nested =
            image.media_type.contains("image.index") || image.media_type.contains("manifest.list");
        if nested && depth < DEEPEST {
            self.oci_manifest(self.oci_index(&path)?, depth + 1)
        } else {
            let manifest: OciManifest = self.json(&path)?;
            self.check_schema(&path, manifest.schema_version)?;
            Ok(manifest)
        }
    }

    fn oci_index(&self, path: &str) -> Result<OciIndex, ArtifactError> {
        let index: OciIndex = self.json(path)?;
        self.check_schema(path, index.schema_version)?;
        Ok(index)
    }

    /// A layout says its version; before the specification it was silent.
    fn check_layout(&self) -> Result<(), ArtifactError> {
        if self.resolve(OCI_LAYOUT).is_none() {
            return Ok(());
        }
        let layout: OciLayout = self.json(OCI_LAYOUT)?;
        let major = layout.image_layout_version.split('.').next();
        if major == Some("1") {
            return Ok(());
        }
        Err(ArtifactError::UnsupportedDocument {
            place: self.within(OCI_LAYOUT),
            version: shown(layout.image_layout_version.as_bytes()),
            supported: "1.x",
        })
    }

    fn check_schema(&self, path: &str, version: u32) -> Result<(), ArtifactError> {
        if version == SCHEMA_VERSION {
            return Ok(());
        }
        Err(ArtifactError::UnsupportedDocument {
            place: self.within(path),
            version: version.to_string(),
            supported: "2",
        })
    }

    /// Finds a descriptor's blob; its digest was proved when it was read.
    fn blob(&self, descriptor: &Descriptor) -> Result<String, ArtifactError> {
        let path = descriptor.path();
        let (_, file) = self.file_at(&path)?;
        if file.size != descriptor.size {
            return Err(ArtifactError::SizeMismatch {
                place: self.within(&path),
                expected: descriptor.size,
                actual: file.size,
            });
        }
        Ok(path)
    }

    fn image(
        &self,
        config_path: &str,
        parsed: &ImageConfig,
        layer_paths: &[String],
        tags: Vec<String>,
    ) -> Result<Image, ArtifactError> {
        let (config, file) = self.file_at(config_path)?;
        let named = check_name(&self.within(config_path), config_path, file)?;
        let diff_ids = parsed.rootfs.diff_ids.as_deref().unwrap_or_default();
        if diff_ids.len() != layer_paths.len() {
            return Err(ArtifactError::LayerCount {
                place: self.within(config),
                layers: layer_paths.len(),
                diff_ids: diff_ids.len(),
            });
        }
        let mut layers = Vec::with_capacity(layer_paths.len());
        for (path, expected) in layer_paths.iter().zip(diff_ids) {
            if self.withholds(path, expected) {
                layers.push(path.clone());
                continue;
            }
            let (path, file) = self.file_at(path)?;
            self.check_layer(path, file, expected)?;
            layers.push(path.to_owned());
        }
        Ok(Image {
            tags,
            service: ServiceImage {
                config_digest: file.digest.clone(),
                diff_ids: diff_ids.to_vec(),
                entrypoint: entrypoint(parsed.config.as_ref(), &self.within(config))?,
            },
            platform: Platform {
                os: parsed.os.clone().unwrap_or_default(),
                architecture: parsed.architecture.clone().unwrap_or_default(),
            },
            config: config.to_owned(),
            named,
            layers,
        })
    }

    fn check_layer(
        &self,
        path: &str,
        file: &FileRecord,
        expected: &Digest,
    ) -> Result<(), ArtifactError> {
        let actual = match &file.content {
            Content::Plain => &file.digest,
            Content::Gzip { digest, .. } => digest,
            Content::BrokenGzip(reason) => {
                return Err(ArtifactError::Damaged {
                    place: self.within(path),
                    reason: reason.clone(),
                });
            }
            Content::Unsupported(method) => {
                return Err(ArtifactError::UnsupportedCompression {
                    place: self.within(path),
                    method,
                });
            }
        };
        if actual != expected {
            return Err(ArtifactError::DigestMismatch {
                place: self.within(path),
                expected: expected.clone(),
                actual: actual.clone(),
            });
        }
        Ok(())
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, ArtifactError> {
        let text = self.document(path)?;
        check_values(text, self.most_values)?;
        serde_json::from_slice(text).map_err(|error| document(&self.within(path), &error))
    }

    fn within(&self, path: &str) -> String {
        format!("{}/{path}", self.place)
    }
}

/// Whether a file can be an image's configuration.
pub(crate) fn is_configuration(json: &[u8]) -> bool {
    serde_json::from_slice::<ImageConfig>(json).is_ok()
}

/// A configuration named by a digest must have that digest. Tells whether it is.
fn check_name(place: &str, path: &str, file: &FileRecord) -> Result<bool, ArtifactError> {
    let name = path.rsplit('/').next().expect("a path has a last part");
    let hex = name.strip_suffix(".json").unwrap_or(name);
    match Digest::from_hex(hex) {
        Some(expected) if expected != file.digest => Err(ArtifactError::DigestMismatch {
            place: place.to_owned(),
            expected,
            actual: file.digest.clone(),
        }),
        expected => Ok(expected.is_some()),
    }
}

/// Reads an entrypoint in both its forms, a list and (long ago) a single text.
fn entrypoint(config: Option<&ContainerConfig>, place: &str) -> Result<Vec<String>, ArtifactError> {
    let malformed = || ArtifactError::Document {
        place: place.to_owned(),
        reason: "the entrypoint is not a list of texts".to_owned(),
    };
    match config.and_then(|config| config.entrypoint.as_ref()) {
        None | Some(serde_json::Value::Null) => Ok(Vec::new()),
        Some(serde_json::Value::String(text)) => Ok(vec![text.clone()]),
        Some(list) => Vec::deserialize(list).map_err(|_| malformed()),
    }
}

/// The service that a tag `[registry[:port]/]name:service.build` names.
pub(crate) fn service_of_tag(tag: &str) -> Result<String, ArtifactError> {
    let last = tag.rsplit('/').next().expect("a text has a last part");
    let (_, version) = last
        .rsplit_once(':')
        .ok_or_else(|| ArtifactError::UnsafeName {
            name: shown(tag.as_bytes()),
            reason: "an image tag must name a service after its colon",
        })?;
    service_name(version)
}

/// The service at the start of `service.build` or `service.build.tar`.
pub(crate) fn service_name(text: &str) -> Result<String, ArtifactError> {
    let service = text.split('.').next().expect("a text has a first part");
    check_word(service, "it does not start with the name of a service")?;
    Ok(service.to_owned())
}

/// Services, apps and builds become parts of names: letters, digits, dashes.
pub(crate) fn check_word(word: &str, reason: &'static str) -> Result<(), ArtifactError> {
    const LONGEST: usize = 64;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let starts_well = word
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !starts_well || word.len() > LONGEST || !word.bytes().all(plain) {
        return Err(ArtifactError::UnsafeName {
            name: shown(word.as_bytes()),
            reason,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_service_in_a_tag() {
        for (tag, service) in [
            ("123.dkr.ecr.us-east-1.amazonaws.com/app:web.BABC", "web"),
            ("localhost:5000/rack/app:my-worker.BABC", "my-worker"),
            ("app:web.B.1", "web"),
            ("app:latest", "latest"),
        ] {
            assert_eq!(service_of_tag(tag).expect("valid"), service, "{tag}");
        }
        for tag in [
            "localhost:5000/app",
            "app",
            "app:",
            "app:.B",
            "a:../x.B",
            "a:-x.B",
        ] {
            assert!(service_of_tag(tag).is_err(), "{tag}");
        }
    }
}
