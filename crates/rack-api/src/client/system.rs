//! The rack itself.

use super::http::Fields;
use super::{Client, ClientError, LogStream};
use crate::{Process, Release, System, log};

impl Client {
    /// Reads the rack's description.
    pub async fn system_get(&self) -> Result<System, ClientError> {
        self.get("/system", Fields::default()).await
    }

    /// Streams the rack's own log.
    pub async fn system_logs(&self, options: &log::Options) -> Result<LogStream, ClientError> {
        self.logs("/system/logs", Some(options)).await
    }

    /// Lists the rack's own processes, or with `all` those of its apps too.
    pub async fn system_processes(&self, all: bool) -> Result<Vec<Process>, ClientError> {
        self.list(
            "/system/processes",
            Fields::default().add("all", all.then_some(true)),
        )
        .await
    }

    /// Lists the versions the rack has run.
    pub async fn system_releases(&self) -> Result<Vec<Release>, ClientError> {
        self.list("/system/releases", Fields::default()).await
    }
}
