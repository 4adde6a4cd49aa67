//! What every operation of a rack has at hand.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rack_api::app::status;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::clock::Clock;
use super::error::{Failure, Result};
use super::failpoint::Failpoints;
use super::fleet::Fleet;
use super::history::History;
use crate::engine::{Engine, Labels, label};
use crate::logs::Logs;
use crate::router::{Doors, Router};
use crate::store::{AppRow, Store};
use crate::tls::{Authority, Tls};

/// Version reported to clients. They compare it as text: this opens every gate
/// of every generation (`rack-api.md` §5).
pub const VERSION: &str = "3.24.6-local";

/// Most letters of a volume's own name that its name on the engine has.
const LONGEST_VOLUME: usize = 60;

/// Settings of the server that operations need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Port the server listens on, for URLs.
    pub port: u16,
    /// Whether it listens on the usual port of HTTPS too, which URLs need not name.
    pub usual_port: bool,
    /// How long a build may take.
    pub build_timeout: Duration,
    /// How long a process may take to become healthy, beyond the grace of its health check.
    pub promote_timeout: Duration,
    /// How long a process without a port must run to count as healthy.
    pub steady: Duration,
    /// Time between two measurements of what runs.
    pub measure_every: Duration,
    /// Where the time comes from.
    pub clock: Clock,
    /// Failpoints for tests.
    pub failpoints: Failpoints,
    /// Most bytes an imported archive may unpack to.
    pub archive_limits: artifact::Limits,
}

/// One rack's place in the world: its state, its engine, its routes, its logs.
pub struct Context {
    /// Random id of the server.
    pub server: String,
    /// Name of the rack.
    pub rack: String,
    /// Random id of the rack.
    pub rack_id: String,
    /// Directory of the rack.
    pub dir: PathBuf,
    /// Durable state.
    pub store: Store,
    /// What builds and runs.
    pub engine: Arc<dyn Engine>,
    /// Which engine that is: racks that say the same have their images in one place.
    pub machine: String,
    /// Durable logs.
    pub logs: Logs,
    /// Host names to processes; shared by all racks.
    pub router: Arc<Router>,
    /// Ports of this machine that lead to services.
    pub doors: Doors,
    /// Ends TLS at doors.
    pub tls: Arc<Tls>,
    /// Service processes this server looks after.
    pub fleet: Fleet,
    /// Builds under way.
    pub builds: super::build::Running,
    /// What was measured.
    pub history: History,
    /// What processes used when they were measured last.
    pub measured: super::metric::Measured,
    /// Permits for imports of images under way.
    pub image_imports: Arc<tokio::sync::Semaphore>,
    /// Places for archives that come; shared by all racks.
    pub admission: Arc<Admission>,
    /// The server's certificate authority.
    pub authority: Arc<Authority>,
    /// Settings of the server.
    pub settings: Arc<Settings>,
    /// Ends when the server stops or the rack is removed.
    pub shutdown: CancellationToken,
    /// Background work, waited for at the end.
    pub tasks: TaskTracker,
    /// Promotes under way or waiting for their turn, by app and rollout.
    promotes: Mutex<BTreeMap<(String, String), CancellationToken>>,
    /// Webhooks that are being told.
    pub hooks: super::webhook::Hooks,
    /// Bumped whenever an event was recorded.
    pub news: watch::Sender<u64>,
    /// Bumped whenever the status of an app changes.
    pub changed: watch::Sender<u64>,
    /// When the server opened the rack.
    pub started: Timestamp,
    /// True once what a former server left has been dealt with.
    pub recovered: watch::Sender<bool>,
    /// Whether an image has a shell, by its id.
    pub shells: Mutex<HashMap<String, bool>>,
    /// Apps that an `apps import` may be filling.
    pub newborn: super::newborn::Newborn,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What a [`Context`] is made of.
pub struct Parts {
    /// See [`Context::server`].
    pub server: String,
    /// See [`Context::rack`].
    pub rack: String,
    /// See [`Context::rack_id`].
    pub rack_id: String,
    /// See [`Context::dir`].
    pub dir: PathBuf,
    /// See [`Context::store`].
    pub store: Store,
    /// See [`Context::engine`].
    pub engine: Arc<dyn Engine>,
    /// See [`Context::machine`].
    pub machine: String,
    /// See [`Context::logs`].
    pub logs: Logs,
    /// See [`Context::router`].
    pub router: Arc<Router>,
    /// See [`Context::admission`].
    pub admission: Arc<Admission>,
    /// See [`Context::authority`].
    pub authority: Arc<Authority>,
    /// See [`Context::settings`].
    pub settings: Arc<Settings>,
    /// See [`Context::shutdown`].
    pub shutdown: CancellationToken,
}

impl Context {
    /// Puts a context together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let tasks = TaskTracker::new();
        Arc::new(Self {
            server: parts.server,
            rack: parts.rack,
            rack_id: parts.rack_id,
            dir: parts.dir,
            store: parts.store,
            engine: parts.engine,
            machine: parts.machine,
            logs: parts.logs,
            doors: Doors::new(parts.shutdown.child_token(), tasks.clone()),
            tls: Arc::new(Tls::new(
                Arc::clone(&parts.authority),
                Arc::clone(&parts.router),
            )),
            router: parts.router,
            fleet: Fleet::default(),
            builds: super::build::Running::default(),
            history: History::default(),
            measured: super::metric::Measured::default(),
            image_imports: Arc::new(tokio::sync::Semaphore::new(
                super::image_import::MOST_AT_ONCE,
            )),
            admission: parts.admission,
            authority: parts.authority,
            settings: parts.settings,
            shutdown: parts.shutdown,
            tasks,
            promotes: Mutex::default(),
            hooks: super::webhook::Hooks::default(),
            news: watch::channel(0).0,
            changed: watch::channel(0).0,
            started: Timestamp::now(),
            recovered: watch::channel(false).0,
            shells: Mutex::default(),
            newborn: super::newborn::Newborn::default(),
            locks: Mutex::default(),
        })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    /// Waits for the right to change what an app runs. Whoever holds it is alone.
    pub async fn lock_app(&self, app: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(app.to_owned()).or_default())
        };
        lock.lock_owned().await
    }

    /// Waits for the right to add to an app's builds from outside, or to remove them all.
    pub async fn lock_builds(&self, app: &str) -> OwnedMutexGuard<()> {
        // No app has a slash in its name.
        self.lock_app(&format!("{app}/builds")).await
    }

    /// Waits until what a former server left is being dealt with: nothing new may
    /// begin before. Fails when the engine that takes is not there.
    pub async fn ready(&self) -> Result<()> {
        let mut recovered = self.recovered.subscribe();
        while !*recovered.borrow_and_update() {
            tokio::select! {
                _ = recovered.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(500)) => drop(self.engine.info().await?),
                () = self.shutdown.cancelled() => return Err(Failure::Shutdown),
            }
        }
        Ok(())
    }

    /// Looks an app up.
    pub async fn app(&self, name: &str) -> Result<AppRow> {
        self.store
            .app(name)
            .await?
            .ok_or_else(|| Failure::NotFound(format!("app not found: {name}")))
    }

    /// Sets an app's status and wakes whoever waits for it.
    pub async fn set_app_status(&self, app: &str, status: &'static str) -> Result<()> {
        self.store.set_app_status(app, status).await?;
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    fn promotes(&self) -> MutexGuard<'_, BTreeMap<(String, String), CancellationToken>> {
        self.promotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cancels a promote; it counts as under way from the first call on.
    pub fn promote_token(&self, app: &str, rollout: &str) -> CancellationToken {
        let key = (app.to_owned(), rollout.to_owned());
        self.promotes().entry(key).or_default().clone()
    }

    /// Cancels the promotes of an app, those that wait included; returns how many.
    pub fn cancel_promotes(&self, app: &str) -> usize {
        let promotes = self.promotes();
        let of_app = promotes.iter().filter(|((owner, _), _)| owner == app);
        of_app.inspect(|(_, token)| token.cancel()).count()
    }

    /// A promote has ended.
    pub fn promote_ended(&self, app: &str, rollout: &str) {
        self.promotes()
            .remove(&(app.to_owned(), rollout.to_owned()));
    }

    /// Sets an app's status once something has ended: running, unless a promote is
    /// under way or waits.
    pub async fn set_app_settled(&self, app: &str) -> Result<()> {
        let busy = self.promotes().keys().any(|(owner, _)| owner == app);
        let status = if busy {
            status::UPDATING
        } else {
            status::RUNNING
        };
        self.set_app_status(app, status).await
    }

    /// Labels that every object of this rack carries.
    pub fn labels(&self) -> Labels {
        Labels::from([
            (label::SERVER.to_owned(), self.server.clone()),
            (label::RACK_ID.to_owned(), self.rack_id.clone()),
            (label::RACK.to_owned(), self.rack.clone()),
        ])
    }

    /// Labels of an app's objects.
    pub fn app_labels(&self, app: &str) -> Labels {
        let mut labels = self.labels();
        labels.insert(label::APP.to_owned(), app.to_owned());
        labels
    }

    /// The rack's network.
    pub fn network(&self) -> String {
        format!("twinrack-{}-{}", self.rack, self.rack_id)
    }

    /// A volume of an app, of a kind and a name. Names that differ only in what engines do
    /// not take in theirs are told apart by a digest.
    pub fn volume(&self, app: &str, kind: &str, name: &str) -> String {
        let digest = Sha256::digest(format!("{app}\0{kind}\0{name}"));
        let plain: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                    c
                } else {
                    '_'
                }
            })
            .take(LONGEST_VOLUME)
            .collect();
        format!(
            "twinrack-{}-{}-{app}-{kind}-{}-{}",
            self.rack,
            self.rack_id,
            plain.trim_start_matches('_'),
            rack_api::id::to_hex(&digest[..4])
        )
    }

    /// A fresh container name.
    pub fn container(&self, app: &str, kind: &str, name: &str) -> String {
        format!(
            "twinrack-{}-{app}-{kind}-{name}-{}",
            self.rack,
            rack_api::id::hex(6)
        )
    }

    /// Repository and tag that keep the image of a build's service.
    pub fn image_reference(&self, app: &str, service: &str, build: &str) -> String {
        format!("twinrack/{}/{app}:{service}.{build}", self.rack)
    }

    /// Host name the router answers to for a service.
    pub fn host(&self, app: &str, service: &str) -> String {
        format!("{service}.{app}.{}.localhost", self.rack)
    }

    /// Where a service is reached: its host name, with the port unless it is the usual
    /// one, so that `https://` and the address make a URL that works.
    pub fn address(&self, app: &str, service: &str) -> String {
        let host = self.host(app, service);
        if self.settings.usual_port {
            host
        } else {
            format!("{host}:{}", self.settings.port)
        }
    }

    /// Writes a line of the platform to an app's log, as
    /// `system/<engine>/<object> text`.
    pub fn log(&self, app: &str, object: &str, text: &str) {
        let stream = format!("system/{}/{object}", self.engine.kind());
        self.logs
            .app(app)
            .append(self.now(), &stream, text.as_bytes());
    }

    /// Writes a line to the rack's own log and to the server's.
    pub fn rack_log(&self, text: &str) {
        tracing::info!(rack = self.rack, "{text}");
        let stream = format!("system/rack/{}", self.rack);
        self.logs
            .rack()
            .append(self.now(), &stream, text.as_bytes());
    }

    /// Directory for files that do not outlive an operation; emptied at start.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join("tmp")
    }
}
