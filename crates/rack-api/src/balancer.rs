//! Balancers: ports of a rack's own that lead to one service (version 3).

use serde::{Deserialize, Serialize};

/// A balancer of the active release as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Balancer {
    /// Name in the manifest.
    pub name: String,
    /// Host it listens on; empty while nothing listens.
    pub endpoint: String,
    /// Its ports.
    pub ports: Vec<BalancerPort>,
    /// Service it leads to.
    pub service: String,
}

/// A port of a balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BalancerPort {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Port clients connect to.
    pub source: i64,
    /// Port of the process.
    pub target: i64,
}
