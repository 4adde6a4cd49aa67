//! Encodings of form, query and header parameters (`rack-api.md` §1.5).
//!
//! Booleans are true only for the exact word `true`; durations follow Go's
//! grammar; lists are joined by commas without escaping; maps are an inner
//! url-encoded query used as one value.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A parameter the server cannot read; the text is the one clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Not a decimal integer.
    #[error("strconv.Atoi: parsing {0:?}: invalid syntax")]
    Integer(String),
    /// Not a duration.
    #[error("time: invalid duration {0:?}")]
    Duration(String),
    /// A duration without a unit.
    #[error("time: missing unit in duration {0:?}")]
    DurationUnit(String),
    /// Not a time.
    #[error("parsing time {0:?} as \"20060102.150405.000000000\": cannot parse {0:?}")]
    Time(String),
}

/// Reads a boolean.
pub fn boolean(text: &str) -> bool {
    text == "true"
}

/// Reads a decimal integer with an optional sign.
pub fn integer(text: &str) -> Result<i64, ParamError> {
    text.parse()
        .map_err(|_| ParamError::Integer(text.to_owned()))
}

/// Reads a list.
pub fn list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(str::to_owned).collect()
}

/// Reads a map; the first value of a repeated key wins.
pub fn map(text: &str) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        map.entry(key.into_owned())
            .or_insert_with(|| value.into_owned());
    }
    map
}

/// Writes a map.
pub fn encode_map(map: &BTreeMap<String, String>) -> String {
    let mut to = form_urlencoded::Serializer::new(String::new());
    for (key, value) in map {
        to.append_pair(key, value);
    }
    to.finish()
}

/// Nanoseconds of each unit Go knows, longest names first where they overlap.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Reads a duration such as `1h30m`, `300ms` or `0`. Negative durations are
/// read as zero: no parameter of the API has a use for them.
pub fn duration(text: &str) -> Result<Duration, ParamError> {
    let invalid = || ParamError::Duration(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let number = &rest[..digits];
        if !number.bytes().any(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let value: f64 = number.parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        if unit == 0 {
            return Err(ParamError::DurationUnit(text.to_owned()));
        }
        let (_, scale) = UNITS
            .iter()
            .find(|(name, _)| *name == &rest[..unit])
            .ok_or_else(invalid)?;
        nanos += value * scale;
        rest = &rest[unit..];
    }
    // Go's durations are 64-bit nanoseconds.
    if !nanos.is_finite() || nanos > i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(if negative {
        Duration::ZERO
    } else {
        Duration::from_nanos(nanos as u64)
    })
}

/// Writes a duration the way Go prints it: `1h0m0s`, `2m0s`, `1.5s`, `300ms`.
pub fn encode_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    let fraction = |value: u128, unit: u128| {
        let (whole, rest) = (value / unit, value % unit);
        if rest == 0 {
            whole.to_string()
        } else {
            let width = unit.ilog10() as usize;
            let digits = format!("{rest:0width$}");
            format!("{whole}.{}", digits.trim_end_matches('0'))
        }
    };
    if nanos < 1_000 {
        return format!("{nanos}ns");
    }
    if nanos < 1_000_000 {
        return format!("{}µs", fraction(nanos, 1_000));
    }
    if nanos < 1_000_000_000 {
        return format!("{}ms", fraction(nanos, 1_000_000));
    }
    let minutes = nanos / 60_000_000_000;
    let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Reads a time, `YYYYMMDD.hhmmss.nnnnnnnnn`, in UTC.
pub fn time(text: &str) -> Result<Timestamp, ParamError> {
    let part = |at: std::ops::Range<usize>| {
        let digits = text.get(at)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<i32>().ok()).flatten()
    };
    let read = || {
        if text.len() != 25 || text.get(8..9)? != "." || text.get(15..16)? != "." {
            return None;
        }
        let small = |at| part(at).and_then(|number| i8::try_from(number).ok());
        let time = DateTime::new(
            i16::try_from(part(0..4)?).ok()?,
            small(4..6)?,
            small(6..8)?,
            small(9..11)?,
            small(11..13)?,
            small(13..15)?,
            part(16..25)?,
        );
        TimeZone::UTC.to_timestamp(time.ok()?).ok()
    };
    read().ok_or_else(|| ParamError::Time(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_follow_go() {
        for (text, nanos) in [
            ("5s", 5_000_000_000),
            ("1h0m0s", 3_600_000_000_000),
            ("2m0s", 120_000_000_000),
            ("300ms", 300_000_000),
            ("1.5h", 5_400_000_000_000),
            ("0", 0),
            ("+1s", 1_000_000_000),
            ("1µs", 1_000),
        ] {
            assert_eq!(duration(text).expect(text).as_nanos(), nanos, "{text}");
        }
        assert_eq!(
            duration("5").expect_err("unit").to_string(),
            "time: missing unit in duration \"5\""
        );
        for text in ["", "x", ".s", "1x", "-", "1h2"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_nine_digits_after_the_second() {
        assert_eq!(
            time("20260102.030405.000000007")
                .expect("a time")
                .to_string(),
            "2026-01-02T03:04:05.000000007Z"
        );
        for text in [
            "",
            "20260102.030405",
            "20260102.030405.00000000",
            "20261302.030405.000000000",
            "20260102 030405.000000000",
            "2026-102.030405.000000000",
            "ü0260102.030405.00000000",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn maps_are_encoded_twice_by_forms() {
        let map: BTreeMap<_, _> = [("Bar".into(), "a&b".into()), ("Foo".into(), "1".into())].into();
        assert_eq!(encode_map(&map), "Bar=a%26b&Foo=1");
    }

    proptest! {
        #[test]
        fn durations_survive(nanos in 0..i64::MAX as u64 / 1_000_000) {
            let nanos = nanos * 1_000;
            let text = encode_duration(Duration::from_nanos(nanos));
            let back = duration(&text).expect("own text");
            // Floats keep 52 bits; a microsecond in a century is close enough.
            prop_assert!(back.as_nanos().abs_diff(u128::from(nanos)) < 100_000, "{}", text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = duration(&text);
            let _ = time(&text);
            let _ = map(&text);
            let _ = list(&text);
        }

        #[test]
        fn maps_survive(pairs in proptest::collection::btree_map(".*", ".*", 0..5)) {
            prop_assert_eq!(map(&encode_map(&pairs)), pairs);
        }
    }
}
