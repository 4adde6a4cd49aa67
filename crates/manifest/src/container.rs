//! What a service says of its containers beyond image and command: files and directories that
//! are put into them, what runs before, after and at their end, and what they may do (version 3).

use std::fmt;

use crate::service::Volume;

/// A text that services mount as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What mounts call it.
    pub id: String,
    /// What `convox config` calls it; made of the id when absent.
    pub name: Option<String>,
    /// Its text; the one set with `convox config` when absent.
    pub value: Option<String>,
}

impl Config {
    /// What `convox config` calls it: racks put `cfg-` before names of their own making.
    pub fn key(&self) -> &str {
        let name = self.name.as_deref().unwrap_or(&self.id);
        name.strip_prefix("cfg-").unwrap_or(name)
    }
}

/// Where a [`Config`] is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMount {
    /// Id of the config.
    pub id: String,
    /// Directory, absolute, without a slash at its end.
    pub directory: String,
    /// Name of the file in it.
    pub file: String,
}

impl ConfigMount {
    /// Path of the file.
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory, self.file)
    }
}

/// A directory that lives as long as its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmptyDirectory {
    /// What tells it from others of the service.
    pub id: String,
    /// Where it is, absolute.
    pub path: String,
    /// Kept in memory.
    pub memory: bool,
    /// Most bytes it may hold.
    pub size: Option<u64>,
}

/// What runs to its end before each process of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InitContainer {
    /// Its image; the service's when absent.
    pub image: Option<String>,
    /// Its command; the image's when absent.
    pub command: Option<Vec<String>>,
    /// Configs of its own.
    pub config_mounts: Vec<ConfigMount>,
    /// Directories it shares with the process, by id.
    pub directories: Vec<EmptyDirectory>,
    /// Volumes of its own.
    pub volumes: Vec<Volume>,
}

/// Commands run inside a process that has just started or is about to be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lifecycle {
    /// Before it is told to end.
    pub pre_stop: Option<String>,
    /// After it was started.
    pub post_start: Option<String>,
}

/// A login for the registry that a service's image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSecret {
    /// Registry.
    pub registry: String,
    /// User name.
    pub username: String,
    /// Password.
    pub password: PullPassword,
}

/// Where a password comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum PullPassword {
    /// It stands in the manifest.
    Written(String),
    /// A variable of the release has it.
    Variable(String),
}

impl fmt::Debug for PullPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(_) => f.write_str("Written(..)"),
            Self::Variable(name) => f.debug_tuple("Variable").field(name).finish(),
        }
    }
}

/// What a process may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Number of the user it runs as.
    pub user: Option<u64>,
    /// Number of the group it runs as.
    pub group: Option<u64>,
    /// It must not run as root.
    pub non_root: bool,
    /// It cannot write into its image's directories.
    pub read_only: bool,
    /// It cannot gain rights it has not.
    pub no_escalation: bool,
    /// Capabilities it has beside the usual ones.
    pub add: Vec<String>,
    /// Capabilities it has not.
    pub drop: Vec<String>,
    /// All system calls are allowed.
    pub unconfined: bool,
}

/// A check that must pass once before the others begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupProbe {
    /// What is asked.
    pub check: StartupCheck,
    /// Seconds before the first check.
    pub grace: u64,
    /// Seconds between checks.
    pub interval: u64,
    /// Seconds an answer may take.
    pub timeout: u64,
    /// Failures in a row after which the process has failed.
    pub failures: u64,
}

impl StartupProbe {
    /// Seconds a process may take altogether.
    pub fn patience(&self) -> u64 {
        self.grace
            .saturating_add(self.interval.saturating_mul(self.failures))
            .saturating_add(self.timeout)
    }
}

/// What a [`StartupProbe`] asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupCheck {
    /// That a path of the routable port answers.
    Path(String),
    /// That a port accepts connections.
    Port(u16),
}
