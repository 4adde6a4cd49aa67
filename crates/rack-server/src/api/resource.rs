//! Resources.

use axum::body::Body;
use axum::extract::{Path, Request, State as Shared};
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _};
use rack_api::socket::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::io::StreamReader;

use super::State;
use super::error::{Result, message};
use super::params::Headers;
use super::reply;
use super::scope::{Scope, of_socket};
use super::socket::{Reader, Writer, finish, say, serve, wants_apart};
use crate::engine::Exec;
use crate::operations::Failure;

/// Bytes of output in one frame.
const FRAME: usize = 16 << 10;
/// What a terminal takes for an interrupt and the end of input.
const LEAVE: &[u8] = b"\x03\x04";

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

/// `GET /apps/{app}/resources/{name}/data`
pub(super) async fn dump(
    Scope(rack): Scope,
    Path((app, name)): Path<(String, String)>,
) -> Result<Response> {
    let dump = rack.dump_resource(&app, &name).await?;
    Ok(reply::bytes(Body::from_stream(dump.stream()), None))
}

/// `PUT /apps/{app}/resources/{name}/data`
pub(super) async fn restore(
    Scope(rack): Scope,
    Path((app, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let body = request
        .into_body()
        .into_data_stream()
        .map_err(std::io::Error::other)
        .boxed();
    rack.restore_resource(&app, &name, StreamReader::new(body))
        .await?;
    Ok(reply::ok())
}

/// `SOCKET /apps/{app}/resources/{name}/console`: bytes both ways, no exit marker.
pub(super) async fn console(
    Shared(console): Shared<State>,
    Path((app, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    let prepared = of_socket(&console, &request).and_then(|rack| {
        let headers = Headers(request.headers());
        let size = headers.dimension("height").and_then(|height| {
            let width = headers.dimension("width")?;
            Ok(height.zip(width))
        });
        let size =
            size.map_err(|_| Failure::Invalid("height and width must be whole numbers".into()))?;
        Ok((rack, size))
    });
    let apart = wants_apart(&request);
    serve(request, async move |reader, writer| {
        let started = match prepared {
            Ok((rack, size)) => rack
                .resource_console(&app, &name, size)
                .await
                .map(|exec| (exec, size.is_some())),
            Err(failure) => Err(failure),
        };
        match started {
            Ok((exec, terminal)) => relay(exec, terminal, reader, writer, apart).await,
            Err(failure) => {
                say(&writer, apart, &message(&failure)).await;
                finish(reader, writer).await;
            }
        }
    })
}

async fn relay(exec: Exec, terminal: bool, mut reader: Reader, writer: Writer, apart: bool) {
    let Exec {
        mut output,
        mut input,
        ..
    } = exec;
    let ended = {
        let receive = async {
            let mut open = true;
            loop {
                match reader.next().await {
                    Ok(Event::Data(bytes)) if open => {
                        open = input.write_all(&bytes).await.is_ok() && input.flush().await.is_ok();
                    }
                    Ok(Event::End) if open => {
                        let _ = input.shutdown().await;
                        open = false;
                    }
                    Ok(Event::Data(_) | Event::End) => {}
                    Ok(Event::Close) | Err(_) => return,
                }
            }
        };
        let send = async {
            let mut buffer = vec![0; FRAME];
            loop {
                match output.read(&mut buffer).await {
                    Ok(0) => return true,
                    Ok(length) if writer.data(&buffer[..length]).await.is_err() => return false,
                    Ok(_) => {}
                    Err(error) => {
                        say(&writer, apart, &format!("the session broke off: {error}")).await;
                        return true;
                    }
                }
            }
        };
        tokio::select! {
            () = receive => false,
            ended = send => ended,
        }
    };
    if ended {
        return finish(reader, writer).await;
    }
    // Nobody is there any more: a session that is left to itself would go on for ever.
    if terminal {
        let _ = input.write_all(LEAVE).await;
        let _ = input.flush().await;
    }
    let _ = input.shutdown().await;
}
