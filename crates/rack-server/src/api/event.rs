//! Events.

use axum::extract::Request;
use axum::response::Response;
use rack_api::event::SendOptions;
use rack_api::params::map;

use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Scope;

/// `POST /events`
pub(super) async fn send(Scope(rack): Scope, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let options = SendOptions {
        data: params.text("data").map(map).unwrap_or_default(),
        error: params.text("error").map(str::to_owned),
        status: params.text("status").map(str::to_owned),
    };
    rack.send_event(params.required("action")?, options).await?;
    Ok(reply::ok())
}
