//! Objects: blobs an app's clients and builds leave on the rack.

use serde::{Deserialize, Serialize};

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Object {
    /// `object://<app>/<key>`.
    #[serde(rename = "Url")]
    pub url: String,
}
