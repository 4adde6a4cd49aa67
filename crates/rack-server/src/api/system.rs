//! The rack itself, and what is asked before a rack is chosen.

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use rack_api::params::map;
use rack_api::system::UpdateOptions;

use super::era::is_2017;
use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::{Caller, Scope};
use crate::operations::Failure;

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
pub(super) async fn get(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.system().await?))
}

/// `GET /system/ca`
pub(super) async fn authority(Scope(rack): Scope) -> Result<Response> {
    let pem = rack.authority().await?;
    let length = pem.len() as u64;
    let mut response = reply::bytes(pem.into(), Some(length));
    let kind = HeaderValue::from_static("application/x-pem-file");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// `PUT /system`
pub(super) async fn update(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let text = |name: &str| params.text(name).filter(|text| !text.is_empty());
    rack.update_system(UpdateOptions {
        count: params.integer("count")?,
        kind: text("type").map(str::to_owned),
        parameters: text("parameters").map(map).unwrap_or_default(),
        version: text("version").map(str::to_owned),
    })
    .await?;
    Ok(reply::ok())
}

/// `GET /system/sync/whitelist/instances/ip`: the one instance is this machine, which
/// is let in always.
pub(super) async fn sync_whitelist(_: Scope) -> Response {
    reply::ok()
}

/// The calls that repair databases of a cloud; there are none of those here.
pub(super) async fn no_cloud_database(_: Scope) -> Result<Response> {
    Err(Failure::NotFound("there are no RDS databases or snapshots on a local rack".into()).into())
}

/// `GET /system/processes`
pub(super) async fn processes(Scope(rack): Scope, uri: Uri) -> Result<Response> {
    let all = Params::of_query(&uri).boolean("all").unwrap_or(false);
    Ok(reply::json(&rack.system_processes(all).await?))
}

/// `GET /system/releases`
pub(super) async fn releases(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.system_releases().await?))
}
