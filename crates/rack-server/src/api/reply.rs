//! Successful answers, byte for byte as clients know them (`rack-api.md` §1.6).

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// JSON indented by two spaces, with `<`, `>` and `&` escaped, and a final newline.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    let text = serde_json::to_string_pretty(value).expect("wire types serialise");
    // These characters occur only inside strings.
    let text = text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], text + "\n").into_response()
}

/// The text `ok`.
pub(super) fn ok() -> Response {
    "ok\n".into_response()
}

/// A stream of bytes. Never compressed on the way: clients save what they get.
pub(super) fn bytes(body: Body, length: Option<u64>) -> Response {
    let mut response = body.into_response();
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if let Some(length) = length {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
