//! Resources of the rack.

use std::collections::BTreeMap;

use axum::extract::{Path, Request};
use axum::response::Response;
use rack_api::params::map;
use rack_api::resource::{LegacyResource, Resource};

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;
use crate::rack::Rack;

/// Options: in one field, or in fields of their own as clients of 2017 send them.
fn parameters(params: &Params) -> BTreeMap<String, String> {
    match params.text("parameters") {
        Some(text) => map(text),
        None => params.others(&["kind", "type", "name", "wait"]),
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

async fn created(rack: &Rack, request: Request) -> Result<Resource> {
    let params = Params::of_request(request).await?;
    let kind = match params.text("type") {
        Some(kind) if params.text("kind").is_none() => kind,
        _ => params.required("kind")?,
    };
    let created = rack.create_rack_resource(kind, params.text("name"), parameters(&params));
    Ok(created.await?)
}

async fn updated(rack: &Rack, name: &str, request: Request) -> Result<Resource> {
    let params = Params::of_request(request).await?;
    Ok(rack.update_rack_resource(name, parameters(&params)).await?)
}

/// `POST /resources`
pub(super) async fn create(Scope(rack): Scope, request: Request) -> Result<Response> {
    Ok(reply::json(&created(&rack, request).await?))
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
    Ok(reply::json(&updated(&rack, &name, request).await?))
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

fn legacy(resource: Resource) -> Response {
    reply::json(&LegacyResource::from(resource))
}

/// `GET /services`, as before 2018
pub(super) async fn list_services(Scope(rack): Scope) -> Result<Response> {
    let resources = rack.rack_resources().await?.into_iter();
    let services: Vec<_> = resources.map(LegacyResource::from).collect();
    Ok(reply::json(&services))
}

/// `POST /services`, as before 2018
pub(super) async fn create_service(Scope(rack): Scope, request: Request) -> Result<Response> {
    Ok(legacy(created(&rack, request).await?))
}

/// `GET /services/{name}`, as before 2018
pub(super) async fn get_service(Scope(rack): Scope, Path(name): Path<String>) -> Result<Response> {
    Ok(legacy(rack.rack_resource(&name).await?))
}

/// `PUT /services/{name}`, as before 2018
pub(super) async fn update_service(
    Scope(rack): Scope,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response> {
    Ok(legacy(updated(&rack, &name, request).await?))
}

/// `DELETE /services/{name}`, as before 2018: the answer is what was removed.
pub(super) async fn delete_service(
    Scope(rack): Scope,
    Path(name): Path<String>,
) -> Result<Response> {
    let gone = rack.rack_resource(&name).await?;
    rack.delete_rack_resource(&name).await?;
    Ok(legacy(gone))
}
