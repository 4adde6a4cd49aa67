//! The documents inside an archive: `build.json`, which all generations of racks
//! share, and the closing index, which is ours.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::error::{ArtifactError, escaped};

/// The name of the entry that describes the build.
pub const BUILD_ENTRY: &str = "build.json";
/// The name of the closing entry; other racks skip it, as it does not end in `.tar`.
pub const INDEX_ENTRY: &str = "twinrack.json";

/// The major version of the index: a reader refuses a higher one.
pub const FORMAT_MAJOR: u32 = 1;
/// The minor version of the index: a reader accepts a higher one.
pub const FORMAT_MINOR: u32 = 1;

/// What other racks write for a time that is not set; an empty text would not
/// be read by them.
const UNSET_TIME: &str = "0001-01-01T00:00:00Z";

/// A build as `build.json` describes it. Fields of other generations are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct BuildRecord {
    /// The build's id on the rack that made it.
    #[serde(deserialize_with = "nullable")]
    pub id: String,
    /// The app's name on the rack that made it.
    #[serde(deserialize_with = "nullable")]
    pub app: String,
    /// The description given to the build.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// The entrypoint recorded with the build.
    #[serde(deserialize_with = "nullable")]
    pub entrypoint: String,
    /// The commit the source came from.
    #[serde(deserialize_with = "nullable")]
    pub git_sha: String,
    /// Where the source rack keeps the build's log.
    #[serde(deserialize_with = "nullable")]
    pub logs: String,
    /// The whole `convox.yml`.
    #[serde(deserialize_with = "nullable")]
    pub manifest: String,
    /// The process that built.
    #[serde(deserialize_with = "nullable")]
    pub process: String,
    /// The release made from the build.
    #[serde(deserialize_with = "nullable")]
    pub release: String,
    /// Why the build failed, if it did.
    #[serde(deserialize_with = "nullable")]
    pub reason: String,
    /// The build's status.
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// When the build started, RFC 3339; empty if unknown.
    #[serde(deserialize_with = "nullable_time", serialize_with = "time")]
    pub started: String,
    /// When the build ended, RFC 3339; empty if unknown.
    #[serde(deserialize_with = "nullable_time", serialize_with = "time")]
    pub ended: String,
}

fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn nullable_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let mut text = nullable(deserializer)?;
    if text == UNSET_TIME {
        text.clear();
    }
    Ok(text)
}

fn time<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if text.is_empty() { UNSET_TIME } else { text })
}

impl BuildRecord {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("texts always serialize")
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, ArtifactError> {
        // A list would be read as the fields in their order.
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            let list = serde::de::Error::custom("a list instead of an object");
            return Err(document(BUILD_ENTRY, &list));
        }
        serde_json::from_slice(bytes).map_err(|error| document(BUILD_ENTRY, &error))
    }
}

/// One service's image: what exactly runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceImage {
    /// The digest of the image's configuration: the image id.
    pub config_digest: Digest,
    /// The digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// The entrypoint in the image's configuration.
    #[serde(default)]
    pub entrypoint: Vec<String>,
}

impl ServiceImage {
    /// Whether it is the same bits, whatever else is said of it.
    pub fn is_same_image(&self, other: &Self) -> bool {
        self.config_digest == other.config_digest && self.diff_ids == other.diff_ids
    }
}

/// Where an archive was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The rack.
    #[serde(default)]
    pub rack: String,
    /// The engine and its version.
    #[serde(default)]
    pub engine: String,
    /// Where the build was first made, if the rack had it from elsewhere. Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Where a build was first made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The rack.
    pub rack: String,
    /// The app.
    pub app: String,
    /// The build's id.
    pub build: String,
}

/// The version of the index's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatVersion {
    /// Changes break readers.
    pub major: u32,
    /// Additions that older readers may skip.
    pub minor: u32,
}

/// One file with its size and digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The name within its tar.
    pub name: String,
    /// The size in bytes.
    pub size: u64,
    /// The digest of the bytes as they stand there.
    pub digest: Digest,
    /// The files inside, if the file is an image tar.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
}

/// The closing index: a statement about every byte before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Index {
    /// The version of the format.
    pub format: FormatVersion,
    /// The build's id on the rack that made it.
    pub build: String,
    /// The app's name on the rack that made it.
    pub app: String,
    /// The commit the source came from.
    #[serde(default)]
    pub git_sha: String,
    /// The entrypoint recorded with the build.
    #[serde(default)]
    pub entrypoint: String,
    /// Where the archive was made.
    pub source: Source,
    /// Names of variables that a target must set; never their values.
    #[serde(default)]
    pub required_environment: Vec<String>,
    /// The image of each service.
    pub services: BTreeMap<String, ServiceImage>,
    /// Layers that were left out, as the receiver has them. Since 1.1.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub withheld: BTreeSet<Digest>,
    /// All entries before this one, in order.
    pub entries: Vec<FileEntry>,
}

/// Just the version, readable whatever else a later generation changes.
#[derive(Deserialize)]
struct Versioned {
    format: FormatVersion,
}

impl Index {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("texts and numbers always serialize")
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let broken = |error| document(INDEX_ENTRY, &error);
        let FormatVersion { major, minor } = serde_json::from_slice::<Versioned>(bytes)
            .map_err(broken)?
            .format;
        if major > FORMAT_MAJOR {
            return Err(ArtifactError::UnsupportedVersion {
                major,
                minor,
                supported: FORMAT_MAJOR,
            });
        }
        if major == 0 {
            return Err(ArtifactError::Document {
                place: INDEX_ENTRY.to_owned(),
                reason: "format version 0 was never used".to_owned(),
            });
        }
        serde_json::from_slice(bytes).map_err(broken)
    }
}

/// Says in one line what is wrong with a JSON document.
pub(crate) fn document(place: &str, error: &serde_json::Error) -> ArtifactError {
    ArtifactError::Document {
        place: place.to_owned(),
        // The text repeats what was found, however long that is.
        reason: escaped(&error.to_string(), 200),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_json_has_the_shape_of_the_originals() {
        let build = BuildRecord {
            id: "BAAAAAAAAAA".into(),
            app: "myapp".into(),
            git_sha: "0123".into(),
            started: "2026-01-02T03:04:05.000000006Z".into(),
            ..BuildRecord::default()
        };
        let text = String::from_utf8(build.to_json()).expect("UTF-8");
        assert!(text.starts_with("{\n  \"id\": \"BAAAAAAAAAA\",\n  \"app\": \"myapp\",\n"));
        assert!(text.contains("\n  \"git-sha\": \"0123\",\n"));
        assert!(text.ends_with("\"ended\": \"0001-01-01T00:00:00Z\"\n}"));
        assert_eq!(
            BuildRecord::from_json(text.as_bytes()).expect("valid"),
            build
        );
    }

    #[test]
    fn build_json_of_other_generations_is_read() {
        let text = br#"{"id":"B1","wildcard-domain":true,"repository":"r","created":"x","reason":null,"started":null}"#;
        let build = BuildRecord::from_json(text).expect("unknown fields are tolerated");
        assert_eq!(build.id, "B1");
        assert_eq!(build.reason, "");
        assert_eq!(build.started, "");
        for none in ["{\"id\":1}", "[]", " [\"B1\"]", "null", "\"\""] {
            assert!(BuildRecord::from_json(none.as_bytes()).is_err(), "{none}");
        }
    }

    #[test]
    fn newer_major_versions_are_refused_and_newer_minor_ones_read() {
        let newer = br#"{"format":{"major":2,"minor":3},"everything":"else"}"#;
        let error = Index::from_json(newer).expect_err("newer");
        assert_eq!(
            error.to_string(),
            "the archive has format version 2.3, this program reads up to 1.x; upgrade it"
        );
        let minor = br#"{"format":{"major":1,"minor":9,"patch":1},"build":"B","app":"a","source":{},"services":{},"entries":[],"more":[]}"#;
        assert_eq!(Index::from_json(minor).expect("readable").format.minor, 9);
        assert!(Index::from_json(br#"{"format":{"major":0,"minor":1}}"#).is_err());
    }
}
