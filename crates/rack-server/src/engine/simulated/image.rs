//! Image configurations and references: what an image says of itself, how its
//! names are read, and the stand-ins for base images nobody has.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::Image;
use super::blob::{Blobs, Pending, digest_of, hex_part};
use super::tree::{self, Kind, Node, Tree};

/// All simulated images were made then: equal sources must give equal ids.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// An image configuration file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ConfigFile {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    created: Option<String>,
    /// What processes start with.
    #[serde(default)]
    pub(super) config: RunConfig,
    /// The layers.
    pub(super) rootfs: RootFs,
    /// The instructions.
    #[serde(default)]
    pub(super) history: Vec<History>,
}

/// What processes of an image start with. Fields the engine does not know are kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RunConfig {
    /// Variables, `NAME=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<Vec<String>>,
    /// Entrypoint words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) entrypoint: Option<Vec<String>>,
    /// Command words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cmd: Option<Vec<String>>,
    /// Ports, `8080/tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exposed_ports: Option<BTreeMap<String, Value>>,
    /// Working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) working_dir: Option<String>,
    /// User.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// The layers of an image.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type", default)]
    kind: String,
    /// Digests of the uncompressed layers, bottom first.
    #[serde(default)]
    pub(super) diff_ids: Vec<String>,
}

/// One instruction of an image's making.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl History {
    /// An instruction that made a layer, or only changed the configuration.
    pub(super) fn of(instruction: &str, empty_layer: bool) -> Self {
        Self {
            created: Some(CREATED.to_owned()),
            created_by: Some(instruction.to_owned()),
            empty_layer,
            other: Map::new(),
        }
    }
}

impl ConfigFile {
    /// The configuration of an image without anything in it.
    pub(super) fn scratch() -> Self {
        Self {
            // As a real engine: images are of the machine they were made on.
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
            .to_owned(),
            os: "linux".to_owned(),
            created: Some(CREATED.to_owned()),
            config: RunConfig::default(),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: Vec::new(),
            },
            history: Vec::new(),
        }
    }

    /// Marks the image as made by the simulated engine.
    pub(super) fn stamp(&mut self) {
        self.created = Some(CREATED.to_owned());
    }

    /// The bytes whose digest is the image id.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a configuration has only text keys")
    }
}

impl RunConfig {
    /// Sets a variable, in place when it is there already.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        let variables = self.env.get_or_insert_default();
        let text = format!("{name}={value}");
        match variables
            .iter_mut()
            .find(|have| have.split_once('=').map_or(have.as_str(), |(key, _)| key) == name)
        {
            Some(have) => *have = text,
            None => variables.push(text),
        }
    }

    /// The variables by name.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        self.env
            .iter()
            .flatten()
            .map(|text| text.split_once('=').unwrap_or((text, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The declared TCP ports.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.exposed_ports
            .iter()
            .flatten()
            .filter_map(|(port, _)| match port.split_once('/') {
                Some((port, "tcp")) => port.parse().ok(),
                Some(_) => None,
                None => port.parse().ok(),
            })
            .collect()
    }

    /// Declares a port.
    pub(super) fn expose(&mut self, port: u16, protocol: &str) {
        self.exposed_ports
            .get_or_insert_default()
            .insert(format!("{port}/{protocol}"), Value::Object(Map::new()));
    }
}

/// An image as kept.
#[derive(Debug, Clone)]
pub(super) struct StoredImage {
    /// Digest of the configuration.
    pub(super) id: String,
    /// The configuration, read.
    pub(super) file: ConfigFile,
    /// Bytes of all layers.
    pub(super) size: u64,
}

impl StoredImage {
    /// Reads the configuration of an image.
    pub(super) fn parse(raw: &Bytes, size: u64) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: digest_of(raw),
            file: serde_json::from_slice(raw)?,
            size,
        })
    }

    /// What callers of the engine see.
    pub(super) fn view(&self) -> Image {
        let config = &self.file.config;
        Image {
            id: self.id.clone(),
            config_digest: self.id.clone(),
            diff_ids: self.file.rootfs.diff_ids.clone(),
            size: self.size,
            entrypoint: config.entrypoint.clone().unwrap_or_default(),
            command: config.cmd.clone().unwrap_or_default(),
            exposed_ports: config.ports(),
        }
    }
}

/// Makes the stand-in for an image that is not here: one small layer that
/// records the name, and the command such an image usually has.
pub(super) fn stand_in(blobs: &Blobs, reference: &str) -> io::Result<(ConfigFile, Pending)> {
    let reference = normalize(reference);
    let layer = base_layer(blobs, &format!("FROM {reference}\n"))?;
    let repository = repository(&reference);
    let name = repository.rsplit('/').next().unwrap_or(repository);
    let mut file = ConfigFile::scratch();
    file.config.set_env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    // Systems and languages start a shell, everything else starts what it is named after.
    let is_system = matches!(
        name,
        "busybox"
            | "debian"
            | "ubuntu"
            | "alpine"
            | "fedora"
            | "ruby"
            | "python"
            | "node"
            | "golang"
            | "rust"
            | "php"
    );
    file.config.cmd = Some(vec![if is_system { "sh" } else { name }.to_owned()]);
    for (known, port) in [
        ("postgres", 5432),
        ("postgis", 5432),
        ("redis", 6379),
        ("valkey", 6379),
        ("rabbitmq", 5672),
        ("mysql", 3306),
        ("mariadb", 3306),
        ("memcached", 11211),
        ("nginx", 80),
    ] {
        if name == known {
            file.config.expose(port, "tcp");
        }
    }
    file.rootfs.diff_ids.push(layer.digest().to_owned());
    file.history
        .push(History::of(&format!("FROM {reference}"), false));
    Ok((file, layer))
}

/// Makes the layer of an instruction that runs nothing: a file that says which.
pub(super) fn marker_layer(blobs: &Blobs, text: &str) -> io::Result<Pending> {
    layer_of(blobs, text, &[])
}

/// Makes the layer of an image that stands in for a real one: there is a shell in it.
fn base_layer(blobs: &Blobs, text: &str) -> io::Result<Pending> {
    layer_of(blobs, text, &["bin/sh"])
}

fn layer_of(blobs: &Blobs, text: &str, programs: &[&str]) -> io::Result<Pending> {
    let content = blobs.write(text.as_bytes())?;
    let (blob, size) = (content.digest().to_owned(), content.size());
    let mut tree = Tree::new();
    let marker = format!("var/lib/simulated/{}", &hex_part(&blob)[..16]);
    let files = programs.iter().map(|path| (*path, 0o755));
    for (path, mode) in files.chain([(marker.as_str(), 0o644)]) {
        let kind = Kind::File {
            blob: blob.clone(),
            offset: 0,
            size,
        };
        tree::insert(&mut tree, path, Node { mode, kind });
    }
    tree::write_layer(blobs, &tree, &|_| content.open())
}

/// A reference in its full form: tag present, the default registry's prefixes absent.
pub(super) fn normalize(reference: &str) -> String {
    let short = reference
        .strip_prefix("docker.io/library/")
        .or_else(|| reference.strip_prefix("index.docker.io/library/"))
        .or_else(|| reference.strip_prefix("docker.io/"))
        .unwrap_or(reference);
    let last = short.rsplit('/').next().unwrap_or(short);
    if short.contains('@') || last.contains(':') {
        short.to_owned()
    } else {
        format!("{short}:latest")
    }
}

/// The part of a normal reference before its tag or digest.
pub(super) fn repository(reference: &str) -> &str {
    if let Some((repository, _)) = reference.split_once('@') {
        return repository;
    }
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => reference,
    }
}

/// Whether text could be `repository:tag`.
pub(super) fn is_reference(text: &str) -> bool {
    let normal = normalize(text);
    let name = repository(&normal);
    let tag = &normal[name.len()..];
    !name.is_empty()
        && name.split('/').all(|part| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-:".contains(c))
        })
        && tag.len() > 1
        && tag[1..]
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-:".contains(c))
}

/// Whether text could be an image id or the beginning of one.
pub(super) fn is_id_prefix(text: &str) -> bool {
    let digits = hex_part(text);
    (4..=64).contains(&digits.len())
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_one_normal_form() {
        for (given, normal) in [
            ("busybox", "busybox:latest"),
            ("docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/acme/app", "acme/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("app@sha256:ab", "app@sha256:ab"),
        ] {
            assert_eq!(normalize(given), normal);
        }
        assert_eq!(repository("localhost:5000/app:1"), "localhost:5000/app");
        assert_eq!(repository("app@sha256:ab"), "app");
    }

    #[test]
    fn references_are_checked() {
        assert!(is_reference("rack/staging/myapp:web.BABCDEFGHIJ"));
        for bad in ["", "Upper/case:1", "app:", "a b", "app:ta g", "/app"] {
            assert!(!is_reference(bad), "{bad:?}");
        }
    }

    #[test]
    fn stand_ins_depend_on_the_name_only() {
        let blobs = Blobs::in_memory();
        let one = stand_in(&blobs, "postgres:16").expect("made").0;
        let same = stand_in(&blobs, "docker.io/library/postgres:16")
            .expect("made")
            .0;
        let other = stand_in(&blobs, "postgres:17").expect("made").0;
        assert_eq!(one.to_bytes(), same.to_bytes());
        assert_ne!(one.to_bytes(), other.to_bytes());
        assert_eq!(one.config.ports(), [5432]);
        assert_eq!(one.config.cmd, Some(vec!["postgres".to_owned()]));
    }

    #[test]
    fn fields_nobody_knows_survive() {
        let raw = br#"{"os":"linux","config":{"Cmd":null,"Healthcheck":{"Test":["NONE"]}},"rootfs":{"type":"layers"}}"#;
        let file: ConfigFile = serde_json::from_slice(raw).expect("valid");
        let written = String::from_utf8(file.to_bytes()).expect("JSON is text");
        assert!(written.contains("Healthcheck"), "{written}");
    }
}
