//! Apps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An app as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct App {
    /// Manifest generation, `"2"` here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generation: String,
    /// Whether the app is protected from deletion.
    pub locked: bool,
    /// The app's name.
    pub name: String,
    /// Id of the active release; empty before the first promote.
    pub release: String,
    /// Host of the router, where a rack of version 3 has several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub router: String,
    /// One of the words of [`status`].
    pub status: String,
    /// Parameters set on the app, if any.
    pub parameters: Option<BTreeMap<String, String>>,
}

/// The status words of an app.
pub mod status {
    /// Nothing is changing.
    pub const RUNNING: &str = "running";
    /// A promote or scale is under way.
    pub const UPDATING: &str = "updating";
    /// A failed promote is being undone.
    pub const ROLLBACK: &str = "rollback";
    /// The app is being removed.
    pub const DELETING: &str = "deleting";
}
