//! Successful answers, byte for byte as clients know them (`rack-api.md` §1.6).

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What a client that accepts JSON gets in place of an answer's text.
#[derive(Clone)]
struct InJson(String);

/// JSON indented by two spaces, with `<`, `>` and `&` escaped, and a final newline.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], render(value)).into_response()
}

fn render<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value).expect("wire types serialise");
    // These characters occur only inside strings.
    let text = text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    text + "\n"
}

/// The text `ok`. The client of late 2017 reads that as JSON, as it reads everything.
pub(super) fn ok() -> Response {
    ok_or(&serde_json::json!({ "success": true }))
}

/// The text `ok`, or what racks of late 2017 answered in its place.
pub(super) fn ok_or<T: Serialize>(value: &T) -> Response {
    with_json("ok\n".into_response(), value)
}

/// Leaves a text's JSON form with it, for [`in_json`].
pub(super) fn with_json<T: Serialize>(mut response: Response, value: &T) -> Response {
    response.extensions_mut().insert(InJson(render(value)));
    response
}

/// Turns a text that has a JSON form into it, status and headers kept.
pub(super) fn in_json(mut response: Response) -> Response {
    let Some(InJson(text)) = response.extensions_mut().remove() else {
        return response;
    };
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    *response.body_mut() = Body::from(text);
    response
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
