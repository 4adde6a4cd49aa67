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
    /// Ports on a network balancer, as racks of version 2 have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nlb: Vec<NetworkPort>,
    /// Ports reachable through the router, and those on ports of their own.
    pub ports: Vec<ServicePort>,
    /// How its processes are, one of [`status`]; an addition of Twinrack's, absent elsewhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
}

/// How the processes of a service are.
pub mod status {
    /// Some end again and again, and are started again later and later.
    pub const CRASHING: &str = "crashing";
    /// All are there and take requests.
    pub const RUNNING: &str = "running";
    /// Some are on their way.
    pub const STARTING: &str = "starting";
    /// None are wanted.
    pub const STOPPED: &str = "stopped";
    /// Some fail their health check.
    pub const UNHEALTHY: &str = "unhealthy";
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

/// A port on a network balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "kebab-case")]
pub struct NetworkPort {
    /// Port of the process.
    pub container_port: i64,
    /// Port on the balancer.
    pub port: i64,
    /// `tcp` or `tls`.
    pub protocol: String,
    /// `public` or `internal`.
    pub scheme: String,
    /// Whether it spreads connections over zones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_zone: Option<bool>,
    /// Networks that may connect; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_cidr: Vec<String>,
    /// Whether processes see the addresses of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_client_ip: Option<bool>,
}

/// What `PUT /apps/{app}/services/{name}` takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateOptions {
    /// Desired number of processes.
    pub count: Option<i64>,
    /// Processor share, 1024 for one processor.
    pub cpu: Option<i64>,
    /// Memory in MiB.
    pub memory: Option<i64>,
    /// Graphics processors.
    pub gpu: Option<i64>,
    /// Make of the graphics processors.
    pub gpu_vendor: Option<String>,
    /// Fewest processes of an autoscaled service.
    pub min: Option<i64>,
    /// Most processes of an autoscaled service.
    pub max: Option<i64>,
}

/// A service as the manifest of the active release declares it (version 3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ManifestService {
    /// Service name.
    pub name: String,
    /// Declared variables, `KEY` or `KEY=default`.
    pub environment: Vec<String>,
    /// Declared number of processes.
    pub scale: ManifestScale,
}

/// The number of processes a manifest asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ManifestScale {
    /// Fewest.
    pub min: i64,
    /// Most.
    pub max: i64,
}
