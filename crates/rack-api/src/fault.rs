//! Faults: what a rack on the simulated engine gets wrong on purpose. An addition of
//! Twinrack's (`docs/additions.md`).

use serde::{Deserialize, Serialize};

/// A fault that is switched on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Fault {
    /// What it is switched on and off by, as `never-healthy@web`.
    pub name: String,
    /// What goes wrong.
    pub effect: String,
}
