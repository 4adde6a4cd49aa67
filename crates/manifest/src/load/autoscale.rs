//! Checks `scale.autoscale` of version 3, which has no effect on one machine: what a rack
//! refuses is refused here too, for the build may travel (`convox-yml.md` §9.2).

use crate::reader::{Reader, whole_number};
use crate::yaml::{Kind, Map, Node, Value};

/// Fewest and most processes.
type Count = (u64, u64);

/// Checks what a service says of its scaling.
pub(super) fn check(reader: &mut Reader<'_>, service: &str, agent: bool, map: &Map, count: Count) {
    let triggers = map.entry("autoscale").and_then(|(key, node)| {
        let map = node.as_map()?;
        let known = ["cpu", "memory", "gpuUtilization", "queueDepth", "custom"];
        let any = known
            .iter()
            .any(|trigger| map.get(trigger).is_some_and(|node| !node.is_null()));
        any.then_some((key, map))
    });
    if agent {
        let keda = || map.entry("keda").filter(|(_, node)| !node.is_null());
        if let Some(key) = triggers
            .map(|(key, _)| key)
            .or_else(|| keda().map(|(key, _)| key))
        {
            reader.warn(key, format!("service {service}: an agent is not scaled"));
        }
        return;
    }
    let Some((key, triggers)) = triggers else {
        return;
    };
    let (min, max) = count;
    if max < 1 {
        reader.error(
            key,
            format!("service {service}: scale.max must be >= 1 when autoscale is enabled"),
        );
    } else if min == max {
        reader.error_with_hint(
            key,
            format!(
                "service {service}: scale.max must be > scale.min when autoscale is enabled \
                 (ScaledObject would be a no-op)"
            ),
            "write scale: {min: 1, max: 5} or the like",
        );
    }
    for (trigger, range) in [
        ("cpu", "must be between 1 and 100"),
        ("memory", "must be between 1 and 100"),
        ("gpuUtilization", "must be > 0 and <= 100"),
        ("queueDepth", "must be > 0"),
    ] {
        let Some((key, body)) = triggers.entry(trigger) else {
            continue;
        };
        let Some(body) = body.as_map() else { continue };
        let threshold = body.get("threshold");
        let value = threshold.and_then(number).unwrap_or(0.0);
        let most = if trigger == "queueDepth" {
            f64::INFINITY
        } else {
            100.0
        };
        if value.is_nan() || value <= 0.0 || value > most {
            reader.error(
                threshold.unwrap_or(key),
                format!("service {service}: scale.autoscale.{trigger}.threshold {range}"),
            );
        }
    }
    if let Some((at, _)) = triggers.entry("gpuUtilization")
        && gpus(map.get("gpu")) == 0
    {
        reader.error(
            at,
            format!(
                "service {service}: scale.autoscale.gpuUtilization requires scale.gpu.count >= 1"
            ),
        );
    }
    if min == 0 && max > 0 && !reaches_zero(triggers) {
        reader.error_with_hint(
            key,
            format!(
                "service {service}: scale.min: 0 combined with only always-active autoscale \
                 triggers (cpu/memory/cron) will never scale to zero"
            ),
            "add a trigger on a queue, or raise scale.min to 1",
        );
    }
}

/// Whether there is a trigger that is ever at rest.
fn reaches_zero(triggers: &Map) -> bool {
    if triggers.has("gpuUtilization") || triggers.has("queueDepth") {
        return true;
    }
    let Some(Kind::List(custom)) = triggers.get("custom").map(|node| &node.kind) else {
        return false;
    };
    custom.iter().filter_map(Node::as_map).any(|trigger| {
        let kind = trigger.get("type").and_then(Node::text).unwrap_or_default();
        !["cpu", "memory", "cron"].contains(&kind.to_ascii_lowercase().as_str())
    })
}

/// `gpu`: a number, or a map with a count.
fn gpus(node: Option<&Node>) -> u64 {
    let count = |node: &Node| match node.as_map() {
        Some(map) => map.get("count").and_then(whole_number),
        None => whole_number(node),
    };
    node.and_then(count).unwrap_or(0)
}

fn number(node: &Node) -> Option<f64> {
    match &node.kind {
        Kind::Scalar(scalar) => match scalar.value {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            Value::Bool(_) | Value::Text => None,
        },
        _ => None,
    }
}
