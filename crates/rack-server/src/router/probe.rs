//! Asking one process whether it is well.

use std::time::Duration;

use axum::body::Body;
use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;

use super::connect::{ConnectError, spawn};
use super::table::Router;
use super::target::Target;

/// Why a process gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It cannot be connected to.
    #[error("{0}")]
    Connect(String),
    /// It does not speak HTTP as it should.
    #[error("no valid answer: {0}")]
    Http(String),
    /// It took too long.
    #[error("no answer within {} seconds", .0.as_secs_f64())]
    Timeout(Duration),
    /// The path cannot be requested.
    #[error("invalid health check path: {0}")]
    Path(String),
}

impl From<ConnectError> for ProbeError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error.to_string())
    }
}

impl From<hyper::Error> for ProbeError {
    fn from(error: hyper::Error) -> Self {
        let detail = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self::Http(format!("{error}{}", detail.unwrap_or_default()))
    }
}

/// A process that closes a connection sooner than this does not listen.
const AT_ONCE: Duration = Duration::from_millis(200);

impl Router {
    /// Sends one GET to a process on a connection of its own and returns the status of the
    /// answer. Does not count as in flight; the target need not be published.
    pub async fn probe(
        target: &Target,
        path: &str,
        timeout: Duration,
    ) -> Result<StatusCode, ProbeError> {
        let request = Request::get(path)
            // A name that frameworks which check hosts let through.
            .header(HOST, "localhost")
            .header(USER_AGENT, "twinrack-health-check")
            .body(Body::empty())
            .map_err(|_| ProbeError::Path(path.to_owned()))?;
        if !path.starts_with('/') {
            return Err(ProbeError::Path(path.to_owned()));
        }
        let asking = async {
            let stream = target.connector.connect().await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            spawn(connection);
            let response = sender.send_request(request).await?;
            Ok(response.status())
        };
        tokio::time::timeout(timeout, asking)
            .await
            .map_err(|_| ProbeError::Timeout(timeout))?
    }

    /// Connects to a process and hangs up, for services that speak no HTTP.
    pub async fn probe_connect(target: &Target, timeout: Duration) -> Result<(), ProbeError> {
        let connecting = async {
            let mut stream = target.connector.connect().await?;
            // What stands between us and the process may accept before it has asked it.
            let mut byte = [0];
            match tokio::time::timeout(AT_ONCE, stream.read(&mut byte)).await {
                Ok(Ok(0)) => Err(ProbeError::Connect(
                    "the connection was closed at once".into(),
                )),
                Ok(Err(error)) => Err(ProbeError::Connect(error.to_string())),
                Ok(Ok(_)) | Err(_) => Ok(()),
            }
        };
        tokio::time::timeout(timeout, connecting)
            .await
            .map_err(|_| ProbeError::Timeout(timeout))?
    }
}
