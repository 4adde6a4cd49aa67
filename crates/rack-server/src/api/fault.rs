//! Faults.

use axum::extract::{Path, Request};
use axum::response::Response;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// `GET /system/faults`
pub(super) async fn list(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.faults()?))
}

/// `POST /system/faults`
pub(super) async fn set(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let names = params.text("names").unwrap_or_default();
    Ok(reply::json(&rack.set_faults(names).await?))
}

/// `DELETE /system/faults/{name}`
pub(super) async fn clear(Scope(rack): Scope, Path(name): Path<String>) -> Result<Response> {
    rack.clear_fault(&name).await?;
    Ok(reply::ok())
}

/// `DELETE /system/faults`
pub(super) async fn clear_all(Scope(rack): Scope) -> Result<Response> {
    rack.clear_faults().await?;
    Ok(reply::ok())
}
