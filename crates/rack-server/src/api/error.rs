//! From a rack's failure to an HTTP answer: status, exact text, nothing internal.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::reply;
use crate::engine::EngineError;
use crate::operations::Failure;

/// An error answer: text by default, JSON when the client lists it
/// (`rack-api.md` §1.6, [`reply::in_json`]).
pub(super) struct ApiError {
    failure: Failure,
}

/// Result of a handler.
pub(super) type Result<T> = std::result::Result<T, ApiError>;

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self { failure }
    }
}

/// Whether a client lists JSON among what it accepts.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT);
    accepted.iter().any(|accept| {
        accept
            .as_bytes()
            .windows(16)
            .any(|part| part == b"application/json")
    })
}

fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::NotFound(_) | Failure::Engine(EngineError::NotFound { .. }) => {
            StatusCode::NOT_FOUND
        }
        Failure::Invalid(_) | Failure::Engine(EngineError::Refused(_)) => StatusCode::BAD_REQUEST,
        Failure::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Failure::Conflict(_) => StatusCode::CONFLICT,
        Failure::Forbidden(_) => StatusCode::FORBIDDEN,
        Failure::Unauthorized | Failure::Token(_) | Failure::Unallowed => StatusCode::UNAUTHORIZED,
        Failure::Elsewhere(_) => StatusCode::MISDIRECTED_REQUEST,
        Failure::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::Shutdown | Failure::Engine(EngineError::Unreachable { .. }) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Failure::Cancelled(_)
        | Failure::Failed(_)
        | Failure::Interrupted(_)
        | Failure::Engine(_)
        | Failure::Io { .. }
        | Failure::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The one line a client may see. It is a format string to the official clients,
/// so it holds no percent sign.
pub(super) fn message(failure: &Failure) -> String {
    if let Failure::Internal(context) = failure {
        tracing::error!(context, "internal error");
    }
    crate::operations::plan::one_line(&failure.to_string()).replace('%', " percent")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = status(&self.failure);
        let message = message(&self.failure);
        let text = (status, format!("{message}\n")).into_response();
        let mut response = reply::with_json(text, &serde_json::json!({ "error": message }));
        if matches!(self.failure, Failure::Unauthorized | Failure::Token(_)) {
            let realm = HeaderValue::from_static("Basic realm=\"convox\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}
