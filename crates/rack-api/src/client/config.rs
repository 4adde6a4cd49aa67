//! Configs: named texts of an app.

use ::http::Method;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::http::{Fields, path};
use super::{Client, ClientError};
use crate::config::AppConfig;

impl Client {
    /// Lists the configs of an app.
    pub async fn config_list(&self, app: &str) -> Result<Vec<AppConfig>, ClientError> {
        self.list(&path(&["apps", app, "configs"])?, Fields::default())
            .await
    }

    /// Reads a config.
    pub async fn config_get(&self, app: &str, name: &str) -> Result<AppConfig, ClientError> {
        self.get(&path(&["apps", app, "configs", name])?, Fields::default())
            .await
    }

    /// Sets a config.
    pub async fn config_set(&self, app: &str, name: &str, value: &[u8]) -> Result<(), ClientError> {
        let fields = Fields::default().add("value", Some(BASE64_STANDARD.encode(value)));
        self.act(Method::PUT, &path(&["apps", app, "configs", name])?, fields)
            .await
    }
}
