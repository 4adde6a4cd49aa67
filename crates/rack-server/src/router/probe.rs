//! Asking one process whether it is well.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
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
    /// It says itself that it is not well, or does not answer the question.
    #[error("{0}")]
    Grpc(String),
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

/// What asks a gRPC process for its health.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Most bytes of its answer.
const LONGEST_ANSWER: usize = 64 << 10;

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

    /// Asks a process for its health as gRPC processes are asked
    /// (`grpc.health.v1.Health/Check`, for the process as a whole).
    pub async fn probe_grpc(target: &Target, timeout: Duration) -> Result<(), ProbeError> {
        let scheme = if target.scheme().is_tls() {
            "https"
        } else {
            "http"
        };
        let request = Request::post(format!("{scheme}://localhost{CHECK}"))
            .header(USER_AGENT, "twinrack-health-check")
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            // A message without compression, five bytes of frame and no field.
            .body(Body::from(Bytes::from_static(&[0; 5])))
            .expect("a valid request");
        let asking = async {
            let stream = target.connector.connect().await?;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await?;
            spawn(connection);
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            if head.status != StatusCode::OK {
                let text = format!("the health check is answered with {}", head.status.as_u16());
                return Err(ProbeError::Grpc(text));
            }
            let answer = Limited::new(body, LONGEST_ANSWER)
                .collect()
                .await
                .map_err(|error| ProbeError::Http(error.to_string()))?;
            // What fails at once has its status in the head.
            let trailers = answer.trailers().cloned().unwrap_or(head.headers);
            serving(&trailers, &answer.to_bytes())
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

/// Whether the answer to a health check is that the process serves.
fn serving(trailers: &HeaderMap, message: &[u8]) -> Result<(), ProbeError> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let refuse = |reason: String| Err(ProbeError::Grpc(reason));
    match text("grpc-status") {
        Some("0") => {}
        None => return refuse("the health check is answered without a status".into()),
        Some("12") => {
            return refuse(
                "it has no health service: add grpc.health.v1.Health to it, or leave grpcHealthEnabled out"
                    .into(),
            );
        }
        Some(status) => {
            let message = text("grpc-message").unwrap_or_default();
            let reason = format!("the health check fails with status {status} {message}");
            return refuse(reason.trim_end().to_owned());
        }
    }
    // Frame of five bytes, then field 1 as a number; a field that is not there is 0.
    let status = match message.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    };
    match status {
        1 => Ok(()),
        2 => refuse("it says that it is not serving".into()),
        3 => refuse("it does not know the health of the process".into()),
        _ => refuse("it says that its health is unknown".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_serving_is_healthy() {
        let check = |status: Option<&'static str>, message: &[u8]| {
            let mut trailers = HeaderMap::new();
            if let Some(status) = status {
                trailers.insert("grpc-status", http::HeaderValue::from_static(status));
            }
            serving(&trailers, message).map_err(|error| error.to_string())
        };
        assert_eq!(check(Some("0"), &[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        for (status, message, said) in [
            (None, &[0, 0, 0, 0, 2, 8, 1][..], "without a status"),
            (Some("0"), &[0, 0, 0, 0, 2, 8, 2], "not serving"),
            (Some("0"), &[0, 0, 0, 0, 0], "unknown"),
            (Some("0"), &[], "unknown"),
            (Some("12"), &[], "grpcHealthEnabled"),
            (Some("14"), &[], "status 14"),
        ] {
            let reason = check(status, message).expect_err("not healthy");
            assert!(reason.contains(said), "{reason}");
        }
    }
}
