//! Resources of an app.

use ::http::Method;

use super::http::{Fields, path, with_headers};
use super::{Client, ClientError, Download, ExecSocket, Upload};
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

    /// Dumps what a resource holds.
    pub async fn resource_export(&self, app: &str, name: &str) -> Result<Download, ClientError> {
        let path = path(&["apps", app, "resources", name, "data"])?;
        self.download(&path, Fields::default()).await
    }

    /// Restores a dump into a resource.
    pub async fn resource_import(
        &self,
        app: &str,
        name: &str,
        dump: Upload,
    ) -> Result<(), ClientError> {
        let path = path(&["apps", app, "resources", name, "data"])?;
        self.send_body(Method::PUT, &path, dump).await
    }

    /// Opens an interactive session with a resource; a size is that of the terminal.
    pub async fn resource_console(
        &self,
        app: &str,
        name: &str,
        size: Option<(u16, u16)>,
    ) -> Result<ExecSocket, ClientError> {
        let (height, width) = size.unzip();
        let headers = [
            ("Height", height.map(|rows| rows.to_string())),
            ("Width", width.map(|columns| columns.to_string())),
        ];
        let path = path(&["apps", app, "resources", name, "console"])?;
        let request = with_headers(self.rack_request(Method::GET, &path)?, headers)?;
        self.exec_socket(request).await
    }
}
