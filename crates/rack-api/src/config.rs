//! Configs: named texts of an app (version 3).

use serde::{Deserialize, Serialize};

/// A config as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AppConfig {
    /// Its name.
    pub name: String,
    /// Its value, decoded.
    pub value: String,
}
