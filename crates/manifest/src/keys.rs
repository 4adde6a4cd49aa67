//! The keys of the language, level by level: which are read, which are known to racks but do
//! nothing here, and which known key an unknown one was probably meant to be.

/// What is done with a known key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Read.
    Read,
    /// Accepted, whatever its value: it configures clusters, clouds or an older generation.
    NoEffect,
}

/// One level of the language.
pub(crate) struct Level {
    /// Where it is, for messages: `service`, `health`, …
    pub(crate) name: &'static str,
    /// Keys that are read.
    read: &'static [&'static str],
    /// Keys without effect.
    no_effect: &'static [&'static str],
    /// Keys of other languages and of other levels, and what to write instead.
    instead: &'static [(&'static str, &'static str)],
}

impl Level {
    /// What is done with a key; `None` when nobody knows it.
    pub(crate) fn lookup(&self, key: &str) -> Option<Use> {
        if self.read.contains(&key) {
            Some(Use::Read)
        } else if self.no_effect.contains(&key) {
            Some(Use::NoEffect)
        } else {
            None
        }
    }

    /// What was probably meant by an unknown key.
    pub(crate) fn suggestion(&self, key: &str) -> Option<&'static str> {
        if let Some((_, instead)) = self.instead.iter().find(|(other, _)| *other == key) {
            return Some(instead);
        }
        // A third of the letters may be wrong; more would be guessing.
        let allowed = (key.chars().count() / 3).max(1);
        self.read
            .iter()
            .chain(self.no_effect)
            .map(|known| (distance(key, known), *known))
            .filter(|(distance, _)| *distance <= allowed)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known)
    }
}

/// The document.
pub(crate) const TOP: Level = Level {
    name: "the manifest",
    read: &[
        "balancers",
        "configs",
        "environment",
        "labels",
        "resources",
        "services",
        "timers",
    ],
    no_effect: &[
        "appSettings",
        "budget",
        "caches",
        "keys",
        "params",
        "queues",
        "tables",
        "workflows",
    ],
    instead: &[("env", "environment"), ("databases", "resources")],
};

/// A service.
pub(crate) const SERVICE: Level = Level {
    name: "a service",
    read: &[
        "agent",
        "build",
        "certificate",
        "command",
        "configMounts",
        "deployment",
        "domain",
        "drain",
        "environment",
        "grpcHealthEnabled",
        "health",
        "image",
        "imagePullSecrets",
        "init",
        "initContainer",
        "internal",
        "internalAndExternal",
        "labels",
        "lifecycle",
        "links",
        "liveness",
        "nlb",
        "port",
        "ports",
        "privileged",
        "resources",
        "scale",
        "securityContext",
        "singleton",
        "startupProbe",
        "sticky",
        "termination",
        "test",
        "timeout",
        "tls",
        "volumeOptions",
        "volumes",
        "whitelist",
    ],
    no_effect: &[
        "accessControl",
        "annotations",
        "disableHostUsers",
        "dnsConfig",
        "ingressAnnotations",
        "internalRouter",
        "nodeAffinityLabels",
        "nodeSelectorLabels",
        "policies",
        "tags",
    ],
    instead: &[
        ("args", "build.args"),
        ("autoscale", "scale.autoscale"),
        ("cooldown", "scale.cooldown"),
        ("count", "scale.count"),
        ("cpu", "scale.cpu"),
        ("depends_on", "links or resources"),
        ("dockerfile", "build.manifest"),
        ("domains", "domain"),
        ("entrypoint", "command"),
        ("env", "environment"),
        ("grace", "termination.grace"),
        ("healthcheck", "health"),
        ("manifest", "build.manifest"),
        ("memory", "scale.memory"),
        ("path", "build.path"),
        ("redirect", "tls.redirect"),
    ],
};

/// `build` of a service.
pub(crate) const BUILD: Level = Level {
    name: "build",
    read: &["args", "manifest", "path"],
    no_effect: &[],
    instead: &[("context", "path"), ("dockerfile", "manifest")],
};

/// `port` of a service.
pub(crate) const PORT: Level = Level {
    name: "port",
    read: &["port", "scheme"],
    no_effect: &[],
    instead: &[("protocol", "scheme")],
};

/// `health` of a service.
pub(crate) const HEALTH: Level = Level {
    name: "health",
    read: &["disable", "grace", "interval", "path", "port", "timeout"],
    no_effect: &[],
    instead: &[],
};

/// `liveness` of a service.
pub(crate) const LIVENESS: Level = Level {
    name: "liveness",
    read: &[
        "failureThreshold",
        "grace",
        "interval",
        "path",
        "port",
        "timeout",
    ],
    no_effect: &["successThreshold"],
    instead: &[],
};

/// `deployment` of a service.
pub(crate) const DEPLOYMENT: Level = Level {
    name: "deployment",
    read: &["maximum", "minimum"],
    no_effect: &[],
    instead: &[("max", "maximum"), ("min", "minimum")],
};

/// `certificate` of a service, as a map.
pub(crate) const CERTIFICATE: Level = Level {
    name: "certificate",
    read: &["id"],
    no_effect: &["duration"],
    instead: &[],
};

/// `termination` of a service.
pub(crate) const TERMINATION: Level = Level {
    name: "termination",
    read: &["grace"],
    no_effect: &[],
    instead: &[],
};

/// `tls` of a service.
pub(crate) const TLS: Level = Level {
    name: "tls",
    read: &["redirect"],
    no_effect: &[],
    instead: &[],
};

/// `agent` of a service.
pub(crate) const AGENT: Level = Level {
    name: "agent",
    read: &["enabled"],
    no_effect: &["ports"],
    instead: &[],
};

/// `scale` of a service.
pub(crate) const SCALE: Level = Level {
    name: "scale",
    read: &["count", "cpu", "limit", "max", "memory", "min"],
    no_effect: &["autoscale", "cooldown", "gpu", "keda", "targets", "vpa"],
    instead: &[("mem", "memory")],
};

/// `scale.limit` of a service.
pub(crate) const LIMIT: Level = Level {
    name: "scale.limit",
    read: &["cpu", "memory"],
    no_effect: &[],
    instead: &[("mem", "memory")],
};

/// `scale.count` of a service.
pub(crate) const COUNT: Level = Level {
    name: "scale.count",
    read: &["max", "min"],
    no_effect: &[],
    instead: &[("maximum", "max"), ("minimum", "min")],
};

/// An entry of `nlb` of a service.
pub(crate) const LISTENER: Level = Level {
    name: "nlb",
    read: &[
        "allow_cidr",
        "certificate",
        "containerPort",
        "cross_zone",
        "port",
        "preserve_client_ip",
        "protocol",
        "scheme",
    ],
    no_effect: &[],
    instead: &[("container_port", "containerPort")],
};

/// A resource.
pub(crate) const RESOURCE: Level = Level {
    name: "a resource",
    read: &["image", "options", "type"],
    no_effect: &["tags"],
    instead: &[
        ("storage", "options.storage"),
        ("version", "options.version"),
    ],
};

/// `options` of a resource, of whatever type.
pub(crate) const OPTIONS: Level = Level {
    name: "options of a resource",
    read: &["cpu", "mem", "version"],
    no_effect: &[
        "backupRetentionPeriod",
        "class",
        "deletionProtection",
        "durable",
        "encrypted",
        "engine",
        "iops",
        "nodes",
        "parameterGroupName",
        "preferredBackupWindow",
        "readSourceDB",
        "snapshot",
        "storage",
    ],
    instead: &[("memory", "mem")],
};

/// A timer.
pub(crate) const TIMER: Level = Level {
    name: "a timer",
    read: &[
        "command",
        "concurrency",
        "parallelCount",
        "schedule",
        "service",
    ],
    no_effect: &["annotations", "policies"],
    instead: &[("cron", "schedule")],
};

/// An entry of `configs`.
pub(crate) const CONFIG: Level = Level {
    name: "a config",
    read: &["id", "name", "value"],
    no_effect: &[],
    instead: &[],
};

/// An entry of `configMounts`.
pub(crate) const CONFIG_MOUNT: Level = Level {
    name: "configMounts",
    read: &["dir", "filename", "id"],
    no_effect: &[],
    instead: &[("file", "filename"), ("path", "dir and filename")],
};

/// An entry of `volumeOptions`.
pub(crate) const VOLUME_OPTION: Level = Level {
    name: "volumeOptions",
    read: &["awsEfs", "azureFiles", "emptyDir"],
    no_effect: &[],
    instead: &[],
};

/// `emptyDir` of `volumeOptions`.
pub(crate) const EMPTY_DIR: Level = Level {
    name: "emptyDir",
    read: &["id", "medium", "mountPath", "sizeLimit"],
    no_effect: &[],
    instead: &[("path", "mountPath")],
};

/// `awsEfs` and `azureFiles` of `volumeOptions`.
pub(crate) const SHARED_VOLUME: Level = Level {
    name: "a volume of a cloud",
    read: &["accessMode", "id", "mountPath"],
    no_effect: &["shareSize", "storageClass", "volumeHandle"],
    instead: &[("path", "mountPath")],
};

/// `initContainer` of a service.
pub(crate) const INIT_CONTAINER: Level = Level {
    name: "initContainer",
    read: &["command", "configMounts", "image", "volumeOptions"],
    no_effect: &[],
    instead: &[],
};

/// `lifecycle` of a service.
pub(crate) const LIFECYCLE: Level = Level {
    name: "lifecycle",
    read: &["postStart", "preStop"],
    no_effect: &[],
    instead: &[],
};

/// An entry of `imagePullSecrets`.
pub(crate) const PULL_SECRET: Level = Level {
    name: "imagePullSecrets",
    read: &["password", "passwordEnv", "registry", "username"],
    no_effect: &[],
    instead: &[("server", "registry")],
};

/// `securityContext` of a service.
pub(crate) const SECURITY: Level = Level {
    name: "securityContext",
    read: &[
        "allowPrivilegeEscalation",
        "capabilities",
        "readOnlyRootFilesystem",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "seccompProfile",
    ],
    no_effect: &[],
    instead: &[],
};

/// `securityContext.capabilities`.
pub(crate) const CAPABILITIES: Level = Level {
    name: "securityContext.capabilities",
    read: &["add", "drop"],
    no_effect: &[],
    instead: &[],
};

/// `startupProbe` of a service.
pub(crate) const STARTUP_PROBE: Level = Level {
    name: "startupProbe",
    read: &[
        "failureThreshold",
        "grace",
        "interval",
        "path",
        "tcpSocketPort",
        "timeout",
    ],
    no_effect: &["successThreshold"],
    instead: &[("port", "tcpSocketPort")],
};

/// How many letters must be added, removed, replaced or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().flat_map(char::to_lowercase).collect();
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    // Keys of the language are short; a long one is none of them.
    if from.len() > 40 {
        return usize::MAX;
    }
    let mut table = vec![vec![0; to.len() + 1]; from.len() + 1];
    for (i, row) in table.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in table[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let replace = usize::from(from[i - 1] != to[j - 1]);
            let mut best = (table[i - 1][j] + 1)
                .min(table[i][j - 1] + 1)
                .min(table[i - 1][j - 1] + replace);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = best;
        }
    }
    table[from.len()][to.len()]
}

/// An entry of `balancers`.
pub(crate) const BALANCER: Level = Level {
    name: "a balancer",
    read: &["ports", "service", "whitelist"],
    no_effect: &["annotations"],
    instead: &[],
};

/// A port of a balancer, when it is a map.
pub(crate) const BALANCER_PORT: Level = Level {
    name: "a balancer port",
    read: &["port", "protocol"],
    no_effect: &[],
    instead: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (from, to, expected) in [
            ("", "", 0),
            ("port", "port", 0),
            ("Port", "port", 0),
            ("prot", "port", 1),
            ("ports", "port", 1),
            ("scael", "scale", 1),
            ("helth", "health", 1),
            ("image", "build", 5),
        ] {
            assert_eq!(distance(from, to), expected, "{from} → {to}");
            assert_eq!(distance(to, from), expected, "{to} → {from}");
        }
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(TOP.suggestion("servicess"), Some("services"));
        assert_eq!(SERVICE.suggestion("comand"), Some("command"));
        assert_eq!(SERVICE.suggestion("cpu"), Some("scale.cpu"));
        assert_eq!(SERVICE.suggestion("wibble"), None);
        assert_eq!(SERVICE.suggestion(&"x".repeat(10_000)), None);
    }
}
