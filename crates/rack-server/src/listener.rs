//! The ports of the server: one, and others if it is told so.
//!
//! Responsible for accepting connections, telling TLS, HTTP/1.1 and HTTP/2 apart by the first
//! bytes, refusing requests that can be read in two ways, handing each request to the router
//! or the API by its host, and for ending well: what is in flight at shutdown may finish. It
//! refuses addresses other machines can reach unless told otherwise.

mod streams;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use self::streams::Streams;
pub use crate::router::Origin;
use crate::router::{self, Router};
use crate::tls::{Tls, TlsError};

/// How long requests in flight may take to finish at shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// How long a client may take to say its first byte and to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long a connection may be idle or take to send its headers. Longer than the
/// 90 seconds the official clients keep theirs, so that they never send into a closing one.
const HEADERS: Duration = Duration::from_secs(120);
/// Most bytes of headers, and of buffer per connection.
const BUFFER: usize = 128 * 1024;
/// Pause after a failed accept: out of file descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);
/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// How HTTP/2 begins where nothing was agreed on before; no method of HTTP/1 does.
const HTTP2_BEGINS: &[u8] = b"PRI";
/// Pause before more letters of a first word are looked for.
const LETTERS: Duration = Duration::from_millis(5);
/// Most requests at once on one connection of HTTP/2.
const MOST_STREAMS: u32 = 128;
/// Pause between questions whether a client that speaks HTTP/2 is still there.
const PING: Duration = Duration::from_secs(60);
/// How long it may take to answer that.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can be reached from outside.
    #[error(
        "refusing to listen on {0}: other machines could reach it; choose a loopback address or pass --allow-remote"
    )]
    Remote(SocketAddr),
    /// Someone else listens there.
    #[error(
        "address {0} is already in use: stop the other program or choose another address with --listen"
    )]
    InUse(SocketAddr),
    /// Only the system's own programs may.
    #[error(
        "may not listen on {0}, which is for the system's own programs: let all programs have ports from {port} on with `sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}`, or this one with `sudo setcap cap_net_bind_service=+ep {program}`, or choose a port from 1024 on",
        port = .0.port(),
        program = program()
    )]
    Denied(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
}

/// Where this program is.
fn program() -> String {
    match std::env::current_exe() {
        Ok(path) => path.display().to_string(),
        Err(_) => "rack-server".to_owned(),
    }
}

/// Opens the port. Only loopback addresses unless `allow_remote` is set.
pub async fn bind(address: SocketAddr, allow_remote: bool) -> Result<TcpListener, ListenError> {
    if !allow_remote && !address.ip().to_canonical().is_loopback() {
        return Err(ListenError::Remote(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(address),
            io::ErrorKind::PermissionDenied => ListenError::Denied(address),
            _ => ListenError::Io { address, source },
        })
}

/// Serves connections until `shutdown` is cancelled, then lets requests in flight
/// finish for five seconds. Upgraded connections are not waited for.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<Tls>,
    router: Arc<Router>,
    api: axum::Router,
    shutdown: CancellationToken,
) {
    let abort = CancellationToken::new();
    let server = Arc::new(Server {
        tls,
        router,
        api,
        shutdown: shutdown.clone(),
        abort: abort.clone(),
    });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(Arc::clone(&server).connection(stream, peer));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = shutdown.cancelled() => break,
                }
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "closing connections that did not finish in time"
        );
        abort.cancel();
        connections.wait().await;
    }
}

/// What every connection shares.
struct Server {
    tls: Arc<Tls>,
    router: Arc<Router>,
    api: axum::Router,
    shutdown: CancellationToken,
    abort: CancellationToken,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let abort = self.abort.clone();
        let result = tokio::select! {
            result = self.converse(stream, peer) => result,
            () = abort.cancelled() => Ok(()),
        };
        if let Err(reason) = result {
            tracing::debug!(%peer, reason, "a connection ended early");
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let local = stream.local_addr().map_err(text)?;
        // Small answers must not wait for acknowledgements of earlier ones.
        stream.set_nodelay(true).map_err(text)?;
        let origin = |tls| Origin { peer, local, tls };
        let said = tokio::select! {
            said = tokio::time::timeout(HANDSHAKE, first_words(&stream)) => said,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        match said {
            Err(_) => Err("nothing was sent".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(Said::Nothing)) => Ok(()),
            Ok(Ok(Said::Tls)) => {
                let handshake = tokio::time::timeout(HANDSHAKE, self.tls.accept(stream));
                let (stream, http2) = match handshake.await {
                    Err(_) => return Err("tls handshake took too long".to_owned()),
                    Ok(Err(error)) => {
                        // Trouble with our own files concerns the owner; trouble of clients does not.
                        if error
                            .get_ref()
                            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<TlsError>)
                        {
                            tracing::error!(%error, "tls does not work");
                        }
                        return Err(format!("tls handshake failed: {error}"));
                    }
                    Ok(Ok(accepted)) => accepted,
                };
                if http2 {
                    Box::pin(self.http2(stream, origin(true))).await
                } else {
                    Box::pin(self.http1(stream, origin(true))).await
                }
            }
            Ok(Ok(Said::Http1)) => self.http1(stream, origin(false)).await,
            Ok(Ok(Said::Http2)) => Box::pin(self.http2(stream, origin(false))).await,
        }
    }

    /// Speaks HTTP/1.1 until the connection ends or is taken over.
    async fn http1(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: Origin,
    ) -> Result<(), String> {
        let server = Arc::clone(&self);
        let service = service_fn(move |request| Arc::clone(&server).answer(request, origin));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        result.map_err(|error| error.to_string())
    }

    /// Speaks HTTP/2 until the connection ends, has been idle for long, or is abused.
    async fn http2(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: Origin,
    ) -> Result<(), String> {
        let streams = Arc::new(Streams::default());
        let (server, counted) = (Arc::clone(&self), Arc::clone(&streams));
        let service = service_fn(move |request| {
            let (server, stream) = (Arc::clone(&server), Streams::begin(&counted));
            async move {
                let answer = server.answer(request, origin).await?;
                Ok::<_, Infallible>(stream.answered(answer))
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(BUFFER as u32)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut ending = false;
        let result = loop {
            tokio::select! {
                result = connection.as_mut() => break result,
                () = streams.abused() => return Err("it gave up too many requests".to_owned()),
                () = self.shutdown.cancelled(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = streams.unused(HEADERS), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        result.map_err(|error| error.to_string())
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        origin: Origin,
    ) -> Result<Response<Body>, Infallible> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(origin);
        if let Some(reason) = ambiguous(&request) {
            return Ok(refusal(StatusCode::BAD_REQUEST, reason));
        }
        if let Some(route) = self.router.route_of(&request) {
            return Ok(self.router.serve_at(route, request).await);
        }
        if router::host_of(&request).is_some_and(|host| router::is_service_host(&host)) {
            return Ok(router::nowhere());
        }
        if request.version() == Version::HTTP_2 {
            let reason = "the API speaks HTTP/1.1 only";
            return Ok(refusal(StatusCode::MISDIRECTED_REQUEST, reason));
        }
        if let Some(uri) = without_leading_slashes(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.api.clone().oneshot(request).await
    }
}

/// What a client wants to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Tls,
    Http1,
    Http2,
}

/// Looks at what a client says first, which stays to be read.
async fn first_words(stream: &TcpStream) -> io::Result<Said> {
    let mut first = [0; HTTP2_BEGINS.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        let said = &first[..length];
        return Ok(match said {
            [] => Said::Nothing,
            [TLS_HANDSHAKE, ..] => Said::Tls,
            _ if said == HTTP2_BEGINS => Said::Http2,
            _ if HTTP2_BEGINS.starts_with(said) => {
                // Letter by letter, which hardly anybody does: there is nothing to wait for.
                tokio::time::sleep(LETTERS).await;
                continue;
            }
            _ => Said::Http1,
        });
    }
}

/// What is wrong with a request that others might read in another way than we do
/// (RFC 9112 §3.2, §6.3; what cannot be read at all has been refused before).
fn ambiguous(request: &Request<Body>) -> Option<&'static str> {
    let headers = request.headers();
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Some("more than one host");
    }
    if request.version() == Version::HTTP_11 && !headers.contains_key(HOST) {
        return Some("no host");
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let odd = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if !odd(coding) => None,
        _ => Some("a transfer encoding other than chunked"),
    }
}

/// An answer after which nothing more is read from this client.
fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("{reason}\n")));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    answer
}

/// Clients whose server address ends with a slash ask for `//apps`. Slashes further on
/// may belong to names and stay.
fn without_leading_slashes(uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query()?.as_str();
    if !target.starts_with("//") {
        return None;
    }
    let target = format!("/{}", target.trim_start_matches('/'));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leading_slashes_collapse() {
        let cases = [
            ("//apps?", Some("/apps?")),
            ("///apps//x?a=//b", Some("/apps//x?a=//b")),
            ("//", Some("/")),
            ("/apps//x", None),
            ("http://host//apps", Some("http://host/apps")),
        ];
        for (from, to) in cases {
            let uri: Uri = from.parse().expect("a uri");
            assert_eq!(
                without_leading_slashes(&uri)
                    .map(|uri| uri.to_string())
                    .as_deref(),
                to,
                "{from}"
            );
        }
    }

    #[tokio::test]
    async fn only_loopback_unless_allowed() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let address: SocketAddr = address.parse().expect("an address");
            let refusal = bind(address, false)
                .await
                .expect_err("other machines could reach it");
            assert!(matches!(refusal, ListenError::Remote(_)), "{refusal}");
        }
        let listener = bind("127.0.0.1:0".parse().expect("an address"), false)
            .await
            .expect("loopback is fine");
        let address = listener.local_addr().expect("bound");
        let taken = bind(address, false)
            .await
            .expect_err("the port is taken")
            .to_string();
        assert_eq!(
            taken,
            format!(
                "address {address} is already in use: stop the other program or choose another address with --listen"
            )
        );
    }
}
