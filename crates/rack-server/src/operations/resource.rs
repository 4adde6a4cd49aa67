//! Resources: databases and the like that a release's services use.
//!
//! A resource is one process with one volume and a password of its own per rack.
//! It is replaced only when what it runs changes, and its volume outlives every
//! promote: data goes only with the app.

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
use super::plan::RESOURCE;
use super::supervise;
use crate::engine::{ExecSpec, Phase, ProcessSpec, ProcessState, label};

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
    host: String,
    password: String,
    image: String,
    kind_of: &'static Kind,
}

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
        let url = match given {
            Some(url) => url.clone(),
            None if kind_of.accounts => format!(
                "{}://app:{password}@{host}:{}/app{}",
                kind_of.scheme,
                kind_of.port,
                if kind_of.word == "postgres" {
                    "?sslmode=disable"
                } else {
                    ""
                }
            ),
            None => format!("{}://{host}:{}/0", kind_of.scheme, kind_of.port),
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
            host,
            password,
            image,
            kind_of,
        })
    }

    /// Variables a service that lists the resource gets (`convox-yml.md` §12.2).
    pub(crate) fn variables(&self, only: Option<&str>) -> BTreeMap<String, String> {
        let blank = |text: String| if self.external { String::new() } else { text };
        let accounts = |text: &str| {
            blank(if self.kind_of.accounts {
                text.to_owned()
            } else {
                String::new()
            })
        };
        let values = [
            ("URL", self.url.clone()),
            ("USER", accounts("app")),
            ("PASS", accounts(&self.password)),
            ("HOST", blank(self.host.clone())),
            ("PORT", blank(self.kind_of.port.to_string())),
            (
                "NAME",
                if self.kind_of.accounts {
                    accounts("app")
                } else {
                    blank("0".into())
                },
            ),
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
        let mut labels = context.app_labels(app);
        labels.insert(label::KIND.into(), RESOURCE.into());
        labels.insert(label::NAME.into(), self.name.clone());
        labels.insert(label::FINGERPRINT.into(), self.fingerprint(image));
        let mut environment = BTreeMap::new();
        if self.kind_of.word == "postgres" {
            for (name, value) in [
                ("POSTGRES_USER", "app"),
                ("POSTGRES_PASSWORD", &self.password),
                ("POSTGRES_DB", "app"),
                ("PGDATA", "/var/lib/postgresql/data/data"),
            ] {
                environment.insert(name.to_owned(), value.to_owned());
            }
        }
        ProcessSpec {
            name: context.container(app, RESOURCE, &self.name),
            image: image.to_owned(),
            environment,
            labels,
            network: context.network(),
            aliases: vec![self.host.clone()],
            ports: vec![self.kind_of.port],
            volumes: vec![(
                context.volume(app, RESOURCE, &self.name),
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
                "app",
                "-d",
                "app",
            ],
            _ => &["redis-cli", "-h", "127.0.0.1", "ping"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// The running process of a resource, if there is one.
pub async fn find(context: &Context, app: &str, name: &str) -> Result<Option<ProcessState>> {
    let mut labels = context.app_labels(app);
    labels.insert(label::KIND.into(), RESOURCE.into());
    labels.insert(label::NAME.into(), name.to_owned());
    Ok(context.engine.processes(&labels).await?.into_iter().next())
}

/// Starts what is not running, replaces what has changed, and waits until all
/// accept connections.
pub async fn ensure(context: &Arc<Context>, app: &str, resources: &[ResourcePlan]) -> Result<()> {
    for resource in resources.iter().filter(|resource| !resource.external) {
        // One-offs, promotes and supervision may all want the same resource at once.
        let _alone = context
            .lock_app(&format!("{app}/resource/{}", resource.name))
            .await;
        ensure_one(context, app, resource).await?;
    }
    Ok(())
}

async fn ensure_one(context: &Arc<Context>, app: &str, resource: &ResourcePlan) -> Result<()> {
    let image = context
        .engine
        .pull(&resource.image, None)
        .await
        .map_err(|error| {
            Failure::Failed(format!(
                "resource {}: image {}: {error}",
                resource.name, resource.image
            ))
        })?;
    let spec = resource.process(context, app, &image.id);
    if let Some(process) = find(context, app, &resource.name).await? {
        let same = process.labels.get(label::FINGERPRINT) == spec.labels.get(label::FINGERPRINT);
        if same && process.phase == Phase::Running {
            supervise::look_after_resource(context, app, &resource.name, &process.id);
            return wait_ready(context, resource, &process.id).await;
        }
        if same {
            context.engine.start(&process.id).await?;
            context.log(app, &resource.name, "resource started again");
            supervise::look_after_resource(context, app, &resource.name, &process.id);
            return wait_ready(context, resource, &process.id).await;
        }
        context.log(
            app,
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
            &context.volume(app, RESOURCE, &resource.name),
            &context.app_labels(app),
        )
        .await?;
    context.log(
        app,
        &resource.name,
        &format!("starting {} resource", resource.kind),
    );
    let id = context.engine.create(&spec).await?;
    if let Err(error) = context.engine.start(&id).await {
        context.engine.remove(&id).await?;
        return Err(error.into());
    }
    supervise::look_after_resource(context, app, &resource.name, &id);
    wait_ready(context, resource, &id).await?;
    context.log(app, &resource.name, "resource accepts connections");
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
