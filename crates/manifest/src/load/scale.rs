//! `scale` of a service. What is literally present decides about the defaults: no `scale` is one
//! process, an empty one is none.

use crate::keys;
use crate::reader::{Reader, whole_number};
use crate::service::Scale;
use crate::yaml::{Kind, Map, Node, Value};

/// Processor share of a process, 1024 for one processor.
const DEFAULT_CPU: u64 = 256;
/// Memory of a process in MiB.
const DEFAULT_MEMORY: u64 = 512;

/// Fewest and most processes.
type Count = (u64, u64);

/// Reads `scale`: a count, or a map of count and size.
pub(super) fn read(reader: &mut Reader<'_>, node: Option<&Node>) -> Scale {
    let (count, map) = match node.map(|node| (node, &node.kind)) {
        None => ((1, 1), None),
        Some((_, Kind::Null)) => ((0, 0), None),
        Some((_, Kind::Map(map))) => {
            reader.check_keys(map, &keys::SCALE);
            check_cooldown(reader, map.get("cooldown"));
            check_targets(reader, map.get("targets"));
            (count_of_map(reader, map), Some(map))
        }
        Some((node, Kind::Scalar(_) | Kind::List(_))) => (count(reader, node), None),
    };
    let written = |reader: &mut Reader<'_>, key| {
        let node = map.and_then(|map| map.get(key));
        reader
            .number(node, &format!("scale.{key}"))
            .filter(|size| *size > 0)
    };
    let (cpu, memory) = (written(reader, "cpu"), written(reader, "memory"));
    let node = map.and_then(|map| map.get("limit"));
    let (cpu_limit, memory_limit) = limits(reader, node, cpu, memory);
    // What is not written is no more than what is allowed.
    let or = |written: Option<u64>, default: u64, limit: Option<u64>| {
        written.unwrap_or_else(|| limit.map_or(default, |limit| default.min(limit)))
    };
    Scale {
        min: count.0,
        max: count.1,
        cpu: or(cpu, DEFAULT_CPU, cpu_limit),
        memory: or(memory, DEFAULT_MEMORY, memory_limit),
        cpu_limit,
        memory_limit,
    }
}

/// `limit`: what a process may not exceed, never less than what it asks for.
fn limits(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    cpu: Option<u64>,
    memory: Option<u64>,
) -> (Option<u64>, Option<u64>) {
    let Some(map) = reader.map(node, "scale.limit") else {
        return (None, None);
    };
    reader.check_keys(map, &keys::LIMIT);
    let mut limit = |key: &str, asked: Option<u64>| {
        let node = map.get(key);
        let limit = reader
            .number(node, &format!("scale.limit.{key}"))
            .filter(|limit| *limit > 0);
        if let (Some(node), Some(limit), Some(asked)) = (node, limit, asked)
            && limit < asked
        {
            // In the words of racks (`convox-yml.md` §9).
            reader.error(node, format!("{key} limit can not be less {key} request"));
        }
        limit
    };
    (limit("cpu", cpu), limit("memory", memory))
}

fn count_of_map(reader: &mut Reader<'_>, map: &Map) -> Count {
    if let Some(node) = map.get("count") {
        return match &node.kind {
            Kind::Null => (0, 0),
            Kind::Map(range) => {
                reader.check_keys(range, &keys::COUNT);
                bounds(reader, node, range)
            }
            Kind::Scalar(_) | Kind::List(_) => count(reader, node),
        };
    }
    // The v3 spelling, without `count` between.
    if map.has("min") || map.has("max") {
        let node = map.get("min").or_else(|| map.get("max"));
        return node.map_or((1, 1), |node| bounds(reader, node, map));
    }
    if map.0.is_empty() { (0, 0) } else { (1, 1) }
}

/// `min` and `max` of a map, numbers or numeric text. One of them alone is both.
fn bounds(reader: &mut Reader<'_>, node: &Node, map: &Map) -> Count {
    let bound = |reader: &mut Reader<'_>, key| {
        let node = map.get(key).filter(|node| !node.is_null())?;
        let number = numeric(node);
        if number.is_none() {
            invalid(reader, node);
        }
        number
    };
    let min = bound(reader, "min");
    let max = bound(reader, "max");
    match (min, max) {
        (Some(min), Some(max)) if min > max => {
            let quoted = ["min", "max"].map(|key| map.get(key).map(|node| reader.quote(node)));
            let [low, high] = quoted.map(Option::unwrap_or_default);
            reader.error_with_hint(
                node,
                format!("invalid scale: {low}-{high}"),
                "the maximum must not be below the minimum",
            );
            (min, min)
        }
        (Some(min), Some(max)) => (min, max),
        (Some(min), None) => (min, min),
        // Only a ceiling: the fewest processes are those of a service without a scale.
        (None, Some(max)) => (max.min(1), max),
        (None, None) => (0, 0),
    }
}

/// Refuses what a rack refuses, although nothing is scaled by itself here: the build may travel.
fn check_cooldown(reader: &mut Reader<'_>, node: Option<&Node>) {
    let Some(node) = node else { return };
    let sides: Vec<_> = match &node.kind {
        Kind::Map(map) => map.0.iter().map(|(_, side)| side).collect(),
        _ => vec![node],
    };
    for side in sides {
        if !side.is_null() && numeric(side).is_none() {
            let quoted = reader.quote(side);
            reader.error_with_hint(
                side,
                format!("invalid cooldown: {quoted}"),
                "write seconds, or a map of up and down",
            );
        }
    }
}

/// As [`check_cooldown`], for the statistics of custom metrics.
fn check_targets(reader: &mut Reader<'_>, node: Option<&Node>) {
    let custom = node
        .and_then(Node::as_map)
        .and_then(|targets| targets.get("custom"))
        .and_then(Node::as_map);
    for (_, metric) in custom.map_or(&[][..], |custom| &custom.0) {
        let statistic = metric.as_map().and_then(|metric| metric.get("aggregate"));
        if let Some(node) = statistic
            && !node.is_null()
            && !matches!(node.text(), Some("avg" | "max" | "min" | "sum"))
        {
            let quoted = reader.quote(node);
            reader.error_with_hint(
                node,
                format!("unknown metric statistic: {quoted}"),
                "write avg, max, min or sum",
            );
        }
    }
}

/// A count as one value: `3`, `"3"` or `1-5`.
fn count(reader: &mut Reader<'_>, node: &Node) -> Count {
    if let Some(count) = numeric(node) {
        return (count, count);
    }
    let range = match &node.kind {
        Kind::Scalar(scalar) if scalar.value == Value::Text => scalar
            .text
            .split_once('-')
            .and_then(|(min, max)| Some((digits(min)?, digits(max)?))),
        _ => None,
    };
    match range {
        Some((min, max)) if min <= max => (min, max),
        _ => {
            invalid(reader, node);
            (1, 1)
        }
    }
}

fn numeric(node: &Node) -> Option<u64> {
    match &node.kind {
        Kind::Scalar(scalar) => match scalar.value {
            Value::Integer(_) => whole_number(node),
            Value::Text => digits(&scalar.text),
            Value::Bool(_) | Value::Float(_) => None,
        },
        _ => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    text.parse::<u32>()
        .ok()
        .filter(|_| !text.starts_with('+'))
        .map(u64::from)
}

fn invalid(reader: &mut Reader<'_>, node: &Node) {
    let quoted = reader.quote(node);
    reader.error_with_hint(
        node,
        format!("invalid scale: {quoted}"),
        "write a count as in 2, or a range as in 1-5",
    );
}
