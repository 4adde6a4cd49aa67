//! The environment of an app: that of its latest release, promoted or not.

use rack_api::Environment;
use rack_api::release::{CreateOptions, Release};

use super::Rack;
use crate::operations::Result;

impl Rack {
    /// The environment of an app; empty before the first release.
    pub async fn environment(&self, app: &str) -> Result<Environment> {
        self.context.app(app).await?;
        let latest = self.context.store.latest_release(app).await?;
        Ok(latest
            .map(|release| Environment::parse(&release.env))
            .unwrap_or_default())
    }

    /// Makes a release with this environment text and nothing else of another one.
    pub async fn set_environment(&self, app: &str, text: &str) -> Result<Release> {
        let _alone = self.lock_environment(app).await;
        self.release_environment(app, &Environment::parse(text))
            .await
    }

    /// Makes a release without a variable.
    pub async fn unset_environment(&self, app: &str, name: &str) -> Result<Release> {
        // From reading to writing: of two who take a variable away at the same time,
        // none brings the other's back.
        let _alone = self.lock_environment(app).await;
        let mut environment = self.environment(app).await?;
        environment.unset(name);
        self.release_environment(app, &environment).await
    }

    async fn lock_environment(&self, app: &str) -> tokio::sync::OwnedMutexGuard<()> {
        // No app has a slash in its name: nothing else waits for this one.
        self.context.lock_app(&format!("{app}/environment")).await
    }

    async fn release_environment(&self, app: &str, environment: &Environment) -> Result<Release> {
        let options = CreateOptions {
            env: Some(environment.to_string()),
            ..CreateOptions::default()
        };
        self.create_release(app, &options).await
    }
}
