//! Racks as a console lists them, and the calls of this server that make and
//! remove them.

use serde::{Deserialize, Serialize};

/// One row of `GET /racks`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RackListing {
    /// Short name.
    pub name: String,
    /// Owner; `personal` here.
    pub organization: Organization,
    /// `local` here.
    pub provider: String,
    /// `running`, `updating`, …
    pub status: String,
}

impl RackListing {
    /// `organization/name`, or the bare name without an organization.
    pub fn full_name(&self) -> String {
        if self.organization.name.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.organization.name, self.name)
        }
    }
}

/// Owner of a rack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Organization {
    /// Its name.
    pub name: String,
}

/// The owner under which a local server lists its racks.
pub const ORGANIZATION: &str = "personal";

/// Answer of `POST /racks` (form `name`, optional `engine`): the only time the
/// rack's password is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CreatedRack {
    /// Short name.
    pub name: String,
    /// The rack's own password.
    pub password: String,
}
