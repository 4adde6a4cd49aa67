//! Builds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use rack_api::build::{Build, CreateOptions, status};
use tokio::io::AsyncRead;

use super::Rack;
use super::release::updating;
use crate::operations::export::{self, Export};
use crate::operations::remove_build::RemoveBuild;
use crate::operations::{self, Failure, Result, build, import, layers, newborn, reception};
use crate::store::BuildRow;

/// Builds listed when the caller sets no limit (`rack-api.md` §3.2).
pub const DEFAULT_LIMIT: i64 = 10;

impl Rack {
    /// Image digests of a build, by service.
    pub(super) async fn image_digests(&self, build: &str) -> Result<BTreeMap<String, String>> {
        let images = self.context.store.images(build).await?.into_values();
        Ok(images
            .map(|image| (image.service, image.config_digest))
            .collect())
    }

    pub(super) async fn show_build(&self, row: BuildRow) -> Result<Build> {
        let images = self.image_digests(&row.id).await?;
        Ok(Build {
            id: row.id,
            app: row.app,
            description: row.description,
            entrypoint: row.entrypoint,
            git_sha: row.git_sha,
            logs: row.logs,
            manifest: row.manifest,
            process: String::new(),
            release: row.release,
            reason: row.reason,
            status: row.status,
            started: Some(row.started),
            ended: row.ended,
            images,
            provenance: row.provenance,
            missing_environment: row.missing,
            repository: String::new(),
        })
    }

    /// The row of a build, named by its own id, in any case, or by that of its release.
    pub(super) async fn build_row(&self, app: &str, id: &str) -> Result<BuildRow> {
        self.context.app(app).await?;
        let mut wanted = id.to_ascii_uppercase();
        if rack_api::id::is_release(&wanted)
            && let Some(release) = self.context.store.release(app, &wanted).await?
            && !release.build.is_empty()
        {
            wanted = release.build;
        }
        self.context
            .store
            .build(app, &wanted)
            .await?
            .ok_or_else(|| Failure::NotFound(format!("build not found: {id}")))
    }

    /// Lists builds, newest first.
    pub async fn builds(&self, app: &str, limit: i64) -> Result<Vec<Build>> {
        self.context.app(app).await?;
        let rows = self.context.store.builds(app, limit).await?;
        let shown = rows.into_iter().map(|row| self.show_build(row));
        futures::future::try_join_all(shown).await
    }

    /// Looks a build up.
    pub async fn build(&self, app: &str, id: &str) -> Result<Build> {
        let row = self.build_row(app, id).await?;
        self.show_build(row).await
    }

    /// Starts a build of a stored object, `object://<app>/<key>`.
    pub async fn create_build(
        &self,
        app: &str,
        url: &str,
        options: &CreateOptions,
    ) -> Result<Build> {
        self.context.app(app).await?;
        let rest = url.strip_prefix("object://").ok_or_else(|| {
            Failure::Invalid(format!("only object:// sources are supported (got {url})"))
        })?;
        let (owner, key) = rest.split_once('/').unwrap_or((rest, ""));
        if owner != app {
            return Err(Failure::Invalid(format!(
                "source {url} belongs to another app"
            )));
        }
        let path = self.object_path(app, key)?;
        if !tokio::fs::try_exists(&path)
            .await
            .map_err(Failure::io("the uploaded source"))?
        {
            return Err(Failure::NotFound(format!("object not found: {key}")));
        }
        // What clients put under `tmp/` is for one build (`rack-api.md` §6.1).
        let temporary = key.trim_start_matches('/').starts_with("tmp/");
        self.begin_build(app, path, temporary, options).await
    }

    /// Starts a build of a source that was uploaded with the request (2017 clients).
    pub async fn create_build_from(
        &self,
        app: &str,
        source: impl AsyncRead + Unpin,
        options: &CreateOptions,
    ) -> Result<Build> {
        self.context.app(app).await?;
        let path = self.spool(source).await?;
        self.begin_build(app, path, true, options).await
    }

    /// Fails for an app that is missing or on its way out.
    pub(super) async fn not_deleting(&self, app: &str) -> Result<()> {
        let status = self.context.app(app).await?.status;
        if status == rack_api::app::status::DELETING {
            return Err(Failure::Forbidden(updating(&status)));
        }
        Ok(())
    }

    pub(super) async fn begin_build(
        &self,
        app: &str,
        path: PathBuf,
        temporary: bool,
        options: &CreateOptions,
    ) -> Result<Build> {
        self.context.ready().await?;
        if options.build_args.iter().any(|pair| !pair.contains('=')) {
            return Err(Failure::Invalid("invalid build args".into()));
        }
        self.not_deleting(app).await?;
        let row = build::begin(&self.context, app, path, temporary, options).await?;
        self.show_build(row).await
    }

    pub(super) async fn spool(&self, mut source: impl AsyncRead + Unpin) -> Result<PathBuf> {
        let path = self
            .context
            .scratch()
            .join(format!("source-{}.tgz", rack_api::id::hex(16)));
        let written = async {
            let mut file = tokio::fs::File::create(&path).await?;
            tokio::io::copy(&mut source, &mut file).await?;
            file.sync_all().await
        };
        if let Err(error) = written.await {
            let _ = tokio::fs::remove_file(&path).await;
            return Err(Failure::io("the uploaded source")(error));
        }
        Ok(path)
    }

    /// Streams a build's log from its first byte; live until the build has ended.
    pub async fn build_log(
        &self,
        app: &str,
        id: &str,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>> {
        let row = self.build_row(app, id).await?;
        if let Some(handle) = self.context.builds.get(&row.id) {
            return Ok(handle.log.follow().boxed());
        }
        if row.status == status::RUNNING {
            // Left by a former server and about to be ended by recovery.
            return Err(Failure::Conflict(format!(
                "build {} is being recovered: try again",
                row.id
            )));
        }
        match tokio::fs::File::open(build::log_path(&self.context, app, &row.id)).await {
            Ok(file) => Ok(tokio_util::io::ReaderStream::new(file).boxed()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(futures::stream::empty().boxed())
            }
            Err(error) => Err(Failure::io("the build log")(error)),
        }
    }

    /// Removes a build with its images, its log and its releases; not the one that is
    /// active, and none that is under way. Returns it as it was.
    pub async fn delete_build(&self, app: &str, id: &str) -> Result<Build> {
        self.context.ready().await?;
        let row = self.build_row(app, id).await?;
        // Whatever is being promoted stays whole until it is decided.
        let _alone = self.context.lock_app(app).await;
        let owner = self.context.app(app).await?;
        if owner.status != rack_api::app::status::RUNNING {
            return Err(Failure::Forbidden(updating(&owner.status)));
        }
        let active = self.context.store.release(app, &owner.release).await?;
        if active.is_some_and(|release| release.build == row.id) {
            return Err(Failure::Invalid(format!(
                "cannot delete build of active release: {}",
                row.id
            )));
        }
        if row.status == status::RUNNING {
            return Err(Failure::Conflict(format!(
                "build {} is under way: cancel it first",
                row.id
            )));
        }
        // Fails before anything is gone while the engine cannot be reached.
        self.context.engine.info().await?;
        let removal = RemoveBuild {
            app: app.to_owned(),
            id: row.id.clone(),
        };
        let shown = self.show_build(row).await?;
        operations::execute(&self.context, rack_api::id::hex(16), removal).await?;
        Ok(shown)
    }

    /// Prepares the archive of a build in a format, the default one if it has no name.
    /// Returns the archive's name and what will stream it. Layers of `without` are left
    /// out.
    pub async fn export_build(
        &self,
        app: &str,
        id: &str,
        format: &str,
        without: &[String],
    ) -> Result<(String, Export)> {
        let format = match format {
            "" => artifact::Format::Default,
            name => name
                .parse()
                .map_err(|error: artifact::ArtifactError| Failure::Invalid(error.to_string()))?,
        };
        if !without.is_empty() && format != artifact::Format::Default {
            return Err(Failure::Invalid(format!(
                "layers can be left out of the default format only, not of {format}"
            )));
        }
        let without: BTreeSet<artifact::Digest> = without
            .iter()
            .map(|digest| digest.parse())
            .collect::<std::result::Result<_, artifact::ArtifactError>>()
            .map_err(|error| Failure::Invalid(error.to_string()))?;
        self.context.ready().await?;
        let row = self.build_row(app, id).await?;
        let export = export::prepare(&self.context, &row, format, without).await?;
        Ok((format!("{}.tgz", row.id), export))
    }

    /// The layers of the images that the rack has, lowest first, which need not be sent
    /// to an app of it.
    pub async fn layers(&self, app: &str) -> Result<Vec<Vec<String>>> {
        self.context.app(app).await?;
        layers::of_rack(&self.context, app).await
    }

    /// The layers of a build's images, lowest first, by service.
    pub(super) async fn build_layers(&self, build: &str) -> Result<BTreeMap<String, Vec<String>>> {
        let images = self.context.store.images(build).await?.into_values();
        Ok(images
            .map(|image| (image.service, image.diff_ids))
            .collect())
    }

    /// Imports an archive; the build has its release when this returns. Of a `thin` one
    /// layers may be missing that the rack has.
    pub async fn import_build(
        &self,
        app: &str,
        archive: impl AsyncRead + Send + Unpin + 'static,
        foreign: bool,
        thin: bool,
    ) -> Result<Build> {
        self.context.ready().await?;
        self.not_deleting(app).await?;
        // Before the archive comes, which may take any time.
        let foreign = foreign || newborn::is_filling(&self.context, app).await?;
        let (place, archive) = tokio::select! {
            admitted = self.context.admission.admit(archive) => admitted
                .map_err(|error| Failure::Invalid(format!("cannot import: cannot read: {error}")))?,
            () = self.context.shutdown.cancelled() => return Err(Failure::Shutdown),
        };
        let received = reception::receive(&self.context, app, archive, foreign, thin).await?;
        let row = import::import(&self.context, app, received, foreign).await?;
        drop(place);
        self.context.newborn.remove(app);
        self.show_build(row).await
    }
}
