//! What the machine has.

use axum::response::Response;

use super::error::Result;
use super::reply;
use super::scope::Scope;

/// `GET /system/capacity`
pub(super) async fn get(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.capacity().await?))
}
