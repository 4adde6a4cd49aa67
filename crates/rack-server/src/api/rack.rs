//! The console: which racks there are.

use axum::extract::{Path, Request, State as Shared};
use axum::response::Response;

use super::State;
use super::error::Result;
use super::params::Params;
use super::reply;
use super::scope::Caller;
use crate::operations::Failure;
use crate::rack::console::Access;

/// `GET /racks`: all, or with a rack's password that rack.
pub(super) async fn list(Shared(console): Shared<State>, Caller(access): Caller) -> Response {
    let mut racks = console.list();
    if let Access::Rack(only) = access {
        racks.retain(|rack| rack.name == only);
    }
    reply::json(&racks)
}

fn of_server(access: &Access) -> Result<()> {
    match access {
        Access::Server => Ok(()),
        Access::Rack(_) => Err(Failure::Forbidden(
            "the server password is needed to make and remove racks".into(),
        )
        .into()),
    }
}

/// `POST /racks` with `name` and optionally `engine`; an addition of this server.
pub(super) async fn create(
    Shared(console): Shared<State>,
    Caller(access): Caller,
    request: Request,
) -> Result<Response> {
    of_server(&access)?;
    let params = Params::of_request(request).await?;
    let engine = params.text("engine").filter(|engine| !engine.is_empty());
    Ok(reply::json(
        &console.create(params.required("name")?, engine).await?,
    ))
}

/// `DELETE /racks/{name}`; an addition of this server.
pub(super) async fn delete(
    Shared(console): Shared<State>,
    Caller(access): Caller,
    Path(name): Path<String>,
) -> Result<Response> {
    of_server(&access)?;
    console.delete(&name).await?;
    Ok(reply::ok())
}

/// `DELETE /racks/{organization}/{name}`
pub(super) async fn delete_full(
    Shared(console): Shared<State>,
    Caller(access): Caller,
    Path((organization, name)): Path<(String, String)>,
) -> Result<Response> {
    of_server(&access)?;
    console.delete(&format!("{organization}/{name}")).await?;
    Ok(reply::ok())
}
