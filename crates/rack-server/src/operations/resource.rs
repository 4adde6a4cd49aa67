//! Resources: databases and the like that a release's services use, and those that
//! belong to the rack and are linked to apps.
//!
//! A resource is one process with one volume and a password of its own per rack.
//! It is replaced only when what it runs changes, and its volume outlives every
//! promote: data goes only with the app, or with the resource of the rack.

mod data;
mod kind;
mod mysql;
mod postgres;
mod rabbitmq;
mod redis;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manifest::Resource;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

pub use data::Dump;
use kind::{Account, Kind, Ready};

use super::context::Context;
use super::error::{Failure, Result};
use super::plan::{RACK_RESOURCE, RESOURCE};
use super::{registry, supervise};
use crate::engine::{EngineError, ExecSpec, Labels, Phase, ProcessSpec, ProcessState, label};
use crate::store::RackResourceRow;

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

/// How long a port may take to answer before it is asked again.
const ANSWER: Duration = Duration::from_secs(2);

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
    /// The image is the type's own.
    own_image: bool,
    /// Most processor time, in thousandths of a processor.
    cpu: Option<i64>,
    /// Most memory in MiB.
    memory: Option<i64>,
    kind_of: &'static Kind,
}

/// Whether this server runs resources of a type.
pub fn is_kind(word: &str) -> bool {
    kind::of(word).is_some()
}

/// The version of a type that is run when nobody says otherwise.
pub fn default_version(word: &str) -> Option<&'static str> {
    kind::of(word).map(|kind| kind.version)
}

/// Option of a resource of the rack: name of its database.
pub const DATABASE: &str = "Database";
/// Option of a resource of the rack: password of its user.
pub const PASSWORD: &str = "Password";
/// Option of a resource of the rack: name of its user.
pub const USERNAME: &str = "Username";
/// Option of a resource of the rack: version of its software.
pub const VERSION: &str = "EngineVersion";

impl ResourcePlan {
    /// Plans a resource of a manifest.
    pub(crate) async fn new(
        context: &Context,
        app: &str,
        resource: &Resource,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let Some(kind_of) = kind::of(&resource.kind) else {
            return Err(Failure::Invalid(format!(
                "resource {} has type {}, which this server cannot run; it runs {}",
                resource.name,
                resource.kind,
                kind::words().join(", ")
            )));
        };
        let limit = |option: &str, unit: &str| match resource.options.get(option) {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => match text.parse::<i64>() {
                Ok(number) if number > 0 => Ok(Some(number)),
                _ => Err(Failure::Invalid(format!(
                    "option {option} of resource {} must be a number of {unit}, not {text}",
                    resource.name
                ))),
            },
        };
        let cpu = limit("cpu", "thousandths of a processor")?;
        let memory = limit("mem", "megabytes")?;
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
        let user = if kind_of.accounts { "app" } else { "" };
        let database = kind_of.database;
        let url = match given {
            Some(url) => url.clone(),
            None => (kind_of.url)(&Account {
                host: &host,
                user,
                password: &password,
                database,
            }),
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
            own_image: resource.image.is_none(),
            cpu,
            memory,
            kind_of,
        })
    }

    /// Plans a resource of the rack.
    pub(crate) fn of_rack(context: &Context, row: &RackResourceRow) -> Result<Self> {
        let Some(kind_of) = kind::of(&row.kind) else {
            return Err(Failure::internal(format!(
                "resource {} has the unknown type {}",
                row.name, row.kind
            )));
        };
        let option = |name: &str, default: &str| {
            let given = row.parameters.get(name).filter(|value| !value.is_empty());
            given.cloned().unwrap_or_else(|| default.to_owned())
        };
        let user = option(USERNAME, kind_of.rack_user);
        let database = option(DATABASE, kind_of.database);
        let host = format!("{}.resource.{}", row.name, context.rack);
        let version = option(VERSION, kind_of.version);
        Ok(Self {
            name: row.name.clone(),
            kind: row.kind.clone(),
            options: BTreeMap::new(),
            url: (kind_of.url)(&Account {
                host: &host,
                user: &user,
                password: &row.password,
                database: &database,
            }),
            external: false,
            of_rack: true,
            host,
            user,
            database,
            password: row.password.clone(),
            image: format!("{}:{version}", kind_of.repository),
            own_image: true,
            cpu: None,
            memory: None,
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

    fn account(&self) -> Account<'_> {
        Account {
            host: &self.host,
            user: &self.user,
            password: &self.password,
            database: &self.database,
        }
    }

    /// What replaces the command of its image: the user's own image may have no such programs.
    fn command(&self) -> Option<Vec<String>> {
        let words = self.kind_of.command.filter(|_| self.own_image)?;
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// What makes the process what it is; a change of it replaces the process. Options that
    /// do not reach it are left out.
    fn fingerprint(&self, image: &str) -> String {
        let mut hash = Sha256::new();
        let command = self.command().unwrap_or_default().join(" ");
        let limits = format!("{:?} {:?}", self.cpu, self.memory);
        for part in [
            image,
            self.kind_of.word,
            &self.host,
            &self.password,
            &self.database,
            &command,
            &limits,
        ] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        rack_api::id::to_hex(&hash.finalize()[..8])
    }

    fn process(&self, context: &Context, app: &str, image: &str) -> ProcessSpec {
        let owner = self.owner(app);
        let mut labels = owner.process_labels(context, &self.name);
        labels.insert(label::FINGERPRINT.into(), self.fingerprint(image));
        ProcessSpec {
            name: context.container(&owner.place(), RESOURCE, &self.name),
            image: image.to_owned(),
            command: self.command(),
            environment: (self.kind_of.environment)(&self.account()),
            labels,
            network: context.network(),
            aliases: vec![self.host.clone()],
            ports: vec![self.kind_of.port],
            volumes: self
                .volume(context, app)
                .zip(self.kind_of.data)
                .map(|(volume, path)| (volume, path.to_owned()))
                .into_iter()
                .collect(),
            cpu_limit: self.cpu,
            memory_limit: self.memory,
            ..ProcessSpec::default()
        }
    }

    /// The volume its data are in, if it keeps any.
    fn volume(&self, context: &Context, app: &str) -> Option<String> {
        let place = self.owner(app).place();
        let name = || context.volume(&place, RESOURCE, &self.name);
        self.kind_of.data.map(|_| name())
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
    let image = registry::pull(context, &resource.image, &BTreeMap::new())
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
    if let Some(volume) = resource.volume(context, app) {
        let labels = owner.volume_labels(context, &resource.name);
        context.engine.ensure_volume(&volume, &labels).await?;
    }
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
    let kind = resource.kind_of;
    match kind.ready {
        Ready::Program(spec) => {
            if !succeeds(context, id, spec(&resource.account())).await? {
                return Ok(false);
            }
        }
        Ready::Answer(question, begins) => {
            if !answers(context, id, kind.port, question, begins).await? {
                return Ok(false);
            }
        }
    }
    match kind.then.filter(|_| resource.own_image) {
        Some(words) => succeeds(context, id, kind::program(words)).await,
        None => Ok(true),
    }
}

/// Whether a port of a process answers a question with something that begins so.
async fn answers(
    context: &Context,
    id: &str,
    port: u16,
    question: &[u8],
    begins: &[u8],
) -> Result<bool> {
    let mut connection = match context.engine.dial(id, port).await {
        Ok(connection) => connection,
        Err(unreachable @ EngineError::Unreachable { .. }) => return Err(unreachable.into()),
        Err(_) => return Ok(false),
    };
    let mut answer = vec![0; begins.len()];
    let asked = async {
        connection.write_all(question).await?;
        connection.flush().await?;
        connection.read_exact(&mut answer).await
    };
    let answered = tokio::time::timeout(ANSWER, asked).await;
    Ok(matches!(answered, Ok(Ok(_))) && answer == begins)
}

/// Whether a program in a process succeeds.
async fn succeeds(context: &Context, id: &str, spec: ExecSpec) -> Result<bool> {
    match context.engine.exec(id, spec).await {
        Ok(mut exec) => {
            tokio::io::copy(&mut exec.output, &mut tokio::io::sink())
                .await
                .map_err(Failure::io("resource readiness"))?;
            Ok(exec.status.await? == 0)
        }
        Err(unreachable @ EngineError::Unreachable { .. }) => Err(unreachable.into()),
        // The process may be too young to execute anything in.
        Err(_) => Ok(false),
    }
}
