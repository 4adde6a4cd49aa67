//! Sockets: upgraded first, checked afterwards, as real racks do; errors travel
//! in the stream (`rack-api.md` §2.1).

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rack_api::apart;
use rack_api::socket::{Event, Role, Socket, SocketReader, SocketWriter, accept_key};

use super::error::message;
use super::revocable::Revocable;
use super::scope;
use crate::operations::Result;
use crate::rack::log::{Chunk, Lines};

/// Bytes of a stream in one frame.
pub(super) const FRAME: usize = 16 << 10;
/// Time between pings. A peer that has died is noticed by them even while nothing is
/// read from it because a process takes no more input.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long a client gets to read the rest and to close after we have. A socket that is
/// dropped before loses what is still on the way, the status of a command included.
const FAREWELL: Duration = Duration::from_secs(600);

type Io = Revocable<TokioIo<Upgraded>>;
/// Receiving direction of a socket.
pub(super) type Reader = SocketReader<Io>;
/// Sending direction of a socket.
pub(super) type Writer = SocketWriter<Io>;

/// Whether a request asks to become a socket.
pub(super) fn is_asked_for(request: &Request) -> bool {
    let headers = request.headers();
    let upgrade = headers.get(header::UPGRADE);
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Upgrades a request and hands the socket to `work`. Requests that ask for no
/// upgrade are unknown routes.
pub(super) fn serve<F, Work>(mut request: Request, work: F) -> Response
where
    F: FnOnce(Reader, Writer) -> Work + Send + 'static,
    Work: Future<Output = ()> + Send,
{
    let asks = is_asked_for(&request);
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok());
    let Some(accept) = key.filter(|_| asks).map(accept_key) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let until = scope::until(&request);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let io = Revocable::new(TokioIo::new(upgraded), until);
                let (reader, writer) = Socket::new(io, Role::Server).split();
                work(reader, writer).await;
            }
            Err(error) => tracing::debug!(%error, "a socket was not upgraded"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Pings the client until it is gone.
pub(super) async fn keep_alive(writer: &Writer) {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        if writer.ping().await.is_err() {
            return;
        }
    }
}

/// Whether a client wants to be told what the rack says from what a command says.
pub(super) fn wants_apart(request: &Request) -> bool {
    let wanted = request.headers().get(apart::HEADER);
    wanted.is_some_and(|wanted| wanted == apart::WANTED)
}

/// Says an error in the stream of a command, apart if that is wanted. A client that has gone
/// misses it.
pub(super) async fn say(writer: &Writer, apart: bool, error: &str) {
    if apart && writer.ping_with(apart::PING).await.is_err() {
        return;
    }
    let _ = writer.data(format!("ERROR: {error}\n").as_bytes()).await;
}

/// Ends a socket in good order.
pub(super) async fn finish(mut reader: Reader, writer: Writer) {
    if writer.close().await.is_ok() {
        reader.drain(FAREWELL).await;
    }
}

/// Sends lines until there are no more or the client has gone. A client that wants
/// cursors is told behind which place of the log it is.
pub(super) async fn send_lines(
    mut reader: Reader,
    writer: Writer,
    lines: Result<Lines>,
    cursors: bool,
) {
    let mut lines = match lines {
        Ok(lines) => lines,
        Err(failure) => {
            let _ = writer
                .data(format!("ERROR: {}\n", message(&failure)).as_bytes())
                .await;
            return finish(reader, writer).await;
        }
    };
    loop {
        tokio::select! {
            line = lines.next() => match line {
                Some(Ok(chunk)) => {
                    if send_chunk(&mut reader, &writer, &chunk, cursors).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "could not read a log");
                    break;
                }
                None => break,
            },
            // Reading answers pings and notices a client that goes away.
            event = reader.next() => match event {
                Ok(Event::Data(_) | Event::End) => {}
                Ok(Event::Close) | Err(_) => return,
            },
        }
    }
    finish(reader, writer).await;
}

/// Sends a chunk. A client that takes its time is listened to meanwhile: it may leave.
async fn send_chunk(
    reader: &mut Reader,
    writer: &Writer,
    chunk: &Chunk,
    cursors: bool,
) -> std::io::Result<()> {
    let send = async {
        for piece in chunk.bytes.chunks(FRAME) {
            writer.data(piece).await?;
        }
        match chunk.place.filter(|_| cursors) {
            Some(place) => writer.ping_with(place.tell().as_bytes()).await,
            None => Ok(()),
        }
    };
    tokio::pin!(send);
    loop {
        tokio::select! {
            sent = &mut send => return sent,
            event = reader.next() => match event? {
                Event::Data(_) | Event::End => {}
                Event::Close => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            },
        }
    }
}
