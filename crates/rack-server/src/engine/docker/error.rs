//! Turns what went wrong into the three things a caller can act on: the engine is
//! not there, the thing is not there, or the engine said no and why, on one line.

use std::error::Error as _;

use bollard::errors::Error;
use http::Response;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::connect::KIND;
use crate::engine::{EngineError, Result};

/// Longest refusal worth reading.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Maps an error of a call about one thing.
pub(super) fn about(kind: &'static str, name: &str, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => refused(kind, name, status_code, &message),
        Error::DockerContainerWaitError { error, code } if error.is_empty() => {
            EngineError::Failed(format!("{kind} {name} ended with status {code}"))
        }
        Error::DockerStreamError { error } | Error::DockerContainerWaitError { error, .. } => {
            EngineError::Failed(sentence(&error))
        }
        Error::RequestTimeoutError => unreachable(
            "it accepted the request but did not answer in time; check `docker info`, or restart Docker",
        ),
        Error::IOError { err } => unreachable(&err.to_string()),
        Error::HyperResponseError { err } => unreachable(&broken(&err)),
        Error::HyperLegacyError { err } => unreachable(&err.to_string()),
        other => EngineError::Failed(sentence(&format!(
            "docker answered something unexpected: {other}"
        ))),
    }
}

/// Maps a refusal by status.
pub(super) fn refused(kind: &'static str, name: &str, status: u16, message: &str) -> EngineError {
    match status {
        404 => EngineError::NotFound {
            kind,
            name: name.to_owned(),
        },
        _ if message.trim().is_empty() => {
            EngineError::Failed(format!("docker refused with status {status}"))
        }
        _ => EngineError::Failed(sentence(message)),
    }
}

/// The message of a refusal.
pub(super) async fn refusal(response: Response<Incoming>) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let body = Limited::new(response.into_body(), LONGEST_REFUSAL)
        .collect()
        .await;
    let text = body
        .map_err(|error| unreachable(&format!("its refusal was cut off: {error}")))?
        .to_bytes();
    Ok(serde_json::from_slice::<Refusal>(&text).map_or_else(
        |_| String::from_utf8_lossy(&text).into_owned(),
        |refusal| refusal.message,
    ))
}

/// The engine does not answer.
pub(super) fn unreachable(reason: &str) -> EngineError {
    EngineError::Unreachable {
        engine: KIND,
        reason: one_line(reason),
    }
}

/// Status of a refusal, if it was one.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether it was a refusal that mentions `words`.
pub(super) fn mentions(error: &Error, words: &str) -> bool {
    matches!(error, Error::DockerResponseServerError { message, .. } if message.contains(words))
}

/// Says how a connection broke.
pub(super) fn broken(error: &hyper::Error) -> String {
    let cause = error
        .source()
        .map(|cause| format!(" ({cause})"))
        .unwrap_or_default();
    format!("the connection broke: {error}{cause}; check that Docker is still running")
}

/// Puts text on one line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One line that starts as our messages do, in lower case unless it starts with a name.
pub(super) fn sentence(text: &str) -> String {
    let line = one_line(text);
    let mut letters = line.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(line.chars().skip(1)).collect()
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_one_line_in_lower_case() {
        assert_eq!(
            sentence("Conflict. The\n  name\tis used "),
            "conflict. The name is used"
        );
        assert_eq!(
            sentence("OCI runtime create failed"),
            "OCI runtime create failed"
        );
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn refusals_are_told_apart() {
        let lost = refused("image", "web", 404, "No such image: web");
        assert_eq!(lost.to_string(), "no such image: web");
        assert_eq!(
            refused("image", "web", 500, "Broken\nbadly").to_string(),
            "broken badly"
        );
        assert_eq!(
            refused("image", "web", 500, "").to_string(),
            "docker refused with status 500"
        );
    }
}
