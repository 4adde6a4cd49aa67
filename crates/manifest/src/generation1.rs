//! Recognises the manifests of generation 1, which are compose files and do not run here.

use crate::keys;
use crate::yaml::{Map, Node};

/// Keys that say "service of a compose file" when they stand one level below the top.
const COMPOSE_SERVICE: &[&str] = &[
    "build",
    "command",
    "dockerfile",
    "entrypoint",
    "environment",
    "image",
    "labels",
    "links",
    "ports",
    "volumes",
];

/// Keys of services that only generation 2 has.
const GENERATION_2_SERVICE: &[&str] = &[
    "agent",
    "deployment",
    "domain",
    "drain",
    "health",
    "internal",
    "port",
    "resources",
    "scale",
    "singleton",
    "sticky",
    "test",
    "termination",
];

/// The key that shows a manifest to be of generation 1; `None` for generation 2.
pub(crate) fn evidence(top: &Map) -> Option<&Node> {
    if let Some((key, version)) = top.entry("version") {
        let compose = version.text().is_some_and(is_compose_version);
        return (compose && !has_generation_2_service(top)).then_some(key);
    }
    // Version 1 of compose files had no version and its services at the top.
    let generation_2 = top
        .0
        .iter()
        .filter_map(|(key, _)| key.text())
        .any(|key| keys::TOP.lookup(key).is_some());
    if generation_2 {
        return None;
    }
    top.0
        .iter()
        .filter(|(key, _)| !key.text().is_some_and(|key| key.starts_with("x-")))
        .find(|(_, body)| {
            body.as_map()
                .is_some_and(|map| COMPOSE_SERVICE.iter().any(|key| map.has(key)))
        })
        .map(|(key, _)| key)
}

fn is_compose_version(text: &str) -> bool {
    let major = text.split('.').next().unwrap_or(text);
    ["1", "2", "3"].contains(&major)
}

fn has_generation_2_service(top: &Map) -> bool {
    let services = top.get("services").and_then(Node::as_map);
    services.is_some_and(|services| {
        services
            .0
            .iter()
            .filter_map(|(_, body)| body.as_map())
            .any(|body| GENERATION_2_SERVICE.iter().any(|key| body.has(key)))
    })
}
