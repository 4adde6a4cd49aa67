//! What the rack's machine has and what is promised to processes (`rack-api.md` §4.8).

use serde::{Deserialize, Serialize};

/// Capacity. Processor in 1024ths of one, memory in MiB.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "kebab-case")]
pub struct Capacity {
    /// Processor of all instances.
    pub cluster_cpu: i64,
    /// Memory of all instances.
    pub cluster_memory: i64,
    /// Processor of one instance.
    pub instance_cpu: i64,
    /// Memory of one instance.
    pub instance_memory: i64,
    /// Processes of services that run.
    pub process_count: i64,
    /// Processor promised to them.
    pub process_cpu: i64,
    /// Memory promised to them.
    pub process_memory: i64,
    /// Most processes of one service with a port.
    pub process_width: i64,
}
