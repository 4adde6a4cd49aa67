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

/// Where a build that was imported or copied came from: the last hop, and the first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "kebab-case")]
pub struct Provenance {
    /// Rack that gave the build out; empty when the archive does not say.
    pub rack: String,
    /// App of the build on that rack.
    pub app: String,
    /// Id of the build on that rack.
    pub build: String,
    /// Where the build was first made, when it had come to that rack from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// SHA-256 of the archive it came in, `sha256:…`; empty when it came without one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub archive: String,
    /// When it came.
    #[serde(with = "time::or_zero", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub imported: Option<Timestamp>,
    /// Whether all its images were on the engine already, so that none was loaded.
    #[serde(skip_serializing_if = "is_false")]
    pub images_present: bool,
    /// Id of the first build that the app got from the very same archive.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub imported_before: String,
    /// Services whose images are made for other processors than the engine has, with the
    /// architecture they are for: they run only where the engine emulates it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub emulated: BTreeMap<String, String>,
}

/// Where a build was first made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Origin {
    /// Rack.
    pub rack: String,
    /// App.
    pub app: String,
    /// Id of the build.
    pub build: String,
}

impl Provenance {
    /// What a rack that hands the build on says of where it was first made.
    pub fn first(&self) -> Origin {
        self.origin.clone().unwrap_or_else(|| Origin {
            rack: self.rack.clone(),
            app: self.app.clone(),
            build: self.build.clone(),
        })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Leave to copy a build: what its rack gives to those who may read the build, and the
/// rack that is to have it wants to see. Good for a minute, on the server that made it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Ticket {
    /// A secret without meaning to clients.
    pub ticket: String,
    /// Layers of the build's images, lowest first, by service.
    pub layers: BTreeMap<String, Vec<String>>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket")
    }
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

/// What `PUT /apps/{app}/builds/{id}` takes of a build that is made elsewhere (version 3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateOptions {
    /// Text of its manifest.
    pub manifest: Option<String>,
    /// Release made from it.
    pub release: Option<String>,
}
