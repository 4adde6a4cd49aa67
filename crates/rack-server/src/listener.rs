//! The one port of the server.
//!
//! Responsible for accepting connections, telling TLS from plain HTTP by the first
//! byte, handing each request to the router or the API by its host, and for ending
//! well: what is in flight at shutdown may finish. It refuses addresses other
//! machines can reach unless told otherwise.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

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
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
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
        let mut first = [0];
        let peeked = tokio::select! {
            peeked = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)) => peeked,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        match peeked {
            Err(_) => Err("nothing was sent".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(_)) if first[0] == TLS_HANDSHAKE => {
                let handshake = tokio::time::timeout(HANDSHAKE, self.tls.accept(stream));
                let stream = match handshake.await {
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
                    Ok(Ok(stream)) => stream,
                };
                Box::pin(self.http(
                    stream,
                    Origin {
                        peer,
                        local,
                        tls: true,
                    },
                ))
                .await
            }
            Ok(Ok(_)) => {
                self.http(
                    stream,
                    Origin {
                        peer,
                        local,
                        tls: false,
                    },
                )
                .await
            }
        }
    }

    /// Speaks HTTP/1.1 until the connection ends or is taken over.
    async fn http(
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

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        origin: Origin,
    ) -> Result<Response<Body>, Infallible> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(origin);
        let host = router::host_of(&request);
        if host.is_some_and(|host| {
            router::is_service_host(&host) || self.router.lookup(&host).is_some()
        }) {
            return Ok(self.router.serve(request).await);
        }
        if let Some(uri) = without_leading_slashes(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.api.clone().oneshot(request).await
    }
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
