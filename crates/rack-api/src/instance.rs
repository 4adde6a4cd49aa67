//! Machines of a rack.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A machine (`rack-api.md` §4.8).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "kebab-case")]
pub struct Instance {
    /// Whether it takes orders.
    pub agent: bool,
    /// Share of its processors in use, from 0 to 1; see [`Instance::cpu_share`].
    pub cpu: f64,
    /// What apps may use of its processors, where a rack of version 3 says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_allocatable: Option<f64>,
    /// Id.
    pub id: String,
    /// Share of its memory in use, from 0 to 1; see [`Instance::memory_share`].
    pub memory: f64,
    /// What apps may use of its memory, where a rack of version 3 says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_allocatable: Option<f64>,
    /// Address inside.
    pub private_ip: String,
    /// Number of processes of the rack.
    pub processes: i64,
    /// Address outside.
    pub public_ip: String,
    /// Since when it serves the rack.
    #[serde(with = "crate::time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub started: Option<Timestamp>,
    /// `running`.
    pub status: String,
}

impl Instance {
    /// Share of its processors in use, from 0 to 1. Racks of version 3 give an amount, and
    /// what it is a part of.
    pub fn cpu_share(&self) -> f64 {
        share(self.cpu, self.cpu_allocatable)
    }

    /// The same of its memory.
    pub fn memory_share(&self) -> f64 {
        share(self.memory, self.memory_allocatable)
    }
}

fn share(used: f64, of: Option<f64>) -> f64 {
    match of {
        Some(of) if of > 0.0 && used > 0.0 => used / of,
        _ => used,
    }
}

/// How to open a shell on one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShellOptions {
    /// Command; an interactive shell without one.
    pub command: Option<String>,
    /// Whether to allocate a terminal.
    pub tty: bool,
    /// Rows of the terminal.
    pub height: Option<u16>,
    /// Columns of the terminal.
    pub width: Option<u16>,
}
