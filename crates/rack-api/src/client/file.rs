//! Files of processes, as tars.

use ::http::Method;

use super::http::{Fields, path};
use super::{Client, ClientError, Download, Upload};

impl Client {
    /// Fetches a file or a directory of a process as a tar, whose names are relative
    /// to the parent of the path.
    pub async fn files_download(
        &self,
        app: &str,
        pid: &str,
        file: &str,
    ) -> Result<Download, ClientError> {
        let path = path(&["apps", app, "processes", pid, "files"])?;
        let query = Fields::default().add("file", Some(file));
        self.download(&path, query).await
    }

    /// Unpacks a tar at the root of a process.
    pub async fn files_upload(&self, app: &str, pid: &str, tar: Upload) -> Result<(), ClientError> {
        let path = path(&["apps", app, "processes", pid, "files"])?;
        self.send_body(Method::POST, &path, tar).await
    }

    /// Removes files of a process.
    pub async fn files_delete(
        &self,
        app: &str,
        pid: &str,
        files: &[String],
    ) -> Result<(), ClientError> {
        let path = path(&["apps", app, "processes", pid, "files"])?;
        let query = Fields::default().add("files", Some(files.join(",")));
        let request = self.request_with_query(Method::DELETE, &path, query)?;
        self.finish(request).await
    }
}
