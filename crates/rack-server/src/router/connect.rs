//! Connections to a process: dialled by the engine, wrapped in TLS when the process speaks it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rack_api::trust::any_certificate;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use super::target::Scheme;
use crate::engine::{self, Engine, EngineError};

/// How long a process may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to one port of one process, whatever address is asked for.
#[derive(Clone)]
pub(super) struct Connector {
    engine: Arc<dyn Engine>,
    process: Arc<str>,
    port: u16,
    scheme: Scheme,
}

/// Why a process cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The engine could not connect.
    #[error(transparent)]
    Dial(#[from] EngineError),
    /// The process does not speak TLS as it should.
    #[error("tls handshake failed: {0}")]
    Tls(io::Error),
    /// It took too long.
    #[error("no connection within {} seconds", CONNECT_TIMEOUT.as_secs())]
    Timeout,
}

impl Connector {
    pub(super) fn new(engine: Arc<dyn Engine>, process: String, port: u16, scheme: Scheme) -> Self {
        Self {
            engine,
            process: process.into(),
            port,
            scheme,
        }
    }

    /// Makes a connection.
    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        let connecting = async {
            let connection = self.engine.dial(&self.process, self.port).await?;
            match self.scheme {
                Scheme::Http | Scheme::Grpc | Scheme::Other => Ok(Stream(connection)),
                Scheme::Https | Scheme::SecureGrpc => {
                    let name = ServerName::try_from("localhost").expect("a valid name");
                    let tls = if self.scheme.is_http2() {
                        &TLS_HTTP2
                    } else {
                        &TLS
                    };
                    let tls = tls
                        .connect(name, connection)
                        .await
                        .map_err(ConnectError::Tls)?;
                    Ok(Stream(Box::pin(tls)))
                }
            }
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| ConnectError::Timeout)?
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<TokioIo<Stream>, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// A connection to a process.
pub(super) struct Stream(engine::Connection);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// Made when the first process speaks TLS. Takes any certificate: the way to a process is
/// a loopback connection to a container we started, and its certificate is self-signed
/// as a rule.
static TLS: LazyLock<TlsConnector> =
    LazyLock::new(|| TlsConnector::from(Arc::new(any_certificate())));

/// The same for processes that speak HTTP/2.
static TLS_HTTP2: LazyLock<TlsConnector> = LazyLock::new(|| {
    let mut config = any_certificate();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
});

/// Runs a connection's own work in the background; how it ends shows in the request that uses it.
pub(super) fn spawn<T: Send + 'static>(connection: impl Future<Output = T> + Send + 'static) {
    tokio::spawn(async move { drop(connection.await) });
}
