//! Events: what happened on a rack, as webhooks are told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The document webhooks receive (`rack-api.md` §3.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// What happened, such as `release:promote`.
    pub action: String,
    /// To what; `rack` names the rack, `message` says why it failed.
    pub data: BTreeMap<String, String>,
    /// One of the words of [`status`], or what the sender says.
    pub status: String,
    /// When.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub timestamp: Timestamp,
}

/// What `POST /events` takes besides the action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendOptions {
    /// To what it happened.
    pub data: BTreeMap<String, String>,
    /// Why it failed; makes the status [`status::ERROR`].
    pub error: Option<String>,
    /// Status word, [`status::SUCCESS`] when absent.
    pub status: Option<String>,
}

/// The status words of events.
pub mod status {
    /// It is done.
    pub const SUCCESS: &str = "success";
    /// It was begun.
    pub const START: &str = "start";
    /// It failed.
    pub const ERROR: &str = "error";
}
