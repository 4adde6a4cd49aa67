//! The machine of the rack.

use axum::extract::{Path, Request, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use rack_api::instance::ShellOptions;

use super::State;
use super::error::Result;
use super::params::Headers;
use super::process::{converse, refuse};
use super::reply;
use super::scope::{Scope, of_socket};
use super::socket::{serve, wants_apart};
use crate::operations::Failure;

/// `GET /instances`
pub(super) async fn list(Scope(rack): Scope) -> Result<Response> {
    Ok(reply::json(&rack.instances().await?))
}

/// `POST /instances/keyroll`
pub(super) async fn keyroll(Scope(rack): Scope) -> Result<Response> {
    rack.roll_instance_keys()?;
    Ok(reply::ok())
}

/// `DELETE /instances/{id}`
pub(super) async fn terminate(Scope(rack): Scope, Path(id): Path<String>) -> Result<Response> {
    rack.terminate_instance(&id)?;
    Ok(reply::ok())
}

fn shell_options(headers: &HeaderMap, swapped: bool) -> Result<ShellOptions> {
    let headers = Headers(headers);
    let (height, width) = if swapped {
        ("width", "height")
    } else {
        ("height", "width")
    };
    Ok(ShellOptions {
        command: headers.text("command"),
        tty: headers.boolean("tty").unwrap_or(true),
        height: headers.dimension(height)?,
        width: headers.dimension(width)?,
    })
}

/// `SOCKET /instances/{id}/shell`
pub(super) async fn shell(shared: Shared<State>, path: Path<String>, request: Request) -> Response {
    open(shared, path, request, false)
}

/// `SOCKET /instances/{id}/ssh`, as clients of 2017 ask for a shell: they exchange
/// rows and columns (`rack-api.md` §5).
pub(super) async fn ssh(shared: Shared<State>, path: Path<String>, request: Request) -> Response {
    open(shared, path, request, true)
}

fn open(
    Shared(console): Shared<State>,
    Path(id): Path<String>,
    request: Request,
    swapped: bool,
) -> Response {
    let prepared = of_socket(&console, &request).and_then(|rack| {
        let options = shell_options(request.headers(), swapped)
            .map_err(|_| Failure::Invalid("height and width must be whole numbers".into()))?;
        Ok((rack, options))
    });
    let apart = wants_apart(&request);
    serve(request, async move |reader, writer| {
        let opened = match prepared {
            Ok((rack, options)) => rack
                .open_shell(&id, &options)
                .await
                .map(|shell| (rack, shell)),
            Err(failure) => Err(failure),
        };
        match opened {
            Ok((rack, shell)) => {
                converse(None, shell.exec, reader, writer, apart).await;
                rack.end_shell(&shell.process).await;
            }
            Err(failure) => refuse(&failure, reader, writer, apart).await,
        }
    })
}
