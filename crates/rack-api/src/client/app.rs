//! Apps.

use std::collections::BTreeMap;
use std::time::Duration;

use ::http::Method;

use super::http::{Fields, path};
use super::{Client, ClientError, LogStream};
use crate::{App, log, params};

impl Client {
    /// Lists the apps.
    pub async fn app_list(&self) -> Result<Vec<App>, ClientError> {
        self.list("/apps", Fields::default()).await
    }

    /// Reads an app.
    pub async fn app_get(&self, app: &str) -> Result<App, ClientError> {
        self.get(&path(&["apps", app])?, Fields::default()).await
    }

    /// Reads an app once its status is `running` or the time is over. Only our
    /// server waits; the flag says whether it was one, and a real rack must be
    /// polled.
    pub async fn app_get_settled(
        &self,
        app: &str,
        timeout: Duration,
    ) -> Result<(App, bool), ClientError> {
        let settled = params::encode_duration(timeout);
        let query = Fields::default().add("settled", Some(settled));
        let request = self.query_request(&path(&["apps", app])?, query)?;
        let response = self.send(request).await?;
        let waited = super::http::is_twinrack(&response);
        Ok((self.read(response).await?, waited))
    }

    /// Creates an app of a manifest generation, the rack's newest by default.
    pub async fn app_create(
        &self,
        name: &str,
        generation: Option<&str>,
    ) -> Result<App, ClientError> {
        let fields = Fields::default()
            .add("generation", generation)
            .add("name", Some(name));
        self.form(Method::POST, "/apps", fields).await
    }

    /// Deletes an app.
    pub async fn app_delete(&self, app: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &path(&["apps", app])?, Fields::default())
            .await
    }

    /// Protects an app from deletion, or no longer.
    pub async fn app_lock(&self, app: &str, lock: bool) -> Result<(), ClientError> {
        let fields = Fields::default().add("lock", Some(lock));
        self.act(Method::PUT, &path(&["apps", app])?, fields).await
    }

    /// Sets some of an app's parameters.
    pub async fn app_parameters(
        &self,
        app: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<(), ClientError> {
        let fields = Fields::default().add("parameters", Some(params::encode_map(parameters)));
        self.act(Method::PUT, &path(&["apps", app])?, fields).await
    }

    /// Aborts the promote that is under way.
    pub async fn app_cancel(&self, app: &str) -> Result<(), ClientError> {
        self.act(
            Method::POST,
            &path(&["apps", app, "cancel"])?,
            Fields::default(),
        )
        .await
    }

    /// Streams an app's log.
    pub async fn app_logs(
        &self,
        app: &str,
        options: &log::Options,
    ) -> Result<LogStream, ClientError> {
        self.logs(&path(&["apps", app, "logs"])?, Some(options))
            .await
    }
}
