//! What stands in the way of an app (version 3): its services, its processes, what
//! happened to them. Names are those of the clusters the contract comes from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time;

/// A report on an app.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AppDiagnosticReport {
    /// `<rack>-<app>`.
    pub namespace: String,
    /// Rack.
    pub rack: String,
    /// App.
    pub app: String,
    /// When the report was made.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub timestamp: Option<Timestamp>,
    /// Services and recent warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overview: Option<Overview>,
    /// Processes, the worst first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<Pod>,
    /// How many processes are how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// Services and recent warnings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Overview {
    /// Services by name.
    pub services: Vec<ServiceStatus>,
    /// Warnings of the last half hour, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Service name.
    pub name: String,
    /// Processes wanted.
    pub desired_replicas: i64,
    /// Processes that are healthy.
    pub ready_replicas: i64,
    /// Processes of the release that is wanted.
    pub updated_replicas: i64,
    /// `running`, `deploying`, `stalled` or `scaled-down`.
    pub status: String,
    /// Why it is stalled.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stall_reason: String,
    /// One process per instance.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub agent: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Event {
    /// When.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub timestamp: Option<Timestamp>,
    /// `Warning` or `Normal`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One word.
    pub reason: String,
    /// To what.
    pub object: String,
    /// In full.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Pod {
    /// Process id.
    pub name: String,
    /// Service or resource.
    pub service: String,
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// `1/1` or `0/1`.
    pub ready: String,
    /// Seconds since its start.
    pub age_seconds: i64,
    /// How often its service has crashed of late.
    pub restarts: i64,
    /// `unhealthy`, `not-ready`, `new` or `healthy`.
    pub classification: String,
    /// What is the matter, one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state_detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Last lines of its log.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub logs: String,
    /// Last lines of the process before it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub previous_logs: String,
    /// What happened to it, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

/// How many processes are how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Summary {
    /// All.
    pub total: i64,
    /// Not running.
    pub unhealthy: i64,
    /// Running, but not healthy.
    pub not_ready: i64,
    /// Healthy since a short time.
    pub new: i64,
    /// Healthy.
    pub healthy: i64,
}

/// What `GET /apps/{app}/diagnose` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `overview`, `init`, `services`; all when empty.
    pub checks: Vec<String>,
    /// Only these services; all when empty.
    pub services: Vec<String>,
    /// Seconds during which a healthy process is new.
    pub age: i64,
    /// Show healthy processes too.
    pub all: bool,
    /// Log lines per process.
    pub lines: usize,
    /// Show what happened to processes.
    pub events: bool,
    /// Show the log of the process before.
    pub previous: bool,
}

impl Default for Options {
    /// As the contract has them.
    fn default() -> Self {
        Self {
            checks: Vec::new(),
            services: Vec::new(),
            age: 300,
            all: false,
            lines: 200,
            events: true,
            previous: true,
        }
    }
}
