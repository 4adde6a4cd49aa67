//! The server seen from outside its racks: which there are, who may use them,
//! how they come and go.
//!
//! On disk, below the data directory:
//!
//! | path | content |
//! |---|---|
//! | `server.json` | random server id, digest of the server password |
//! | `lock` | held while a server uses the directory |
//! | `racks/<name>/rack.json` | rack id, engine, digest of the rack password |
//! | `racks/<name>/rack.db`, `objects/`, `logs/`, `tmp/` | state of the rack |
//! | `racks/.new-…`, `racks/.gone-…` | a rack being made (dropped at start) or removed (finished at start) |

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rack_api::rack::{CreatedRack, ORGANIZATION, Organization, RackListing};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Rack;
use super::access::{Access, Limits, Reach, Role};
use super::password::PasswordHash;
use super::refusal::Refusals;
use super::ticket::Tickets;
use super::token::{Presented, TokenError};
use crate::engine::docker::Docker;
use crate::engine::simulated::Simulated;
use crate::engine::{Engine, Labels, label};
use crate::logs::Logs;
use crate::operations::admission::Admission;
use crate::operations::context::{Parts, Settings};
use crate::operations::{Context, Failure, Result, recover, webhook};
use crate::router::Router;
use crate::store::Store;
use crate::tls::{Authority, Tls};

/// Longest rack name, as real racks have it.
const LONGEST_NAME: usize = 26;
/// How long background work may take to end when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
struct ServerFile {
    id: String,
    password: PasswordHash,
}

#[derive(Clone, Serialize, Deserialize)]
struct RackFile {
    id: String,
    engine: String,
    /// Address of its engine, when that is not the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    docker_host: Option<String>,
    password: PasswordHash,
}

impl RackFile {
    /// Names the engine: racks that say the same have the same.
    fn machine(&self) -> String {
        match &self.docker_host {
            Some(host) => format!("{} {host}", self.engine),
            None => self.engine.clone(),
        }
    }
}

struct Entry {
    rack: Rack,
    file: RackFile,
}

/// The server's racks and passwords.
pub struct Console {
    data: PathBuf,
    server: String,
    password: Mutex<PasswordHash>,
    engine: String,
    /// By what [`RackFile::machine`] says.
    engines: Mutex<BTreeMap<String, Arc<dyn Engine>>>,
    racks: RwLock<BTreeMap<String, Entry>>,
    router: Arc<Router>,
    admission: Arc<Admission>,
    authority: Arc<Authority>,
    settings: Arc<Settings>,
    limits: Limits,
    refusals: Refusals,
    tickets: Tickets,
    shutdown: CancellationToken,
    /// Making and removing racks happens one at a time.
    change: tokio::sync::Mutex<()>,
    _lock: File,
}

/// What a console is opened with.
pub struct Options {
    /// Data directory; made if need be.
    pub data: PathBuf,
    /// Engine of racks that do not name one.
    pub engine: String,
    /// Address of a Docker engine in place of the usual ones.
    pub docker_host: Option<String>,
    /// Sets the server password; the stored one stays when absent.
    pub password: Option<String>,
    /// Settings of the server.
    pub settings: Settings,
    /// What is taken from callers.
    pub limits: Limits,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// A console that was opened, and the password it made up on its very first start.
pub struct Opened {
    /// The console.
    pub console: Arc<Console>,
    /// The server password, known only now.
    pub first_password: Option<String>,
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn read_file<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Failure::Failed(format!("{} is damaged: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(path.display().to_string())(error)),
    }
}

fn private_directory(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(Failure::io(path.display().to_string()))
}

impl Console {
    /// Opens a data directory with all its racks and begins to recover them.
    pub async fn open(options: Options) -> Result<Opened> {
        let data = options.data;
        private_directory(&data.join("racks"))?;
        let lock =
            File::create(data.join("lock")).map_err(Failure::io(data.display().to_string()))?;
        if lock.try_lock().is_err() {
            return Err(Failure::Conflict(format!(
                "another server uses {}: stop it or choose another directory with --data",
                data.display()
            )));
        }
        let path = data.join("server.json");
        let (file, first_password) = match (read_file::<ServerFile>(&path)?, options.password) {
            (Some(file), None) => (file, None),
            (stored, Some(password)) => {
                let id = stored.map_or_else(|| rack_api::id::hex(16), |file| file.id);
                (
                    ServerFile {
                        id,
                        password: PasswordHash::new(&password),
                    },
                    None,
                )
            }
            (None, None) => {
                let password = rack_api::id::password();
                let file = ServerFile {
                    id: rack_api::id::hex(16),
                    password: PasswordHash::new(&password),
                };
                (file, Some(password))
            }
        };
        let text = serde_json::to_string_pretty(&file).expect("plain data serialises");
        write_file(&path, &text).map_err(Failure::io(path.display().to_string()))?;

        let docker = Docker::connect(options.docker_host.as_deref())?;
        let simulated = Simulated::open(&data.join("simulated"))?;
        let engines = BTreeMap::from([
            ("docker".to_owned(), Arc::new(docker) as Arc<dyn Engine>),
            ("simulated".to_owned(), Arc::new(simulated)),
        ]);
        let console = Arc::new(Self {
            authority: Authority::new(&data),
            data,
            server: file.id,
            password: Mutex::new(file.password),
            engine: options.engine,
            engines: Mutex::new(engines),
            racks: RwLock::default(),
            router: Arc::new(Router::new()),
            admission: Arc::default(),
            settings: Arc::new(options.settings),
            refusals: Refusals::new(
                options.limits.slowest_refusal,
                options.limits.refusals_waiting,
                options.shutdown.clone(),
            ),
            limits: options.limits,
            tickets: Tickets::new()?,
            shutdown: options.shutdown,
            change: tokio::sync::Mutex::new(()),
            _lock: lock,
        });
        console.open_racks().await?;
        Ok(Opened {
            console,
            first_password,
        })
    }

    async fn open_racks(self: &Arc<Self>) -> Result<()> {
        let racks = self.data.join("racks");
        let entries =
            std::fs::read_dir(&racks).map_err(Failure::io(racks.display().to_string()))?;
        for entry in entries {
            let entry = entry.map_err(Failure::io(racks.display().to_string()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if name.starts_with(".new-") {
                std::fs::remove_dir_all(&path).map_err(Failure::io(path.display().to_string()))?;
            } else if name.starts_with(".gone-") {
                let console = Arc::clone(self);
                tokio::spawn(async move {
                    if let Err(error) = console.clear(&path).await {
                        tracing::error!(%error, path = %path.display(), "could not finish removing a rack");
                    }
                });
            } else if let Some(file) = read_file::<RackFile>(&path.join("rack.json"))? {
                let rack = self.open_rack(&name, &path, &file)?;
                rack.show_certificates().await?;
                rack.resume_faults().await?;
                webhook::begin(&rack.context).await?;
                recover::begin(&rack.context);
                self.write().insert(name, Entry { rack, file });
            }
        }
        Ok(())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.racks.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        self.racks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_rack(&self, name: &str, path: &Path, file: &RackFile) -> Result<Rack> {
        let scratch = path.join("tmp");
        // What is in there belonged to operations of a server that is gone.
        match std::fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io(scratch.display().to_string())(error));
            }
            _ => {}
        }
        private_directory(&scratch)?;
        let store = Store::open(&path.join("rack.db"))?;
        let logs = Logs::open(path.join("logs")).map_err(Failure::io("the rack's logs"))?;
        Ok(Rack::new(Context::new(Parts {
            server: self.server.clone(),
            rack: name.to_owned(),
            rack_id: file.id.clone(),
            dir: path.to_owned(),
            store,
            engine: self.engine(file)?.of_rack(),
            machine: file.machine(),
            logs,
            router: Arc::clone(&self.router),
            admission: Arc::clone(&self.admission),
            authority: Arc::clone(&self.authority),
            settings: Arc::clone(&self.settings),
            shutdown: self.shutdown.child_token(),
        })))
    }

    fn engine(&self, file: &RackFile) -> Result<Arc<dyn Engine>> {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = file.machine();
        if let Some(engine) = engines.get(&machine) {
            return Ok(Arc::clone(engine));
        }
        match (&*file.engine, &file.docker_host) {
            ("docker", Some(host)) => {
                let engine: Arc<dyn Engine> = Arc::new(Docker::connect(Some(host))?);
                engines.insert(machine, Arc::clone(&engine));
                Ok(engine)
            }
            (kind @ "simulated", Some(_)) => Err(Failure::Invalid(format!(
                "the {kind} engine is nowhere: leave the docker host out"
            ))),
            (kind, _) => Err(Failure::Invalid(format!(
                "unknown engine {kind}: choose docker or simulated"
            ))),
        }
    }

    /// The router all racks share.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// What accepts encrypted connections.
    pub fn tls(&self) -> Tls {
        Tls::new(Arc::clone(&self.authority), Arc::clone(&self.router))
    }

    /// Lists the racks by name.
    pub fn list(&self) -> Vec<RackListing> {
        self.read()
            .keys()
            .map(|name| RackListing {
                name: name.clone(),
                organization: Organization {
                    name: ORGANIZATION.into(),
                },
                provider: "local".into(),
                status: "running".into(),
            })
            .collect()
    }

    /// Looks a rack up by `name` or `personal/name`.
    pub fn rack(&self, name: &str) -> Option<Rack> {
        let name = name
            .strip_prefix(ORGANIZATION)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(name);
        self.read().get(name).map(|entry| entry.rack.clone())
    }

    /// The only rack there is, if there is exactly one.
    pub fn only_rack(&self) -> Option<Rack> {
        let racks = self.read();
        let mut all = racks.values();
        let first = all.next()?;
        all.next().is_none().then(|| first.rack.clone())
    }

    /// Whom a password lets in. Every stored password is looked at, whatever the outcome.
    pub fn authenticate(&self, password: &[u8]) -> Option<Access> {
        let server = self
            .password
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .matches(password);
        let mut reach = server.then_some(Reach::Server);
        for (name, entry) in self.read().iter() {
            if entry.file.password.matches(password) && reach.is_none() {
                reach = Some(Reach::Rack(name.clone()));
            }
        }
        reach.map(|reach| Access {
            reach,
            role: Role::Admin,
            until: None,
        })
    }

    /// Whom a token lets in: to the rack whose key has signed it. Every key is tried,
    /// whatever the outcome.
    pub async fn authenticate_token(
        &self,
        token: &[u8],
    ) -> Result<std::result::Result<Access, TokenError>> {
        let presented = match Presented::read(token) {
            Ok(presented) => presented,
            Err(error) => return Ok(Err(error)),
        };
        let racks: Vec<Rack> = {
            let racks = self.read();
            racks.values().map(|entry| entry.rack.clone()).collect()
        };
        let mut signer = None;
        for rack in racks {
            // Taken before the key is: one that goes meanwhile takes this with it.
            let reign = rack.token_reign();
            let key = rack.token_key().await?;
            if key.is_some_and(|key| presented.is_signed_by(&key)) && signer.is_none() {
                signer = Some((rack, reign));
            }
        }
        let Some((rack, reign)) = signer else {
            return Ok(Err(TokenError::Signature));
        };
        Ok(presented.role(rack.context.now()).map(|role| Access {
            reach: Reach::Rack(rack.name().to_owned()),
            role,
            until: Some(reign),
        }))
    }

    /// What is taken from callers.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who has failed to say who they are.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What gives leave to copy builds between racks.
    pub(super) fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// Makes a rack, on an engine of its own if an address is given. Its password is in
    /// the answer and nowhere else.
    pub async fn create(
        &self,
        name: &str,
        engine: Option<&str>,
        docker_host: Option<&str>,
    ) -> Result<CreatedRack> {
        let _alone = self.change.lock().await;
        check_name(name)?;
        let usual = match docker_host {
            Some(_) => "docker",
            None => &*self.engine,
        };
        let password = rack_api::id::password();
        let file = RackFile {
            id: rack_api::id::hex(8),
            engine: engine.unwrap_or(usual).to_owned(),
            docker_host: docker_host.map(str::to_owned),
            password: PasswordHash::new(&password),
        };
        let engine = self.engine(&file)?;
        if docker_host.is_some() {
            // A mistyped address is told now, not by the first build.
            engine.info().await.map_err(|error| {
                Failure::Invalid(format!("the rack's engine cannot be reached: {error}"))
            })?;
        }
        let path = self.data.join("racks").join(name);
        if self.read().contains_key(name) || path.exists() {
            return Err(Failure::Conflict(format!("rack already exists: {name}")));
        }
        let fresh = self.data.join("racks").join(format!(".new-{}", file.id));
        private_directory(&fresh)?;
        let text = serde_json::to_string_pretty(&file).expect("plain data serialises");
        write_file(&fresh.join("rack.json"), &text).map_err(Failure::io("the rack's directory"))?;
        std::fs::rename(&fresh, &path).map_err(Failure::io("the rack's directory"))?;
        let rack = self.open_rack(name, &path, &file)?;
        recover::begin(&rack.context);
        rack.context.rack_log(&format!("rack {name} created"));
        self.write().insert(name.to_owned(), Entry { rack, file });
        Ok(CreatedRack {
            name: name.to_owned(),
            password,
        })
    }

    /// Removes a rack with everything of it. Nothing else is touched.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let _alone = self.change.lock().await;
        let name = name.strip_prefix("personal/").unwrap_or(name);
        let Some((rack, id)) = self
            .read()
            .get(name)
            .map(|entry| (entry.rack.clone(), entry.file.id.clone()))
        else {
            return Err(Failure::NotFound(format!("rack not found: {name}")));
        };
        // Fails before anything is gone while the engine cannot be reached.
        rack.context.engine.info().await?;
        let path = self.data.join("racks").join(name);
        let gone = self.data.join("racks").join(format!(".gone-{id}"));
        rack.context.shutdown.cancel();
        rack.context.tasks.close();
        if tokio::time::timeout(STOP_GRACE, rack.context.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                rack = name,
                "background work of a removed rack is slow to end"
            );
        }
        self.router.withdraw_rack(name);
        self.router.certificates().remove_rack(name);
        std::fs::rename(&path, &gone).map_err(Failure::io("the rack's directory"))?;
        self.write().remove(name);
        drop(rack);
        self.clear(&gone).await
    }

    /// Removes what is left of a rack: engine objects by label, images by name, files.
    async fn clear(&self, path: &Path) -> Result<()> {
        if let Some(file) = read_file::<RackFile>(&path.join("rack.json"))? {
            let engine = self.engine(&file)?;
            let labels = Labels::from([
                (label::SERVER.to_owned(), self.server.clone()),
                (label::RACK_ID.to_owned(), file.id.clone()),
            ]);
            engine.remove_labelled(&labels).await?;
            let store = Store::open(&path.join("rack.db"))?;
            for app in store.apps().await? {
                for reference in store.image_references(&app.name).await? {
                    engine.untag(&reference).await?;
                }
            }
        }
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            std::fs::remove_dir_all(&path).map_err(Failure::io("the rack's directory"))
        })
        .await
        .map_err(|gone| Failure::internal(format!("removing a rack: {gone}")))?
    }

    /// Waits until what runs is found again on all racks, or the time is over.
    pub async fn recovered(&self, limit: Duration) {
        let contexts: Vec<_> = self
            .read()
            .values()
            .map(|entry| Arc::clone(&entry.rack.context))
            .collect();
        let all = futures::future::join_all(contexts.iter().map(|context| async {
            let mut recovered = context.recovered.subscribe();
            // The sender lives as long as the context.
            let _ = recovered.wait_for(|done| *done).await;
        }));
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::info!("answering before all racks are recovered");
        }
    }

    /// Lets background work of all racks end and makes logs durable.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        let contexts: Vec<_> = self
            .read()
            .values()
            .map(|entry| Arc::clone(&entry.rack.context))
            .collect();
        let ending = futures::future::join_all(contexts.iter().map(|context| {
            context.tasks.close();
            context.tasks.wait()
        }));
        if tokio::time::timeout(STOP_GRACE, ending).await.is_err() {
            tracing::warn!("background work is slow to end");
        }
        for context in contexts {
            if let Err(error) = context.logs.flush() {
                tracing::error!(%error, rack = context.rack, "could not write a log");
            }
        }
    }
}

/// Rack names are host name parts: `^[a-z][a-z0-9-]*$`.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
        && !name.ends_with('-')
        && name.len() <= LONGEST_NAME;
    if valid {
        return Ok(());
    }
    Err(Failure::Invalid(format!(
        "rack name {name:?} is not valid: use at most {LONGEST_NAME} lowercase letters, digits and hyphens, a letter first"
    )))
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_host_name_parts() {
        for name in ["staging", "a", "pr-17"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "1a",
            "A",
            "a_b",
            "a.b",
            "a/b",
            "..",
            "a-",
            "abcdefghijklmnopqrstuvwxyz0",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
