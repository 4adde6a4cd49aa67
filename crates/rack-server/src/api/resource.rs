//! Resources.

use axum::extract::Path;
use axum::response::Response;

use super::error::Result;
use super::reply;
use super::scope::Scope;

/// `GET /apps/{app}/resources`
pub(super) async fn list(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.resources(&app).await?))
}

/// `GET /apps/{app}/resources/{name}`
pub(super) async fn get(
    Scope(rack): Scope,
    Path((app, name)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&rack.resource(&app, &name).await?))
}
