//! Balancers.

use axum::extract::Path;
use axum::response::Response;

use super::error::Result;
use super::reply;
use super::scope::Scope;

/// `GET /apps/{app}/balancers`
pub(super) async fn list(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.balancers(&app).await?))
}
