//! Processes.

use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use rack_api::params::map;
use rack_api::process::{ExecOptions, RunOptions};
use rack_api::socket::Event;
use rack_api::{exit_status, terminal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::State;
use super::error::{Result, message};
use super::params::{Headers, Params};
use super::reply;
use super::scope::{Scope, of_socket};
use super::socket::{FRAME, Reader, Writer, finish, keep_alive, say, serve, wants_apart};
use crate::engine::Exec;
use crate::operations::Failure;
use crate::rack::exec::Session;

/// `GET /apps/{app}/processes`
pub(super) async fn list(
    Scope(rack): Scope,
    Path(app): Path<String>,
    uri: Uri,
) -> Result<Response> {
    let params = Params::of_query(&uri);
    let text = |name: &str| params.text(name).filter(|text| !text.is_empty());
    Ok(reply::json(
        &rack
            .processes(&app, text("service"), text("release"))
            .await?,
    ))
}

/// `GET /apps/{app}/processes/{pid}`
pub(super) async fn get(
    Scope(rack): Scope,
    Path((app, pid)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&rack.process(&app, &pid).await?))
}

/// `DELETE /apps/{app}/processes/{pid}`
pub(super) async fn stop(
    Scope(rack): Scope,
    Path((app, pid)): Path<(String, String)>,
) -> Result<Response> {
    rack.stop_process(&app, &pid).await?;
    Ok(reply::ok())
}

/// `POST /apps/{app}/services/{service}/processes`
pub(super) async fn run(
    Scope(rack): Scope,
    Path((app, service)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    let headers = Headers(&headers);
    let pairs = |name: &str| {
        headers
            .text(name)
            .map(|text| map(&text))
            .unwrap_or_default()
    };
    let options = RunOptions {
        command: headers.text("command"),
        environment: pairs("environment"),
        height: headers.dimension("height")?,
        width: headers.dimension("width")?,
        memory: headers.integer("memory")?,
        release: headers.text("release"),
        cpu: headers.integer("cpu")?,
        cpu_limit: headers.integer("cpu-limit")?,
        memory_limit: headers.integer("memory-limit")?,
        image: headers.text("image"),
        volumes: pairs("volumes"),
        use_service_volume: headers.boolean("use-service-volume"),
        privileged: headers.boolean("privileged"),
        gpu: headers.integer("gpu")?,
        gpu_vendor: headers.text("gpu-vendor"),
        node_labels: headers.text("node-labels"),
        system_critical: headers.boolean("system-critical"),
    };
    Ok(reply::json(&rack.run(&app, &service, &options).await?))
}

/// `GET /apps/{app}/runs/{pid}`
pub(super) async fn run_record(
    Scope(rack): Scope,
    Path((app, pid)): Path<(String, String)>,
) -> Result<Response> {
    Ok(reply::json(&rack.run_record(&app, &pid).await?))
}

fn exec_options(headers: &HeaderMap) -> Result<ExecOptions> {
    let headers = Headers(headers);
    Ok(ExecOptions {
        command: headers.text("command").unwrap_or_default(),
        entrypoint: headers.boolean("entrypoint").unwrap_or(false),
        tty: headers.boolean("tty").unwrap_or(true),
        stdin: !headers.boolean("disable-stdin").unwrap_or(false),
        height: headers.dimension("height")?,
        width: headers.dimension("width")?,
    })
}

/// `SOCKET /apps/{app}/processes/{pid}/exec`
pub(super) async fn exec(
    Shared(console): Shared<State>,
    Path((app, pid)): Path<(String, String)>,
    request: Request,
) -> Response {
    let prepared = of_socket(&console, &request).and_then(|rack| {
        let options = exec_options(request.headers())
            .map_err(|_| Failure::Invalid("height and width must be whole numbers".into()))?;
        Ok((rack, options))
    });
    let apart = wants_apart(&request);
    serve(request, async move |reader, writer| {
        let started = match prepared {
            Ok((rack, options)) => rack.exec(&app, &pid, &options).await,
            Err(failure) => Err(failure),
        };
        match started {
            Ok((session, exec)) => converse(Some(&session), exec, reader, writer, apart).await,
            Err(failure) => refuse(&failure, reader, writer, apart).await,
        }
    })
}

/// Says that a command could not be started: the text and a failing status, so that
/// clients of every generation notice.
pub(super) async fn refuse(failure: &Failure, reader: Reader, writer: Writer, apart: bool) {
    say(&writer, apart, &message(failure)).await;
    let _ = writer.data(exit_status::encode(1).as_bytes()).await;
    finish(reader, writer).await;
}

/// Carries a command's input and output until it ends, then its status. What is known
/// of the end is told to the session as well, where there is one.
pub(super) async fn converse(
    session: Option<&Session>,
    exec: Exec,
    mut reader: Reader,
    writer: Writer,
    apart: bool,
) {
    let Exec {
        mut output,
        mut input,
        status,
        size,
        end,
    } = exec;
    if let Some(size) = size {
        reader.on_ping(move |payload| {
            if let Some(new) = terminal::decode_size(payload) {
                size.send_replace(new);
            }
        });
    }
    let receive = async {
        let mut open = true;
        loop {
            match reader.next().await {
                Ok(Event::Data(bytes)) if open => {
                    // A command that has closed its input is not interested in more.
                    open = input.write_all(&bytes).await.is_ok() && input.flush().await.is_ok();
                }
                Ok(Event::End) => {
                    let _ = input.shutdown().await;
                    open = false;
                }
                Ok(Event::Data(_)) => {}
                Ok(Event::Close) | Err(_) => return,
            }
        }
    };
    let send = async {
        let mut buffer = vec![0; FRAME];
        loop {
            match output.read(&mut buffer).await {
                Ok(0) => return Ok(true),
                Ok(length) if writer.data(&buffer[..length]).await.is_err() => return Ok(false),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    };
    let sent = tokio::select! {
        () = receive => Ok(false),
        () = keep_alive(&writer) => Ok(false),
        sent = send => sent,
    };
    let status = match sent {
        Ok(true) => status.await.map_err(|error| error.to_string()),
        Ok(false) => {
            if let Some(session) = session {
                session.abandoned(status, end).await;
            }
            return;
        }
        Err(error) => Err(format!("the output broke off: {error}")),
    };
    let status = match status {
        Ok(status) => status,
        Err(reason) => {
            say(&writer, apart, &reason).await;
            1
        }
    };
    // First what survives the stream.
    if let Some(session) = session {
        session.ended(status).await;
    }
    let _ = writer.data(exit_status::encode(status).as_bytes()).await;
    finish(reader, writer).await;
}
