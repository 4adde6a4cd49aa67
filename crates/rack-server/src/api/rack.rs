//! The console: which racks there are.

use axum::extract::{Path, Request, State as Shared};
use axum::response::Response;
use rack_api::rack::RackListing;

use super::State;
use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Caller;
use crate::operations::Failure;
use crate::rack::access::{Access, Reach};
use crate::rack::console::Console;

/// `GET /racks`: all, or with a rack's password that rack.
pub(super) async fn list(Shared(console): Shared<State>, Caller(access): Caller) -> Response {
    reply::json(&visible(&console, access))
}

/// `GET /racks/{organization}/{name}`: asked by version 3 before it reads or sets
/// parameters. An answer without any sends it to the rack itself.
pub(super) async fn get(
    Shared(console): Shared<State>,
    Caller(access): Caller,
    Path((organization, name)): Path<(String, String)>,
) -> Result<Response> {
    visible(&console, access)
        .into_iter()
        .find(|rack| rack.organization.name == organization && rack.name == name)
        .map(|rack| reply::json(&rack))
        .ok_or_else(|| Failure::NotFound(format!("rack not found: {organization}/{name}")).into())
}

fn visible(console: &Console, access: Access) -> Vec<RackListing> {
    let mut racks = console.list();
    if let Reach::Rack(only) = access.reach {
        racks.retain(|rack| rack.name == only);
    }
    racks
}

/// `POST /racks` with `name` and optionally `engine`; an addition of this server.
pub(super) async fn create(Shared(console): Shared<State>, request: Request) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let engine = params.text("engine").filter(|engine| !engine.is_empty());
    let docker_host = params.text("docker-host").filter(|host| !host.is_empty());
    let name = params.required("name")?;
    Ok(reply::json(
        &console.create(name, engine, docker_host).await?,
    ))
}

/// `DELETE /racks/{name}`; an addition of this server.
pub(super) async fn delete(
    Shared(console): Shared<State>,
    Path(name): Path<String>,
) -> Result<Response> {
    console.delete(&name).await?;
    Ok(reply::ok())
}

/// `DELETE /racks/{organization}/{name}`
pub(super) async fn delete_full(
    Shared(console): Shared<State>,
    Path((organization, name)): Path<(String, String)>,
) -> Result<Response> {
    console.delete(&format!("{organization}/{name}")).await?;
    Ok(reply::ok())
}
