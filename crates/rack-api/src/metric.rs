//! Measurements over time (`rack-api.md` §3.9, §4.8).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One thing measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Metric {
    /// What was measured, such as `cluster:cpu:utilization`.
    pub name: String,
    /// One for each period that has measurements, oldest first.
    pub values: Vec<MetricValue>,
}

/// What the measurements of one period come to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct MetricValue {
    /// Mean.
    pub avg: f64,
    /// Number of measurements.
    pub count: f64,
    /// Greatest.
    pub max: f64,
    /// Least.
    pub min: f64,
    /// What nine tenths do not exceed.
    pub p90: f64,
    /// What 95 of a hundred do not exceed.
    pub p95: f64,
    /// What 99 of a hundred do not exceed.
    pub p99: f64,
    /// Sum.
    pub sum: f64,
    /// Start of the period.
    #[serde(with = "crate::time::or_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub time: Option<Timestamp>,
}

/// The measurements of one service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServiceMetrics {
    /// Service.
    pub name: String,
    /// What was measured of it.
    pub metrics: Vec<Metric>,
}

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricOptions {
    /// From when on.
    pub start: Option<Timestamp>,
    /// Until when.
    pub end: Option<Timestamp>,
    /// Seconds of a period.
    pub period: Option<i64>,
    /// Names; all when empty.
    pub metrics: Vec<String>,
}
