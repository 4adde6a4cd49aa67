//! Recognises the manifests of generation 1, which are compose files and do not run here, and
//! names the steps that make a `convox.yml` of one (`convox-yml.md` §18).

use crate::keys;
use crate::reader::Reader;
use crate::yaml::{Kind, Map, Node};

/// What is said of a manifest of generation 1.
pub(crate) const REFUSED: &str =
    "this is a generation 1 manifest (docker-compose.yml), which does not run here";

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

/// Images that are resources in generation 2, by the name without registry and version.
const RESOURCES: &[(&str, &str)] = &[
    ("mariadb", "mariadb"),
    ("memcached", "memcached"),
    ("mysql", "mysql"),
    ("postgis", "postgis"),
    ("postgres", "postgres"),
    ("rabbitmq", "rabbitmq"),
    ("redis", "redis"),
    ("valkey", "valkey"),
];

/// Labels of generation 1 and what says the same now; a dot at the end stands for a family.
const LABELS: &[(&str, &str)] = &[
    ("convox.agent", "write agent: true"),
    ("convox.balancer", "leave it out: a port makes the balancer"),
    (
        "convox.deployment.maximum",
        "write it as deployment: {maximum: N}",
    ),
    (
        "convox.deployment.minimum",
        "write it as deployment: {minimum: N}",
    ),
    ("convox.draining.timeout", "write it as drain: N"),
    (
        "convox.environment.secure",
        "leave it out: release variables are never in labels",
    ),
    (
        "convox.health.path",
        "write it as health: PATH, or as path of health",
    ),
    (
        "convox.health.interval",
        "write it as health: {interval: N}",
    ),
    ("convox.health.timeout", "write it as health: {timeout: N}"),
    ("convox.health.port", "write it as health: {port: N}"),
    (
        "convox.health.",
        "leave it out: health has path, interval, grace and timeout",
    ),
    ("convox.idle.timeout", "write it as timeout: N"),
    ("convox.start.shift", "leave it out"),
    (
        "convox.port.",
        "write the port of the process and its protocol as port: SCHEME:PORT",
    ),
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

/// Reports that the manifest is of generation 1, and each step to move what is in it.
pub(crate) fn report(reader: &mut Reader<'_>, evidence: &Node, top: &Map) {
    let hint = "describe the app in a convox.yml with services:";
    reader.error_always(evidence, REFUSED.to_owned(), Some(hint.to_owned()));
    let services = match top.get("services") {
        Some(node) => node.as_map().map_or(&[][..], |map| &map.0),
        None => &top.0,
    };
    if let Some((key, _)) = top.entry("version") {
        step(reader, key, "leave version out".to_owned());
    }
    if !top.has("services")
        && let Some((first, _)) = services.first()
    {
        step(
            reader,
            first,
            "put every service one level below services:".to_owned(),
        );
    }
    for key in ["networks", "volumes"] {
        if let Some((key, _)) = top.entry(key).filter(|_| top.has("services")) {
            let name = reader.quote(key);
            step(
                reader,
                key,
                format!(
                    "leave {name} out: all of an app see each other, and services name volumes"
                ),
            );
        }
    }
    let databases: Vec<(&str, &str)> = services
        .iter()
        .filter_map(|(key, body)| {
            let image = body.as_map()?.get("image")?.text()?;
            Some((key.text()?, resource_of(image)?))
        })
        .collect();
    for (key, body) in services {
        let name = reader.quote(key);
        let Some(map) = body.as_map() else { continue };
        let raw = key.text().unwrap_or_default();
        if let Some((_, kind)) = databases.iter().find(|(database, _)| *database == raw) {
            step(
                reader,
                key,
                format!(
                    "{name} runs {kind}: write it as a resource, resources: {{{name}: {{type: {kind}}}}}, \
                     and list it in resources of the services that use it"
                ),
            );
            continue;
        }
        if raw.contains('_') {
            let better = name.replace('_', "-");
            step(
                reader,
                key,
                format!("{name}: names have dashes now: {better}"),
            );
        }
        service(reader, &name, map, &databases);
    }
}

fn step(reader: &mut Reader<'_>, at: &Node, text: String) {
    reader.error_always(at, format!("to move it: {text}"), None);
}

/// What resource an image is.
fn resource_of(image: &str) -> Option<&'static str> {
    let name = image.rsplit('/').next().unwrap_or(image);
    let name = name.split([':', '@']).next().unwrap_or(name);
    let (_, kind) = RESOURCES.iter().find(|(known, _)| *known == name)?;
    Some(kind)
}

fn service(reader: &mut Reader<'_>, name: &str, map: &Map, databases: &[(&str, &str)]) {
    for (key, value) in &map.0 {
        let Some(word) = key.text() else { continue };
        let text = match word {
            "build" => match value.as_map() {
                Some(build) if build.has("context") || build.has("dockerfile") => {
                    "in build write path for context and manifest for dockerfile".to_owned()
                }
                _ => continue,
            },
            "dockerfile" => {
                let file = reader.quote(value);
                format!("write dockerfile as build: {{manifest: {file}}}")
            }
            "entrypoint" => "put entrypoint into the Dockerfile, or in front of command".to_owned(),
            "environment" if value.as_map().is_some() => {
                "write environment as a list: - KEY=default, or - KEY for one that must be set"
                    .to_owned()
            }
            "ports" => {
                ports(reader, name, value);
                continue;
            }
            "links" => {
                links(reader, name, value, databases);
                continue;
            }
            "labels" => {
                labels(reader, name, value);
                continue;
            }
            "mem_limit" => {
                "write mem_limit as scale: {memory: N}, a number of megabytes".to_owned()
            }
            "cpu_shares" => "write cpu_shares as scale: {cpu: N}, 1024 for a processor".to_owned(),
            "extra_hosts" | "networks" | "depends_on" | "restart" | "container_name" => {
                format!("leave {word} out: there is no such key")
            }
            _ => continue,
        };
        step(reader, key, format!("{name}: {text}"));
    }
}

/// The entries of a list, or of a map as `KEY=VALUE`; whatever else is none. Where a variable
/// was pasted in it is what the file says.
fn listed<'n>(reader: &Reader<'_>, node: &'n Node) -> Vec<(&'n Node, String)> {
    let written = |node: &Node| match node.text() {
        Some(_) if reader.hides(node) => Some(reader.quote(node)),
        text => text.map(str::to_owned),
    };
    match &node.kind {
        Kind::List(items) => items
            .iter()
            .filter_map(|item| Some((item, written(item)?)))
            .collect(),
        Kind::Map(map) => map
            .0
            .iter()
            .filter_map(|(key, value)| {
                let value = written(value).unwrap_or_default();
                Some((key, format!("{}={value}", written(key)?)))
            })
            .collect(),
        Kind::Null | Kind::Scalar(_) => Vec::new(),
    }
}

/// The first port was balanced under the app's name; the others had ports of their own.
fn ports(reader: &mut Reader<'_>, name: &str, node: &Node) {
    for (index, (item, text)) in listed(reader, node).into_iter().enumerate() {
        let quoted = reader.quote(item);
        let port = text.rsplit(':').next().unwrap_or(&text);
        let port = port.split('/').next().unwrap_or(port);
        if port.parse::<u16>().is_err() {
            step(
                reader,
                item,
                format!("{name}: write the port of the process for {quoted} as port: PORT"),
            );
        } else if index == 0 {
            step(
                reader,
                item,
                format!("{name}: write port: {port} for {quoted}"),
            );
        } else {
            step(
                reader,
                item,
                format!(
                    "{name}: write ports: [{port}] for {quoted}, one routable port is all there is"
                ),
            );
        }
    }
}

fn links(reader: &mut Reader<'_>, name: &str, node: &Node, databases: &[(&str, &str)]) {
    for (item, text) in listed(reader, node) {
        let quoted = reader.quote(item);
        let target = text.split(':').next().unwrap_or(&text);
        let is_resource = databases.iter().any(|(database, _)| *database == target);
        let text = if is_resource {
            format!("{name}: list {quoted} in resources in place of links")
        } else {
            format!(
                "{name}: of the link to {quoted} the variable {}_URL stays, the others go",
                crate::resource_variable_prefix(&target.replace('_', "-"))
            )
        };
        step(reader, item, text);
    }
}

fn labels(reader: &mut Reader<'_>, name: &str, node: &Node) {
    for (item, text) in listed(reader, node) {
        let quoted = reader.quote(item);
        let (label, value) = text.split_once('=').unwrap_or((&text, ""));
        if let Some(timer) = label.strip_prefix("convox.cron.") {
            // Five fields, then the command.
            let fields: Vec<_> = value.split_whitespace().collect();
            let schedule = fields.get(..5).unwrap_or_default().join(" ");
            let example = if schedule.is_empty() {
                "schedule and command".to_owned()
            } else {
                format!("schedule: {schedule} and its command")
            };
            step(
                reader,
                item,
                format!(
                    "{name}: write label {quoted} as a timer {} with service: {}, {example}",
                    timer.to_lowercase().replace('_', "-"),
                    name.replace('_', "-"),
                ),
            );
            continue;
        }
        let known = LABELS
            .iter()
            .find(|(known, _)| *known == label || known.ends_with('.') && label.starts_with(known));
        if let Some((_, instead)) = known {
            step(reader, item, format!("{name}: label {quoted}: {instead}"));
        }
    }
}
