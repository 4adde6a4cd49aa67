//! Entries of `services`, with their defaults. Some defaults depend on whether a key is literally
//! present, so an explicit 0 or `false` is not the same as nothing.

use std::collections::BTreeMap;

use super::{autoscale, container, listener, port, scale};
use crate::container::Config;
use crate::environment::Variable;
use crate::keys;
use crate::reader::{Reader, as_bool};
use crate::resource::ResourceLink;
use crate::service::{Build, Deployment, Health, Liveness, Port, Service, Volume};
use crate::yaml::{Kind, Map, Node, Value};

/// Seconds open requests get, and seconds between terminate and kill.
const DEFAULT_DRAIN: u64 = 30;
/// Seconds between health checks.
const DEFAULT_INTERVAL: u64 = 5;
/// Seconds the router waits.
const DEFAULT_TIMEOUT: u64 = 60;

/// What the manifest says for all of its services.
pub(super) struct Shared {
    /// Variables that every service declares.
    pub(super) variables: Vec<Variable>,
    /// Labels of all processes.
    pub(super) labels: BTreeMap<String, String>,
    /// Configs that services mount.
    pub(super) configs: Vec<Config>,
}

/// Reads a service.
pub(super) fn read(reader: &mut Reader<'_>, key: &Node, node: &Node, shared: &Shared) -> Service {
    let empty = Map::default();
    let map = super::body(reader, key, node, "service").unwrap_or(&empty);
    reader.check_keys(map, &keys::SERVICE);
    let name = key.text().unwrap_or_default().to_owned();

    let image = reader.text(map.get("image"), "image");
    if let (Some(_), Some((build, _))) = (&image, map.entry("build")) {
        reader.warn(build, "build is ignored: image is used instead");
    }
    let mut environment = shared.variables.clone();
    environment.extend(super::variables(
        reader,
        map.get("environment"),
        "environment",
    ));
    let agent = agent(reader, map.get("agent"));
    let flag = |reader: &mut Reader<'_>, key: &str, default| {
        reader.boolean(map.get(key), key).unwrap_or(default)
    };
    let singleton = flag(reader, "singleton", false);
    let internal_and_external = flag(reader, "internalAndExternal", false);
    let internal = flag(reader, "internal", false) || internal_and_external;
    let port = port::read(reader, map.get("port"));
    let liveness = liveness(reader, map.entry("liveness"), port.is_some());
    let (directories, further_volumes) =
        container::volume_options(reader, map.get("volumeOptions"));
    let mut volumes = volumes(reader, map.get("volumes"));
    volumes.extend(further_volumes);
    container::check_annotations(reader, map.get("annotations"));
    container::check_annotations(reader, map.get("ingressAnnotations"));
    let service = Service {
        build: build(reader, map.get("build"), image.is_some()),
        command: command(reader, map.get("command")),
        environment,
        ports: port::read_further(reader, map.entry("ports"), port.as_ref()),
        nlb: listener::read(reader, &name, map.entry("nlb")),
        health: Health {
            grpc: grpc_health(reader, map.entry("grpcHealthEnabled"), port.as_ref()),
            ..health(reader, map.entry("health"), port.is_some())
        },
        domains: domains(reader, map.get("domain")),
        certificate: certificate(reader, map.get("certificate")),
        scale: scale::read(reader, map.get("scale")),
        resources: resources(reader, map.get("resources")),
        links: reader
            .texts(map.get("links"), "links")
            .into_iter()
            .map(|(_, link)| link.to_owned())
            .collect(),
        volumes,
        deployment: deployment(reader, map.get("deployment"), agent || singleton),
        drain: match reader.number(map.get("drain"), "drain") {
            None | Some(0) => DEFAULT_DRAIN,
            Some(drain) => drain,
        },
        grace: grace(reader, map.get("termination")),
        init: flag(reader, "init", false),
        privileged: flag(reader, "privileged", false),
        sticky: flag(reader, "sticky", true),
        test: reader.text(map.get("test"), "test"),
        timeout: timeout(reader, map.get("timeout")),
        redirect: redirect(reader, map.get("tls")),
        whitelist: super::networks(reader, map.get("whitelist"), "whitelist"),
        startup: container::startup_probe(
            reader,
            map.entry("startupProbe"),
            liveness.as_ref(),
            port.is_some(),
        ),
        config_mounts: container::config_mounts(reader, map.get("configMounts"), &shared.configs),
        init_container: container::init_container(
            reader,
            map.get("initContainer"),
            &shared.configs,
            &directories,
        ),
        directories,
        lifecycle: container::lifecycle(reader, map.get("lifecycle")),
        pull_secrets: container::pull_secrets(reader, &name, map.get("imagePullSecrets")),
        security: container::security(reader, &name, map.entry("securityContext")),
        labels: container::labels(reader, map.get("labels"), &shared.labels),
        liveness,
        name,
        image,
        port,
        agent,
        singleton,
        internal,
        internal_and_external,
    };
    if let Some(map) = map.get("scale").and_then(Node::as_map) {
        let count = (service.scale.min, service.scale.max);
        autoscale::check(reader, &reader.quote(key), service.agent, map, count);
    }
    if let Some((at, _)) = map.entry("internalRouter")
        && service.internal
        && as_bool(map.get("internalRouter").unwrap_or(key)) == Some(true)
    {
        reader.error(
            at,
            format!(
                "service {} can not have both internal and internalRouter set as true",
                reader.quote(key)
            ),
        );
    }
    if service.agent && !service.nlb.is_empty() {
        reader.error(
            map.get("nlb").unwrap_or(key),
            format!(
                "service {}: agent mode is incompatible with nlb ports",
                reader.quote(key)
            ),
        );
    }
    service
}

/// `build`: a path, or a map of path, Dockerfile and arguments.
fn build(reader: &mut Reader<'_>, node: Option<&Node>, has_image: bool) -> Build {
    let mut build = Build::default();
    match node.map(|node| (node, &node.kind)) {
        None | Some((_, Kind::Null)) => {}
        Some((_, Kind::Map(map))) => {
            reader.check_keys(map, &keys::BUILD);
            build.path = reader
                .text(map.get("path"), "build.path")
                .unwrap_or_default();
            build.dockerfile = reader
                .text(map.get("manifest"), "build.manifest")
                .unwrap_or_default();
            build.args = reader
                .texts(map.get("args"), "build.args")
                .into_iter()
                .map(|(_, arg)| arg.to_owned())
                .collect();
        }
        Some((_, Kind::Scalar(scalar))) if scalar.value == Value::Text => {
            build.path.clone_from(&scalar.text);
        }
        Some((node, Kind::Scalar(_) | Kind::List(_))) => reader.error_with_hint(
            node,
            format!("unknown type for service build: {}", node.describe()),
            "write the path of a directory, or a map with path, manifest and args",
        ),
    }
    if build.path.trim().is_empty() && !has_image {
        ".".clone_into(&mut build.path);
    }
    if !build.path.trim().is_empty() && build.dockerfile.is_empty() {
        "Dockerfile".clone_into(&mut build.dockerfile);
    }
    build
}

/// `command`: text for a shell, or a list taken as it is. Empty text is a command, nothing is not.
pub(super) fn command(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Vec<String>> {
    let node = node?;
    let unknown = |reader: &mut Reader<'_>, node: &Node| {
        let quoted = reader.quote(node);
        reader.error_with_hint(
            node,
            format!("unknown type for service command: {}", node.describe()),
            match &node.kind {
                Kind::Scalar(_) => format!("quote it: \"{quoted}\""),
                _ => "write text for a shell, or a list of text".to_owned(),
            },
        );
    };
    match &node.kind {
        Kind::Null => None,
        Kind::Scalar(scalar) if scalar.value == Value::Text => {
            Some(vec!["sh".to_owned(), "-c".to_owned(), scalar.text.clone()])
        }
        Kind::List(items) => {
            let mut words = Vec::new();
            for item in items {
                match &item.kind {
                    Kind::Scalar(scalar) if scalar.value == Value::Text => {
                        words.push(scalar.text.clone());
                    }
                    _ => unknown(reader, item),
                }
            }
            // A list without words replaces nothing.
            (!words.is_empty()).then_some(words)
        }
        Kind::Scalar(_) | Kind::Map(_) => {
            unknown(reader, node);
            None
        }
    }
}

/// `health`: a path, or a map. Of the map racks read only numbers and text of the right kind.
fn health(reader: &mut Reader<'_>, entry: Option<&(Node, Node)>, has_port: bool) -> Health {
    let mut path = String::new();
    let mut timings = [0; 3];
    let mut disable = false;
    let mut port = None;
    match entry.map(|(_, node)| (node, &node.kind)) {
        None | Some((_, Kind::Null)) => {}
        Some((_, Kind::Scalar(scalar))) if scalar.value == Value::Text => {
            path.clone_from(&scalar.text);
        }
        Some((_, Kind::Map(map))) => {
            reader.check_keys(map, &keys::HEALTH);
            match map.get("path").map(|node| (node, &node.kind)) {
                None | Some((_, Kind::Null)) => {}
                Some((_, Kind::Scalar(scalar))) if scalar.value == Value::Text => {
                    path.clone_from(&scalar.text);
                }
                Some((node, _)) => ignored(reader, node, "path", "text"),
            }
            for (seconds, key) in timings.iter_mut().zip(["interval", "grace", "timeout"]) {
                *seconds = health_seconds(reader, map, key);
            }
            disable = reader
                .boolean(map.get("disable"), "health.disable")
                .unwrap_or(false);
            port = port::read(reader, map.get("port"));
        }
        Some((node, Kind::Scalar(_) | Kind::List(_))) => reader.error_with_hint(
            node,
            format!("unknown type for service health: {}", node.describe()),
            "write a path, or a map with path, interval, grace and timeout",
        ),
    }
    if let (Some((key, _)), false) = (entry, has_port) {
        reader.warn(key, "health has no effect without a port");
    }
    let [interval, grace, timeout] = timings;
    let interval = if interval == 0 {
        DEFAULT_INTERVAL
    } else {
        interval
    };
    let path = path.trim();
    Health {
        path: if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        },
        grace: if grace == 0 { interval } else { grace },
        interval,
        // Racks make 0 of an interval of 1, and nothing answers in no time.
        timeout: if timeout == 0 { interval - 1 } else { timeout }.max(1),
        disable,
        port,
        grpc: false,
    }
}

/// `grpcHealthEnabled`: only a port that speaks gRPC can be asked so.
fn grpc_health(reader: &mut Reader<'_>, entry: Option<&(Node, Node)>, port: Option<&Port>) -> bool {
    let node = entry.map(|(_, node)| node);
    let wanted = reader.boolean(node, "grpcHealthEnabled") == Some(true);
    let grpc = port.is_some_and(|port| {
        let scheme = port.scheme.to_ascii_lowercase();
        scheme == "grpc" || scheme == "secure-grpc"
    });
    if let (true, false, Some((key, _))) = (wanted, grpc, entry) {
        reader.warn(
            key,
            "grpcHealthEnabled has no effect without a port grpc:PORT",
        );
    }
    wanted && grpc
}

fn health_seconds(reader: &mut Reader<'_>, map: &Map, key: &str) -> u64 {
    let Some(node) = map.get(key) else { return 0 };
    let number = matches!(
        &node.kind,
        Kind::Scalar(scalar) if matches!(scalar.value, Value::Integer(_) | Value::Float(_))
    );
    if number || node.is_null() {
        reader
            .number(Some(node), &format!("health.{key}"))
            .unwrap_or(0)
    } else {
        ignored(reader, node, key, "a number");
        0
    }
}

fn ignored(reader: &mut Reader<'_>, node: &Node, key: &str, expected: &str) {
    let quoted = reader.quote(node);
    reader.warn(
        node,
        format!("health.{key} {quoted} is ignored: it must be {expected}"),
    );
}

/// `liveness`: a map; without a path there is none (`convox-yml.md` §8, 20).
fn liveness(
    reader: &mut Reader<'_>,
    entry: Option<&(Node, Node)>,
    has_port: bool,
) -> Option<Liveness> {
    let (key, node) = entry?;
    let map = reader.map(Some(node), "liveness")?;
    reader.check_keys(map, &keys::LIVENESS);
    let path = reader.text(map.get("path"), "liveness.path")?;
    let port = port::read(reader, map.get("port"));
    if !has_port && port.is_none() {
        reader.warn(key, "liveness has no effect without a port");
    }
    let mut number =
        |key: &str, default| match reader.number(map.get(key), &format!("liveness.{key}")) {
            None | Some(0) => default,
            Some(number) => number,
        };
    Some(Liveness {
        path: if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        },
        grace: number("grace", 10),
        interval: number("interval", 5),
        timeout: number("timeout", 5),
        failures: number("failureThreshold", 3),
        port,
    })
}

/// `certificate`: an id, or a map with one.
fn certificate(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<String> {
    let id = match node.map(|node| &node.kind) {
        Some(Kind::Map(map)) => {
            reader.check_keys(map, &keys::CERTIFICATE);
            reader.text(map.get("id"), "certificate.id")
        }
        _ => reader.text(node, "certificate"),
    };
    id.map(|id| id.trim().to_owned())
        .filter(|id| !id.is_empty())
}

/// `domain`: comma-separated text, or a list of text.
fn domains(reader: &mut Reader<'_>, node: Option<&Node>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let texts: Vec<&str> = match &node.kind {
        Kind::Null => return Vec::new(),
        Kind::Scalar(scalar) if scalar.value == Value::Text => scalar.text.split(',').collect(),
        Kind::List(items) => {
            let mut texts = Vec::new();
            for item in items {
                match &item.kind {
                    Kind::Null => {}
                    Kind::Scalar(scalar) if scalar.value == Value::Text => {
                        texts.push(scalar.text.as_str());
                    }
                    _ => unknown_domain(reader, item),
                }
            }
            texts
        }
        Kind::Scalar(_) | Kind::Map(_) => {
            unknown_domain(reader, node);
            return Vec::new();
        }
    };
    texts
        .into_iter()
        .map(|domain| domain.trim().to_lowercase())
        .filter(|domain| !domain.is_empty())
        .collect()
}

fn unknown_domain(reader: &mut Reader<'_>, node: &Node) {
    reader.error_with_hint(
        node,
        format!("unknown type for service domain: {}", node.describe()),
        "write host names separated by commas, or a list of them",
    );
}

/// `agent`: a boolean, or a map, which switches it on unless it says `enabled: false`.
fn agent(reader: &mut Reader<'_>, node: Option<&Node>) -> bool {
    let Some(node) = node else { return false };
    match &node.kind {
        Kind::Null => false,
        Kind::Map(map) => {
            reader.check_keys(map, &keys::AGENT);
            let enabled = reader.boolean(map.get("enabled"), "agent.enabled") != Some(false);
            if !enabled {
                reader.warn(
                    node,
                    "agent is off here, as written; v2 racks switch it on for any map",
                );
            }
            enabled
        }
        Kind::Scalar(_) | Kind::List(_) => as_bool(node).unwrap_or_else(|| {
            let quoted = reader.quote(node);
            reader.error_with_hint(
                node,
                format!("could not parse agent: {quoted}"),
                "write true or false",
            );
            false
        }),
    }
}

/// `resources`: names, or `name:VARIABLE`.
fn resources(reader: &mut Reader<'_>, node: Option<&Node>) -> Vec<ResourceLink> {
    reader
        .texts(node, "resources")
        .into_iter()
        .map(|(_, text)| match text.split_once(':') {
            Some((name, variable)) if !variable.is_empty() => ResourceLink {
                name: name.to_owned(),
                variable: Some(variable.to_owned()),
            },
            Some((name, _)) => ResourceLink {
                name: name.to_owned(),
                variable: None,
            },
            None => ResourceLink {
                name: text.to_owned(),
                variable: None,
            },
        })
        .collect()
}

/// `volumes`: `/path` or `source:/path`.
fn volumes(reader: &mut Reader<'_>, node: Option<&Node>) -> Vec<Volume> {
    let mut volumes = Vec::new();
    for (item, text) in reader.texts(node, "volumes") {
        let (source, path) = text.split_once(':').unwrap_or((text, text));
        // Racks take an option for a part of the path; a mount at `/data:ro` is never meant.
        let (path, option) = path
            .split_once(':')
            .map_or((path, None), |(path, option)| (path, Some(option)));
        let quoted = reader.quote(item);
        if option.is_some() {
            reader.warn(
                item,
                format!("the option of volume {quoted} is ignored; racks take it for path"),
            );
        }
        if path.starts_with('/') && is_of_the_system(source) {
            reader.warn(
                item,
                format!("volume {quoted} is left out: files of the host are not mounted here"),
            );
        } else if path.starts_with('/') && !source.is_empty() {
            volumes.push(Volume {
                source: source.to_owned(),
                path: path.to_owned(),
            });
        } else {
            reader.error_with_hint(
                item,
                format!("invalid volume: {quoted}"),
                "write /path or source:/path",
            );
        }
    }
    volumes
}

/// Whether racks mount a source from the host itself (`convox-yml.md` §15).
fn is_of_the_system(source: &str) -> bool {
    const PLACES: [&str; 10] = [
        "/cgroup",
        "/dev/log",
        "/etc/passwd",
        "/proc",
        "/sys/fs/cgroup",
        "/sys/kernel/debug",
        "/var/log/audit",
        "/var/run",
        "/var/run/docker.sock",
        "/var/lib/docker/containers",
    ];
    PLACES.contains(&source.trim_end_matches('/'))
}

/// `deployment`: percentages; agents and singletons are stopped before they are started.
fn deployment(reader: &mut Reader<'_>, node: Option<&Node>, stop_before_start: bool) -> Deployment {
    let (minimum, maximum) = if stop_before_start {
        (0, 100)
    } else {
        (50, 200)
    };
    let map = reader.map(node, "deployment");
    if let Some(map) = map {
        reader.check_keys(map, &keys::DEPLOYMENT);
    }
    let get = |key| map.and_then(|map| map.get(key));
    Deployment {
        minimum: reader
            .number(get("minimum"), "deployment.minimum")
            .unwrap_or(minimum),
        maximum: reader
            .number(get("maximum"), "deployment.maximum")
            .unwrap_or(maximum),
    }
}

/// `termination.grace`; an explicit 0 is kept.
fn grace(reader: &mut Reader<'_>, node: Option<&Node>) -> u64 {
    let map = reader.map(node, "termination");
    if let Some(map) = map {
        reader.check_keys(map, &keys::TERMINATION);
    }
    let grace = map.and_then(|map| map.get("grace"));
    reader
        .number(grace, "termination.grace")
        .unwrap_or(DEFAULT_DRAIN)
}

/// `timeout`; a router that waits no time at all would answer nothing.
fn timeout(reader: &mut Reader<'_>, node: Option<&Node>) -> u64 {
    match (reader.number(node, "timeout"), node) {
        (Some(0), Some(node)) => {
            reader.warn(node, format!("timeout 0 is read as {DEFAULT_TIMEOUT}"));
            DEFAULT_TIMEOUT
        }
        (Some(timeout), _) => timeout,
        (None, _) => DEFAULT_TIMEOUT,
    }
}

/// `tls.redirect`; off unless written, unlike on racks with a public certificate.
fn redirect(reader: &mut Reader<'_>, node: Option<&Node>) -> bool {
    let map = reader.map(node, "tls");
    if let Some(map) = map {
        reader.check_keys(map, &keys::TLS);
    }
    let redirect = map.and_then(|map| map.get("redirect"));
    reader.boolean(redirect, "tls.redirect").unwrap_or(false)
}
