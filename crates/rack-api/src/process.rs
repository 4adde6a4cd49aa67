//! Processes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time;

/// A process as the API shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Process {
    /// Twelve lower-case hexadecimal digits.
    pub id: String,
    /// The app it belongs to.
    pub app: String,
    /// Display text of the command.
    pub command: String,
    /// Percent of one processor in use when it was measured last, as `docker stats` counts it.
    pub cpu: f64,
    /// Host it runs on.
    pub host: String,
    /// Image reference.
    pub image: String,
    /// Instance it runs on.
    pub instance: String,
    /// Memory in use when it was measured last, as a fraction of what its service asks for.
    pub memory: f64,
    /// Service name, one-off processes included.
    pub name: String,
    /// `host:container` or `container`.
    pub ports: Vec<String>,
    /// Release it runs.
    pub release: String,
    /// When it started.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub started: Option<Timestamp>,
    /// One of the words of [`status`].
    pub status: String,
}

/// The status words of a process.
pub mod status {
    /// Created but not yet running.
    pub const PENDING: &str = "pending";
    /// Running, but not yet healthy.
    pub const STARTING: &str = "starting";
    /// Running, and healthy where it can be checked.
    pub const RUNNING: &str = "running";
    /// Running, but failing its health check.
    pub const UNHEALTHY: &str = "unhealthy";
    /// Being stopped.
    pub const STOPPING: &str = "stopping";
    /// Ended with a failure and waiting to be started again.
    pub const CRASHED: &str = "crashed";
    /// A one-off that has ended well.
    pub const COMPLETE: &str = "complete";
}

/// What starting a one-off process takes; all of it travels in headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// Shell command; the service's own when absent.
    pub command: Option<String>,
    /// Variables that win over the release's.
    pub environment: BTreeMap<String, String>,
    /// Terminal rows.
    pub height: Option<u16>,
    /// Terminal columns.
    pub width: Option<u16>,
    /// Memory limit in MiB.
    pub memory: Option<i64>,
    /// Release to run; the active one when absent.
    pub release: Option<String>,
    /// Processor share wanted, in thousandths of a processor (version 3).
    pub cpu: Option<i64>,
    /// Processor limit in thousandths of a processor (version 3).
    pub cpu_limit: Option<i64>,
    /// Memory limit in MiB; with it `memory` is only what is wanted (version 3).
    pub memory_limit: Option<i64>,
    /// Image to run in place of the service's.
    pub image: Option<String>,
    /// Volume names of the app to mount paths.
    pub volumes: BTreeMap<String, String>,
    /// Whether the service's own volumes are mounted; they are when absent (version 3).
    pub use_service_volume: Option<bool>,
    /// Whether it runs with all privileges; as its service when absent (version 3).
    pub privileged: Option<bool>,
    /// Graphics processors wanted (version 3).
    pub gpu: Option<i64>,
    /// Make of the graphics processors (version 3).
    pub gpu_vendor: Option<String>,
    /// Which nodes it may run on (version 3).
    pub node_labels: Option<String>,
    /// Whether others make room for it (version 3).
    pub system_critical: Option<bool>,
}

/// A one-off process as the rack remembers it, while it runs and after; an addition of
/// this server. Clients ask when the stream of a command broke before its status came.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Run {
    /// Process id.
    pub id: String,
    /// The app it belongs to.
    pub app: String,
    /// Service whose image it ran.
    pub service: String,
    /// Release it ran.
    pub release: String,
    /// What it ran: the command a client attached to it, else its own.
    pub command: String,
    /// When it started.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub ended: Option<Timestamp>,
    /// Exit status, once it has ended; -1 when nobody saw it.
    pub status: Option<i64>,
}

/// What `POST /apps/{app}/processes/{service}/run` answers (`rack-api.md` §5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RunDetached {
    /// Id of the process.
    pub pid: String,
    /// True.
    pub success: bool,
}

/// What an exec takes; all of it travels in headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOptions {
    /// Shell command.
    pub command: String,
    /// Put the image's entrypoint before the command.
    pub entrypoint: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Attach standard input.
    pub stdin: bool,
    /// Terminal rows.
    pub height: Option<u16>,
    /// Terminal columns.
    pub width: Option<u16>,
}
