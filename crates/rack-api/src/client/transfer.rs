//! Bodies too large for memory: uploads and downloads as streams.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::ClientError;

/// Size of the pieces a reader is read in.
const PIECE: usize = 64 * 1024;

/// A body to send, read while it is sent.
pub struct Upload {
    stream: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    length: Option<u64>,
}

impl Upload {
    /// Sends what a stream yields, in chunks.
    pub fn from_stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self {
            stream: Box::pin(stream),
            length: None,
        }
    }

    /// Sends what a reader yields, in chunks.
    pub fn from_reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::from_stream(ReaderStream::with_capacity(reader, PIECE))
    }

    /// Announces the number of bytes; sending fails when there are fewer or more.
    #[must_use]
    pub fn with_length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// What it sends.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        self.stream
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Makes the body and the place where a failure to read it is kept: the HTTP
    /// layer would report it like one of the network.
    pub(super) fn into_body(self) -> (reqwest::Body, ReadFailure) {
        let failure = ReadFailure::default();
        let kept = failure.clone();
        let stream = self.stream.map(move |piece| {
            piece.map_err(|error| {
                let kind = error.kind();
                kept.slot().replace(error);
                io::Error::from(kind)
            })
        });
        (reqwest::Body::wrap_stream(stream), failure)
    }
}

impl From<Bytes> for Upload {
    fn from(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self::from_stream(futures::stream::once(async { Ok(bytes) })).with_length(length)
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Why an upload could not be read, once that has happened.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadFailure(Arc<Mutex<Option<io::Error>>>);

impl ReadFailure {
    fn slot(&self) -> std::sync::MutexGuard<'_, Option<io::Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of a call, or why its upload could not be read if that is what
    /// made it fail.
    pub(super) fn explain<T>(&self, outcome: Result<T, ClientError>) -> Result<T, ClientError> {
        match self.slot().take() {
            Some(error) => Err(ClientError::Upload(error)),
            None => outcome,
        }
    }
}

/// A body received piece by piece. A connection that breaks before the end is an
/// error, never a short body.
pub struct Download {
    host: String,
    length: Option<u64>,
    stream: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
}

impl Download {
    pub(super) fn new(host: String, response: reqwest::Response) -> Self {
        let length = response.content_length();
        Self {
            host,
            length,
            stream: Box::pin(response.bytes_stream()),
        }
    }

    /// Number of bytes, when the rack says it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Waits for the next piece; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.next().await.transpose()
    }
}

impl Stream for Download {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = futures::ready!(self.stream.as_mut().poll_next(cx));
        Poll::Ready(piece.map(|piece| {
            piece.map_err(|error| match ClientError::transport(&self.host, error) {
                // Half a body is a lost connection, however it is coded.
                ClientError::Protocol { host, reason } => ClientError::Lost { host, reason },
                error => error,
            })
        }))
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
