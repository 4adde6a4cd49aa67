//! Objects.

use super::http::{Fields, path, subpath};
use super::{Client, ClientError, Download, Upload};
use crate::Object;

impl Client {
    /// Stores an object; the rack chooses the key when it is empty.
    pub async fn object_store(
        &self,
        app: &str,
        key: &str,
        body: Upload,
    ) -> Result<Object, ClientError> {
        self.upload(&subpath(&path(&["apps", app, "objects"])?, key)?, body)
            .await
    }

    /// Reads an object.
    pub async fn object_fetch(&self, app: &str, key: &str) -> Result<Download, ClientError> {
        let path = subpath(&path(&["apps", app, "objects"])?, key)?;
        self.download(&path, Fields::default()).await
    }
}
