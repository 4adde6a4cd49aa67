//! Releases.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::build::Provenance;
use crate::time;

/// A release as the API shows it: a build and an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Release {
    /// `R` and ten capital letters.
    pub id: String,
    /// The app the release belongs to.
    pub app: String,
    /// Build the release runs; empty for environment set before any build.
    pub build: String,
    /// Environment as sorted `KEY=VALUE` lines; may be empty in lists.
    pub env: String,
    /// Manifest of the build.
    pub manifest: String,
    /// Text for people.
    pub description: String,
    /// When the release was made; unique and increasing within an app.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub created: Option<Timestamp>,
    /// Why the last promote of this release failed. An addition of this server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Image digest per service of its build. An addition of this server, left out of lists.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// Where its build came from. An addition of this server, left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// What `POST /apps/{app}/releases` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions {
    /// Build to release; the latest release's build when absent.
    pub build: Option<String>,
    /// The complete new environment; the latest release's when absent.
    pub env: Option<String>,
    /// Text for people; wins over the generated description.
    pub description: Option<String>,
    /// Release to start from in place of the latest one.
    pub parent_release: Option<String>,
    /// Release that must be the latest one still, empty for none at all; an addition
    /// of this server, for clients that read, change and write an environment.
    pub latest: Option<String>,
}

/// What `POST /apps/{app}/releases/{id}/promote` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromoteOptions {
    /// Whether the release is for development (`start`).
    pub development: Option<bool>,
    /// Leave alone the services that would run just as they do; an addition of Twinrack's.
    pub changed: Option<bool>,
    /// Skip the check that the app is running.
    pub force: Option<bool>,
    /// Whether the app may be put to sleep.
    pub idle: Option<bool>,
    /// Overrides the manifest's minimum percentage.
    pub min: Option<i64>,
    /// Overrides the manifest's maximum percentage.
    pub max: Option<i64>,
    /// Seconds a service may take to become healthy.
    pub timeout: Option<i64>,
}
