//! What a rack needs of the thing that builds images and runs processes.
//!
//! [`Engine`] is the narrow trait; [`docker`] drives a Docker engine through its
//! API, [`simulated`] is the second real engine, in memory, with faults that can
//! be switched on by name. Nothing here knows apps, releases or HTTP routes:
//! callers say what they mean with names and labels, and the engine keeps them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub mod docker;
mod error_tail;
pub mod label;
pub(crate) mod outflow;
pub mod registry;
pub mod simulated;

pub use error_tail::ErrorTail;

/// A byte stream in one direction.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// Both halves of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}
/// A connection to a process's port.
pub type Connection = Pin<Box<dyn Duplex>>;
/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// Why the engine could not do something. Texts are one line and fit for users.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not answer.
    #[error("cannot reach the {engine} engine: {reason}")]
    Unreachable {
        /// Engine kind.
        engine: &'static str,
        /// What went wrong, one line.
        reason: String,
    },
    /// The thing asked about does not exist.
    #[error("no such {kind}: {name}")]
    NotFound {
        /// `image`, `container`, …
        kind: &'static str,
        /// Its name or id.
        name: String,
    },
    /// The work was cancelled by the caller's token.
    #[error("cancelled")]
    Cancelled,
    /// What was asked for cannot be done to what is there, or with what was given;
    /// nothing has changed.
    #[error("{0}")]
    Refused(String),
    /// The engine refused or failed.
    #[error("{0}")]
    Failed(String),
    /// A stream to or from the engine broke.
    #[error("engine stream broke: {0}")]
    Stream(#[from] io::Error),
}

/// Result of an engine call.
pub type Result<T> = std::result::Result<T, EngineError>;

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// `docker` or `simulated`.
    pub kind: &'static str,
    /// Version of the engine software.
    pub version: String,
    /// Processors available to it.
    pub cpus: u64,
    /// Memory available to it in bytes.
    pub memory: u64,
    /// What its processors are, in the words of image configurations, such as `amd64`;
    /// empty if it does not say.
    pub architecture: String,
    /// Whether [`Engine::load`] takes images whose lower layers are left out, if it has
    /// these layers, and fails if it has not.
    pub reuses_layers: bool,
}

/// What image configurations call the processors that systems call `machine`.
pub(crate) fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" | "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        machine if machine.starts_with("armv") => "arm",
        machine => machine,
    }
}

/// An image on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The engine's id, by which processes are run.
    pub id: String,
    /// Digest of the image configuration, `sha256:…`: equal wherever the bits are equal.
    pub config_digest: String,
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<String>,
    /// Size in bytes.
    pub size: u64,
    /// Entrypoint words.
    pub entrypoint: Vec<String>,
    /// Default command words.
    pub command: Vec<String>,
    /// Ports the image declares, container side.
    pub exposed_ports: Vec<u16>,
}

/// What to build.
pub struct BuildSpec {
    /// Dockerfile path inside the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Stage to stop at.
    pub target: Option<String>,
    /// Ignore caches.
    pub no_cache: bool,
    /// Credentials by registry, named as [`registry::host`] names it.
    pub registries: BTreeMap<String, Credentials>,
    /// The context, an uncompressed tar, already re-rooted and filtered.
    pub context: Reader,
}

/// A registry login.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Receives log text as it is made; chunks need not be whole lines.
pub type LogSink = mpsc::Sender<Bytes>;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct ProcessSpec {
    /// Container name, unique on the engine.
    pub name: String,
    /// Image id.
    pub image: String,
    /// Replaces the image's entrypoint when given; an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command when given.
    pub command: Option<Vec<String>>,
    /// Variables.
    pub environment: BTreeMap<String, String>,
    /// Labels; the engine finds processes by them.
    pub labels: Labels,
    /// Network to join.
    pub network: String,
    /// Names the process answers to on the network.
    pub aliases: Vec<String>,
    /// Container ports that must be reachable through [`Engine::dial`].
    pub ports: Vec<u16>,
    /// Volume name to mount path.
    pub volumes: Vec<(String, String)>,
    /// Hard memory limit in MiB.
    pub memory_limit: Option<i64>,
    /// Soft memory reservation in MiB.
    pub memory_reservation: Option<i64>,
    /// Relative processor weight, 1024 for one processor.
    pub cpu_shares: Option<i64>,
    /// Hard processor limit in thousandths of a processor.
    pub cpu_limit: Option<i64>,
    /// Run an init as process 1.
    pub init: bool,
    /// Run with all privileges.
    pub privileged: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Shared memory in MiB, when the default of the engine is too small.
    pub shm: Option<i64>,
    /// Directories that live as long as the process.
    pub directories: Vec<Directory>,
    /// Full id of a process whose volumes and directories on disk are mounted too.
    pub volumes_of: Option<String>,
    /// User, and group behind a colon, by number; the image's when absent.
    pub user: Option<String>,
    /// The process cannot write into the directories of its image.
    pub read_only: bool,
    /// Capabilities it has beside the usual ones.
    pub capabilities: Vec<String>,
    /// Capabilities it has not.
    pub without_capabilities: Vec<String>,
    /// It cannot gain rights that it has not.
    pub no_escalation: bool,
    /// All system calls are allowed.
    pub unconfined: bool,
}

/// A directory that lives as long as its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub path: String,
    /// Kept in memory, where everybody may write.
    pub memory: bool,
    /// Most bytes it may hold, if it is kept in memory.
    pub size: Option<u64>,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Created, never started.
    Created,
    /// Running.
    Running,
    /// Ended with a status; 128 + signal when a signal ended it.
    Exited(i64),
}

/// A process as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessState {
    /// Full engine id; its first twelve digits are the process id of the API.
    pub id: String,
    /// Container name.
    pub name: String,
    /// Image id.
    pub image: String,
    /// Labels as given.
    pub labels: Labels,
    /// Where it is in its life.
    pub phase: Phase,
    /// Last start.
    pub started: Option<Timestamp>,
    /// Last end.
    pub finished: Option<Timestamp>,
    /// Whether the memory limit ended it.
    pub out_of_memory: bool,
    /// Words it runs.
    pub command: Vec<String>,
    /// Names it answers to on its network.
    pub aliases: Vec<String>,
    /// Its addresses on its network.
    pub addresses: Vec<IpAddr>,
}

/// What is at a path of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathKind {
    /// A directory.
    Directory,
    /// A symbolic link, with the absolute path it leads to in the end.
    Link(String),
    /// Anything else.
    File,
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time since its start, of all processors together.
    pub cpu: Duration,
    /// Bytes of memory, without what the system could take back at once.
    pub memory: u64,
}

/// What to execute inside a running process.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// Words.
    pub command: Vec<String>,
    /// Further variables.
    pub environment: BTreeMap<String, String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Terminal rows and columns.
    pub size: Option<(u16, u16)>,
    /// Attach standard input.
    pub stdin: bool,
    /// Takes standard error, which is part of the output otherwise; without a
    /// terminal only.
    pub errors: Option<ErrorTail>,
    /// There is an `sh` in the process: engines that cannot start a command with its
    /// terminal's size may use it to start the command after the size is set, and those
    /// that cannot end a command may use it for that.
    pub shell: bool,
}

/// A running exec.
pub struct Exec {
    /// Standard output and error, merged, until the command ends.
    pub output: Reader,
    /// Standard input; shut it down to signal its end.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Asks the engine for the status after the output has ended.
    pub status: futures::future::BoxFuture<'static, Result<i64>>,
    /// Takes new sizes of its terminal, rows and columns, if it has one.
    pub size: Option<watch::Sender<(u16, u16)>>,
    /// Ends the command and what it has started, as a terminal does that is closed. Nothing
    /// happens where no command can be told from the others of its process.
    pub end: futures::future::BoxFuture<'static, Result<()>>,
}

/// One piece of a process's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it stands.
    pub place: LogPlace,
    /// Bytes of one line without its line end; very long lines come in pieces.
    pub line: Bytes,
    /// Chunks before this one are gone: more was said than the engine keeps, faster than
    /// it could be read.
    pub gap: bool,
}

/// A place in a process's log. Times alone do not tell one: pieces of a line share
/// theirs, and of two streams the earlier line may stand behind the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    /// When the engine saw the chunk.
    pub time: Timestamp,
    /// Which one of the chunks with that very time it is, from one on.
    pub nth: u64,
}

/// Something happened to a process of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEvent {
    /// Full engine id.
    pub id: String,
    /// What happened.
    pub kind: ProcessEventKind,
    /// Labels of the process.
    pub labels: Labels,
}

/// Kinds of process events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEventKind {
    /// Started.
    Start,
    /// Ended.
    Die,
    /// Removed.
    Remove,
}

/// Builds images and runs processes. Every call is idempotent where it can be:
/// ensuring what exists, removing what is gone and stopping what has ended succeed.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// `docker` or `simulated`.
    fn kind(&self) -> &'static str;

    /// The engine as one more rack has it: what is switched on for a rack is its own.
    fn of_rack(self: Arc<Self>) -> Arc<dyn Engine>;

    /// What goes wrong on purpose; nothing on engines that really run things.
    fn faults(&self) -> Option<&simulated::Faults> {
        None
    }

    /// Asks the engine whether it is there.
    async fn info(&self) -> Result<EngineInfo>;

    /// Creates a network unless one of that name with these labels exists.
    async fn ensure_network(&self, name: &str, labels: &Labels) -> Result<()>;

    /// Creates a volume unless one of that name exists.
    async fn ensure_volume(&self, name: &str, labels: &Labels) -> Result<()>;

    /// Removes a volume.
    async fn remove_volume(&self, name: &str) -> Result<()>;

    /// Removes every container, network and volume that has all these labels.
    async fn remove_labelled(&self, labels: &Labels) -> Result<()>;

    /// Builds an image; plain log text goes to `log` as it happens. Returns the image.
    async fn build(
        &self,
        spec: BuildSpec,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<Image>;

    /// Looks an image up by id or reference.
    async fn image(&self, reference: &str) -> Result<Option<Image>>;

    /// Fetches an image unless it is already present locally.
    async fn pull(&self, reference: &str, credentials: Option<&Credentials>) -> Result<Image>;

    /// Asks a registry, named as [`registry::host`] names it, whether it takes a login.
    /// The engine remembers nothing of it.
    async fn login(&self, server: &str, credentials: &Credentials) -> Result<bool>;

    /// Gives an image a further `repository:tag`.
    async fn tag(&self, id: &str, reference: &str) -> Result<()>;

    /// Takes a `repository:tag` away; the image goes with its last one unless something runs it.
    async fn untag(&self, reference: &str) -> Result<()>;

    /// Streams the images of these references as `docker save` writes them.
    async fn save(&self, references: &[String]) -> Result<Reader>;

    /// Loads a stream that `docker save` could have written.
    async fn load(&self, tar: Reader) -> Result<()>;

    /// How long a load may still take effect after the end of the server that asked for
    /// it: engines finish what they were told to load, whoever waits.
    fn load_lingers(&self) -> Duration {
        Duration::ZERO
    }

    /// Creates a process without starting it. Returns the full engine id.
    async fn create(&self, spec: &ProcessSpec) -> Result<String>;

    /// Starts a created or ended process.
    async fn start(&self, id: &str) -> Result<()>;

    /// Stops a process: terminate, then kill after `grace`. Zero kills at once.
    async fn stop(&self, id: &str, grace: Duration) -> Result<()>;

    /// Removes a process, killing it if it runs, with its anonymous volumes.
    async fn remove(&self, id: &str) -> Result<()>;

    /// Looks a process up by full id or unique prefix.
    async fn process(&self, id: &str) -> Result<Option<ProcessState>>;

    /// Lists processes that have all these labels, ended ones included.
    async fn processes(&self, labels: &Labels) -> Result<Vec<ProcessState>>;

    /// What a process uses; nothing for one that does not run.
    async fn usage(&self, id: &str) -> Result<Option<Usage>>;

    /// Waits until a process is not running. Returns its status.
    async fn wait(&self, id: &str) -> Result<i64>;

    /// Runs a command inside a running process.
    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Exec>;

    /// Streams a process's log from behind a place on, each chunk once and in the order
    /// of the log; ends when the process has ended.
    async fn logs(
        &self,
        id: &str,
        after: Option<LogPlace>,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<LogChunk>>>;

    /// Connects to a port of a running process. Declared ports are reached everywhere,
    /// others where the host has a way to the process's own address.
    async fn dial(&self, id: &str, port: u16) -> Result<Connection>;

    /// Streams what happens to processes that have all these labels; ends when
    /// the engine goes away.
    async fn events(&self, labels: &Labels) -> Result<BoxStream<'static, Result<ProcessEvent>>>;

    /// Reads a path of a process as a tar, named as the engine names entries.
    async fn read_files(&self, id: &str, path: &str) -> Result<Reader>;

    /// Says what is at a path of a process; links are followed but for the last part.
    async fn path_kind(&self, id: &str, path: &str) -> Result<Option<PathKind>>;

    /// Writes a tar below `path` of a process. No directory is replaced by anything
    /// else, nor the reverse. Files are given the process's user unless it is root.
    async fn write_files(&self, id: &str, path: &str, tar: Reader) -> Result<()>;

    /// Removes files of a running process, named from its root or, without a leading
    /// slash, from its working directory; those that are gone already are no error, a
    /// directory is.
    async fn remove_files(&self, id: &str, paths: &[String]) -> Result<()>;
}
