//! Taking a build archive in: all or nothing.
//!
//! The archive is spooled and verified to its last byte before anything is
//! recorded. Then `load` gives its images to the engine, unless they are there
//! already, and checks what the engine made of them; `record` writes build,
//! images and release in one transaction.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use artifact::{BuildRecord, Contents, ServiceImage};
use async_trait::async_trait;
use manifest::Manifest;
use rack_api::build::{Provenance, status};
use rack_api::{Environment, app};
use serde::{Deserialize, Serialize};
use tempfile::TempPath;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use super::build::{entrypoint, image_row, log_key, log_path};
use super::context::Context;
use super::error::{Failure, Result};
use super::plan::one_line;
use super::{Operation, event};
use crate::engine::Image;
use crate::store::{BuildRow, ImageRow, NewRelease};

/// Bytes of images in flight to the engine.
const PIPE: usize = 256 << 10;

/// An archive that was received and verified whole.
pub struct Received {
    path: TempPath,
    contents: Contents,
}

/// Copies what it reads into a file.
struct Tee<R> {
    from: R,
    to: io::BufWriter<std::fs::File>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.to.write_all(&buffer[..length])?;
        Ok(length)
    }
}

/// Receives an archive into a temporary file, verifying it on the way.
pub async fn receive(
    context: &Context,
    body: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Received> {
    let limits = context.settings.archive_limits.clone();
    let directory = context.scratch();
    let from = SyncIoBridge::new(body);
    tokio::task::spawn_blocking(move || {
        let file = tempfile::Builder::new()
            .prefix("import-")
            .tempfile_in(&directory)
            .map_err(Failure::io("a temporary file for the archive"))?;
        let (file, path) = file.into_parts();
        let mut tee = Tee {
            from,
            to: io::BufWriter::with_capacity(256 << 10, file),
        };
        let contents = artifact::verify(&mut tee, &limits)
            .map_err(|error| Failure::Invalid(one_line(&format!("cannot import: {error}"))))?;
        tee.to
            .flush()
            .map_err(Failure::io("a temporary file for the archive"))?;
        Ok(Received { path, contents })
    })
    .await
    .map_err(|gone| Failure::internal(format!("receiving an archive: {gone}")))?
}

/// An import.
#[derive(Serialize, Deserialize)]
pub struct Import {
    app: String,
    id: String,
    archive: PathBuf,
    services: BTreeMap<String, ServiceImage>,
    #[serde(skip)]
    contents: Option<Contents>,
    #[serde(skip)]
    images: Vec<ImageRow>,
}

/// Parameter of an app that names, separated by commas, other apps whose builds may
/// be imported into it; `*` stands for all. For clients that know no `--force`.
const IMPORT_FROM: &str = "ImportFrom";

/// Imports a received archive into an app. `foreign` allows a build of another app.
pub async fn import(
    context: &Arc<Context>,
    app: &str,
    received: Received,
    foreign: bool,
) -> Result<BuildRow> {
    let id = rack_api::id::build();
    let parameters = context.app(app).await?.parameters;
    let allowed = parameters.get(IMPORT_FROM).map_or("", String::as_str);
    check(app, &received.contents, foreign, allowed)?;
    let operation = Import {
        app: app.to_owned(),
        id: id.clone(),
        archive: received.path.to_path_buf(),
        services: received.contents.services.clone(),
        contents: Some(received.contents),
        images: Vec::new(),
    };
    super::execute(context, rack_api::id::hex(16), operation).await?;
    context
        .store
        .build(app, &id)
        .await?
        .ok_or_else(|| Failure::NotFound(format!("build {id} was deleted while it was imported")))
}

fn deleted() -> Failure {
    Failure::Conflict("cannot import: the app was deleted meanwhile".into())
}

fn record(contents: &Contents) -> Result<&BuildRecord> {
    contents.build.as_ref().ok_or_else(|| {
        Failure::Invalid(
            "cannot import: the archive has no build.json, so it is not a build".into(),
        )
    })
}

/// Everything that can be refused before the engine is touched.
fn check(app: &str, contents: &Contents, foreign: bool, allowed: &str) -> Result<()> {
    let build = record(contents)?;
    let source = &build.app;
    let expected = |name: &str| name.trim() == source || name.trim() == "*";
    if source != app && !foreign && !allowed.split(',').any(expected) {
        return Err(Failure::Invalid(format!(
            "cannot import: the archive is a build of app {source}, not of {app}; to import it \
             nevertheless use --force, or first `convox apps params set {IMPORT_FROM}={source} -a {app}`"
        )));
    }
    let manifest = load(build)?;
    if manifest.services.is_empty() {
        return Err(Failure::Invalid(
            "cannot import: the manifest in the archive declares no services".into(),
        ));
    }
    for service in manifest.services.keys() {
        if !contents.services.contains_key(service) {
            return Err(Failure::Invalid(format!(
                "cannot import: the archive has no image for service {service}"
            )));
        }
    }
    Ok(())
}

fn load(build: &BuildRecord) -> Result<Manifest> {
    Manifest::load_without_environment(&build.manifest, &BTreeMap::new())
        .map(|loaded| loaded.manifest)
        .map_err(|errors| {
            Failure::Invalid(format!(
                "cannot import: the manifest in the archive: {}",
                one_line(&errors.to_string())
            ))
        })
}

#[async_trait]
impl Operation for Import {
    const KIND: &'static str = "import";
    const STEPS: &'static [&'static str] = &["load", "record"];
    const RESUMES: bool = false;

    fn app(&self) -> &str {
        &self.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        match step {
            "load" => self.load(context).await,
            _ => self.record(context).await,
        }
    }

    async fn undo(&mut self, context: &Arc<Context>, _step: &'static str) -> Result<()> {
        if context.store.build(&self.app, &self.id).await?.is_some() {
            // Recorded whole: the server died between that write and the operation's.
            return Ok(());
        }
        for service in self.services.keys() {
            context
                .engine
                .untag(&context.image_reference(&self.app, service, &self.id))
                .await?;
        }
        match tokio::fs::remove_file(log_path(context, &self.app, &self.id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io("the build log")(error))
            }
            _ => Ok(()),
        }
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        event::tell_build(context, &self.app, &self.id, failure).await?;
        match tokio::fs::remove_file(&self.archive).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io("the received archive")(error))
            }
            _ => Ok(()),
        }
    }
}

fn same(image: &Image, expected: &ServiceImage) -> bool {
    image.config_digest == expected.config_digest.as_str()
        && image
            .diff_ids
            .iter()
            .map(String::as_str)
            .eq(expected.diff_ids.iter().map(artifact::Digest::as_str))
}

impl Import {
    async fn load(&mut self, context: &Arc<Context>) -> Result<()> {
        let mut present = true;
        for (service, expected) in &self.services {
            // An image id is the digest of its configuration, which names every
            // layer: what is there under that id is what the archive holds.
            match context
                .engine
                .image(expected.config_digest.as_str())
                .await?
            {
                Some(image) if same(&image, expected) => {
                    context
                        .engine
                        .tag(
                            &image.id,
                            &context.image_reference(&self.app, service, &self.id),
                        )
                        .await?;
                }
                _ => present = false,
            }
        }
        if !present {
            self.feed(context).await?;
        }
        self.images.clear();
        for (service, expected) in &self.services {
            let reference = context.image_reference(&self.app, service, &self.id);
            let image = context.engine.image(&reference).await?.ok_or_else(|| {
                Failure::Failed(format!(
                    "cannot import: the engine did not keep the image of service {service}"
                ))
            })?;
            if !same(&image, expected) {
                return Err(Failure::Failed(format!(
                    "cannot import: the engine holds other bits for service {service} than the archive"
                )));
            }
            self.images.push(image_row(service, image, reference));
        }
        Ok(())
    }

    /// Streams the images to the engine under their new names only.
    async fn feed(&self, context: &Arc<Context>) -> Result<()> {
        let contents = self
            .contents
            .clone()
            .ok_or_else(|| Failure::internal("an import without its contents"))?;
        let limits = context.settings.archive_limits.clone();
        let archive = self.archive.clone();
        let tags: BTreeMap<_, _> = self
            .services
            .keys()
            .map(|service| {
                (
                    service.clone(),
                    context.image_reference(&self.app, service, &self.id),
                )
            })
            .collect();
        let (reader, writer) = tokio::io::duplex(PIPE);
        let writer = SyncIoBridge::new(writer);
        let writing = tokio::task::spawn_blocking(move || {
            let file =
                std::fs::File::open(&archive).map_err(Failure::io("the received archive"))?;
            let from = io::BufReader::with_capacity(256 << 10, file);
            let tag = |service: &str| tags.get(service).cloned().unwrap_or_default();
            artifact::write_docker_load(from, &contents, &tag, writer, &limits)
                .map_err(|error| Failure::Failed(one_line(&format!("cannot import: {error}"))))
        });
        let loaded = context.engine.load(Box::pin(reader)).await;
        let written = writing
            .await
            .map_err(|gone| Failure::internal(format!("loading images: {gone}")))?;
        // The engine's own words explain a broken pipe, not the other way round.
        loaded?;
        written
    }

    async fn record(&mut self, context: &Arc<Context>) -> Result<()> {
        let contents = self
            .contents
            .as_ref()
            .ok_or_else(|| Failure::internal("an import without its contents"))?;
        let build = record(contents)?;
        let manifest = load(build)?;
        let latest = context.store.latest_release(&self.app).await?;
        let variables = latest
            .map(|release| Environment::parse(&release.env).to_map())
            .unwrap_or_default();
        let missing = manifest.missing_environment(&variables);
        // A delete of the app comes wholly before this or wholly after it.
        let _alone = context.lock_builds(&self.app).await;
        if context.app(&self.app).await?.status == app::status::DELETING {
            return Err(deleted());
        }
        let provenance = Provenance {
            rack: contents
                .index
                .as_ref()
                .map(|index| index.source.rack.clone())
                .unwrap_or_default(),
            app: build.app.clone(),
            build: build.id.clone(),
        };
        self.write_log(context, &provenance, contents).await?;
        let row = BuildRow {
            id: self.id.clone(),
            app: self.app.clone(),
            status: status::COMPLETE.to_owned(),
            description: build.description.clone(),
            entrypoint: entrypoint(&self.images),
            git_sha: build.git_sha.clone(),
            manifest: build.manifest.clone(),
            logs: format!("object://{}/{}", self.app, log_key(&self.id)),
            started: context.now(),
            ended: Some(context.now()),
            provenance: Some(provenance),
            missing,
            archive: contents.digest.to_string(),
            ..BuildRow::default()
        };
        let release = NewRelease {
            id: rack_api::id::release(),
            app: self.app.clone(),
            build: self.id.clone(),
            env: None,
            manifest: build.manifest.clone(),
            description: build.description.clone(),
            now: context.now(),
        };
        let recorded = context
            .store
            .complete_build(row, self.images.clone(), release)
            .await?;
        recorded.map(drop).ok_or_else(deleted)
    }

    /// The log of an imported build says where it came from.
    async fn write_log(
        &self,
        context: &Context,
        from: &Provenance,
        contents: &Contents,
    ) -> Result<()> {
        let rack = if from.rack.is_empty() {
            "another rack"
        } else {
            &from.rack
        };
        let mut text = format!(
            "Imported build {} of app {} from {rack}\n",
            from.build, from.app
        );
        for (service, image) in &contents.services {
            text += "Verified ";
            text += service;
            text += ": ";
            text += image.config_digest.as_str();
            text += "\n";
        }
        let path = log_path(context, &self.app, &self.id);
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent)
                .await
                .map_err(Failure::io("the build log"))?;
        }
        tokio::fs::write(&path, text)
            .await
            .map_err(Failure::io("the build log"))
    }
}
