//! Releases.

use ::http::Method;

use super::http::{Fields, path};
use super::{Client, ClientError};
use crate::{Release, release};

impl Client {
    /// Makes a release from the latest one and these changes.
    pub async fn release_create(
        &self,
        app: &str,
        options: &release::CreateOptions,
    ) -> Result<Release, ClientError> {
        let release::CreateOptions {
            build,
            env,
            description,
            parent_release,
            latest,
        } = options;
        let fields = Fields::default()
            .add("build", build.as_deref())
            .add("description", description.as_deref())
            .add("env", env.as_deref())
            .add("latest", latest.as_deref())
            .add("parent-release", parent_release.as_deref());
        self.form(Method::POST, &path(&["apps", app, "releases"])?, fields)
            .await
    }

    /// Lists the newest releases, ten unless a limit is given.
    pub async fn release_list(
        &self,
        app: &str,
        limit: Option<u32>,
    ) -> Result<Vec<Release>, ClientError> {
        self.list(
            &path(&["apps", app, "releases"])?,
            Fields::default().add("limit", limit),
        )
        .await
    }

    /// Reads a release.
    pub async fn release_get(&self, app: &str, id: &str) -> Result<Release, ClientError> {
        self.get(&path(&["apps", app, "releases", id])?, Fields::default())
            .await
    }

    /// Starts to make a release the active one.
    pub async fn release_promote(
        &self,
        app: &str,
        id: &str,
        options: &release::PromoteOptions,
    ) -> Result<(), ClientError> {
        let release::PromoteOptions {
            changed,
            development,
            force,
            idle,
            min,
            max,
            timeout,
        } = options;
        let fields = Fields::default()
            .add("changed", *changed)
            .add("development", *development)
            .add("force", *force)
            .add("idle", *idle)
            .add("max", *max)
            .add("min", *min)
            .add("timeout", *timeout);
        self.act(
            Method::POST,
            &path(&["apps", app, "releases", id, "promote"])?,
            fields,
        )
        .await
    }
}
