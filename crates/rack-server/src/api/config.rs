//! Configs.

use axum::extract::{Path, Request};
use axum::response::Response;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;
use crate::operations::Failure;

/// `GET /apps/{app}/configs`
pub(super) async fn list(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.configs(&app).await?))
}

/// `GET /apps/{app}/configs/{name}`
pub(super) async fn get(
    Scope(rack): Scope,
    Path((app, name)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&rack.config(&app, &name).await?))
}

/// `PUT /apps/{app}/configs/{name}`: an empty value is one.
pub(super) async fn set(
    Scope(rack): Scope,
    Path((app, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    rack.app(&app).await?;
    let params = Params::of_request(request).await?;
    let value = params
        .text("value")
        .ok_or_else(|| Failure::Invalid("value is required".into()))?;
    rack.set_config(&app, &name, value).await?;
    Ok(reply::ok())
}
