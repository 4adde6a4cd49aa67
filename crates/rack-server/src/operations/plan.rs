//! What a release means on this rack: images, numbers, environment, resources.
//!
//! A plan is computed from the database alone and fails before anything has
//! changed. Promote, supervision, one-off processes and listings all go by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifest::{Config, ConfigMount, Manifest, Service};
use rack_api::Environment;
use sha2::{Digest as _, Sha256};

use super::context::Context;
use super::error::{Failure, Result};
use super::resource::ResourcePlan;
use crate::engine::{Directory, Labels, ProcessSpec, label};
use crate::store::{BuildRow, ImageRow, ReleaseRow, ScaleRow};

/// What a release means.
pub struct Plan {
    /// The release.
    pub release: ReleaseRow,
    /// Its build.
    pub build: BuildRow,
    /// Its manifest, loaded with its environment.
    pub manifest: Manifest,
    /// Services in manifest order.
    pub services: Vec<ServicePlan>,
    /// Resources in manifest order; those replaced by a URL in the environment are external.
    pub resources: Vec<ResourcePlan>,
    /// Resources of the rack that the app is linked to.
    pub linked: Vec<ResourcePlan>,
    /// What the manifest says that has no effect or looks wrong.
    pub warnings: Vec<String>,
}

/// What a service means.
#[derive(Clone)]
pub struct ServicePlan {
    /// From the manifest.
    pub service: Service,
    /// What it runs.
    pub image: ImageRow,
    /// Build that has the image.
    pub build: String,
    /// Desired number of processes.
    pub count: u64,
    /// Processor share, 1024 for one processor.
    pub cpu: u64,
    /// Memory in MiB.
    pub memory: u64,
    /// Ports that balancers lead to.
    pub balanced: Vec<u16>,
    /// Everything its processes find in their environment.
    pub environment: BTreeMap<String, String>,
    /// Configs that are files in its processes.
    pub files: Vec<MountedFile>,
    /// Those of its init container.
    pub init_files: Vec<MountedFile>,
}

/// A config that is a file in a process.
#[derive(Clone, PartialEq, Eq)]
pub struct MountedFile {
    /// Where it is.
    pub path: String,
    /// Its directory, if that is a place of its own in the process.
    directory: Option<String>,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl MountedFile {
    /// A directory that is there, and the path of the file below it.
    pub fn place(&self) -> (String, String) {
        let base = self.directory.as_deref().unwrap_or_default();
        let name = self.path[base.len()..].trim_start_matches('/');
        let base = if base.is_empty() { "/" } else { base };
        (base.to_owned(), name.to_owned())
    }
}

impl Plan {
    /// Computes the plan of a release.
    pub async fn load(context: &Context, app: &str, release: &str) -> Result<Self> {
        let release = context
            .store
            .release(app, release)
            .await?
            .ok_or_else(|| Failure::NotFound(format!("release not found: {release}")))?;
        if release.build.is_empty() {
            return Err(Failure::Invalid(format!(
                "no build for release: {}",
                release.id
            )));
        }
        let build = context
            .store
            .build(app, &release.build)
            .await?
            .ok_or_else(|| Failure::NotFound(format!("build not found: {}", release.build)))?;
        if release.manifest.trim().is_empty() {
            return Err(Failure::Invalid(
                "can not promote a release with an empty manifest".into(),
            ));
        }
        let variables = Environment::parse(&release.env).to_map();
        let loaded = Manifest::load(&release.manifest, &variables)
            .map_err(|errors| Failure::Invalid(one_line(&errors.to_string())))?;
        let manifest = loaded.manifest;
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        let images = context.store.images(&build.id).await?;
        let scales = context.store.scales(app).await?;
        let mut resources = Vec::new();
        for resource in manifest.resources.values() {
            resources.push(ResourcePlan::new(context, app, resource, &variables).await?);
        }
        let mut linked = Vec::new();
        for row in context.store.linked_rack_resources(app).await? {
            linked.push(ResourcePlan::of_rack(context, &row)?);
        }
        let mut services = Vec::new();
        for service in manifest.services.values() {
            let image = images.get(&service.name).cloned().ok_or_else(|| {
                Failure::Invalid(format!(
                    "build {} has no image for service {}",
                    build.id, service.name
                ))
            })?;
            let scale = scales.get(&service.name).copied().unwrap_or_default();
            let environment = environment(
                context, app, &release, &build, &manifest, service, &linked, &resources, &variables,
            );
            let configs = &manifest.configs;
            let read_only = service.security.read_only;
            let files = mounted(context, app, configs, &service.config_mounts, read_only).await?;
            let init_files = match &service.init_container {
                Some(init) => mounted(context, app, configs, &init.config_mounts, false).await?,
                None => Vec::new(),
            };
            let mut plan = ServicePlan::new(
                service.clone(),
                image,
                &build.id,
                scale,
                environment,
                (files, init_files),
            );
            let balancers = manifest.balancers.values();
            plan.balanced = balancers
                .filter(|balancer| balancer.service == service.name)
                .flat_map(|balancer| balancer.ports.iter().map(|port| port.target))
                .collect();
            services.push(plan);
        }
        Ok(Self {
            release,
            build,
            manifest,
            services,
            resources,
            linked,
            warnings,
        })
    }

    /// The plan of one service.
    pub fn service(&self, name: &str) -> Result<&ServicePlan> {
        self.services
            .iter()
            .find(|plan| plan.service.name == name)
            .ok_or_else(|| Failure::NotFound(format!("service not found: {name}")))
    }

    /// Fails unless the engine still has every image of the release.
    pub async fn check_images(&self, context: &Context) -> Result<()> {
        for plan in &self.services {
            if context.engine.image(&plan.image.id).await?.is_none() {
                return Err(plan.image_is_gone());
            }
        }
        Ok(())
    }
}

/// The files that mounts make of configs: what the manifest says, else what `convox config`
/// has set, else nothing, as on racks.
async fn mounted(
    context: &Context,
    app: &str,
    configs: &[Config],
    mounts: &[ConfigMount],
    read_only: bool,
) -> Result<Vec<MountedFile>> {
    let mut files = Vec::new();
    for mount in mounts {
        let config = configs.iter().find(|config| config.id == mount.id);
        let bytes = match config {
            Some(Config {
                value: Some(value), ..
            }) => value.clone().into_bytes(),
            Some(config) => context
                .store
                .config(app, config.key())
                .await?
                .unwrap_or_default(),
            None => Vec::new(),
        };
        if read_only && mount.directory.is_empty() {
            return Err(Failure::Invalid(format!(
                "config {} cannot be mounted at {}: the root of a process with \
                 readOnlyRootFilesystem is its image's",
                mount.id,
                mount.path()
            )));
        }
        files.push(MountedFile {
            path: mount.path(),
            directory: read_only.then(|| mount.directory.clone()),
            bytes,
        });
    }
    Ok(files)
}

/// Joins the lines of a text, for messages are one line.
pub fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

impl ServicePlan {
    fn new(
        service: Service,
        image: ImageRow,
        build: &str,
        scale: ScaleRow,
        environment: BTreeMap<String, String>,
        (files, init_files): (Vec<MountedFile>, Vec<MountedFile>),
    ) -> Self {
        let positive = |set: Option<i64>, default: u64| {
            set.and_then(|n| u64::try_from(n).ok()).unwrap_or(default)
        };
        let count = if service.agent {
            1
        } else {
            positive(scale.count, service.scale.min)
        };
        Self {
            count,
            cpu: positive(scale.cpu, service.scale.cpu),
            memory: positive(scale.memory, service.scale.memory),
            balanced: Vec::new(),
            service,
            image,
            build: build.to_owned(),
            environment,
            files,
            init_files,
        }
    }

    /// Why its processes cannot be started when somebody has removed their image.
    pub fn image_is_gone(&self) -> Failure {
        Failure::Invalid(format!(
            "the image of service {} of build {} is gone from the engine: build or import it again",
            self.service.name, self.build
        ))
    }

    /// What the engine is told to run for this service.
    pub fn process(&self, context: &Context, app: &str, release: &str, kind: &str) -> ProcessSpec {
        let service = &self.service;
        let mut labels: Labels = service.labels.clone();
        labels.extend(context.app_labels(app));
        labels.insert(label::KIND.into(), kind.into());
        labels.insert(label::NAME.into(), service.name.clone());
        labels.insert(label::RELEASE.into(), release.into());
        labels.insert(label::GRACE.into(), service.grace.to_string());
        labels.insert(label::DRAIN.into(), service.drain.to_string());
        labels.insert(label::CPU.into(), self.cpu.to_string());
        labels.insert(label::MEMORY.into(), self.memory.to_string());
        if let Some(command) = &service.lifecycle.pre_stop {
            labels.insert(label::PRE_STOP.into(), command.clone());
        }
        let mut ports = service.reached_ports();
        ports.extend(service.nlb.iter().map(|listener| listener.container_port));
        ports.extend(&self.balanced);
        ports.sort_unstable();
        ports.dedup();
        if let Some(port) = &service.port {
            labels.insert(label::PORT.into(), format!("{}:{}", port.scheme, port.port));
        }
        // The name links use, and those real racks of both generations give.
        let name = format!("{}.{app}.{}", service.name, context.rack);
        let aliases = if kind == SERVICE {
            vec![format!("{name}.convox"), format!("{name}.local"), name]
        } else {
            Vec::new()
        };
        let as_number = |size: Option<u64>| size.and_then(|size| i64::try_from(size).ok());
        ProcessSpec {
            name: context.container(app, kind, &service.name),
            image: self.image.id.clone(),
            entrypoint: None,
            command: service.command.clone(),
            environment: self.environment.clone(),
            labels,
            network: context.network(),
            aliases,
            ports,
            volumes: service
                .volumes
                .iter()
                .map(|volume| {
                    (
                        context.volume(app, "volume", &volume.source),
                        volume.path.clone(),
                    )
                })
                .collect(),
            memory_limit: as_number(service.scale.memory_limit),
            // Engines refuse a limit below what is reserved.
            memory_reservation: as_number(Some(
                service
                    .scale
                    .memory_limit
                    .map_or(self.memory, |limit| limit.min(self.memory)),
            )),
            cpu_shares: i64::try_from(self.cpu).ok(),
            cpu_limit: as_number(service.scale.cpu_limit),
            init: service.init,
            privileged: service.privileged,
            tty: false,
            shm: None,
            directories: self.directories(),
            volumes_of: None,
            user: service
                .security
                .user
                .map(|user| match service.security.group {
                    Some(group) => format!("{user}:{group}"),
                    None => user.to_string(),
                }),
            read_only: service.security.read_only,
            capabilities: service.security.add.clone(),
            without_capabilities: service.security.drop.clone(),
            no_escalation: service.security.no_escalation,
            unconfined: service.security.unconfined,
        }
    }

    /// Directories that go with each process. One that an init container shares is on disk,
    /// for memory goes with who uses it; so are those of files in a process that can write
    /// nowhere else, and its others are in memory.
    fn directories(&self) -> Vec<Directory> {
        let service = &self.service;
        let shared = |id: &str| {
            let init = service.init_container.as_ref();
            init.is_some_and(|init| init.directories.iter().any(|other| other.id == id))
        };
        let mut directories: Vec<Directory> = service
            .directories
            .iter()
            .map(|directory| Directory {
                path: directory.path.clone(),
                memory: (directory.memory || service.security.read_only) && !shared(&directory.id),
                size: directory.size.filter(|_| directory.memory),
            })
            .collect();
        for file in &self.files {
            let Some(path) = &file.directory else {
                continue;
            };
            if directories.iter().all(|known| known.path != *path) {
                directories.push(Directory {
                    path: path.clone(),
                    memory: false,
                    size: None,
                });
            }
        }
        directories
    }

    /// Stands for everything that a process of this service is started with, but for what
    /// every release and build has of its own. Two that are the same run the same.
    pub fn fingerprint(&self, context: &Context, app: &str) -> String {
        let mut spec = self.process(context, app, "", SERVICE);
        spec.name.clear();
        for name in OF_ITS_RELEASE {
            spec.environment.remove(name);
        }
        // What is not in the specification decides how the process is looked after.
        let mut all = Sha256::new_with_prefix(format!("{spec:?} {:?}", self.service));
        for file in self.files.iter().chain(&self.init_files) {
            all.update(format!("\0{}\0", file.path));
            all.update(&file.bytes);
        }
        rack_api::id::to_hex(&all.finalize())
    }

    /// Makes what processes of this service need besides their image.
    pub async fn prepare(&self, context: &Arc<Context>, app: &str) -> Result<()> {
        context
            .engine
            .ensure_network(&context.network(), &context.labels())
            .await?;
        let init = self.service.init_container.iter();
        let volumes = init.flat_map(|init| &init.volumes);
        for volume in self.service.volumes.iter().chain(volumes) {
            let name = context.volume(app, "volume", &volume.source);
            context
                .engine
                .ensure_volume(&name, &context.app_labels(app))
                .await?;
        }
        Ok(())
    }
}

/// Variables that tell of the release and the build.
const OF_ITS_RELEASE: [&str; 4] = ["RELEASE", "BUILD", "BUILD_DESCRIPTION", "BUILD_GIT_SHA"];

/// Label value of service processes.
pub const SERVICE: &str = "service";
/// Label value of what runs before a service process.
pub const INIT: &str = "init";
/// Label value of one-off processes.
pub const RUN: &str = "run";
/// Label value of resource processes.
pub const RESOURCE: &str = "resource";
/// Label value of processes of resources of the rack.
pub const RACK_RESOURCE: &str = "rack-resource";

/// Weakest first: defaults of the manifest, resources of the rack, links, resources of the
/// app, platform, what the release says of the variables the service declares
/// (`convox-yml.md` §4.3, `builds-releases-runtime.md` §3.6).
#[expect(
    clippy::too_many_arguments,
    reason = "the environment is where everything meets"
)]
fn environment(
    context: &Context,
    app: &str,
    release: &ReleaseRow,
    build: &BuildRow,
    manifest: &Manifest,
    service: &Service,
    linked: &[ResourcePlan],
    resources: &[ResourcePlan],
    variables: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    if let Some(port) = &service.port {
        environment.insert("PORT".to_owned(), port.port.to_string());
    }
    environment.extend(service.default_environment());
    for resource in linked {
        environment.extend(resource.variables(None));
    }
    for link in &service.links {
        if let Some(port) = manifest
            .services
            .get(link)
            .and_then(|linked| linked.port.as_ref())
        {
            environment.insert(
                format!("{}_URL", manifest::resource_variable_prefix(link)),
                format!(
                    "{}://{link}.{app}.{}:{}",
                    port.scheme, context.rack, port.port
                ),
            );
        }
    }
    for link in &service.resources {
        if let Some(resource) = resources.iter().find(|resource| resource.name == link.name) {
            environment.extend(resource.variables(link.variable.as_deref()));
        }
    }
    environment.extend([
        ("APP".to_owned(), app.to_owned()),
        ("RACK".to_owned(), context.rack.clone()),
        ("RELEASE".to_owned(), release.id.clone()),
        ("BUILD".to_owned(), build.id.clone()),
        ("BUILD_DESCRIPTION".to_owned(), build.description.clone()),
        ("BUILD_GIT_SHA".to_owned(), build.git_sha.clone()),
        ("SERVICE".to_owned(), service.name.clone()),
    ]);
    let declared = service.environment_for(variables);
    let said = declared
        .into_iter()
        .filter(|(name, _)| variables.contains_key(name));
    environment.extend(said);
    environment
}
