//! Resources of an app.

use super::http::{Fields, path};
use super::{Client, ClientError};
use crate::Resource;

impl Client {
    /// Lists an app's resources.
    pub async fn resource_list(&self, app: &str) -> Result<Vec<Resource>, ClientError> {
        self.list(&path(&["apps", app, "resources"])?, Fields::default())
            .await
    }

    /// Reads a resource.
    pub async fn resource_get(&self, app: &str, name: &str) -> Result<Resource, ClientError> {
        self.get(&path(&["apps", app, "resources", name])?, Fields::default())
            .await
    }
}
