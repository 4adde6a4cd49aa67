//! Logins to image registries.

use axum::extract::{Path, Request};
use axum::http::Uri;
use axum::response::Response;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// `GET /registries`
pub(super) async fn list(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.registries().await?))
}

/// `POST /registries`
pub(super) async fn add(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let text = |name: &str| params.text(name).unwrap_or_default();
    let added = rack
        .add_registry(text("server"), text("username"), text("password"))
        .await?;
    Ok(reply::json(&added))
}

/// `DELETE /registries/{server:.*}`; the server may be a URL with its slashes.
pub(super) async fn remove(Scope(rack): Scope, Path(server): Path<String>) -> Result<Response> {
    rack.remove_registry(&server).await?;
    Ok(reply::ok())
}

/// `DELETE /registries?server=`, as clients of 2017 say it.
pub(super) async fn remove_named(Scope(rack): Scope, uri: Uri) -> Result<Response> {
    let params = Params::of_query(&uri);
    rack.remove_registry(params.required("server")?).await?;
    Ok(reply::ok())
}
