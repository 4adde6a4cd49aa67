//! One-off processes as clients before July 2018 start them (`rack-api.md` §5).

use std::time::Duration;

use axum::extract::{Path, Request, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use rack_api::process::{RunDetached, RunOptions};

use super::State;
use super::error::Result;
use super::params::{Headers, Params};
use super::process::{converse, refuse};
use super::reply;
use super::scope::{Scope, of_socket};
use super::socket::{serve, wants_apart};
use crate::operations::Failure;

/// Longest life of a process that a client sets no limit.
const LIFETIME: Duration = Duration::from_secs(3600);

/// `POST /apps/{app}/processes/{service}/run`
pub(super) async fn run_detached(
    Scope(rack): Scope,
    Path((app, service)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let params = Params::of_request(request).await?;
    let options = RunOptions {
        command: params.text("command").map(str::to_owned),
        release: params.text("release").map(str::to_owned),
        ..RunOptions::default()
    };
    let process = rack.run(&app, &service, &options).await?;
    Ok(reply::json(&RunDetached {
        pid: process.id,
        success: true,
    }))
}

/// What an attached run takes, and how long it may last.
fn options(headers: &HeaderMap) -> Result<(RunOptions, Duration)> {
    let headers = Headers(headers);
    let options = RunOptions {
        command: headers.text("command"),
        height: headers.dimension("height")?,
        width: headers.dimension("width")?,
        release: headers.text("release"),
        ..RunOptions::default()
    };
    let timeout = headers
        .integer("timeout")?
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map_or(LIFETIME, Duration::from_secs);
    Ok((options, timeout))
}

/// `SOCKET /apps/{app}/processes/{service}/run`: a process of its own for the command,
/// always with a terminal, gone when the command has ended.
pub(super) async fn run_attached(
    Shared(console): Shared<State>,
    Path((app, service)): Path<(String, String)>,
    request: Request,
) -> Response {
    let prepared = of_socket(&console, &request).and_then(|rack| {
        let options = options(request.headers()).map_err(|_| {
            Failure::Invalid("height, width and timeout must be whole numbers".into())
        })?;
        Ok((rack, options))
    });
    let apart = wants_apart(&request);
    serve(request, async move |reader, writer| {
        let started = match prepared {
            Ok((rack, (options, lifetime))) => {
                rack.run_attached(&app, &service, &options, lifetime).await
            }
            Err(failure) => Err(failure),
        };
        match started {
            Ok((session, exec)) => {
                converse(Some(&session), exec, reader, writer, apart).await;
                session.leave().await;
            }
            Err(failure) => refuse(&failure, reader, writer, apart).await,
        }
    })
}
