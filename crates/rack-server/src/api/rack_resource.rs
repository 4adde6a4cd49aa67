//! Resources of the rack.

use std::collections::BTreeMap;

use axum::extract::{Path, Request};
use axum::response::Response;
use rack_api::params::map;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// Options: in one field, or in fields of their own as clients of 2017 send them.
fn parameters(params: &Params) -> BTreeMap<String, String> {
    match params.text("parameters") {
        Some(text) => map(text),
        None => params.others(&["kind", "type", "name"]),
    }
}

/// `GET /resources`
pub(super) async fn list(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.rack_resources().await?))
}

/// `OPTIONS /resources`
pub(super) async fn types(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.rack_resource_types()))
}

/// `POST /resources`
pub(super) async fn create(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let kind = match params.text("type") {
        Some(kind) if params.text("kind").is_none() => kind,
        _ => params.required("kind")?,
    };
    let created = rack
        .create_rack_resource(kind, params.text("name"), parameters(&params))
        .await?;
    Ok(reply::json(&created))
}

/// `GET /resources/{name}`
pub(super) async fn get(Scope(rack): Scope, Path(name): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.rack_resource(&name).await?))
}

/// `PUT /resources/{name}`
pub(super) async fn update(
    Scope(rack): Scope,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let updated = rack
        .update_rack_resource(&name, parameters(&params))
        .await?;
    Ok(reply::json(&updated))
}

/// `DELETE /resources/{name}`
pub(super) async fn delete(Scope(rack): Scope, Path(name): Path<String>) -> Result<Response> {
    rack.delete_rack_resource(&name).await?;
    Ok(reply::ok())
}

/// `POST /resources/{name}/links`
pub(super) async fn link(
    Scope(rack): Scope,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let linked = rack
        .link_rack_resource(&name, params.required("app")?)
        .await?;
    Ok(reply::json(&linked))
}

/// `DELETE /resources/{name}/links/{app}`
pub(super) async fn unlink(
    Scope(rack): Scope,
    Path((name, app)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&rack.unlink_rack_resource(&name, &app).await?))
}
