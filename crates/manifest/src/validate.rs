//! What must hold between the parts of a manifest, once each part has been read.
//!
//! Names and references become errors even where a v2 rack stays silent: a resource that is listed
//! but not defined means a service without its URL, and that is found out in production otherwise.

use std::collections::BTreeMap;

use crate::Manifest;
use crate::reader::Reader;
use crate::schedule::Schedule;
use crate::yaml::{Kind, Map, Node};

/// The entries of the four sections as written, for their places.
struct Sections<'n> {
    resources: &'n [(Node, Node)],
    services: &'n [(Node, Node)],
    timers: &'n [(Node, Node)],
    balancers: &'n [(Node, Node)],
}

/// Reports everything that does not fit together.
pub(crate) fn validate(manifest: &Manifest, root: &Node, reader: &mut Reader<'_>) {
    let Some(top) = root.as_map() else { return };
    let section = |name| {
        top.get(name)
            .and_then(Node::as_map)
            .map_or(&[][..], |map| &map.0)
    };
    let sections = Sections {
        resources: section("resources"),
        services: section("services"),
        timers: section("timers"),
        balancers: section("balancers"),
    };
    for (kind, section) in [
        ("resource", sections.resources),
        ("service", sections.services),
        ("timer", sections.timers),
        ("balancer", sections.balancers),
    ] {
        for (key, _) in section {
            check_name(reader, kind, key);
        }
    }
    for (key, body) in sections.resources {
        let kind = named(&manifest.resources, key).map(|resource| resource.kind.as_str());
        if kind == Some("") {
            let name = reader.quote(key);
            let at = body.as_map().and_then(|map| map.get("type")).unwrap_or(key);
            reader.error_with_hint(
                at,
                "resource type can not be blank",
                format!("give resource {name} a type, as in type: postgres"),
            );
        }
    }
    for (key, body) in sections.services {
        if let Some(map) = body.as_map() {
            let name = reader.quote(key);
            check_references(manifest, &sections, reader, &name, map);
            check_deployment(reader, &name, map);
            check_whitelist(manifest, reader, key, map);
        }
    }
    check_shared(manifest, &sections, reader);
    for (key, body) in sections.timers {
        check_timer(manifest, &sections, reader, key, body);
    }
    for (key, body) in sections.balancers {
        check_balancer(manifest, &sections, reader, key, body);
    }
}

/// What only one service of an app can have.
fn check_shared(manifest: &Manifest, sections: &Sections<'_>, reader: &mut Reader<'_>) {
    let mut listeners = BTreeMap::new();
    let mut domains = BTreeMap::new();
    for (key, body) in sections.services {
        let (Some(service), Some(map)) = (named(&manifest.services, key), body.as_map()) else {
            continue;
        };
        let name = reader.quote(key);
        for listener in &service.nlb {
            if let Some(other) = listeners.insert(listener.port, name.clone()) {
                reader.error(
                    map.get("nlb").unwrap_or(key),
                    format!(
                        "nlb port {} declared by services {other} and {name}; rack NLB listener \
                         is shared, each port must be unique across services",
                        listener.port
                    ),
                );
            }
        }
        for domain in &service.domains {
            let other = domains.insert(domain.as_str(), name.clone());
            if let (Some(other), Some((at, _))) = (other, map.entry("domain"))
                && other != name
            {
                reader.warn(
                    at,
                    format!("services {other} and {name} have the same domain; one gets it"),
                );
            }
        }
    }
}

fn named<'m, T>(entries: &'m indexmap::IndexMap<String, T>, key: &Node) -> Option<&'m T> {
    entries.get(key.text()?)
}

/// Names become parts of host names, variables and Docker names.
fn check_name(reader: &mut Reader<'_>, kind: &str, key: &Node) {
    let name = key.text().unwrap_or_default();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !valid {
        let quoted = reader.quote(key);
        let message = format!(
            "{kind} name {quoted} invalid, must contain only lowercase alphanumeric and dashes"
        );
        let hint = name
            .starts_with(|c: char| c.is_ascii_digit() || c == '-')
            .then(|| "and start with a letter".to_owned());
        reader.error_always(key, message, hint);
    }
}

/// The entries of a list as text.
fn items<'n>(map: &'n Map, key: &str) -> impl Iterator<Item = (&'n Node, &'n str)> {
    let items = match map.get(key).map(|node| &node.kind) {
        Some(Kind::List(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter_map(|item| Some((item, item.text()?)))
}

fn check_references(
    manifest: &Manifest,
    sections: &Sections<'_>,
    reader: &mut Reader<'_>,
    service: &str,
    map: &Map,
) {
    for (item, text) in items(map, "resources") {
        let name = text.split_once(':').map_or(text, |(name, _)| name);
        if !manifest.resources.contains_key(name) {
            let quoted = reader.quote(item);
            let shown = quoted
                .split_once(':')
                .map_or(quoted.as_str(), |(name, _)| name);
            let hint = known(reader, "resources", sections.resources);
            reader.error_with_hint(
                item,
                format!("service {service} references a resource that does not exist: {shown}"),
                hint,
            );
        }
    }
    for (item, name) in items(map, "links") {
        if !manifest.services.contains_key(name) {
            let quoted = reader.quote(item);
            let hint = known(reader, "services", sections.services);
            reader.error_with_hint(
                item,
                format!("service {service} links to a service that does not exist: {quoted}"),
                hint,
            );
        }
    }
}

fn known(reader: &Reader<'_>, what: &str, section: &[(Node, Node)]) -> String {
    let names: Vec<_> = section
        .iter()
        .take(20)
        .map(|(key, _)| reader.quote(key))
        .collect();
    if names.is_empty() {
        format!("no {what} are defined")
    } else {
        format!("{what} are {}", names.join(", "))
    }
}

/// Percentages with which no rollout can ever finish. Above 200 racks differ; it works here.
fn check_deployment(reader: &mut Reader<'_>, service: &str, map: &Map) {
    let Some(map) = map.get("deployment").and_then(Node::as_map) else {
        return;
    };
    let percent = |key| {
        map.get(key)
            .and_then(|node| Some((node, crate::reader::whole_number(node)?)))
    };
    if let Some((node, minimum)) = percent("minimum")
        && minimum > 100
    {
        reader.error(
            node,
            format!("service {service} deployment minimum can not be greater than 100"),
        );
    }
    if let Some((node, maximum)) = percent("maximum")
        && maximum < 100
    {
        reader.error(
            node,
            format!("service {service} deployment maximum can not be less than 100"),
        );
    }
}

fn check_timer(
    manifest: &Manifest,
    sections: &Sections<'_>,
    reader: &mut Reader<'_>,
    key: &Node,
    body: &Node,
) {
    let Some(timer) = named(&manifest.timers, key) else {
        return;
    };
    let name = reader.quote(key);
    let at = |field| body.as_map().and_then(|map| map.get(field)).unwrap_or(key);
    if timer.schedule.parse::<Schedule>().is_err() {
        let node = at("schedule");
        let quoted = if timer.schedule.is_empty() {
            String::new()
        } else {
            reader.quote(node)
        };
        reader.error_with_hint(
            node,
            format!("invalid schedule expression: {quoted}"),
            format!("timer {name} needs five cron fields, as in */5 * * * *"),
        );
    }
    if timer.command.is_empty() {
        reader.error(at("command"), format!("timer {name} has no command"));
    }
    if timer.service.is_empty() {
        reader.error_with_hint(
            at("service"),
            format!("timer {name} has no service"),
            "name the service whose image it runs",
        );
    } else if !manifest.services.contains_key(&timer.service) {
        let node = at("service");
        let quoted = reader.quote(node);
        let hint = known(reader, "services", sections.services);
        reader.error_with_hint(
            node,
            format!("timer {name} references a service that does not exist: {quoted}"),
            hint,
        );
    }
}

/// In the words of racks (`convox-yml.md` §9).
fn check_balancer(
    manifest: &Manifest,
    sections: &Sections<'_>,
    reader: &mut Reader<'_>,
    key: &Node,
    body: &Node,
) {
    let Some(balancer) = named(&manifest.balancers, key) else {
        return;
    };
    let name = reader.quote(key);
    let at = |field| body.as_map().and_then(|map| map.get(field)).unwrap_or(key);
    if balancer.ports.is_empty() {
        reader.error(at("ports"), format!("balancer {name} has no ports"));
    }
    if balancer.service.is_empty() {
        reader.error(at("service"), format!("balancer {name} has blank service"));
    } else if !manifest.services.contains_key(&balancer.service) {
        let node = at("service");
        let quoted = reader.quote(node);
        let hint = known(reader, "services", sections.services);
        reader.error_with_hint(
            node,
            format!("balancer {name} refers to unknown service {quoted}"),
            hint,
        );
    }
    if !balancer.whitelist.iter().all(|text| is_network(text)) {
        let node = at("whitelist");
        let quoted = match &node.kind {
            Kind::Scalar(_) => reader.quote(node),
            _ => "entry".to_owned(),
        };
        reader.error(
            node,
            format!("balancer {name} whitelist {quoted} is not a valid cidr range"),
        );
    }
}

/// Checks who may come to a service: one mistake must not let everybody in, or nobody.
fn check_whitelist(manifest: &Manifest, reader: &mut Reader<'_>, key: &Node, map: &Map) {
    let networks = named(&manifest.services, key).map(|service| &service.whitelist);
    if networks.is_none_or(|networks| networks.iter().all(|text| is_network(text))) {
        return;
    }
    let node = map.get("whitelist").unwrap_or(key);
    let quoted = match &node.kind {
        Kind::Scalar(_) => reader.quote(node),
        _ => "entry".to_owned(),
    };
    let name = reader.quote(key);
    reader.error(
        node,
        format!("service {name} whitelist {quoted} is not a valid cidr range"),
    );
}

/// Whether a text is an address and a number of bits.
fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let most = match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    digits && bits.parse::<u32>().is_ok_and(|bits| bits <= most)
}
