//! Services.

use axum::extract::{Path, Request};
use axum::response::Response;
use rack_api::service::UpdateOptions;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// `GET /apps/{app}/services`
pub(super) async fn list(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.services(&app).await?))
}

/// `GET /apps/{app}/manifest/services/{service}`
pub(super) async fn manifest(
    Scope(rack): Scope,
    Path((app, service)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&rack.manifest_service(&app, &service).await?))
}

/// `PUT /apps/{app}/services/{service}`
pub(super) async fn update(
    Scope(rack): Scope,
    Path((app, service)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let options = UpdateOptions {
        count: params.integer("count")?,
        cpu: params.integer("cpu")?,
        memory: params.integer("memory")?,
        gpu: params.integer("gpu")?,
        gpu_vendor: params.text("gpu-vendor").map(str::to_owned),
        min: params.integer("min")?,
        max: params.integer("max")?,
    };
    rack.update_service(&app, &service, options).await?;
    Ok(reply::ok())
}

/// `POST /apps/{app}/services/{service}/restart`
pub(super) async fn restart(
    Scope(rack): Scope,
    Path((app, service)): Path<(String, String)>,
) -> Result<Response> {
    rack.restart_service(&app, &service).await?;
    Ok(reply::ok())
}
