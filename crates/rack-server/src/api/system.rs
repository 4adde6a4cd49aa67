//! The rack itself, and what is asked before a rack is chosen.

use axum::http::Uri;
use axum::response::Response;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::{Caller, Scope};

/// `GET /check`, without authentication.
pub(super) async fn check() -> &'static str {
    "ok"
}

/// `GET /auth`
pub(super) async fn auth(_: Caller) -> Response {
    reply::ok()
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
