//! Times on the wire: RFC 3339 in UTC, with the year-one zero time for "unset"
//! (`rack-api.md` §4).

use jiff::Timestamp;

/// Text of the zero time.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// Seconds of the zero time relative to 1970.
const ZERO_SECOND: i64 = -62_135_596_800;

/// Serialises `None` as the zero time and reads it back.
pub mod or_zero {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the time, or the zero time.
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(time),
            None => to.serialize_str(super::ZERO),
        }
    }

    /// Reads a time; the zero time, `null` and the empty text are `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else {
            return Ok(None);
        };
        if text.is_empty() {
            return Ok(None);
        }
        let time: Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok((time.as_second() > super::ZERO_SECOND).then_some(time))
    }
}

/// Formats a time in UTC with whole seconds, as log prefixes need it.
pub fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}
