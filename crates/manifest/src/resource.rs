//! A resource: a database or cache that the rack runs for the app.

use std::collections::BTreeMap;

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name: a lower-case letter, then lower-case letters, digits and dashes.
    pub name: String,
    /// `postgres`, `redis`, …
    pub kind: String,
    /// Options: values as written, but booleans as `true` and `false`.
    pub options: BTreeMap<String, String>,
    /// Image in place of the type's own.
    pub image: Option<String>,
}

/// A resource a service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceLink {
    /// Resource name.
    pub name: String,
    /// The only variable to set, in place of the usual six.
    pub variable: Option<String>,
}

/// What the variables of a resource or link start with: `my-db` → `MY_DB`.
pub fn resource_variable_prefix(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}
