//! From a rack's failure to an HTTP answer: status, exact text, nothing internal.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::engine::EngineError;
use crate::operations::Failure;

/// An error answer: text by default, JSON when the client lists it
/// (`rack-api.md` §1.6).
pub(super) struct ApiError {
    failure: Failure,
    json: bool,
}

/// Result of a handler.
pub(super) type Result<T> = std::result::Result<T, ApiError>;

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            json: false,
        }
    }
}

impl ApiError {
    /// Answers in the form the client asks for.
    pub(super) fn in_form_of(mut self, headers: &HeaderMap) -> Self {
        self.json = headers.get(header::ACCEPT).is_some_and(|accept| {
            accept
                .as_bytes()
                .windows(16)
                .any(|part| part == b"application/json")
        });
        self
    }
}

fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::NotFound(_) => StatusCode::NOT_FOUND,
        Failure::Invalid(_) => StatusCode::BAD_REQUEST,
        Failure::Conflict(_) => StatusCode::CONFLICT,
        Failure::Forbidden(_) => StatusCode::FORBIDDEN,
        Failure::Unauthorized => StatusCode::UNAUTHORIZED,
        Failure::Shutdown | Failure::Engine(EngineError::Unreachable { .. }) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Failure::Engine(EngineError::NotFound { .. }) => StatusCode::NOT_FOUND,
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
        let mut response = if self.json {
            (
                status,
                super::reply::json(&serde_json::json!({ "error": message })),
            )
                .into_response()
        } else {
            (status, format!("{message}\n")).into_response()
        };
        if status == StatusCode::UNAUTHORIZED {
            let realm = HeaderValue::from_static("Basic realm=\"convox\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}
