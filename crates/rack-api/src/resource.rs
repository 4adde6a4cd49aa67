//! Resources.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A resource as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Resource {
    /// Name in the manifest.
    pub name: String,
    /// Options in the manifest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Lifecycle word, `running` when it accepts connections.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Type word, such as `postgres`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Connection URL, password included.
    pub url: String,
}
