//! What a service says of its containers: configs, directories, init container, hooks, logins,
//! rights, startup probe (version 3; `convox-yml.md` §9.2, §16).

use std::collections::BTreeMap;

use crate::container::{
    Config, ConfigMount, EmptyDirectory, InitContainer, Lifecycle, PullPassword, PullSecret,
    Security, StartupCheck, StartupProbe,
};
use crate::keys;
use crate::reader::Reader;
use crate::service::{Liveness, Volume};
use crate::yaml::{Kind, Map, Node, Value};

/// Keys of labels that racks use for themselves.
const RESERVED: [&str; 7] = [
    "app", "name", "rack", "release", "service", "system", "type",
];

/// The entries of a list of maps, each with its place.
fn entries<'n>(
    reader: &mut Reader<'_>,
    node: Option<&'n Node>,
    what: &str,
) -> Vec<(&'n Node, &'n Map)> {
    let Some(node) = node else { return Vec::new() };
    let items = match &node.kind {
        Kind::Null => return Vec::new(),
        Kind::List(items) => items,
        Kind::Map(_) | Kind::Scalar(_) => {
            reader.error_with_hint(
                node,
                format!("{what} must be a list, not {}", node.describe()),
                "start each entry with a dash",
            );
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    for item in items {
        if let Some(map) = item.as_map() {
            entries.push((item, map));
        } else {
            reader.error(
                item,
                format!("an entry of {what} must be a map, not {}", item.describe()),
            );
        }
    }
    entries
}

/// A text that must be there, in the words of racks.
fn required(reader: &mut Reader<'_>, at: &Node, map: &Map, place: &str, key: &str) -> String {
    let name = format!("{place}.{key}");
    let before = reader.errors.len();
    if let Some(text) = reader.text(map.get(key), &name) {
        return text.trim().to_owned();
    }
    if reader.errors.len() == before {
        reader.error(at, format!("{name} is required"));
    }
    String::new()
}

/// A path inside a container, without a slash at its end; empty, reported, if it is none.
fn absolute(reader: &mut Reader<'_>, at: &Node, text: &str, what: &str) -> String {
    let path = text.trim_end_matches('/');
    let odd = |part: &str| part == ".." || part == ".";
    // What is not there at all has been reported.
    if text.is_empty() || (text.starts_with('/') && !path.split('/').any(odd)) {
        return path.to_owned();
    }
    let quoted = reader.quote(at);
    reader.error_with_hint(
        at,
        format!("{what} is no absolute path: {quoted}"),
        "begin it with a slash",
    );
    String::new()
}

/// Reads `configs` of the manifest.
pub(super) fn configs(reader: &mut Reader<'_>, node: Option<&Node>) -> Vec<Config> {
    let mut configs: Vec<Config> = Vec::new();
    for (item, map) in entries(reader, node, "configs") {
        reader.check_keys(map, &keys::CONFIG);
        let id = required(reader, item, map, "configs[*]", "id");
        let name = reader.text(map.get("name"), "the name of a config");
        // An empty text is a value, nothing is none.
        let value = map.get("value").and_then(|node| match &node.kind {
            Kind::Scalar(scalar) => Some(scalar.text.clone()),
            Kind::Null => None,
            Kind::List(_) | Kind::Map(_) => reader.text(Some(node), "the value of a config"),
        });
        if configs.iter().any(|config| config.id == id) {
            let quoted = reader.quote(map.get("id").unwrap_or(item));
            reader.error(item, format!("config id: '{quoted}' is there twice"));
        }
        configs.push(Config { id, name, value });
    }
    configs
}

/// Reads `configMounts`.
pub(super) fn config_mounts(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    configs: &[Config],
) -> Vec<ConfigMount> {
    let mut mounts = Vec::new();
    for (item, map) in entries(reader, node, "configMounts") {
        reader.check_keys(map, &keys::CONFIG_MOUNT);
        let mut text = |key| required(reader, item, map, "configMounts[*]", key);
        let (id, directory, file) = (text("id"), text("dir"), text("filename"));
        let directory = absolute(
            reader,
            map.get("dir").unwrap_or(item),
            &directory,
            "configMounts[*].dir",
        );
        if file.contains('/') || file == "." || file == ".." {
            let node = map.get("filename").unwrap_or(item);
            let quoted = reader.quote(node);
            reader.error_with_hint(
                node,
                format!("configMounts[*].filename is no file name: {quoted}"),
                "put the directory into dir",
            );
        }
        if !id.is_empty() && configs.iter().all(|config| config.id != id) {
            let node = map.get("id").unwrap_or(item);
            let quoted = reader.quote(node);
            reader.error_with_hint(
                node,
                format!("config id: '{quoted}' not found"),
                "configs of the manifest declares them",
            );
        }
        mounts.push(ConfigMount {
            id,
            directory,
            file,
        });
    }
    mounts
}

/// Reads `volumeOptions`: directories that go with their process, and volumes that stay.
pub(super) fn volume_options(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
) -> (Vec<EmptyDirectory>, Vec<Volume>) {
    const ACCESS: [&str; 3] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce"];
    let (mut directories, mut volumes) = (Vec::new(), Vec::new());
    for (item, map) in entries(reader, node, "volumeOptions") {
        reader.check_keys(map, &keys::VOLUME_OPTION);
        let one = ["emptyDir", "awsEfs", "azureFiles"]
            .into_iter()
            .find_map(|key| Some((key, map.get(key)?.as_map()?)));
        let Some((kind, body)) = one else {
            reader.error_with_hint(
                item,
                "an entry of volumeOptions names no kind of volume",
                "write emptyDir, awsEfs or azureFiles with id and mountPath",
            );
            continue;
        };
        let id = required(reader, item, body, kind, "id");
        let path = required(reader, item, body, kind, "mountPath");
        let at = body.get("mountPath").unwrap_or(item);
        let root = path == "/";
        let path = absolute(reader, at, &path, &format!("{kind}.mountPath"));
        if root {
            reader.error(at, format!("{kind}.mountPath can not be /"));
        }
        if kind == "emptyDir" {
            reader.check_keys(body, &keys::EMPTY_DIR);
            let medium = reader.text(body.get("medium"), "emptyDir.medium");
            if medium.as_deref().is_some_and(|medium| medium != "Memory") {
                reader.error(
                    body.get("medium").unwrap_or(item),
                    "emptyDir.medium's allowed values: Memory",
                );
            }
            let memory = medium.is_some();
            let size = quantity(reader, body.get("sizeLimit"), "emptyDir.sizeLimit");
            if let (Some(_), false, Some((key, _))) = (size, memory, body.entry("sizeLimit")) {
                reader.no_effect(key, "emptyDir on disk", "sizeLimit");
            }
            directories.push(EmptyDirectory {
                id,
                path,
                memory,
                size,
            });
        } else {
            reader.check_keys(body, &keys::SHARED_VOLUME);
            let mode = reader.text(body.get("accessMode"), &format!("{kind}.accessMode"));
            if mode.is_some_and(|mode| !ACCESS.contains(&mode.as_str())) {
                reader.error(
                    body.get("accessMode").unwrap_or(item),
                    format!(
                        "{kind}.accessMode must be one of these values: {}",
                        ACCESS.join(", ")
                    ),
                );
            }
            // A volume of the app that services name by the same id, as on racks.
            volumes.push(Volume {
                source: format!("{}-{id}", kind.to_ascii_lowercase()),
                path,
            });
        }
    }
    (directories, volumes)
}

/// A number of bytes as clusters write it: `64Mi`, `1G`, `1048576`.
fn quantity(reader: &mut Reader<'_>, node: Option<&Node>, what: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("k", 1000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
    ];
    let text = reader.text(node, what)?;
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim());
    let bytes = number
        .parse::<u64>()
        .ok()
        .zip(unit)
        .and_then(|(number, (_, unit))| number.checked_mul(*unit))
        .filter(|bytes| *bytes > 0 && i64::try_from(*bytes).is_ok());
    if let (None, Some(node)) = (bytes, node) {
        let quoted = reader.quote(node);
        reader.error_with_hint(
            node,
            format!("{what} is not a valid quantity: {quoted}"),
            "write a size such as 64Mi",
        );
    }
    bytes
}

/// Reads `initContainer`.
pub(super) fn init_container(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    configs: &[Config],
    shared: &[EmptyDirectory],
) -> Option<InitContainer> {
    let map = reader.map(node, "initContainer")?;
    reader.check_keys(map, &keys::INIT_CONTAINER);
    let (directories, volumes) = volume_options(reader, map.get("volumeOptions"));
    for directory in &directories {
        let other = shared.iter().find(|other| other.id == directory.id);
        if let (Some(other), Some((key, _))) = (other, map.entry("volumeOptions"))
            && other.path != directory.path
        {
            reader.warn(
                key,
                format!(
                    "the directory at {} is at {} in the initContainer too, where the service has it",
                    directory.path, other.path
                ),
            );
        }
    }
    Some(InitContainer {
        image: reader.text(map.get("image"), "initContainer.image"),
        command: super::service::command(reader, map.get("command")),
        config_mounts: config_mounts(reader, map.get("configMounts"), configs),
        directories,
        volumes,
    })
}

/// Reads `lifecycle`.
pub(super) fn lifecycle(reader: &mut Reader<'_>, node: Option<&Node>) -> Lifecycle {
    let Some(map) = reader.map(node, "lifecycle") else {
        return Lifecycle::default();
    };
    reader.check_keys(map, &keys::LIFECYCLE);
    Lifecycle {
        pre_stop: reader.text(map.get("preStop"), "lifecycle.preStop"),
        post_start: reader.text(map.get("postStart"), "lifecycle.postStart"),
    }
}

/// Reads `imagePullSecrets`.
pub(super) fn pull_secrets(
    reader: &mut Reader<'_>,
    service: &str,
    node: Option<&Node>,
) -> Vec<PullSecret> {
    let mut secrets: Vec<PullSecret> = Vec::new();
    let list = entries(reader, node, "imagePullSecrets");
    for (index, (item, map)) in list.into_iter().enumerate() {
        reader.check_keys(map, &keys::PULL_SECRET);
        let place = format!("service {service} imagePullSecrets[{index}]");
        let mut text = |key: &str| {
            let text = reader.text(map.get(key), &format!("imagePullSecrets[*].{key}"));
            text.map(|text| text.trim().to_owned())
        };
        let (registry, username) = (text("registry"), text("username"));
        let (written, variable) = (text("password"), text("passwordEnv"));
        let password = match (written, variable) {
            (Some(password), None) => PullPassword::Written(password),
            (None, Some(name)) => PullPassword::Variable(name),
            (both, _) => {
                let what = if both.is_some() { "only one" } else { "one" };
                reader.error(
                    item,
                    format!("{place}: {what} of password and passwordEnv is required"),
                );
                continue;
            }
        };
        let (Some(registry), Some(username)) = (registry, username) else {
            reader.error(item, format!("{place}: registry and username are required"));
            continue;
        };
        if secrets
            .iter()
            .any(|secret| secret.registry.eq_ignore_ascii_case(&registry))
        {
            let quoted = reader.quote(map.get("registry").unwrap_or(item));
            reader.error(
                item,
                format!(
                    "{place}: duplicate registry \"{quoted}\"; each registry may be declared at \
                     most once per service"
                ),
            );
        }
        secrets.push(PullSecret {
            registry,
            username,
            password,
        });
    }
    secrets
}

/// Reads `securityContext`.
pub(super) fn security(
    reader: &mut Reader<'_>,
    service: &str,
    entry: Option<&(Node, Node)>,
) -> Security {
    let Some((key, node)) = entry else {
        return Security::default();
    };
    let Some(map) = reader.map(Some(node), "securityContext") else {
        return Security::default();
    };
    reader.check_keys(map, &keys::SECURITY);
    let mut number = |key: &str| {
        let node = map.get(key).filter(|node| !node.is_null());
        reader.number(node, &format!("securityContext.{key}"))
    };
    let (user, group) = (number("runAsUser"), number("runAsGroup"));
    let mut flag = |key: &str| reader.boolean(map.get(key), &format!("securityContext.{key}"));
    let non_root = flag("runAsNonRoot") == Some(true);
    let read_only = flag("readOnlyRootFilesystem") == Some(true);
    let no_escalation = flag("allowPrivilegeEscalation") == Some(false);
    let unconfined = seccomp(reader, service, map.get("seccompProfile"));
    let capabilities = reader.map(map.get("capabilities"), "securityContext.capabilities");
    if let Some(capabilities) = capabilities {
        reader.check_keys(capabilities, &keys::CAPABILITIES);
    }
    let mut names = |key: &str| {
        let node = capabilities.and_then(|map| map.get(key));
        capability_names(reader, service, node, key)
    };
    let (add, drop) = (names("add"), names("drop"));
    if non_root && user.is_none() {
        reader.warn(key, "runAsNonRoot is not checked here without runAsUser");
    }
    if group.is_some() && user.is_none() {
        reader.warn(key, "runAsGroup has no effect here without runAsUser");
    }
    if non_root && user == Some(0) {
        reader.error(
            key,
            format!(
                "service {service}: securityContext: runAsNonRoot=true is incompatible with \
                 runAsUser=0"
            ),
        );
    }
    Security {
        user,
        group,
        non_root,
        read_only,
        no_escalation,
        add,
        drop,
        unconfined,
    }
}

fn seccomp(reader: &mut Reader<'_>, service: &str, node: Option<&Node>) -> bool {
    let profile = reader.text(node, "securityContext.seccompProfile");
    match (profile.as_deref(), node) {
        (Some("Unconfined"), _) => true,
        (None | Some("RuntimeDefault"), _) | (_, None) => false,
        (Some(_), Some(node)) => {
            let quoted = reader.quote(node);
            reader.error(
                node,
                format!(
                    "service {service}: securityContext.seccompProfile: \"{quoted}\" is not a \
                     supported value; allowed: RuntimeDefault, Unconfined"
                ),
            );
            false
        }
    }
}

fn capability_names(
    reader: &mut Reader<'_>,
    service: &str,
    node: Option<&Node>,
    list: &str,
) -> Vec<String> {
    let what = format!("securityContext.capabilities.{list}");
    let mut names = Vec::new();
    for (item, name) in reader.texts(node, &what) {
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_uppercase())
                && name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let problem = match name.strip_prefix("CAP_") {
            Some(_) => "must not include CAP_ prefix",
            None if plain(name) => {
                names.push(name.to_owned());
                continue;
            }
            None => {
                "is not a valid capability name (expected uppercase letters, digits, underscores)"
            }
        };
        let quoted = reader.quote(item);
        reader.error(
            item,
            format!("service {service}: {what}: \"{quoted}\" {problem}"),
        );
    }
    names
}

/// Reads `startupProbe`; what it leaves open is as the liveness check has it
/// (`convox-yml.md` §8, 21).
pub(super) fn startup_probe(
    reader: &mut Reader<'_>,
    entry: Option<&(Node, Node)>,
    liveness: Option<&Liveness>,
    has_port: bool,
) -> Option<StartupProbe> {
    let (key, node) = entry?;
    let map = reader.map(Some(node), "startupProbe")?;
    reader.check_keys(map, &keys::STARTUP_PROBE);
    let path = reader.text(map.get("path"), "startupProbe.path");
    let port = map.get("tcpSocketPort").filter(|port| !port.is_null());
    let check = match (path, port) {
        (_, Some(node)) => {
            let number = node.text().and_then(|text| text.trim().parse::<u16>().ok());
            let Some(port) = number.filter(|port| *port > 0) else {
                let quoted = reader.quote(node);
                reader.error_with_hint(
                    node,
                    format!("invalid port: {quoted}"),
                    "ports go from 1 to 65535",
                );
                return None;
            };
            StartupCheck::Port(port)
        }
        (Some(path), None) => StartupCheck::Path(if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        }),
        (None, None) => {
            reader.warn(
                key,
                "startupProbe has no effect without path or tcpSocketPort",
            );
            return None;
        }
    };
    if !has_port {
        reader.warn(key, "startupProbe has no effect without a port");
    }
    let mut number = |key: &str, default: u64| match reader
        .number(map.get(key), &format!("startupProbe.{key}"))
    {
        None | Some(0) => default,
        Some(number) => number,
    };
    Some(StartupProbe {
        check,
        grace: number("grace", liveness.map_or(0, |liveness| liveness.grace)),
        interval: number("interval", liveness.map_or(5, |liveness| liveness.interval)),
        timeout: number("timeout", liveness.map_or(5, |liveness| liveness.timeout)),
        failures: number(
            "failureThreshold",
            liveness.map_or(3, |liveness| liveness.failures),
        ),
    })
}

/// Reads `labels`, of the manifest or of a service; those of a service win.
pub(super) fn labels(
    reader: &mut Reader<'_>,
    node: Option<&Node>,
    global: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut labels = global.clone();
    let Some(map) = reader.map(node, "labels") else {
        return labels;
    };
    for (key, value) in &map.0 {
        let name = key.text().unwrap_or_default();
        let quoted = reader.quote(key);
        if RESERVED.contains(&name) || name.starts_with("twinrack.") {
            reader.error(key, format!("reserved label key '{quoted}' is not allowed"));
            continue;
        }
        match &value.kind {
            Kind::Scalar(scalar) => {
                let text = match scalar.value {
                    Value::Bool(value) => value.to_string(),
                    _ => scalar.text.clone(),
                };
                labels.insert(name.to_owned(), text);
            }
            Kind::Null => {
                labels.insert(name.to_owned(), String::new());
            }
            Kind::List(_) | Kind::Map(_) => reader.error(
                value,
                format!("label {quoted} must be text, not {}", value.describe()),
            ),
        }
    }
    labels
}

/// Checks `annotations`, which have no effect here: each is `key=value` or a map of one entry.
pub(super) fn check_annotations(reader: &mut Reader<'_>, node: Option<&Node>) {
    let Some(Kind::List(items)) = node.map(|node| &node.kind) else {
        return;
    };
    for item in items {
        let fine = match &item.kind {
            Kind::Scalar(scalar) => scalar.text.contains('='),
            Kind::Map(_) | Kind::Null => true,
            Kind::List(_) => false,
        };
        if !fine {
            let quoted = reader.quote(item);
            reader.error_with_hint(
                item,
                format!("invalid annotation format: {quoted}"),
                "write key=value",
            );
        }
    }
}
