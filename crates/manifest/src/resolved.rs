//! A manifest written out again, with every default filled in: what `convox manifest check`
//! shows. The text is a manifest itself and means the same, but for passwords, which are hidden.

use std::fmt::{self, Write as _};

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use crate::container::{
    Config, ConfigMount, EmptyDirectory, InitContainer, PullPassword, PullSecret, Security,
    StartupCheck, StartupProbe,
};
use crate::environment::Variable;
use crate::service::{
    Health, Listener, ListenerProtocol, ListenerScheme, Liveness, Port, Scale, Service, Volume,
};
use crate::{Balancer, Manifest, Resource, Timer};

/// What stands for a password.
const HIDDEN: &str = "****";

/// A value of a resolved manifest. Its text is YAML; it serializes to the same in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(u64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Resolved>),
    /// A map in its order.
    Map(Vec<(String, Resolved)>),
}

impl From<bool> for Resolved {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Resolved {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<u16> for Resolved {
    fn from(value: u16) -> Self {
        Self::Number(value.into())
    }
}

impl From<&str> for Resolved {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Resolved {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Resolved {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Makes a map, entry by entry.
#[derive(Default)]
struct Entries(Vec<(String, Resolved)>);

impl Entries {
    fn put(&mut self, key: &str, value: impl Into<Resolved>) {
        self.0.push((key.to_owned(), value.into()));
    }

    fn put_some(&mut self, key: &str, value: Option<impl Into<Resolved>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// A list, unless it is empty.
    fn put_list<T: Into<Resolved>>(&mut self, key: &str, items: impl IntoIterator<Item = T>) {
        let items: Vec<Resolved> = items.into_iter().map(Into::into).collect();
        if !items.is_empty() {
            self.0.push((key.to_owned(), Resolved::List(items)));
        }
    }

    /// A map, unless it is empty.
    fn put_map<K: Into<String>, T: Into<Resolved>>(
        &mut self,
        key: &str,
        entries: impl IntoIterator<Item = (K, T)>,
    ) {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        if !entries.is_empty() {
            self.0.push((key.to_owned(), Resolved::Map(entries)));
        }
    }
}

impl From<Entries> for Resolved {
    fn from(entries: Entries) -> Self {
        Self::Map(entries.0)
    }
}

impl Manifest {
    /// The manifest with every default filled in.
    pub fn resolved(&self) -> Resolved {
        let mut top = Entries::default();
        top.put_list("configs", &self.configs);
        top.put_map("resources", &self.resources);
        top.put_map("services", &self.services);
        top.put_map("timers", &self.timers);
        top.put_map("balancers", &self.balancers);
        top.into()
    }
}

impl From<&Config> for Resolved {
    fn from(config: &Config) -> Self {
        let mut map = Entries::default();
        map.put("id", &config.id);
        map.put_some("name", config.name.as_ref());
        map.put_some("value", config.value.as_ref());
        map.into()
    }
}

impl From<&Resource> for Resolved {
    fn from(resource: &Resource) -> Self {
        let mut map = Entries::default();
        map.put("type", &resource.kind);
        map.put_some("image", resource.image.as_ref());
        map.put_map("options", &resource.options);
        map.into()
    }
}

impl From<&Timer> for Resolved {
    fn from(timer: &Timer) -> Self {
        let mut map = Entries::default();
        map.put("schedule", &timer.schedule);
        map.put("command", &timer.command);
        map.put("service", &timer.service);
        map.put("concurrency", timer.concurrency.word());
        map.put("parallelCount", timer.parallel);
        map.into()
    }
}

impl From<&Balancer> for Resolved {
    fn from(balancer: &Balancer) -> Self {
        let mut map = Entries::default();
        map.put("service", &balancer.service);
        map.put_map(
            "ports",
            balancer.ports.iter().map(|port| {
                let mut target = Entries::default();
                target.put("protocol", port.protocol.word());
                target.put("port", port.target);
                (port.source.to_string(), target)
            }),
        );
        map.put_list("whitelist", &balancer.whitelist);
        map.into()
    }
}

impl From<&Variable> for Resolved {
    fn from(variable: &Variable) -> Self {
        match variable {
            Variable::Default(name, default) => format!("{name}={default}").into(),
            Variable::Required(_) | Variable::All => variable.name().into(),
        }
    }
}

impl From<&Port> for Resolved {
    fn from(port: &Port) -> Self {
        if port.scheme.contains(':') {
            let mut map = Entries::default();
            map.put("scheme", &port.scheme);
            map.put("port", port.port);
            return map.into();
        }
        format!("{}:{}", port.scheme, port.port).into()
    }
}

impl From<&Volume> for Resolved {
    fn from(volume: &Volume) -> Self {
        if volume.source == volume.path {
            (&volume.path).into()
        } else {
            format!("{}:{}", volume.source, volume.path).into()
        }
    }
}

impl From<&Health> for Resolved {
    fn from(health: &Health) -> Self {
        let mut map = Entries::default();
        map.put("path", &health.path);
        map.put_some("port", health.port.as_ref());
        map.put("interval", health.interval);
        map.put("grace", health.grace);
        map.put("timeout", health.timeout);
        map.put("disable", health.disable);
        map.into()
    }
}

impl From<&Liveness> for Resolved {
    fn from(liveness: &Liveness) -> Self {
        let mut map = Entries::default();
        map.put("path", &liveness.path);
        map.put_some("port", liveness.port.as_ref());
        map.put("interval", liveness.interval);
        map.put("grace", liveness.grace);
        map.put("timeout", liveness.timeout);
        map.put("failureThreshold", liveness.failures);
        map.into()
    }
}

impl From<&StartupProbe> for Resolved {
    fn from(probe: &StartupProbe) -> Self {
        let mut map = Entries::default();
        match &probe.check {
            StartupCheck::Path(path) => map.put("path", path),
            StartupCheck::Port(port) => map.put("tcpSocketPort", *port),
        }
        map.put("interval", probe.interval);
        // Zero is what racks take for absent, and then it is the liveness check's.
        if probe.grace > 0 {
            map.put("grace", probe.grace);
        }
        map.put("timeout", probe.timeout);
        map.put("failureThreshold", probe.failures);
        map.into()
    }
}

impl From<&Scale> for Resolved {
    fn from(scale: &Scale) -> Self {
        let mut map = Entries::default();
        if scale.min == scale.max {
            map.put("count", scale.min);
        } else {
            let mut count = Entries::default();
            count.put("min", scale.min);
            count.put("max", scale.max);
            map.put("count", count);
        }
        map.put("cpu", scale.cpu);
        map.put("memory", scale.memory);
        let limits = [("cpu", scale.cpu_limit), ("memory", scale.memory_limit)];
        map.put_map(
            "limit",
            limits
                .into_iter()
                .filter_map(|(key, limit)| Some((key, limit?))),
        );
        map.into()
    }
}

impl From<&Listener> for Resolved {
    fn from(listener: &Listener) -> Self {
        let mut map = Entries::default();
        map.put("port", listener.port);
        map.put("containerPort", listener.container_port);
        map.put(
            "protocol",
            match listener.protocol {
                ListenerProtocol::Tcp => "tcp",
                ListenerProtocol::Tls => "tls",
            },
        );
        map.put(
            "scheme",
            match listener.scheme {
                ListenerScheme::Public => "public",
                ListenerScheme::Internal => "internal",
            },
        );
        map.put_some("certificate", listener.certificate.as_ref());
        map.put_list("allow_cidr", &listener.allow_cidr);
        map.put_some("cross_zone", listener.cross_zone);
        map.put_some("preserve_client_ip", listener.preserve_client_ip);
        map.into()
    }
}

impl From<&ConfigMount> for Resolved {
    fn from(mount: &ConfigMount) -> Self {
        let mut map = Entries::default();
        map.put("id", &mount.id);
        let directory = match mount.directory.as_str() {
            "" => "/",
            directory => directory,
        };
        map.put("dir", directory);
        map.put("filename", &mount.file);
        map.into()
    }
}

impl From<&EmptyDirectory> for Resolved {
    fn from(directory: &EmptyDirectory) -> Self {
        let mut body = Entries::default();
        body.put("id", &directory.id);
        body.put("mountPath", &directory.path);
        if directory.memory {
            body.put("medium", "Memory");
        }
        body.put_some("sizeLimit", directory.size.map(|size| size.to_string()));
        let mut map = Entries::default();
        map.put("emptyDir", body);
        map.into()
    }
}

/// Directories and volumes as `volumeOptions` has them.
fn volume_options(directories: &[EmptyDirectory], volumes: &[Volume]) -> Vec<Resolved> {
    let shared = volumes.iter().filter_map(|volume| {
        let (kind, id) = ["awsEfs", "azureFiles"].into_iter().find_map(|kind| {
            let id = volume
                .source
                .strip_prefix(&kind.to_ascii_lowercase())?
                .strip_prefix('-')?;
            Some((kind, id))
        })?;
        let mut body = Entries::default();
        body.put("id", id);
        body.put("mountPath", &volume.path);
        let mut map = Entries::default();
        map.put(kind, body);
        Some(map.into())
    });
    directories.iter().map(Into::into).chain(shared).collect()
}

impl From<&InitContainer> for Resolved {
    fn from(init: &InitContainer) -> Self {
        let mut map = Entries::default();
        map.put_some("image", init.image.as_ref());
        map.put_some("command", init.command.as_deref().map(command));
        map.put_list(
            "volumeOptions",
            volume_options(&init.directories, &init.volumes),
        );
        map.put_list("configMounts", &init.config_mounts);
        map.into()
    }
}

impl From<&PullSecret> for Resolved {
    fn from(secret: &PullSecret) -> Self {
        let mut map = Entries::default();
        map.put("registry", &secret.registry);
        map.put("username", &secret.username);
        match &secret.password {
            PullPassword::Written(_) => map.put("password", HIDDEN),
            PullPassword::Variable(name) => map.put("passwordEnv", name),
        }
        map.into()
    }
}

impl From<&Security> for Resolved {
    fn from(security: &Security) -> Self {
        let mut map = Entries::default();
        map.put_some("runAsUser", security.user);
        map.put_some("runAsGroup", security.group);
        map.put("runAsNonRoot", security.non_root);
        map.put("readOnlyRootFilesystem", security.read_only);
        map.put("allowPrivilegeEscalation", !security.no_escalation);
        let mut capabilities = Entries::default();
        capabilities.put_list("add", &security.add);
        capabilities.put_list("drop", &security.drop);
        map.put_map("capabilities", capabilities.0);
        if security.unconfined {
            map.put("seccompProfile", "Unconfined");
        }
        map.into()
    }
}

/// A command as it is most easily read.
fn command(words: &[String]) -> Resolved {
    match words {
        [shell, flag, text] if shell == "sh" && flag == "-c" => text.into(),
        words => Resolved::List(words.iter().map(Into::into).collect()),
    }
}

impl From<&Service> for Resolved {
    fn from(service: &Service) -> Self {
        let mut map = Entries::default();
        if let Some(image) = &service.image {
            map.put("image", image);
        } else {
            let mut build = Entries::default();
            build.put("path", &service.build.path);
            build.put("manifest", &service.build.dockerfile);
            build.put_list("args", &service.build.args);
            map.put("build", build);
        }
        map.put_list("imagePullSecrets", &service.pull_secrets);
        map.put_some("command", service.command.as_deref().map(command));
        map.put_some("test", service.test.as_ref());
        map.put_list("environment", &service.environment);
        map.put_list(
            "resources",
            service.resources.iter().map(|link| match &link.variable {
                Some(variable) => format!("{}:{variable}", link.name),
                None => link.name.clone(),
            }),
        );
        map.put_list("links", &service.links);
        reach(service, &mut map);
        let mut deployment = Entries::default();
        deployment.put("minimum", service.deployment.minimum);
        deployment.put("maximum", service.deployment.maximum);
        map.put("scale", &service.scale);
        map.put("deployment", deployment);
        map.put("agent", service.agent);
        map.put("singleton", service.singleton);
        map.put("drain", service.drain);
        let mut termination = Entries::default();
        termination.put("grace", service.grace);
        map.put("termination", termination);
        map.put("init", service.init);
        map.put("privileged", service.privileged);
        if service.security != Security::default() {
            map.put("securityContext", &service.security);
        }
        let own = |volume: &&Volume| volume_options(&[], std::slice::from_ref(*volume)).is_empty();
        map.put_list("volumes", service.volumes.iter().filter(own));
        map.put_list(
            "volumeOptions",
            volume_options(&service.directories, &service.volumes),
        );
        map.put_list("configMounts", &service.config_mounts);
        map.put_some("initContainer", service.init_container.as_ref());
        let hooks = [
            ("preStop", &service.lifecycle.pre_stop),
            ("postStart", &service.lifecycle.post_start),
        ];
        map.put_map(
            "lifecycle",
            hooks
                .into_iter()
                .filter_map(|(key, hook)| Some((key, hook.as_ref()?))),
        );
        map.put_map("labels", &service.labels);
        map.into()
    }
}

/// How a service is reached and checked.
fn reach(service: &Service, map: &mut Entries) {
    if let Some(port) = &service.port {
        map.put("port", port);
    }
    map.put_list("ports", service.ports.iter().copied());
    map.put_list("nlb", &service.nlb);
    if service.port.is_some() {
        map.put("health", &service.health);
        if service.health.grpc {
            map.put("grpcHealthEnabled", true);
        }
        map.put_some("startupProbe", service.startup.as_ref());
    }
    map.put_some("liveness", service.liveness.as_ref());
    map.put_list("domain", &service.domains);
    map.put_some("certificate", service.certificate.as_ref());
    map.put("internal", service.internal);
    map.put("internalAndExternal", service.internal_and_external);
    map.put("timeout", service.timeout);
    map.put("sticky", service.sticky);
    let mut tls = Entries::default();
    tls.put("redirect", service.redirect);
    map.put("tls", tls);
    map.put_list("whitelist", &service.whitelist);
}

impl Serialize for Resolved {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(entries) if entries.is_empty() => f.write_str("{}\n"),
            Self::Map(_) | Self::List(_) => self.block(f, 0, false),
            scalar => {
                scalar.scalar(f)?;
                f.write_char('\n')
            }
        }
    }
}

impl Resolved {
    /// Writes a list or a map, one line per entry, at a depth; the first line may stand behind
    /// the dash of a list.
    fn block(&self, f: &mut fmt::Formatter<'_>, depth: usize, behind_dash: bool) -> fmt::Result {
        let indent = |f: &mut fmt::Formatter<'_>, index: usize| {
            if index == 0 && behind_dash {
                return Ok(());
            }
            write!(f, "{:width$}", "", width = depth * 2)
        };
        match self {
            Self::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    indent(f, index)?;
                    // Ports are numbers as keys, too.
                    if key.parse::<u16>().is_ok() {
                        f.write_str(key)?;
                    } else {
                        text(f, key)?;
                    }
                    f.write_char(':')?;
                    if value.is_block() {
                        f.write_char('\n')?;
                        value.block(f, depth + 1, false)?;
                    } else {
                        f.write_char(' ')?;
                        value.scalar(f)?;
                        f.write_char('\n')?;
                    }
                }
            }
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    indent(f, index)?;
                    f.write_str("- ")?;
                    if item.is_block() {
                        item.block(f, depth + 1, true)?;
                    } else {
                        item.scalar(f)?;
                        f.write_char('\n')?;
                    }
                }
            }
            Self::Bool(_) | Self::Number(_) | Self::Text(_) => self.scalar(f)?,
        }
        Ok(())
    }

    fn is_block(&self) -> bool {
        match self {
            Self::Map(entries) => !entries.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
        }
    }

    /// Writes what fits on one line.
    fn scalar(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(value) => text(f, value),
            Self::List(_) => f.write_str("[]"),
            Self::Map(_) => f.write_str("{}"),
        }
    }
}

/// Writes a text plainly where nothing in it has a meaning to YAML, in quotes otherwise.
fn text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if is_plain(text) {
        return f.write_str(text);
    }
    f.write_char('"')?;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            // A value, not a place for another one.
            '$' if rest.peek() == Some(&'{') => f.write_str("\\x24")?,
            c if c.is_control()
                || matches!(
                    c,
                    '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{2028}' | '\u{2029}'
                )
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                write!(f, "\\u{:04x}", u32::from(c))?;
            }
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Whether YAML, of any version, takes a text without quotes for this very text.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "yes", "n", "no", "true", "false", "on", "off", "null"];
    let begins = |c: char| c.is_ascii_alphabetic() || c == '/' || c == '_';
    let goes_on = |c: char| c.is_ascii_alphanumeric() || "_./=:@+- ".contains(c);
    text.starts_with(begins)
        && text.chars().all(goes_on)
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_quotes_where_yaml_would_read_something_else() {
        for (value, expected) in [
            ("web", "web"),
            ("bin/web --port 3000", "bin/web --port 3000"),
            ("http:3000", "http:3000"),
            ("KEY=a=b", "KEY=a=b"),
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("Null", "\"Null\""),
            ("10.0", "\"10.0\""),
            ("0 3 * * ?", "\"0 3 * * ?\""),
            ("a: b", "\"a: b\""),
            ("a:", "\"a:\""),
            ("a #b", "\"a #b\""),
            ("*", "\"*\""),
            ("a ", "\"a \""),
            ("a\n\"b\\\u{1}\u{202e}", "\"a\\n\\\"b\\\\\\u0001\\u202e\""),
            ("${HOME} $x", "\"\\x24{HOME} $x\""),
        ] {
            assert_eq!(Resolved::from(value).to_string().trim_end(), expected);
        }
    }

    #[test]
    fn lists_and_maps_are_blocks() {
        let mut inner = Entries::default();
        inner.put("a", 1_u64);
        inner.put_list("b", ["x", "z"]);
        let list = Resolved::List(vec![inner.into(), Resolved::Map(Vec::new())]);
        let mut outer = Entries::default();
        outer.put("list", list);
        outer.put("flag", false);
        assert_eq!(
            Resolved::from(outer).to_string(),
            "list:\n  - a: 1\n    b:\n      - x\n      - z\n  - {}\nflag: false\n"
        );
    }
}
