//! Services.

use serde::{Deserialize, Serialize};

/// A service of the active release as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Service {
    /// Desired number of processes.
    pub count: i64,
    /// Processor share, 1024 for one processor.
    pub cpu: i64,
    /// Host name the router answers to; empty without a port.
    pub domain: String,
    /// Memory in MiB.
    pub memory: i64,
    /// Service name.
    pub name: String,
    /// Ports reachable through the router.
    pub ports: Vec<ServicePort>,
}

/// A routed port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServicePort {
    /// Port on the router.
    pub balancer: i64,
    /// Id of the certificate that the first custom domain is shown; empty for those of
    /// the local authority.
    pub certificate: String,
    /// Port of the process.
    pub container: i64,
}

/// What `PUT /apps/{app}/services/{name}` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpdateOptions {
    /// Desired number of processes.
    pub count: Option<i64>,
    /// Processor share, 1024 for one processor.
    pub cpu: Option<i64>,
    /// Memory in MiB.
    pub memory: Option<i64>,
}
