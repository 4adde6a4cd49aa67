//! Releases and promotion.

use std::sync::Arc;

use rack_api::Environment;
use rack_api::app::status;
use rack_api::release::{CreateOptions, PromoteOptions, Release};

use super::Rack;
use crate::operations::promote::{self, Promote};
use crate::operations::{self, Failure, Result, event};
use crate::store::{NewRelease, Outcome, ReleaseRow};

/// Releases listed when the caller sets no limit (`rack-api.md` §3.3).
pub const DEFAULT_LIMIT: i64 = 10;

fn show(row: ReleaseRow) -> Release {
    Release {
        id: row.id,
        app: row.app,
        build: row.build,
        env: row.env,
        manifest: row.manifest,
        description: row.description,
        created: Some(row.created),
        reason: row.reason,
        ..Release::default()
    }
}

impl Rack {
    /// The row of a release, named by its own id, in any case, or by that of its build.
    pub(super) async fn release_row(&self, app: &str, id: &str) -> Result<ReleaseRow> {
        let mut wanted = id.to_ascii_uppercase();
        if rack_api::id::is_build(&wanted)
            && let Some(build) = self.context.store.build(app, &wanted).await?
            && !build.release.is_empty()
        {
            wanted = build.release;
        }
        self.context
            .store
            .release(app, &wanted)
            .await?
            .ok_or_else(|| Failure::NotFound(format!("release not found: {id}")))
    }

    /// Lists releases, newest first. Environments are left out: they are secrets
    /// and clients read single releases for them.
    pub async fn releases(&self, app: &str, limit: i64) -> Result<Vec<Release>> {
        self.context.app(app).await?;
        let rows = self.context.store.releases(app, limit).await?;
        Ok(rows
            .into_iter()
            .map(|row| Release {
                env: String::new(),
                ..show(row)
            })
            .collect())
    }

    /// Looks a release up, with what its build is made of and where that came from.
    pub async fn release(&self, app: &str, id: &str) -> Result<Release> {
        let row = match self.release_row(app, id).await {
            // A release is gone with its app: only then it matters which one is missing.
            Err(Failure::NotFound(reason)) => {
                self.context.app(app).await?;
                return Err(Failure::NotFound(reason));
            }
            found => found?,
        };
        if row.build.is_empty() {
            return Ok(show(row));
        }
        let build = async { Ok::<_, Failure>(self.context.store.build(app, &row.build).await?) };
        let (build, images) = futures::try_join!(build, self.image_digests(&row.build))?;
        let Some(build) = build else {
            return Ok(show(row));
        };
        Ok(Release {
            images,
            provenance: build.provenance,
            ..show(row)
        })
    }

    /// Makes a release from the latest one and what is given (`builds-releases-runtime.md` §3.2).
    pub async fn create_release(&self, app: &str, options: &CreateOptions) -> Result<Release> {
        self.context.app(app).await?;
        loop {
            let newest = self.context.store.latest_release(app).await?;
            let id = newest
                .as_ref()
                .map(|row| row.id.clone())
                .unwrap_or_default();
            if let Some(wanted) = &options.latest
                && !wanted.eq_ignore_ascii_case(&id)
            {
                return Err(Failure::Conflict(match id.as_str() {
                    "" => format!("{wanted} is not the latest release: there is none"),
                    id => format!(
                        "release {id} was made meanwhile: read it, and make the change again"
                    ),
                }));
            }
            let new = self.new_release(app, newest, options).await?;
            // What was inherited must not undo what somebody else has just set.
            let made = self.context.store.create_release_after(new, id).await?;
            if let Some(release) = made {
                let data = [("app", app), ("id", release.id.as_str())];
                event::tell_success(&self.context, "release:create", &data).await;
                return Ok(show(release));
            }
        }
    }

    /// The release that options make of the latest one.
    async fn new_release(
        &self,
        app: &str,
        latest: Option<ReleaseRow>,
        options: &CreateOptions,
    ) -> Result<NewRelease> {
        let parent = match options
            .parent_release
            .as_deref()
            .filter(|id| !id.is_empty())
        {
            Some(id) => Some(self.release_row(app, id).await?),
            None => latest,
        };
        let mut description = String::new();
        let (mut build, old_env, mut manifest) = match parent {
            Some(parent) => (
                parent.build,
                Environment::parse(&parent.env),
                parent.manifest,
            ),
            None => Default::default(),
        };
        if let Some(id) = options.build.as_deref().filter(|id| !id.is_empty()) {
            build = self.build_row(app, id).await?.id;
        }
        if !build.is_empty() {
            let row = self.build_row(app, &build).await?;
            manifest = row.manifest;
            description = row.description;
        }
        let env = options
            .env
            .as_deref()
            .map_or_else(|| old_env.clone(), Environment::parse);
        if env.to_string().contains('\0') {
            return Err(Failure::Invalid(
                "environment cannot contain NUL: encode binary values, for example in base64"
                    .into(),
            ));
        }
        let diff = env.diff(&old_env);
        if options.env.is_some() && !diff.is_empty() {
            description = format!("env {diff}");
        }
        if let Some(text) = &options.description {
            description.clone_from(text);
        }
        Ok(NewRelease {
            id: rack_api::id::release(),
            app: app.to_owned(),
            build,
            env: Some(env.to_string()),
            manifest,
            description,
            now: self.context.now(),
        })
    }

    /// Checks everything that can be checked, then promotes in the background;
    /// the app is `updating` when this returns the release.
    pub async fn promote(&self, app: &str, id: &str, options: &PromoteOptions) -> Result<Release> {
        self.context.ready().await?;
        let row = self.context.app(app).await?;
        let force = options.force == Some(true);
        if row.status != status::RUNNING && !(force && row.status == status::UPDATING) {
            return Err(Failure::Forbidden(updating(&row.status)));
        }
        let release = self.release_row(app, id).await?;
        if release.manifest.trim().is_empty() {
            return Err(Failure::Invalid(
                "can not promote a release with an empty manifest".into(),
            ));
        }
        if !row.release.is_empty() {
            let active = self.release_row(app, &row.release).await?;
            if release.created < active.created {
                return Err(Failure::Invalid(
                    "can not promote an older release, try rollback".into(),
                ));
            }
        }
        promote::validate(&self.context, app, &release.id).await?;
        let percent = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let operation = Promote {
            minimum: percent(options.min),
            maximum: percent(options.max).filter(|maximum| *maximum > 0),
            timeout: percent(options.timeout).filter(|seconds| *seconds > 0),
            only_changed: options.changed == Some(true),
            ..Promote::new(app, &release.id)
        };
        self.begin_promote(operation, force).await?;
        Ok(show(release))
    }

    /// Records a promote and runs it in the background, alone on its app.
    pub(super) async fn begin_promote(&self, operation: Promote, force: bool) -> Result<()> {
        let context = Arc::clone(&self.context);
        let app = operation.app.clone();
        if !context
            .store
            .change_app_status(&app, status::RUNNING, status::UPDATING)
            .await?
        {
            let now = context.app(&app).await?.status;
            if !force || now == status::DELETING {
                return Err(Failure::Forbidden(updating(&now)));
            }
        }
        // Under way from here on: whatever ends meanwhile leaves the app `updating`.
        context.promote_token(&app, &operation.rollout);
        let id = rack_api::id::hex(16);
        let begun = async {
            context.set_app_settled(&app).await?;
            operations::save(&context, &id, &operation, Outcome::Running, 0, "").await
        };
        if let Err(error) = begun.await {
            context.promote_ended(&app, &operation.rollout);
            context.set_app_settled(&app).await?;
            return Err(error);
        }
        if operation.services.is_none() {
            let data = [("app", app.as_str()), ("id", operation.release.as_str())];
            event::tell_start(&context, "release:promote", &data).await;
        }
        let tasks = context.tasks.clone();
        tasks.spawn(async move {
            let _alone = context.lock_app(&app).await;
            if matches!(context.store.app(&app).await, Ok(None)) {
                // It was deleted while this one waited; not even a log is left to write to.
                context.promote_ended(&app, &operation.rollout);
                let reason = "the app was deleted";
                let ended = operations::save(&context, &id, &operation, Outcome::Failed, 0, reason);
                if let Err(error) = ended.await {
                    tracing::error!(%error, "could not record the end of a promote");
                }
                return;
            }
            // The failure is in the app's log and with the release.
            if let Err(failure) = operations::execute(&context, id, operation).await {
                tracing::info!(app, %failure, "promote failed");
            }
        });
        Ok(())
    }
}

/// Why an app that is in this status cannot be changed now.
pub(super) fn updating(status: &str) -> String {
    match status {
        status::DELETING => "app is being deleted".into(),
        _ => "app is currently updating".into(),
    }
}
