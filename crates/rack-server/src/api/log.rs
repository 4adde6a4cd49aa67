//! Log sockets.

use axum::extract::{Path, Request, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _};
use rack_api::log::{Cursor, Options};

use super::State;
use super::era::is_2017;
use super::params::Headers;
use super::scope::of_socket;
use super::socket::{send_lines, serve};
use crate::operations::{Failure, Result};
use crate::rack::Rack;
use crate::rack::log::{Chunk, Lines};

fn not_a_cursor() -> Failure {
    Failure::Invalid("the cursor is none that this server has told".into())
}

fn options(headers: &HeaderMap) -> Result<Options> {
    // The client of late 2017 knows no such header: its racks told times and streams.
    let prefixed = is_2017(headers);
    let headers = Headers(headers);
    let cursor = headers
        .text("cursor")
        .map(|text| Cursor::decode(&text).ok_or_else(not_a_cursor))
        .transpose()?;
    let read = || {
        Ok::<_, super::error::ApiError>(Options {
            follow: headers.boolean("follow").unwrap_or(true),
            prefix: headers.boolean("prefix").unwrap_or(prefixed),
            since: headers.duration("since")?,
            filter: headers
                .text("filter")
                .filter(|filter| !filter.trim().is_empty()),
            tail: headers
                .integer("tail")?
                .and_then(|lines| usize::try_from(lines).ok()),
            previous: headers.boolean("previous").unwrap_or(false),
            cursor,
        })
    };
    read().map_err(|_| {
        Failure::Invalid("invalid log option: use durations such as 5m and whole numbers".into())
    })
}

fn open<F, Reading>(console: State, request: Request, read: F) -> Response
where
    F: FnOnce(Rack, Options) -> Reading + Send + 'static,
    Reading: Future<Output = Result<Lines>> + Send,
{
    let prepared =
        of_socket(&console, &request).and_then(|rack| Ok((rack, options(request.headers())?)));
    serve(request, async move |reader, writer| {
        let (lines, cursors) = match prepared {
            Ok((rack, options)) => {
                let cursors = options.cursor.is_some();
                (read(rack, options).await, cursors)
            }
            Err(failure) => (Err(failure), false),
        };
        send_lines(reader, writer, lines, cursors).await;
    })
}

/// `SOCKET /apps/{app}/logs`
pub(super) async fn app(
    Shared(console): Shared<State>,
    Path(app): Path<String>,
    request: Request,
) -> Response {
    open(console, request, async move |rack, options| {
        rack.app_log(&app, &options).await
    })
}

/// `SOCKET /apps/{app}/builds/{id}/logs`: the whole log, whatever the options say.
pub(super) async fn build(
    Shared(console): Shared<State>,
    Path((app, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    open(console, request, async move |rack, _| {
        let lines = rack.build_log(&app, &id).await?;
        Ok(lines.map_ok(Chunk::from).boxed())
    })
}

/// `SOCKET /apps/{app}/processes/{pid}/logs`
pub(super) async fn process(
    Shared(console): Shared<State>,
    Path((app, pid)): Path<(String, String)>,
    request: Request,
) -> Response {
    open(console, request, async move |rack, options| {
        rack.process_log(&app, &pid, &options).await
    })
}

/// `SOCKET /apps/{app}/services/{service}/logs`
pub(super) async fn service(
    Shared(console): Shared<State>,
    Path((app, service)): Path<(String, String)>,
    request: Request,
) -> Response {
    open(console, request, async move |rack, options| {
        rack.service_log(&app, &service, &options).await
    })
}

/// `SOCKET /system/logs`
pub(super) async fn system(Shared(console): Shared<State>, request: Request) -> Response {
    open(console, request, async move |rack, options| {
        Ok(rack.system_log(&options))
    })
}
