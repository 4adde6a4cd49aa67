//! Resources.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::App;

/// A resource as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Resource {
    /// Name, in the manifest or on the rack.
    pub name: String,
    /// Options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Lifecycle word, `running` when it accepts connections.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Type word, such as `postgres`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Connection URL, password included; left out where resources of the rack are listed.
    pub url: String,
    /// Apps a resource of the rack is linked to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<App>,
}

/// A resource of the rack as clients before 2018 know it: their word for it is service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LegacyResource {
    /// Name.
    pub name: String,
    /// Type word.
    #[serde(rename = "type")]
    pub kind: String,
    /// Lifecycle word.
    pub status: String,
    /// What it offers to apps: `URL`.
    pub exports: BTreeMap<String, String>,
    /// Options.
    pub parameters: BTreeMap<String, String>,
    /// Connection URL.
    pub url: String,
    /// Apps it is linked to.
    pub apps: Vec<App>,
}

impl From<Resource> for LegacyResource {
    fn from(resource: Resource) -> Self {
        let url = Some(resource.url.clone()).filter(|url| !url.is_empty());
        Self {
            name: resource.name,
            kind: resource.kind,
            status: resource.status,
            exports: url.map(|url| ("URL".to_owned(), url)).into_iter().collect(),
            parameters: resource.parameters,
            url: resource.url,
            apps: resource.apps,
        }
    }
}

/// A type of resource the rack can make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ResourceType {
    /// Type word.
    pub name: String,
    /// Its options.
    pub parameters: Vec<ResourceParameter>,
}

/// An option of a type of resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ResourceParameter {
    /// What it is when nobody says otherwise.
    pub default: String,
    /// Text for people.
    pub description: String,
    /// Name.
    pub name: String,
}

/// The status words of resources of the rack.
pub mod status {
    /// It does not accept connections yet.
    pub const CREATING: &str = "creating";
    /// It accepts connections.
    pub const RUNNING: &str = "running";
    /// It is being given other options.
    pub const UPDATING: &str = "updating";
    /// It is being removed.
    pub const DELETING: &str = "deleting";
}
