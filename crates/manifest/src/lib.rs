//! `convox.yml`, generation 2: text → typed, defaulted, validated.
//!
//! [`Manifest::load`] is the whole of it: interpolation, YAML, defaults,
//! environment resolution and validation, with errors that carry line and column.
//! Facts: `convox-yml.md`. No I/O, no clock.

use std::collections::BTreeMap;

use indexmap::IndexMap;

/// A loaded manifest. Services, resources and timers keep their order in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// Services by name.
    pub services: IndexMap<String, Service>,
    /// Resources by name.
    pub resources: IndexMap<String, Resource>,
    /// Timers by name.
    pub timers: IndexMap<String, Timer>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// How to build its image; ignored when [`Service::image`] is set.
    pub build: Build,
    /// Image to use instead of building.
    pub image: Option<String>,
    /// Replaces the image's command: a string becomes `sh -c`, a list stays.
    pub command: Option<Vec<String>>,
    /// Declared variables, global ones first (§4.2).
    pub environment: Vec<Variable>,
    /// The routable port.
    pub port: Option<Port>,
    /// Further ports, not routed by host name.
    pub ports: Vec<u16>,
    /// Health check of the routable port.
    pub health: Health,
    /// Host names besides the generated one.
    pub domains: Vec<String>,
    /// Number and size of processes.
    pub scale: Scale,
    /// Names of resources, with the variable that replaces the usual six when given.
    pub resources: Vec<ResourceLink>,
    /// Names of linked services.
    pub links: Vec<String>,
    /// `/path` or `source:/path`.
    pub volumes: Vec<Volume>,
    /// Percentages of the desired count during a promote.
    pub deployment: Deployment,
    /// Seconds open requests get before a process is stopped.
    pub drain: u64,
    /// Seconds between terminate and kill.
    pub grace: u64,
    /// One process per instance.
    pub agent: bool,
    /// Stop before start.
    pub singleton: bool,
    /// Not reachable from outside the rack.
    pub internal: bool,
    /// Run an init as process 1.
    pub init: bool,
    /// Run with all privileges.
    pub privileged: bool,
    /// Keep a client on one process.
    pub sticky: bool,
    /// Command of `convox test`.
    pub test: Option<String>,
    /// Seconds the router waits for an answer.
    pub timeout: u64,
    /// Redirect plain HTTP to TLS; off unless written, for a laptop has no public certificate.
    pub redirect: bool,
}

/// How an image is built. Services with equal recipes share one image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Build {
    /// Directory in the source, `.` by default.
    pub path: String,
    /// Dockerfile, relative to the path; `Dockerfile` by default.
    pub dockerfile: String,
    /// `KEY=VALUE` build arguments.
    pub args: Vec<String>,
}

/// A declared variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// Must be set in the release.
    Required(String),
    /// Has a default.
    Default(String, String),
    /// All variables of the release.
    All,
}

/// A routable port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `http`, `https`, `grpc`, …
    pub scheme: String,
    /// Port of the process.
    pub port: u16,
}

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Path to ask.
    pub path: String,
    /// Seconds before failures count.
    pub grace: u64,
    /// Seconds between checks.
    pub interval: u64,
    /// Seconds an answer may take, at least one.
    pub timeout: u64,
    /// Off altogether.
    pub disable: bool,
}

/// Number and size of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// Fewest processes; the count unless scaled otherwise.
    pub min: u64,
    /// Most processes.
    pub max: u64,
    /// Processor share, 1024 for one processor.
    pub cpu: u64,
    /// Memory in MiB.
    pub memory: u64,
}

/// Percentages of the desired count during a promote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Healthy processes kept.
    pub minimum: u64,
    /// Processes allowed.
    pub maximum: u64,
}

/// A resource a service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceLink {
    /// Resource name.
    pub name: String,
    /// The only variable to set, in place of the usual six.
    pub variable: Option<String>,
}

/// A mounted volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name; the path itself when only a path was given.
    pub source: String,
    /// Mount path.
    pub path: String,
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// `postgres`, `redis`, …
    pub kind: String,
    /// Options as written.
    pub options: BTreeMap<String, String>,
    /// Image in place of the type's own.
    pub image: Option<String>,
}

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Its name.
    pub name: String,
    /// Shell command.
    pub command: String,
    /// Cron expression as written.
    pub schedule: String,
    /// Service whose image and environment it uses.
    pub service: String,
}
