//! The rack itself, and what is asked before a rack is chosen.

use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::era::is_2017;
use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::{Caller, Scope};

/// `GET /check`, without authentication.
pub(super) async fn check() -> &'static str {
    "ok"
}

/// `GET /auth`: the client of late 2017 reads JSON here too, without saying so.
pub(super) async fn auth(_: Caller, headers: HeaderMap) -> Response {
    if is_2017(&headers) {
        reply::in_json(reply::ok())
    } else {
        reply::ok()
    }
}

/// `GET /system`
pub(super) async fn get(Scope(rack): Scope) -> Response {
    reply::json(&rack.system())
}

/// `GET /system/processes`
pub(super) async fn processes(Scope(rack): Scope, uri: Uri) -> Result<Response> {
    let all = Params::of_query(&uri).boolean("all").unwrap_or(false);
    Ok(reply::json(&rack.system_processes(all).await?))
}

/// `GET /system/releases`
pub(super) async fn releases(Scope(rack): Scope) -> Response {
    reply::json(&rack.system_releases())
}
