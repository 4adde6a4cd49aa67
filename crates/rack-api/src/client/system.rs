//! The rack itself.

use ::http::Method;

use super::http::Fields;
use super::{Client, ClientError, LogStream};
use crate::system::{Token, UpdateOptions};
use crate::{Process, Release, System, log, params};

/// More than any certificate has.
const LARGEST_CERTIFICATE: usize = 64 << 10;

impl Client {
    /// Reads the rack's description.
    pub async fn system_get(&self) -> Result<System, ClientError> {
        self.get("/system", Fields::default()).await
    }

    /// The certificate of the server's own authority, PEM; only our servers have one.
    pub async fn system_authority(&self) -> Result<String, ClientError> {
        let mut download = self.download("/system/ca", Fields::default()).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = download.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST_CERTIFICATE {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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

    /// Changes the rack.
    pub async fn system_update(&self, options: &UpdateOptions) -> Result<(), ClientError> {
        let UpdateOptions {
            count,
            kind,
            parameters,
            version,
        } = options;
        let parameters = (!parameters.is_empty()).then(|| params::encode_map(parameters));
        let fields = Fields::default()
            .add("count", *count)
            .add("parameters", parameters)
            .add("type", kind.as_deref())
            .add("version", version.as_deref());
        self.act(Method::PUT, "/system", fields).await
    }

    /// Makes a token for a role and a number of hours.
    pub async fn token_create(&self, role: &str, hours: i64) -> Result<Token, ClientError> {
        let fields = Fields::default()
            .add("durationInHour", Some(hours))
            .add("role", Some(role));
        self.form(Method::POST, "/system/jwt/token", fields).await
    }

    /// Lets the addresses of instances in; the answer says only that it went well.
    pub async fn instances_let_in(&self) -> Result<(), ClientError> {
        let path = "/system/sync/whitelist/instances/ip";
        self.finish(self.rack_request(Method::GET, path)?).await
    }

    /// Makes a new key for tokens; earlier tokens are no longer good.
    pub async fn token_rotate(&self) -> Result<(), ClientError> {
        self.act(Method::PUT, "/system/jwt/rotate", Fields::default())
            .await
    }
}
