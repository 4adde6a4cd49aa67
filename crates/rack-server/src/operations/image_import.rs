//! Giving a build the images somebody else has made: fetched from a registry instead
//! of built.
//!
//! `pull` → `record`. Every service without an `image` of its own gets the one named
//! by the client. The credentials live in memory only; an import a dead server left
//! behind ends as failed, like a build.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use rack_api::build::status;
use serde::{Deserialize, Serialize};

use super::Operation;
use super::build::{self, Handle, entrypoint, image_row, log_key, log_path};
use super::build_log::BuildLog;
use super::context::Context;
use super::error::{Failure, Result};
use super::plan::one_line;
use crate::engine::Credentials;
use crate::store::{ImageRow, Outcome};

/// Most imports under way at once, as on real racks.
pub const MOST_AT_ONCE: usize = 4;

/// An import of images.
#[derive(Serialize, Deserialize)]
pub struct ImageImport {
    app: String,
    id: String,
    /// Image to fetch, by service.
    images: BTreeMap<String, String>,
    /// Login to the registry of the image the client has named.
    #[serde(skip)]
    login: Option<(String, Credentials)>,
    #[serde(skip)]
    rows: Vec<ImageRow>,
}

/// The registry an image comes from.
pub fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// Starts an import into a build that has none yet; the build is `running` when this
/// returns. `login` is the registry of the image and what to say to it.
pub async fn begin(
    context: &Arc<Context>,
    app: &str,
    id: &str,
    images: BTreeMap<String, String>,
    login: Option<(String, Credentials)>,
) -> Result<()> {
    let slot = Arc::clone(&context.image_imports)
        .try_acquire_owned()
        .map_err(|_| {
            Failure::Conflict(format!(
                "rack at concurrent-import cap ({MOST_AT_ONCE} in flight); wait and retry"
            ))
        })?;
    // A delete of the app comes wholly before this, or cancels what begins here.
    let alone = context.lock_builds(app).await;
    let operation = ImageImport {
        app: app.to_owned(),
        id: id.to_owned(),
        images,
        login,
        rows: Vec::new(),
    };
    let operation_id = rack_api::id::hex(16);
    // First what would end the build after a crash, then the build's own row.
    super::save(context, &operation_id, &operation, Outcome::Running, 0, "").await?;
    let begun = async {
        if !context.store.begin_image_import(id, context.now()).await? {
            return Err(Failure::Conflict(format!(
                "build {id} is already importing; wait for completion before retrying"
            )));
        }
        let log = BuildLog::create(log_path(context, app, id)).await;
        if let Err(failure) = &log {
            build::record_failure(context, app, id, failure).await?;
        }
        log
    };
    let log = match begun.await {
        Ok(log) => log,
        Err(failure) => {
            let reason = failure.to_string();
            super::save(
                context,
                &operation_id,
                &operation,
                Outcome::Failed,
                0,
                &reason,
            )
            .await?;
            return Err(failure);
        }
    };
    let handle = Handle::new(log, context.shutdown.child_token(), app);
    context.builds.insert(id, handle.clone());
    drop(alone);
    let (at, id) = (Arc::clone(context), id.to_owned());
    context.tasks.spawn(async move {
        let _slot = slot;
        // The failure is in the build's log and record.
        if let Err(failure) = super::execute(&at, operation_id, operation).await {
            tracing::info!(build = id, %failure, "image import failed");
        }
        handle.log.end();
        at.builds.remove(&id);
    });
    Ok(())
}

#[async_trait]
impl Operation for ImageImport {
    const KIND: &'static str = "import-image";
    const STEPS: &'static [&'static str] = &["pull", "record"];
    const RESUMES: bool = false;
    const KEEPS_UNDOING: bool = true;

    fn app(&self) -> &str {
        &self.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        let handle = context
            .builds
            .get(&self.id)
            .ok_or_else(|| Failure::internal("an image import without its handle"))?;
        if step == "record" {
            return self.record(context, &handle).await;
        }
        let limit = context.settings.build_timeout;
        tokio::select! {
            result = self.pull(context, &handle) => result,
            () = tokio::time::sleep(limit) => {
                Err(Failure::Failed(format!("the import took longer than {} seconds", limit.as_secs())))
            }
            () = handle.cancel.cancelled() => Err(if context.shutdown.is_cancelled() {
                Failure::Interrupted("the server was stopped during the import".into())
            } else {
                Failure::Cancelled("the import was cancelled".into())
            }),
        }
    }

    async fn undo(&mut self, context: &Arc<Context>, _step: &'static str) -> Result<()> {
        if self.is_complete(context).await? {
            // The server died between the last write of the build and that of its operation.
            return Ok(());
        }
        for service in self.images.keys() {
            context
                .engine
                .untag(&context.image_reference(&self.app, service, &self.id))
                .await?;
        }
        Ok(())
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        match failure {
            Some(failure) if !self.is_complete(context).await? => {
                build::record_failure(context, &self.app, &self.id, failure).await
            }
            _ => Ok(()),
        }
    }
}

impl ImageImport {
    async fn is_complete(&self, context: &Context) -> Result<bool> {
        let row = context.store.build(&self.app, &self.id).await?;
        Ok(row.is_none_or(|row| row.status == status::COMPLETE))
    }

    async fn pull(&mut self, context: &Arc<Context>, handle: &Handle) -> Result<()> {
        self.rows.clear();
        for (service, reference) in &self.images {
            handle.log.line(&format!("Pulling: {reference}")).await?;
            let login = self.login.as_ref();
            let credentials = login
                .filter(|(host, _)| host == registry(reference))
                .map(|(_, credentials)| credentials);
            let image = context
                .engine
                .pull(reference, credentials)
                .await
                .map_err(|error| {
                    let reason = one_line(&error.to_string());
                    Failure::Failed(format!(
                        "image relay failed for service {service}: {reason}"
                    ))
                })?;
            let kept = context.image_reference(&self.app, service, &self.id);
            context.engine.tag(&image.id, &kept).await?;
            self.rows.push(image_row(service, image, kept));
        }
        Ok(())
    }

    async fn record(&mut self, context: &Arc<Context>, handle: &Handle) -> Result<()> {
        handle.log.sync().await?;
        let logs = format!("object://{}/{}", self.app, log_key(&self.id));
        let recorded = context
            .store
            .complete_image_import(
                &self.id,
                entrypoint(&self.rows),
                logs,
                context.now(),
                std::mem::take(&mut self.rows),
            )
            .await?;
        if recorded {
            return Ok(());
        }
        Err(Failure::Cancelled(
            "the app was deleted during the import".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::registry;

    #[test]
    fn registries_are_told_from_repositories() {
        for (reference, host) in [
            ("busybox", "docker.io"),
            ("team/app:1", "docker.io"),
            ("localhost/app", "localhost"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000"),
            ("ghcr.io/team/app@sha256:00", "ghcr.io"),
        ] {
            assert_eq!(registry(reference), host, "{reference}");
        }
    }
}
