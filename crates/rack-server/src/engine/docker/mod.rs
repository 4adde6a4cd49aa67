//! The Docker engine, through its API.
//!
//! One file per noun, each an `impl` block of [`Docker`]; this one only says which
//! trait method is which. Nothing here connects before the first call, so a server
//! starts and answers while Docker is stopped, and works again once it is back.
//!
//! Requests are made with bollard over connections of our own ([`transport`]).
//! Three things bollard's decoders cannot do are read from the wire here: terminal
//! output that starts with any byte ([`exec`]), log lines after a nanosecond
//! ([`log`]), and builds whose every connection ends with the build ([`build`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::{
    BuildSpec, Connection, Credentials, Engine, EngineInfo, Exec, ExecSpec, Image, Labels,
    LogChunk, LogPlace, LogSink, PathKind, ProcessEvent, ProcessSpec, ProcessState, Reader, Result,
    Usage,
};

mod address;
mod archive;
mod build;
mod connect;
mod error;
mod event;
mod exec;
mod files;
mod image;
mod log;
mod log_frames;
mod port;
mod process;
mod progress;
mod registry;
mod ssh;
mod transport;
mod usage;
mod volume_network;

pub use connect::Docker;

/// How long a load goes on that nobody waits for any more: images of some 50 GiB.
const LOAD_LINGERS: Duration = Duration::from_secs(10 * 60);

#[async_trait]
impl Engine for Docker {
    fn of_rack(self: Arc<Self>) -> Arc<dyn Engine> {
        self
    }

    fn kind(&self) -> &'static str {
        connect::KIND
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.engine_info().await
    }

    async fn ensure_network(&self, name: &str, labels: &Labels) -> Result<()> {
        self.network_ensure(name, labels).await
    }

    async fn ensure_volume(&self, name: &str, labels: &Labels) -> Result<()> {
        self.volume_ensure(name, labels).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.volume_remove(name).await
    }

    async fn remove_labelled(&self, labels: &Labels) -> Result<()> {
        self.labelled_remove(labels).await
    }

    async fn build(
        &self,
        spec: BuildSpec,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<Image> {
        self.image_build(spec, log, cancel).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>> {
        self.image_find(reference).await
    }

    async fn pull(&self, reference: &str, credentials: Option<&Credentials>) -> Result<Image> {
        self.image_pull(reference, credentials).await
    }

    async fn login(&self, server: &str, credentials: &Credentials) -> Result<bool> {
        self.registry_login(server, credentials).await
    }

    async fn tag(&self, id: &str, reference: &str) -> Result<()> {
        self.image_tag(id, reference).await
    }

    async fn untag(&self, reference: &str) -> Result<()> {
        self.image_untag(reference).await
    }

    async fn save(&self, references: &[String]) -> Result<Reader> {
        self.images_save(references).await
    }

    async fn load(&self, tar: Reader) -> Result<()> {
        self.images_load(tar).await
    }

    fn load_lingers(&self) -> Duration {
        LOAD_LINGERS
    }

    async fn create(&self, spec: &ProcessSpec) -> Result<String> {
        self.process_create(spec).await
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.process_start(id).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        self.process_stop(id, grace).await
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.process_remove(id).await
    }

    async fn process(&self, id: &str) -> Result<Option<ProcessState>> {
        self.process_find(id).await
    }

    async fn processes(&self, labels: &Labels) -> Result<Vec<ProcessState>> {
        self.process_list(labels).await
    }

    async fn usage(&self, id: &str) -> Result<Option<Usage>> {
        self.process_usage(id).await
    }

    async fn wait(&self, id: &str) -> Result<i64> {
        self.process_wait(id).await
    }

    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Exec> {
        self.process_exec(id, spec).await
    }

    async fn logs(
        &self,
        id: &str,
        after: Option<LogPlace>,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.process_logs(id, after, follow).await
    }

    async fn dial(&self, id: &str, port: u16) -> Result<Connection> {
        self.process_dial(id, port).await
    }

    async fn events(&self, labels: &Labels) -> Result<BoxStream<'static, Result<ProcessEvent>>> {
        self.process_events(labels).await
    }

    async fn read_files(&self, id: &str, path: &str) -> Result<Reader> {
        self.files_read(id, path).await
    }

    async fn path_kind(&self, id: &str, path: &str) -> Result<Option<PathKind>> {
        self.files_kind(id, path).await
    }

    async fn remove_files(&self, id: &str, paths: &[String]) -> Result<()> {
        self.files_remove(id, paths).await
    }

    async fn write_files(&self, id: &str, path: &str, tar: Reader) -> Result<()> {
        self.files_write(id, path, tar).await
    }
}
