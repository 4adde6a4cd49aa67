//! Parameters as clients before July 2018 read and write them: each a field of its
//! own. An app by the rack's name stands for the rack.

use axum::extract::{Path, Request};
use axum::response::Response;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// `GET /apps/{app}/parameters`
pub(super) async fn list(Scope(rack): Scope, Path(app): Path<String>) -> Result<Response> {
    Ok(reply::json(&rack.parameters(&app).await?))
}

/// `POST /apps/{app}/parameters`
pub(super) async fn set(
    Scope(rack): Scope,
    Path(app): Path<String>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    rack.set_parameters(&app, params.into_map()).await?;
    Ok(reply::ok())
}
