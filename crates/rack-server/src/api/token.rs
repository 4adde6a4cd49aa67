//! Tokens (`rack-api.md` §3.7).

use axum::extract::Request;
use axum::response::Response;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::{Caller, Scope};

/// `POST /system/jwt/token`
pub(super) async fn create(
    Scope(rack): Scope,
    Caller(access): Caller,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let text = |name| params.text(name).unwrap_or_default();
    Ok(reply::json(
        &rack
            .make_token(access.role, text("role"), text("durationInHour"))
            .await?,
    ))
}

/// `PUT /system/jwt/rotate`
pub(super) async fn rotate(Scope(rack): Scope) -> Result<Response> {
    rack.rotate_token_key().await?;
    Ok(reply::ok())
}
