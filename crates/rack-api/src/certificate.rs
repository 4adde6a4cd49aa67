//! Certificates.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::time;

/// A certificate as the API shows it: never its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Certificate {
    /// `cert-` and forty hexadecimal digits.
    pub id: String,
    /// Common name, or the first of its names.
    pub domain: String,
    /// All its names.
    pub domains: Vec<String>,
    /// When its life ends.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub expiration: Option<Timestamp>,
    /// Empty for one that can be used, which clients show as `Ready`.
    pub status: String,
}

/// A secure port of a service, as clients before 2018 list them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SecurePort {
    /// Id of the certificate; empty for one the rack makes as it is asked for.
    pub certificate: String,
    /// Host name.
    pub domain: String,
    /// When the life of the certificate ends.
    #[serde(with = "time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub expiration: Option<Timestamp>,
    /// Port clients connect to.
    pub port: i64,
    /// Name of the service.
    pub process: String,
    /// Whether the way from the router to the process is encrypted too.
    pub secure: bool,
}

/// What `POST /certificates/generate` takes besides the domains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GenerateOptions {
    /// Who signs; the rack itself when absent.
    pub issuer: Option<String>,
    /// How long it lives.
    pub duration: Option<std::time::Duration>,
}
