//! The rack itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A rack as `GET /system` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct System {
    /// Number of instances.
    pub count: i64,
    /// Domain of the router.
    pub domain: String,
    /// The rack's name.
    pub name: String,
    /// Display-only outputs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// Parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// `local` here.
    pub provider: String,
    /// `host[:port]` of the API.
    #[serde(rename = "rack-domain")]
    pub rack_domain: String,
    /// Empty here.
    pub region: String,
    /// Domain of the router inside, where a rack of version 3 has one.
    #[serde(rename = "router-internal", skip_serializing_if = "String::is_empty")]
    pub router_internal: String,
    /// `running`.
    pub status: String,
    /// Engine kind, shown as the instance type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Version, compared as text by clients.
    pub version: String,
}

/// A token as `POST /system/jwt/token` gives it, once.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Token {
    /// To be used as the password of the user `jwt`.
    pub token: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// What to change of a rack (`PUT /system`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateOptions {
    /// Number of instances.
    pub count: Option<i64>,
    /// Type of instances.
    pub kind: Option<String>,
    /// Parameters to set; the others stay.
    pub parameters: BTreeMap<String, String>,
    /// Version to run.
    pub version: Option<String>,
}
