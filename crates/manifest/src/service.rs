//! A service: what to run, how many of it, and how it is reached.

use std::collections::BTreeMap;

use crate::container::{
    ConfigMount, EmptyDirectory, InitContainer, Lifecycle, PullSecret, Security, StartupCheck,
    StartupProbe,
};
use crate::environment::{self, Variable};
use crate::resource::ResourceLink;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: a lower-case letter, then lower-case letters, digits and dashes.
    pub name: String,
    /// How to build its image; ignored when [`Service::image`] is set.
    pub build: Build,
    /// Image to use instead of building.
    pub image: Option<String>,
    /// Replaces the image's command: a string becomes `sh -c`, a list stays.
    pub command: Option<Vec<String>>,
    /// Declared variables, global ones first.
    pub environment: Vec<Variable>,
    /// The routable port.
    pub port: Option<Port>,
    /// Further TCP ports, not routed by host name.
    pub ports: Vec<u16>,
    /// Listeners that pass bytes through.
    pub nlb: Vec<Listener>,
    /// Health check of the routable port.
    pub health: Health,
    /// Host names besides the generated one, lower-case.
    pub domains: Vec<String>,
    /// Id of the rack's certificate that its domains are shown, when it names one.
    pub certificate: Option<String>,
    /// Number and size of processes.
    pub scale: Scale,
    /// Names of resources, with the variable that replaces the usual six when given.
    pub resources: Vec<ResourceLink>,
    /// Names of linked services.
    pub links: Vec<String>,
    /// `/path` or `source:/path`.
    pub volumes: Vec<Volume>,
    /// Percentages of the desired count during a promote.
    pub deployment: Deployment,
    /// Seconds open requests get before a process is stopped.
    pub drain: u64,
    /// Seconds between terminate and kill.
    pub grace: u64,
    /// One process per instance.
    pub agent: bool,
    /// Stop before start.
    pub singleton: bool,
    /// Reached from inside the rack; from outside too only with
    /// [`Service::internal_and_external`].
    pub internal: bool,
    /// Internal and yet reachable from outside; sets [`Service::internal`].
    pub internal_and_external: bool,
    /// Run an init as process 1.
    pub init: bool,
    /// Run with all privileges.
    pub privileged: bool,
    /// Keep a client on one process.
    pub sticky: bool,
    /// Command of `convox test`.
    pub test: Option<String>,
    /// Seconds the router waits for an answer.
    pub timeout: u64,
    /// Redirect plain HTTP to TLS; off unless written, for a laptop has no public certificate.
    pub redirect: bool,
    /// Its liveness check, if it has one.
    pub liveness: Option<Liveness>,
    /// Networks that may come, in CIDR notation; empty for all.
    pub whitelist: Vec<String>,
    /// What must pass before the other checks begin.
    pub startup: Option<StartupProbe>,
    /// Configs that are files in its processes.
    pub config_mounts: Vec<ConfigMount>,
    /// Directories that go with each process.
    pub directories: Vec<EmptyDirectory>,
    /// What runs before each process.
    pub init_container: Option<InitContainer>,
    /// What runs inside a process at its start and before its end.
    pub lifecycle: Lifecycle,
    /// Logins for the registry of its image.
    pub pull_secrets: Vec<PullSecret>,
    /// What its processes may do.
    pub security: Security,
    /// Labels of its processes, those of the manifest included.
    pub labels: BTreeMap<String, String>,
}

impl Service {
    /// What the service gets of a release's variables: the declared ones only, a release's value
    /// before a default. Variables that are required and missing are left out.
    pub fn environment_for(&self, env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        environment::resolve(&self.environment, env)
    }

    /// The defaults of its variables, whether or not a later declaration makes them required.
    pub fn default_environment(&self) -> BTreeMap<String, String> {
        environment::defaults(&self.environment)
    }

    /// Names of its declared variables, sorted, each once; `*` stands for all.
    pub fn environment_names(&self) -> Vec<&str> {
        environment::names(&self.environment)
    }

    /// Every port of its processes that must be reached: the routable one first, then further
    /// ones and those of checks, each once.
    pub fn reached_ports(&self) -> Vec<u16> {
        let checks = [
            self.health.port.as_ref(),
            self.liveness.as_ref().and_then(|check| check.port.as_ref()),
        ];
        let startup = self.startup.as_ref().and_then(|probe| match probe.check {
            StartupCheck::Port(port) => Some(port),
            StartupCheck::Path(_) => None,
        });
        let all = self
            .port
            .iter()
            .map(|port| port.port)
            .chain(self.ports.iter().copied())
            .chain(checks.into_iter().flatten().map(|port| port.port))
            .chain(startup);
        let mut ports = Vec::new();
        for port in all {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports
    }

    /// Whether the router answers for it outside the rack.
    pub fn reachable_from_outside(&self) -> bool {
        self.port.is_some() && (!self.internal || self.internal_and_external)
    }
}

/// How an image is built. Services with equal recipes share one image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Build {
    /// Directory in the source, `.` by default; empty when an image is named and no path.
    pub path: String,
    /// Dockerfile, relative to the path; `Dockerfile` by default.
    pub dockerfile: String,
    /// `KEY=VALUE` build arguments.
    pub args: Vec<String>,
}

/// A routable port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `http`, `https`, `grpc`, …
    pub scheme: String,
    /// Port of the process.
    pub port: u16,
}

/// A listener that passes bytes through, without host names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Port clients connect to.
    pub port: u16,
    /// Port of the process.
    pub container_port: u16,
    /// Whether TLS ends at the listener.
    pub protocol: ListenerProtocol,
    /// Which of a rack's two balancers listens.
    pub scheme: ListenerScheme,
    /// Certificate of a TLS listener, as its provider names it.
    pub certificate: Option<String>,
    /// IPv4 networks that may connect; empty for all.
    pub allow_cidr: Vec<String>,
    /// Balance over zones; the rack's own setting when `None`.
    pub cross_zone: Option<bool>,
    /// Show the client's address to the process; the rack's own setting when `None`.
    pub preserve_client_ip: Option<bool>,
}

/// What a [`Listener`] speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// Bytes as they come.
    Tcp,
    /// TLS, ended at the listener.
    Tls,
}

/// Where a [`Listener`] listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerScheme {
    /// For everybody.
    Public,
    /// Inside the rack's network.
    Internal,
}

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Path to ask, with a leading slash.
    pub path: String,
    /// Seconds before failures count.
    pub grace: u64,
    /// Seconds between checks.
    pub interval: u64,
    /// Seconds an answer may take, at least one.
    pub timeout: u64,
    /// Off altogether.
    pub disable: bool,
    /// Port that is asked in place of the routable one.
    pub port: Option<Port>,
    /// Asked as gRPC services are, not with the path.
    pub grpc: bool,
}

/// Number and size of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// Fewest processes; the count unless scaled otherwise.
    pub min: u64,
    /// Most processes.
    pub max: u64,
    /// Processor share, 1024 for one processor.
    pub cpu: u64,
    /// Memory in MiB.
    pub memory: u64,
    /// Most processor time, in thousandths of a processor.
    pub cpu_limit: Option<u64>,
    /// Most memory in MiB; a process that wants more is killed.
    pub memory_limit: Option<u64>,
}

/// A check that a process which fails it is restarted (version 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    /// Path that must answer.
    pub path: String,
    /// Seconds before the first check.
    pub grace: u64,
    /// Seconds between checks.
    pub interval: u64,
    /// Seconds an answer may take.
    pub timeout: u64,
    /// Failures in a row after which the process is restarted.
    pub failures: u64,
    /// Port that is asked in place of the routable one.
    pub port: Option<Port>,
}

/// Percentages of the desired count during a promote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Healthy processes kept.
    pub minimum: u64,
    /// Processes allowed.
    pub maximum: u64,
}

/// A mounted volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name; the path itself when only a path was given.
    pub source: String,
    /// Mount path, absolute.
    pub path: String,
}
