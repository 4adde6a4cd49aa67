//! Builds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time;

/// A build as the API shows it.
///
/// The fields after `ended` are additions of this server; other clients ignore them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Build {
    /// `B` and ten capital letters.
    pub id: String,
    /// The app the build belongs to.
    pub app: String,
    /// Text given at creation.
    pub description: String,
    /// Entrypoint of the images, shell-quoted; empty when they have none.
    pub entrypoint: String,
    /// Full commit hash of the source, when known.
    #[serde(rename = "git-sha")]
    pub git_sha: String,
    /// Where the finished log is: `object://<app>/build/<id>/logs`.
    pub logs: String,
    /// Text of the manifest before interpolation.
    pub manifest: String,
    /// Id of the process that builds, when there is one.
    pub process: String,
    /// Release made from the build; set in the same update that says `complete`.
    pub release: String,
    /// Why the build failed.
    pub reason: String,
    /// One of the words of [`status`].
    pub status: String,
    /// When the build began.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub started: Option<Timestamp>,
    /// When the build ended.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub ended: Option<Timestamp>,
    /// Where images of an external build are to be pushed (version 3); a local rack
    /// refuses them there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repository: String,
    /// Image digest (`sha256:…` of the image configuration) per service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// Where an imported build came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Required environment names the target app has not set, reported at import.
    #[serde(rename = "missing-environment", skip_serializing_if = "Vec::is_empty")]
    pub missing_environment: Vec<String>,
}

/// Where an imported build was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Provenance {
    /// Rack that exported the build; empty when the archive does not say.
    pub rack: String,
    /// App the build was made for.
    pub app: String,
    /// Id of the build on the source rack.
    pub build: String,
}

/// The status words of a build.
pub mod status {
    /// The build waits for images from elsewhere.
    pub const CREATED: &str = "created";
    /// The build is under way.
    pub const RUNNING: &str = "running";
    /// The build has images and a release.
    pub const COMPLETE: &str = "complete";
    /// The build has ended without a release.
    pub const FAILED: &str = "failed";
}

/// What `POST /apps/{app}/builds` takes besides the source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions {
    /// `KEY=VALUE` pairs handed to the Dockerfile's `ARG`s.
    pub build_args: Vec<String>,
    /// Text for people.
    pub description: Option<String>,
    /// Build the `development` target.
    pub development: bool,
    /// Manifest file name; `convox.yml` when absent.
    pub manifest: Option<String>,
    /// Build without cache.
    pub no_cache: bool,
    /// Full commit hash of the source.
    pub git_sha: Option<String>,
}
