//! The formation of an app: its services as clients of late 2017 know them
//! (`rack-api.md` §5).

use serde::{Deserialize, Serialize};

/// A service in the list `GET /apps/{app}/formation` answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FormationEntry {
    /// Host name the router answers to; empty without a port.
    pub balancer: String,
    /// Service name.
    pub name: String,
    /// Desired number of processes.
    pub count: i64,
    /// Memory in MiB.
    pub memory: i64,
    /// Processor share, 1024 for one processor.
    pub cpu: i64,
    /// Ports on the router.
    pub ports: Vec<i64>,
}
