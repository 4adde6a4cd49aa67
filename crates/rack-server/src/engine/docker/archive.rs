//! Tar streams to and from the engine.
//!
//! Nothing is held but the bytes in flight. Docker reports a failure that comes
//! after the first byte of an image as text at the end of a stream that otherwise
//! looks complete, so the end of every saved stream is looked at.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bollard::errors::Error;
use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::{ReaderStream, StreamReader};

use super::{Docker, error};
use crate::engine::{EngineError, Reader, Result};

/// Bytes read from a source at a time.
const STEP: usize = 64 * 1024;

/// A tar ends with two blocks of zeros.
const END: usize = 1024;

impl Docker {
    pub(super) async fn images_save(&self, references: &[String]) -> Result<Reader> {
        let client = self.session().await?.unhurried();
        let Some(first) = references.first() else {
            return Err(EngineError::Failed("no image was named to save".into()));
        };
        let names: Vec<&str> = references.iter().map(String::as_str).collect();
        let body = client.export_images(&names);
        let body = self.opened(("image", first), body).await?;
        Ok(Box::pin(Whole {
            inner: Box::pin(StreamReader::new(body)),
            tail: VecDeque::with_capacity(END),
        }))
    }

    pub(super) async fn images_load(&self, tar: Reader) -> Result<()> {
        let client = self.session().await?.unhurried();
        let source = Source::default();
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let mut answers =
            client.import_image(options, bollard::body_try_stream(source.read(tar)), None);
        while let Some(answer) = answers.next().await {
            if let Err(error) = answer {
                let failure = || unloadable(self.failure("image", "archive", error));
                return Err(source.blame(failure));
            }
        }
        source.result()
    }

    /// Waits for the first bytes, so that a refusal is an error now and not of the stream.
    pub(super) async fn opened(
        &self,
        about: (&'static str, &str),
        body: impl Stream<Item = std::result::Result<Bytes, Error>> + Send + Unpin + 'static,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
        let mut body = body;
        let first = match body.next().await {
            Some(Err(error)) => return Err(self.failure(about.0, about.1, error)),
            first => first,
        };
        let rest = stream::iter(first).chain(body);
        Ok(rest
            .map_err(|error| io::Error::other(format!("docker stopped sending: {error}")))
            .boxed())
    }
}

/// Tells layers that are no tar from all other troubles. Only the engine reads them; it
/// says what its tar reader says, and nothing of such an image is kept.
fn unloadable(failure: EngineError) -> EngineError {
    match failure {
        EngineError::Failed(words)
            if words.contains("archive/tar: ") || words.ends_with("unexpected EOF") =>
        {
            EngineError::Refused(format!("a layer is no tar archive: docker says: {words}"))
        }
        failure => failure,
    }
}

/// A stream we send, with the error its reader ended with: the engine only sees
/// that the stream broke off, and the reason is better than that.
#[derive(Clone, Default)]
pub(super) struct Source {
    broke: Arc<Mutex<Option<io::Error>>>,
}

impl Source {
    /// The bytes of `reader` in pieces.
    pub(super) fn read(
        &self,
        reader: Reader,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let broke = Arc::clone(&self.broke);
        ReaderStream::with_capacity(reader, STEP).map_err(move |error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            *broke.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            copy
        })
    }

    /// The reader's error, or `otherwise`.
    pub(super) fn blame(&self, otherwise: impl FnOnce() -> EngineError) -> EngineError {
        let broke = self
            .broke
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        broke.map_or_else(otherwise, EngineError::Stream)
    }

    pub(super) fn result(&self) -> Result<()> {
        let broke = self
            .broke
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        broke.map_or(Ok(()), |error| Err(EngineError::Stream(error)))
    }
}

/// A tar that must end like one.
struct Whole {
    inner: Reader,
    tail: VecDeque<u8>,
}

impl AsyncRead for Whole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(self.inner.as_mut().poll_read(cx, buf))?;
        let got = &buf.filled()[before..];
        if got.is_empty() {
            return Poll::Ready(self.end());
        }
        let got = &got[got.len().saturating_sub(END)..];
        let excess = (self.tail.len() + got.len()).saturating_sub(END);
        self.tail.drain(..excess);
        self.tail.extend(got);
        Poll::Ready(Ok(()))
    }
}

impl Whole {
    fn end(&self) -> io::Result<()> {
        if self.tail.len() == END && self.tail.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let report = tail
            .windows(2)
            .rposition(|pair| pair == b"{\"")
            .map(|at| &tail[at..]);
        let reason = report
            .and_then(|json| serde_json::from_slice::<serde_json::Value>(json).ok())
            .and_then(|json| {
                json.get("message")
                    .or(json.get("error"))?
                    .as_str()
                    .map(error::sentence)
            })
            .unwrap_or_else(|| "the archive has no end".to_owned());
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("docker did not save the whole image: {reason}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut whole = Whole {
            inner: Box::pin(io::Cursor::new(bytes)),
            tail: VecDeque::new(),
        };
        let mut all = Vec::new();
        whole.read_to_end(&mut all).await.map(|_| all)
    }

    #[tokio::test]
    async fn a_saved_stream_must_end_like_a_tar() {
        let mut tar = vec![7; 3000];
        tar.extend([0; END]);
        assert_eq!(read(tar.clone()).await.expect("whole"), tar);
        assert!(
            read(tar[..tar.len() - 1].to_vec()).await.is_err(),
            "one zero short"
        );
        assert!(read(Vec::new()).await.is_err(), "nothing at all");
    }

    #[tokio::test]
    async fn a_report_at_the_end_is_the_reason() {
        let mut tar = vec![0; 4096];
        tar.extend_from_slice(b"{\"message\":\"No space left on device\"}\r\n");
        let error = read(tar).await.expect_err("not whole");
        assert_eq!(
            error.to_string(),
            "docker did not save the whole image: no space left on device"
        );
    }
}
