//! Connections to the engine: one for each request, as HTTP/1.1.
//!
//! A transport may carry a token; when the token is cancelled, every connection
//! made through it ends, upgraded ones included. Connecting to a local socket
//! costs microseconds, so nothing is pooled and nothing can go stale.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bollard::BollardRequest;
use bollard::errors::Error;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::address::{Address, candidates};
use super::error;
use crate::engine::Connection;

/// Headers that carry logins.
const LOGIN_HEADERS: [&str; 2] = ["x-registry-auth", "x-registry-config"];

/// Engines read logins in the URL-safe alphabet, bollard writes them in the other
/// one, and what an engine cannot read it silently takes for no login at all.
fn url_safe(login: &HeaderValue) -> HeaderValue {
    let bytes = login.as_bytes().iter().map(|byte| match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => *other,
    });
    let mut safe = HeaderValue::from_bytes(&bytes.collect::<Vec<_>>())
        .expect("both alphabets are fit for headers");
    safe.set_sensitive(true);
    safe
}

/// Makes requests to an engine.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    place: Arc<Place>,
    lifetime: Option<CancellationToken>,
}

/// Which addresses to try.
#[derive(Debug)]
struct Place {
    named: Option<Address>,
    last: Mutex<Option<Address>>,
}

impl Transport {
    /// Aims at the named address, or at whichever usual one answers.
    pub(super) fn new(named: Option<Address>) -> Self {
        Transport {
            place: Arc::new(Place {
                named,
                last: Mutex::new(None),
            }),
            lifetime: None,
        }
    }

    /// The same transport, with connections that end with `lifetime`.
    pub(super) fn within(&self, lifetime: CancellationToken) -> Self {
        Transport {
            place: Arc::clone(&self.place),
            lifetime: Some(lifetime),
        }
    }

    /// Opens an address of the machine that the engine is on.
    pub(super) async fn dial(&self, address: SocketAddr) -> io::Result<Connection> {
        if let Some(machine) = self.place.named.as_ref().and_then(Address::machine) {
            return machine.dial(address);
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::pin(stream))
    }

    async fn open(&self) -> io::Result<Connection> {
        let connection = self.place.open().await?;
        Ok(match &self.lifetime {
            None => connection,
            Some(token) => Box::pin(Severable {
                inner: connection,
                ended: Box::pin(token.clone().cancelled_owned()),
                token: token.clone(),
            }),
        })
    }

    /// Sends one request over a connection of its own.
    pub(super) async fn send(&self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let connection = self.open().await?;
        let (mut sender, driver) =
            hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
        let driver = tokio::spawn(driver.with_upgrades());
        let (mut parts, body) = request.into_parts();
        parts.uri = parts
            .uri
            .path_and_query()
            .cloned()
            .map_or_else(|| Uri::from_static("/"), Uri::from);
        parts
            .headers
            .insert(HOST, HeaderValue::from_static("docker"));
        for name in LOGIN_HEADERS {
            if let Some(login) = parts.headers.get_mut(name) {
                *login = url_safe(login);
            }
        }
        let answer = sender
            .send_request(http::Request::from_parts(parts, body))
            .await;
        match answer {
            // Only the connection knows why it broke.
            Err(error) if error.is_canceled() => match driver.await {
                Ok(Err(reason)) => Err(reason.into()),
                _ => Err(error.into()),
            },
            answer => Ok(answer?),
        }
    }
}

impl Place {
    /// Opens the last good address, else the first that answers. The error is that
    /// of the most telling candidate: one that exists but refuses us.
    async fn open(&self) -> io::Result<Connection> {
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(address) = &last
            && let Ok(connection) = address.open().await
        {
            return Ok(connection);
        }
        let mut failure: Option<(Address, io::Error)> = None;
        for address in candidates(self.named.as_ref(), |name| std::env::var(name).ok()) {
            match address.open().await {
                Ok(connection) => {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
                    return Ok(connection);
                }
                Err(error) => {
                    let telling = error.kind() != io::ErrorKind::NotFound;
                    let quiet = failure
                        .as_ref()
                        .is_some_and(|(_, e)| e.kind() == io::ErrorKind::NotFound);
                    if failure.is_none() || (telling && quiet) {
                        failure = Some((address, error));
                    }
                }
            }
        }
        let (address, error) = failure.expect("there is always a candidate");
        Err(io::Error::new(error.kind(), address.explain(&error)))
    }
}

/// The next bytes of a body; other frames (trailers) are passed over.
pub(super) async fn next(body: &mut Incoming) -> crate::engine::Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error::unreachable(&error::broken(&error)))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A connection that ends when its token is cancelled.
struct Severable {
    inner: Connection,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    token: CancellationToken,
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.inner.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.inner.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};

    use super::*;

    #[test]
    fn logins_are_sent_in_the_alphabet_engines_read() {
        let login = "{\"password\":\"???~~~>>>\"}";
        let standard = BASE64_STANDARD.encode(login);
        assert!(standard.contains('/'), "{standard}");
        let sent = url_safe(&HeaderValue::from_str(&standard).expect("a header"));
        assert_eq!(sent.as_bytes(), BASE64_URL_SAFE.encode(login).as_bytes());
    }
}
