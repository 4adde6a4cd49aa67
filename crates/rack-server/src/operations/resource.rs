//! Resources: databases and the like that a release's services use, and those that
//! belong to the rack and are linked to apps.
//!
//! A resource is one process with one volume and a password of its own per rack.
//! It is replaced only when what it runs changes, and its volume outlives every
//! promote: data goes only with the app, or with the resource of the rack.

mod data;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manifest::Resource;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

pub use data::Dump;

use super::context::Context;
use super::error::{Failure, Result};
use super::plan::{RACK_RESOURCE, RESOURCE};
use super::{registry, supervise};
use crate::engine::{ExecSpec, Labels, Phase, ProcessSpec, ProcessState, label};
use crate::store::RackResourceRow;

/// A type of resource this server runs.
struct Kind {
    word: &'static str,
    /// Image repository; the version is its tag.
    repository: &'static str,
    version: &'static str,
    scheme: &'static str,
    port: u16,
    /// Where its data lives in the container.
    data: &'static str,
    /// Whether it has a user, a password and a database.
    accounts: bool,
}

const KINDS: &[Kind] = &[
    Kind {
        word: "postgres",
        repository: "postgres",
        version: "15",
        scheme: "postgres",
        port: 5432,
        data: "/var/lib/postgresql/data",
        accounts: true,
    },
    Kind {
        word: "redis",
        repository: "redis",
        version: "7",
        scheme: "redis",
        port: 6379,
        data: "/data",
        accounts: false,
    },
];

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// An app: the manifest of its active release declares it.
    App(&'a str),
    /// The rack: it was made by hand.
    Rack,
}

impl Owner<'_> {
    /// What names and locks begin with. No app can be called `rack`.
    fn place(self) -> String {
        match self {
            Self::App(app) => app.to_owned(),
            Self::Rack => "rack".to_owned(),
        }
    }

    /// Labels of all that is made for resources of this owner.
    fn labels(self, context: &Context) -> Labels {
        match self {
            Self::App(app) => context.app_labels(app),
            Self::Rack => context.labels(),
        }
    }

    /// Labels of the process of a resource.
    pub(super) fn process_labels(self, context: &Context, name: &str) -> Labels {
        let mut labels = self.labels(context);
        let kind = match self {
            Self::App(_) => RESOURCE,
            Self::Rack => RACK_RESOURCE,
        };
        labels.insert(label::KIND.into(), kind.into());
        labels.insert(label::NAME.into(), name.to_owned());
        labels
    }

    /// Labels of the volume of a resource: what goes with the resource itself carries
    /// its name.
    fn volume_labels(self, context: &Context, name: &str) -> Labels {
        match self {
            Self::App(_) => self.labels(context),
            Self::Rack => self.process_labels(context, name),
        }
    }

    /// Writes a line of the platform where people look for it.
    pub(super) fn log(self, context: &Context, name: &str, text: &str) {
        match self {
            Self::App(app) => context.log(app, name, text),
            Self::Rack => context.rack_log(&format!("resource {name}: {text}")),
        }
    }
}

/// How long a resource may take until it accepts connections.
const READY_DEADLINE: Duration = Duration::from_secs(120);

/// What a resource means on this rack.
#[derive(Clone)]
pub struct ResourcePlan {
    /// Name in the manifest.
    pub name: String,
    /// Type word.
    pub kind: String,
    /// Options of the manifest.
    pub options: BTreeMap<String, String>,
    /// Connection URL.
    pub url: String,
    /// Given by the release's environment: nothing is run.
    pub external: bool,
    of_rack: bool,
    host: String,
    user: String,
    database: String,
    password: String,
    image: String,
    kind_of: &'static Kind,
}

impl Kind {
    fn url(&self, host: &str, user: &str, password: &str, database: &str) -> String {
        let (scheme, port) = (self.scheme, self.port);
        if !self.accounts {
            return format!("{scheme}://{host}:{port}/{database}");
        }
        let tail = if self.word == "postgres" {
            "?sslmode=disable"
        } else {
            ""
        };
        format!("{scheme}://{user}:{password}@{host}:{port}/{database}{tail}")
    }
}

/// Whether this server runs resources of a type.
pub fn is_kind(word: &str) -> bool {
    KINDS.iter().any(|kind| kind.word == word)
}

/// The version of a type that is run when nobody says otherwise.
pub fn default_version(word: &str) -> Option<&'static str> {
    let kind = KINDS.iter().find(|kind| kind.word == word)?;
    Some(kind.version)
}

/// Option of a resource of the rack: name of its database.
pub const DATABASE: &str = "Database";
/// Option of a resource of the rack: password of its user.
pub const PASSWORD: &str = "Password";
/// Option of a resource of the rack: name of its user.
pub const USERNAME: &str = "Username";
/// Option of a resource of the rack: version of its software.
pub const VERSION: &str = "EngineVersion";

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word)
    }
}

impl ResourcePlan {
    /// Plans a resource of a manifest.
    pub(crate) async fn new(
        context: &Context,
        app: &str,
        resource: &Resource,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let Some(kind_of) = KINDS.iter().find(|kind| kind.word == resource.kind) else {
            let known: Vec<_> = KINDS.iter().map(|kind| kind.word).collect();
            return Err(Failure::Invalid(format!(
                "resource {} has type {}, which this server cannot run; it runs {}",
                resource.name,
                resource.kind,
                known.join(" and ")
            )));
        };
        let variable = format!("{}_URL", manifest::resource_variable_prefix(&resource.name));
        let given = variables.get(&variable).filter(|url| !url.is_empty());
        let password = match given {
            Some(_) => String::new(),
            None => {
                context
                    .store
                    .resource_password(app, &resource.name, rack_api::id::password())
                    .await?
            }
        };
        let host = format!("{}.resource.{app}.{}", resource.name, context.rack);
        let (user, database) = if kind_of.accounts {
            ("app", "app")
        } else {
            ("", "0")
        };
        let url = match given {
            Some(url) => url.clone(),
            None => kind_of.url(&host, user, &password, database),
        };
        let version = resource
            .options
            .get("version")
            .map_or(kind_of.version, String::as_str);
        let image = resource
            .image
            .clone()
            .unwrap_or_else(|| format!("{}:{version}", kind_of.repository));
        Ok(Self {
            name: resource.name.clone(),
            kind: resource.kind.clone(),
            options: resource.options.clone(),
            url,
            external: given.is_some(),
            of_rack: false,
            host,
            user: user.to_owned(),
            database: database.to_owned(),
            password,
            image,
            kind_of,
        })
    }

    /// Plans a resource of the rack.
    pub(crate) fn of_rack(context: &Context, row: &RackResourceRow) -> Result<Self> {
        let Some(kind_of) = KINDS.iter().find(|kind| kind.word == row.kind) else {
            return Err(Failure::internal(format!(
                "resource {} has the unknown type {}",
                row.name, row.kind
            )));
        };
        let option = |name: &str, default: &str| {
            let given = row.parameters.get(name).filter(|value| !value.is_empty());
            given.cloned().unwrap_or_else(|| default.to_owned())
        };
        let (user, database) = if kind_of.accounts {
            (option(USERNAME, "postgres"), option(DATABASE, "app"))
        } else {
            (String::new(), option(DATABASE, "0"))
        };
        let host = format!("{}.resource.{}", row.name, context.rack);
        let version = option(VERSION, kind_of.version);
        Ok(Self {
            name: row.name.clone(),
            kind: row.kind.clone(),
            options: BTreeMap::new(),
            url: kind_of.url(&host, &user, &row.password, &database),
            external: false,
            of_rack: true,
            host,
            user,
            database,
            password: row.password.clone(),
            image: format!("{}:{version}", kind_of.repository),
            kind_of,
        })
    }

    /// Whose it is, if not the rack's the app's.
    fn owner<'a>(&self, app: &'a str) -> Owner<'a> {
        if self.of_rack {
            Owner::Rack
        } else {
            Owner::App(app)
        }
    }

    /// Variables a service that lists the resource gets (`convox-yml.md` §12.2).
    pub(crate) fn variables(&self, only: Option<&str>) -> BTreeMap<String, String> {
        let blank = |text: &str| {
            if self.external {
                String::new()
            } else {
                text.to_owned()
            }
        };
        let password = if self.kind_of.accounts {
            self.password.as_str()
        } else {
            ""
        };
        let values = [
            ("URL", self.url.clone()),
            ("USER", blank(&self.user)),
            ("PASS", blank(password)),
            ("HOST", blank(&self.host)),
            ("PORT", blank(&self.kind_of.port.to_string())),
            ("NAME", blank(&self.database)),
        ];
        if let Some(variable) = only {
            let suffix = variable.rsplit('_').next().unwrap_or_default();
            let value = values
                .iter()
                .find(|(name, _)| *name == suffix)
                .unwrap_or(&values[0]);
            BTreeMap::from([(variable.to_owned(), value.1.clone())])
        } else {
            let prefix = manifest::resource_variable_prefix(&self.name);
            values
                .into_iter()
                .map(|(suffix, value)| (format!("{prefix}_{suffix}"), value))
                .collect()
        }
    }

    /// What makes the process what it is; a change of it replaces the process.
    fn fingerprint(&self, image: &str) -> String {
        let mut hash = Sha256::new();
        for part in [image, self.kind_of.word, &self.host, &self.password] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        for (name, value) in &self.options {
            hash.update(format!("{name}={value}\0"));
        }
        rack_api::id::to_hex(&hash.finalize()[..8])
    }

    fn process(&self, context: &Context, app: &str, image: &str) -> ProcessSpec {
        let owner = self.owner(app);
        let mut labels = owner.process_labels(context, &self.name);
        labels.insert(label::FINGERPRINT.into(), self.fingerprint(image));
        let mut environment = BTreeMap::new();
        if self.kind_of.word == "postgres" {
            for (name, value) in [
                ("POSTGRES_USER", self.user.as_str()),
                ("POSTGRES_PASSWORD", &self.password),
                ("POSTGRES_DB", &self.database),
                ("PGDATA", "/var/lib/postgresql/data/data"),
            ] {
                environment.insert(name.to_owned(), value.to_owned());
            }
        }
        ProcessSpec {
            name: context.container(&owner.place(), RESOURCE, &self.name),
            image: image.to_owned(),
            environment,
            labels,
            network: context.network(),
            aliases: vec![self.host.clone()],
            ports: vec![self.kind_of.port],
            volumes: vec![(
                context.volume(&owner.place(), RESOURCE, &self.name),
                self.kind_of.data.to_owned(),
            )],
            ..ProcessSpec::default()
        }
    }

    /// Words that succeed inside the process once it accepts connections over the network.
    fn readiness(&self) -> Vec<String> {
        let words: &[&str] = match self.kind_of.word {
            "postgres" => &[
                "pg_isready",
                "-q",
                "-h",
                "127.0.0.1",
                "-U",
                &self.user,
                "-d",
                &self.database,
            ],
            _ => &["redis-cli", "-h", "127.0.0.1", "ping"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// The process of a resource of an app, if there is one.
pub async fn find(context: &Context, app: &str, name: &str) -> Result<Option<ProcessState>> {
    find_of(context, Owner::App(app), name).await
}

/// The process of a resource, if there is one.
pub async fn find_of(
    context: &Context,
    owner: Owner<'_>,
    name: &str,
) -> Result<Option<ProcessState>> {
    let labels = owner.process_labels(context, name);
    Ok(context.engine.processes(&labels).await?.into_iter().next())
}

/// Starts what is not running, replaces what has changed, and waits until all
/// accept connections.
pub async fn ensure(context: &Arc<Context>, app: &str, resources: &[ResourcePlan]) -> Result<()> {
    for resource in resources.iter().filter(|resource| !resource.external) {
        // One-offs, promotes and supervision may all want the same resource at once.
        let _alone = context
            .lock_app(&format!(
                "{}/resource/{}",
                resource.owner(app).place(),
                resource.name
            ))
            .await;
        ensure_one(context, app, resource).await?;
    }
    Ok(())
}

/// Stops the processes of an app's resources that a release does not declare any more, or
/// whose address the environment gives now. Their data stay, for a release that has them
/// again.
pub async fn retire_others(
    context: &Arc<Context>,
    app: &str,
    resources: &[ResourcePlan],
) -> Result<()> {
    let mut labels = context.app_labels(app);
    labels.insert(label::KIND.into(), RESOURCE.into());
    for process in context.engine.processes(&labels).await? {
        let name = process.labels.get(label::NAME).cloned().unwrap_or_default();
        let wanted = |resource: &&ResourcePlan| !resource.external && resource.name == name;
        if resources.iter().any(|resource| wanted(&resource)) {
            continue;
        }
        let text = "the release does not have this resource: stopping it, keeping its data";
        Owner::App(app).log(context, &name, text);
        let grace = Duration::from_secs(30);
        context.engine.stop(&process.id, grace).await?;
        context.engine.remove(&process.id).await?;
    }
    Ok(())
}

async fn ensure_one(context: &Arc<Context>, app: &str, resource: &ResourcePlan) -> Result<()> {
    let image = registry::pull(context, &resource.image)
        .await
        .map_err(|error| {
            Failure::Failed(format!(
                "resource {}: image {}: {error}",
                resource.name, resource.image
            ))
        })?;
    let owner = resource.owner(app);
    let spec = resource.process(context, app, &image.id);
    if let Some(process) = find_of(context, owner, &resource.name).await? {
        let same = process.labels.get(label::FINGERPRINT) == spec.labels.get(label::FINGERPRINT);
        if same && process.phase == Phase::Running {
            supervise::look_after_resource(context, owner, &resource.name, &process.id);
            return wait_ready(context, resource, &process.id).await;
        }
        if same {
            context.engine.start(&process.id).await?;
            owner.log(context, &resource.name, "resource started again");
            supervise::look_after_resource(context, owner, &resource.name, &process.id);
            return wait_ready(context, resource, &process.id).await;
        }
        owner.log(
            context,
            &resource.name,
            "resource changed: replacing its process, keeping its data",
        );
        context
            .engine
            .stop(&process.id, Duration::from_secs(30))
            .await?;
        context.engine.remove(&process.id).await?;
    }
    context
        .engine
        .ensure_network(&context.network(), &context.labels())
        .await?;
    context
        .engine
        .ensure_volume(
            &context.volume(&owner.place(), RESOURCE, &resource.name),
            &owner.volume_labels(context, &resource.name),
        )
        .await?;
    owner.log(
        context,
        &resource.name,
        &format!("starting {} resource", resource.kind),
    );
    let id = context.engine.create(&spec).await?;
    if let Err(error) = context.engine.start(&id).await {
        context.engine.remove(&id).await?;
        return Err(error.into());
    }
    supervise::look_after_resource(context, owner, &resource.name, &id);
    wait_ready(context, resource, &id).await?;
    owner.log(context, &resource.name, "resource accepts connections");
    Ok(())
}

async fn wait_ready(context: &Arc<Context>, resource: &ResourcePlan, id: &str) -> Result<()> {
    if context.fleet.is_ready(id) {
        return Ok(());
    }
    let deadline = Instant::now() + READY_DEADLINE;
    let mut pause = Duration::from_millis(50);
    loop {
        let state = context.engine.process(id).await?;
        match state.map(|state| state.phase) {
            Some(Phase::Running) => {}
            Some(Phase::Exited(status)) => {
                return Err(Failure::Failed(format!(
                    "resource {} exited with status {status}: see `convox logs`",
                    resource.name
                )));
            }
            _ => {
                return Err(Failure::Failed(format!(
                    "resource {} disappeared",
                    resource.name
                )));
            }
        }
        if ready(context, resource, id).await? {
            context.fleet.set_ready(id);
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::Failed(format!(
                "resource {} did not accept connections within {} seconds",
                resource.name,
                READY_DEADLINE.as_secs()
            )));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.shutdown.cancelled() => return Err(Failure::Shutdown),
        }
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

async fn ready(context: &Arc<Context>, resource: &ResourcePlan, id: &str) -> Result<bool> {
    let spec = ExecSpec {
        command: resource.readiness(),
        ..ExecSpec::default()
    };
    match context.engine.exec(id, spec).await {
        Ok(mut exec) => {
            tokio::io::copy(&mut exec.output, &mut tokio::io::sink())
                .await
                .map_err(Failure::io("resource readiness"))?;
            Ok(exec.status.await? == 0)
        }
        Err(unreachable @ crate::engine::EngineError::Unreachable { .. }) => {
            Err(unreachable.into())
        }
        // The process may be too young to execute anything in.
        Err(_) => Ok(false),
    }
}
