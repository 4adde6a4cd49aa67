//! The simulated engine: in memory, deterministic, with faults by name.
//!
//! Builds make real images out of real Dockerfiles, archives are what
//! `docker save` writes, processes start, log, answer on their ports and end;
//! only nothing is ever run. Images, networks and volumes outlive the server
//! in one directory, processes do not. Time is tokio's, so tests may pause it;
//! timestamps come from a clock that can be given.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

use super::{
    BuildSpec, Connection, Credentials, Engine, EngineError, EngineInfo, Exec, ExecSpec, Image,
    Labels, LogChunk, LogPlace, LogSink, PathKind, ProcessEvent, ProcessSpec, ProcessState, Reader,
    Result, Usage, outflow,
};
use blob::Blobs;
use catalog::{Catalog, Volume};
use fault::FaultKind;
use process::{Processes, has_labels};
use registry::Registries;

mod archive;
mod blob;
mod build;
mod catalog;
mod copy;
mod database;
mod dockerfile;
mod dump;
mod fault;
mod files;
mod grpc;
mod image;
mod log;
mod port;
mod process;
mod progress;
mod registry;
mod runtime;
mod shell;
mod stages;
mod statements;
mod syntax;
mod tree;

pub use fault::{CONTEXT_FILE, Fault, FaultKind as Kind, Faults, UnknownFault, VARIABLE};

/// What the simulated machine has; nothing runs on it.
const MEMORY: u64 = 8 << 30;
/// What registries say of images they do not give.
const PULL_DENIED: &str =
    "pull access denied, repository does not exist or may require authorization";
/// The same, because of a fault.
const PULL_FAILS: &str = "pull access denied, repository does not exist or may require authorization (simulated fault pull-fails)";

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks a function.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// The simulated engine, as a whole or as one rack has it.
#[derive(Debug)]
pub struct Simulated {
    shared: Arc<Shared>,
}

/// What the engine and its running processes share. Racks have everything in common but
/// for what goes wrong.
#[derive(Debug)]
struct Shared {
    blobs: Arc<Blobs>,
    catalog: Arc<Mutex<Catalog>>,
    processes: Arc<Processes>,
    registries: Arc<Registries>,
    faults: Faults,
    /// Cancelled when the engine goes.
    life: CancellationToken,
}

impl Simulated {
    /// Opens the engine whose images, networks and volumes are kept in `directory`.
    /// Faults named by the variable [`VARIABLE`] of the server are on from the start.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::open_with(directory, Clock::default())
    }

    /// Opens the engine with a clock.
    pub fn open_with(directory: &Path, clock: Clock) -> Result<Self> {
        let fail = |error: io::Error| {
            EngineError::Failed(format!(
                "cannot open the simulated engine in {}: {error}",
                directory.display()
            ))
        };
        let blobs = Blobs::below(&directory.join("blobs")).map_err(fail)?;
        blobs.sweep().map_err(fail)?;
        let catalog = Catalog::open(directory, &blobs)?;
        let registries = Registries::beside(directory);
        let engine = Self::with(blobs, catalog, registries, clock);
        engine
            .shared
            .collect(&engine.shared.catalog())
            .map_err(fail)?;
        if let Ok(names) = std::env::var(VARIABLE) {
            let set = engine.shared.faults.set_list(&names);
            set.map_err(|error| EngineError::Failed(format!("{VARIABLE}: {error}")))?;
        }
        Ok(engine)
    }

    /// An engine that keeps nothing.
    pub fn in_memory() -> Self {
        Self::in_memory_with(Clock::default())
    }

    /// An engine that keeps nothing, with a clock.
    pub fn in_memory_with(clock: Clock) -> Self {
        let registries = Registries::default();
        Self::with(Blobs::in_memory(), Catalog::in_memory(), registries, clock)
    }

    fn with(blobs: Blobs, catalog: Catalog, registries: Registries, clock: Clock) -> Self {
        let shared = Shared {
            blobs: Arc::new(blobs),
            catalog: Arc::new(Mutex::new(catalog)),
            processes: Arc::new(Processes::new(clock)),
            registries: Arc::new(registries),
            faults: Faults::default(),
            life: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Declares a registry that wants this login for everything, for as long as the
    /// engine lives; see [`registry`] for those that stay.
    pub fn set_private_registry(&self, host: &str, login: Credentials) {
        self.shared.registries.set(host, login);
    }

    /// Switches a fault on by name, for example `never-healthy@web`.
    pub fn set_fault(&self, name: &str) -> std::result::Result<(), UnknownFault> {
        self.shared.faults.set(name)
    }

    /// Switches a fault off by name.
    pub fn clear_fault(&self, name: &str) -> std::result::Result<(), UnknownFault> {
        self.shared.faults.clear(name)
    }

    fn up(&self) -> Result<()> {
        self.shared.up()
    }

    /// Changes the catalog off the asynchronous threads: it is written to disk.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Shared, &mut Catalog) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let mut catalog = shared.catalog();
            change(&shared, &mut catalog)
        })
        .await
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.shared.life.cancel();
    }
}

impl Shared {
    fn up(&self) -> Result<()> {
        if self.faults.has(FaultKind::EngineDown) {
            Err(down())
        } else {
            Ok(())
        }
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes blobs nothing refers to. The catalog is held, so nobody adds any meanwhile.
    fn collect(&self, catalog: &Catalog) -> io::Result<()> {
        let mut used = catalog.used_blobs();
        self.processes
            .each(|process| used.extend(catalog::blobs_of(&process.files)));
        self.blobs.retain(&used)
    }

    /// As [`Shared::collect`], after a change that has happened: failing to tidy up does not undo it.
    fn tidy(&self, catalog: &Catalog) {
        if let Err(error) = self.collect(catalog) {
            tracing::warn!(%error, "cannot remove unused blobs of the simulated engine");
        }
    }
}

fn down() -> EngineError {
    EngineError::Unreachable {
        engine: "simulated",
        reason: "simulated fault engine-down".to_owned(),
    }
}

/// Runs work that may touch the disk on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(EngineError::Failed(format!(
            "the simulated engine failed: {error}"
        ))),
    }
}

fn no_image(reference: &str) -> EngineError {
    EngineError::NotFound {
        kind: "image",
        name: reference.to_owned(),
    }
}

#[async_trait]
impl Engine for Simulated {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn of_rack(self: Arc<Self>) -> Arc<dyn Engine> {
        let Shared {
            blobs,
            catalog,
            processes,
            registries,
            faults,
            life,
        } = &*self.shared;
        let shared = Shared {
            blobs: Arc::clone(blobs),
            catalog: Arc::clone(catalog),
            processes: Arc::clone(processes),
            registries: Arc::clone(registries),
            faults: faults.of_rack(),
            life: life.child_token(),
        };
        Arc::new(Self {
            shared: Arc::new(shared),
        })
    }

    fn faults(&self) -> Option<&Faults> {
        Some(&self.shared.faults)
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.up()?;
        Ok(EngineInfo {
            kind: "simulated",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory: MEMORY,
            architecture: super::architecture(std::env::consts::ARCH).to_owned(),
            reuses_layers: true,
        })
    }

    async fn ensure_network(&self, name: &str, labels: &Labels) -> Result<()> {
        self.up()?;
        let (name, labels) = (name.to_owned(), labels.clone());
        self.change(
            move |_, catalog| match catalog.state().networks.get(&name) {
                Some(have) if has_labels(have, &labels) => Ok(()),
                Some(_) => Err(EngineError::Failed(format!(
                    "network {name} exists and is not ours: remove it first"
                ))),
                None => catalog.change(|state| {
                    state.networks.insert(name, labels);
                    Ok(())
                }),
            },
        )
        .await
    }

    async fn ensure_volume(&self, name: &str, labels: &Labels) -> Result<()> {
        self.up()?;
        let (name, labels) = (name.to_owned(), labels.clone());
        self.change(move |_, catalog| {
            if catalog.state().volumes.contains_key(&name) {
                return Ok(());
            }
            catalog.change(|state| {
                state.volumes.insert(
                    name,
                    Volume {
                        labels,
                        ..Volume::default()
                    },
                );
                Ok(())
            })
        })
        .await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.up()?;
        let name = name.to_owned();
        self.change(move |shared, catalog| {
            if !catalog.state().volumes.contains_key(&name) {
                return Ok(());
            }
            let uses = |process: &process::Process| {
                process
                    .spec
                    .volumes
                    .iter()
                    .any(|(volume, _)| *volume == name)
            };
            if let Some(id) = shared.processes.any(uses) {
                let id = process::short(&id);
                return Err(EngineError::Failed(format!(
                    "volume {name} is in use by container {id}"
                )));
            }
            catalog.change(|state| {
                state.volumes.remove(&name);
                Ok(())
            })?;
            shared.tidy(catalog);
            Ok(())
        })
        .await
    }

    async fn remove_labelled(&self, labels: &Labels) -> Result<()> {
        self.up()?;
        if labels.is_empty() {
            return Err(EngineError::Failed(
                "refusing to remove everything: name at least one label".to_owned(),
            ));
        }
        let labels = labels.clone();
        self.change(move |shared, catalog| {
            for process in shared.processes.list(&labels) {
                shared.processes.remove(&process.id)?;
            }
            catalog.change(|state| {
                state.networks.retain(|_, have| !has_labels(have, &labels));
                state
                    .volumes
                    .retain(|_, volume| !has_labels(&volume.labels, &labels));
                Ok(())
            })?;
            shared.tidy(catalog);
            Ok(())
        })
        .await
    }

    async fn build(
        &self,
        spec: BuildSpec,
        log: LogSink,
        cancel: CancellationToken,
    ) -> Result<Image> {
        self.up()?;
        build::build(&self.shared, spec, log, cancel).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>> {
        self.up()?;
        Ok(self
            .shared
            .catalog()
            .find(reference)
            .map(|image| image.view()))
    }

    async fn login(&self, server: &str, credentials: &Credentials) -> Result<bool> {
        self.up()?;
        self.shared.registries.takes(server, credentials)
    }

    async fn pull(&self, reference: &str, credentials: Option<&Credentials>) -> Result<Image> {
        self.up()?;
        if let Some(image) = self.image(reference).await? {
            return Ok(image);
        }
        if self.shared.faults.has(FaultKind::PullFails) {
            return Err(EngineError::Failed(format!(
                "cannot pull {reference}: {PULL_FAILS}"
            )));
        }
        if !self.shared.registries.gives(reference, credentials)? {
            return Err(EngineError::Failed(format!(
                "cannot pull {reference}: {PULL_DENIED}"
            )));
        }
        if !image::is_reference(reference) {
            return Err(EngineError::Failed(format!(
                "cannot pull {reference:?}: invalid reference format"
            )));
        }
        let reference = reference.to_owned();
        self.change(move |shared, catalog| {
            let fail = |error: &dyn fmt::Display| {
                EngineError::Failed(format!("cannot pull {reference}: {error}"))
            };
            let (file, layer) =
                image::stand_in(&shared.blobs, &reference).map_err(|error| fail(&error))?;
            let raw = file.to_bytes().into();
            let image =
                image::StoredImage::parse(&raw, layer.size()).map_err(|error| fail(&error))?;
            let view = image.view();
            let config = shared.blobs.write(&raw).map_err(|error| fail(&error))?;
            for blob in [&layer, &config] {
                shared.blobs.keep(blob).map_err(|error| fail(&error))?;
            }
            catalog.add(vec![(image, vec![reference.clone()])])?;
            Ok(view)
        })
        .await
    }

    async fn tag(&self, id: &str, reference: &str) -> Result<()> {
        self.up()?;
        if !image::is_reference(reference) || reference.contains('@') {
            return Err(EngineError::Failed(format!(
                "invalid image name {reference:?}"
            )));
        }
        let (id, reference) = (id.to_owned(), image::normalize(reference));
        self.change(move |_, catalog| {
            let image = catalog.find(&id).ok_or_else(|| no_image(&id))?;
            catalog.change(|state| {
                state.references.insert(reference, image.id.clone());
                Ok(())
            })
        })
        .await
    }

    async fn untag(&self, reference: &str) -> Result<()> {
        self.up()?;
        let reference = image::normalize(reference);
        self.change(move |shared, catalog| {
            let Some(id) = catalog.state().references.get(&reference).cloned() else {
                return Ok(());
            };
            let last = catalog
                .state()
                .references
                .values()
                .filter(|have| **have == id)
                .count()
                == 1;
            let goes = last
                && shared
                    .processes
                    .any(|process| process.spec.image == id)
                    .is_none();
            catalog.change(|state| {
                state.references.remove(&reference);
                if goes {
                    state.images.remove(&id);
                }
                Ok(())
            })?;
            if goes {
                shared.tidy(catalog);
            }
            Ok(())
        })
        .await
    }

    async fn save(&self, references: &[String]) -> Result<Reader> {
        self.up()?;
        let references = references.to_vec();
        let outgoing = self
            .change(move |shared, catalog| {
                let images = wanted(catalog, &references)?;
                archive::prepare(&shared.blobs, &images)
                    .map_err(|error| EngineError::Failed(format!("cannot save images: {error}")))
            })
            .await?;
        Ok(outflow::reader(move |out| outgoing.write(out)))
    }

    async fn load(&self, tar: Reader) -> Result<()> {
        self.up()?;
        let bridge = SyncIoBridge::new(tar);
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let incoming = archive::read(&shared.blobs, bridge)?;
            if shared.faults.has(FaultKind::ImportCorrupt) {
                return Err(EngineError::Failed(
                    "cannot load images: a layer has another digest than its image says (simulated fault import-corrupt)"
                        .to_owned(),
                ));
            }
            let mut catalog = shared.catalog();
            for blob in &incoming.blobs {
                shared.blobs.keep(blob).map_err(|error| EngineError::Failed(format!("cannot load images: {error}")))?;
            }
            // A layer that was there when it was looked for may have gone since.
            let layers = incoming.images.iter().flat_map(|(image, _)| &image.file.rootfs.diff_ids);
            for layer in layers {
                if !shared.blobs.contains(layer) {
                    return Err(EngineError::Failed(format!("cannot load images: layer {layer} is missing")));
                }
            }
            catalog.add(incoming.images)
        })
        .await
    }

    async fn create(&self, spec: &ProcessSpec) -> Result<String> {
        self.up()?;
        runtime::create(&self.shared, spec.clone()).await
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.up()?;
        runtime::start(&self.shared, id)
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        self.up()?;
        // Simulated processes obey at once.
        self.shared
            .processes
            .stop(id, if grace.is_zero() { 137 } else { 143 })
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.up()?;
        let Some(process) = self.shared.processes.remove(id)? else {
            return Ok(());
        };
        if process.files.is_empty() {
            return Ok(());
        }
        self.change(|shared, catalog| {
            shared.tidy(catalog);
            Ok(())
        })
        .await
    }

    async fn process(&self, id: &str) -> Result<Option<ProcessState>> {
        self.up()?;
        match self.shared.processes.with(id, |process| process.state()) {
            Ok(state) => Ok(Some(state)),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn processes(&self, labels: &Labels) -> Result<Vec<ProcessState>> {
        self.up()?;
        Ok(self.shared.processes.list(labels))
    }

    async fn usage(&self, id: &str) -> Result<Option<Usage>> {
        self.up()?;
        match self.shared.processes.with(id, |process| process.usage()) {
            Ok(usage) => Ok(usage),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn wait(&self, id: &str) -> Result<i64> {
        self.up()?;
        runtime::wait(&self.shared, id).await
    }

    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Exec> {
        self.up()?;
        runtime::exec(&self.shared, id, spec)
    }

    async fn logs(
        &self,
        id: &str,
        after: Option<LogPlace>,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.up()?;
        runtime::logs(&self.shared, id, after, follow)
    }

    async fn dial(&self, id: &str, port: u16) -> Result<Connection> {
        self.up()?;
        runtime::dial(&self.shared, id, port)
    }

    async fn events(&self, labels: &Labels) -> Result<BoxStream<'static, Result<ProcessEvent>>> {
        self.up()?;
        Ok(runtime::events(&self.shared, labels.clone()))
    }

    async fn read_files(&self, id: &str, path: &str) -> Result<Reader> {
        self.up()?;
        files::read(&self.shared, id, path).await
    }

    async fn write_files(&self, id: &str, path: &str, tar: Reader) -> Result<()> {
        self.up()?;
        files::write(&self.shared, id, path, tar).await
    }

    async fn path_kind(&self, id: &str, path: &str) -> Result<Option<PathKind>> {
        self.up()?;
        files::kind(&self.shared, id, path).await
    }

    async fn remove_files(&self, id: &str, paths: &[String]) -> Result<()> {
        self.up()?;
        files::remove(&self.shared, id, paths).await
    }
}

/// The images of some references, each once, with the references that were asked for.
fn wanted(
    catalog: &Catalog,
    references: &[String],
) -> Result<Vec<(Arc<image::StoredImage>, Vec<String>)>> {
    let mut wanted: Vec<(Arc<image::StoredImage>, Vec<String>)> = Vec::new();
    for reference in references {
        let found = catalog.find(reference).ok_or_else(|| no_image(reference))?;
        let at = wanted
            .iter()
            .position(|(image, _)| image.id == found.id)
            .unwrap_or(wanted.len());
        if at == wanted.len() {
            wanted.push((found, Vec::new()));
        }
        let name = image::normalize(reference);
        if catalog.state().references.contains_key(&name) && !wanted[at].1.contains(&name) {
            wanted[at].1.push(name);
        }
    }
    if wanted.is_empty() {
        return Err(EngineError::Failed("no images to save".to_owned()));
    }
    Ok(wanted)
}
