//! The index of a source: what the client of late 2017 sends with `--incremental` in
//! place of the source itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time;

/// Files by the SHA-256 of their content, lower-case hexadecimal. Of files with the
/// same content, the client of that time names one.
pub type Index = BTreeMap<String, IndexItem>;

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct IndexItem {
    /// Path below the source's root.
    pub name: String,
    /// Go's file mode; permissions are the lowest nine bits.
    pub mode: u32,
    /// Last modification.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub mtime: Option<Timestamp>,
}
