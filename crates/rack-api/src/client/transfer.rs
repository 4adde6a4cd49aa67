//! Bodies too large for memory: uploads and downloads as streams.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::HeaderValue;
use ::http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use reqwest::StatusCode;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::ClientError;
use super::http::api_error;

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

/// How often in a row a download goes on after its connection broke and nothing came since.
const TRIES: u32 = 5;
/// First pause before that; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });

/// Pieces of a body.
type Pieces = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;
/// The rest of a body that broke off.
type Rest = BoxFuture<'static, Result<Pieces, ClientError>>;
/// Is told that a connection broke and the download goes on: behind how many bytes, and at
/// which try.
type Hearer = Box<dyn Fn(u64, u32) + Send + Sync>;

/// A body received piece by piece. A connection that breaks before the end is an
/// error, never a short body; where the server allows it, the rest is asked for first.
pub struct Download {
    host: String,
    length: Option<u64>,
    /// Bytes that have come.
    had: u64,
    state: State,
    resume: Option<Arc<Resume>>,
    /// Tries since the last byte.
    tries: u32,
    hearer: Option<Hearer>,
}

enum State {
    Reading(Pieces),
    Asking(Rest),
}

/// What it takes to ask for the rest of a body.
pub(super) struct Resume {
    http: reqwest::Client,
    request: reqwest::Request,
    /// The body that was begun, by its strong validator.
    tag: HeaderValue,
}

impl Resume {
    /// What is needed to go on, if the server can send a part of this very body.
    fn of(
        http: reqwest::Client,
        request: reqwest::Request,
        response: &reqwest::Response,
    ) -> Option<Self> {
        let headers = response.headers();
        let by_bytes = headers.get_all(ACCEPT_RANGES).iter().any(|units| {
            units
                .to_str()
                .is_ok_and(|units| units.eq_ignore_ascii_case("bytes"))
        });
        let tag = headers.get(ETAG).filter(|tag| is_strong(tag))?.clone();
        let whole = response.status() == StatusCode::OK && !headers.contains_key(CONTENT_ENCODING);
        (by_bytes && whole).then_some(Self { http, request, tag })
    }

    /// Asks for what comes behind so many bytes.
    async fn rest(
        self: Arc<Self>,
        host: String,
        had: u64,
        length: Option<u64>,
        pause: Duration,
    ) -> Result<Pieces, ClientError> {
        tokio::time::sleep(pause).await;
        let mut request = self.request.try_clone().expect("it has no body");
        let range = HeaderValue::try_from(format!("bytes={had}-")).expect("digits");
        request.headers_mut().insert(RANGE, range);
        request.headers_mut().insert(IF_RANGE, self.tag.clone());
        let response = self.http.execute(request).await;
        let response = response.map_err(|error| ClientError::transport(&host, error))?;
        let headers = response.headers();
        let range = headers
            .get(CONTENT_RANGE)
            .and_then(|range| range.to_str().ok());
        let same = headers.get(ETAG).is_none_or(|tag| *tag == self.tag);
        match response.status() {
            StatusCode::PARTIAL_CONTENT if same && fits(range.unwrap_or_default(), had, length) => {
                Ok(Box::pin(response.bytes_stream()))
            }
            // Nothing but the end was missing.
            StatusCode::RANGE_NOT_SATISFIABLE if range == Some(&format!("bytes */{had}")) => {
                Ok(Box::pin(futures::stream::empty()))
            }
            // The whole again: another one, as the validator did not match.
            status if status.is_success() => Err(ClientError::Protocol {
                host,
                reason: format!(
                    "what it sends is not the rest behind {had} bytes, which may have changed meanwhile"
                ),
            }),
            _ => Err(api_error(response).await),
        }
    }
}

/// Whether a validator promises the same bytes (RFC 9110 §8.8.1).
fn is_strong(tag: &HeaderValue) -> bool {
    let tag = tag.as_bytes();
    tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\"")
}

/// Whether a `Content-Range` begins behind so many bytes and goes to the end.
fn fits(range: &str, had: u64, length: Option<u64>) -> bool {
    let parsed = range.strip_prefix("bytes ").and_then(|range| {
        let (span, total) = range.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        Some((number(first)?, number(last)?, number(total)?))
    });
    parsed.is_some_and(|(first, last, total)| {
        first == had && last.checked_add(1) == Some(total) && length.is_none_or(|all| all == total)
    })
}

impl Download {
    pub(super) fn new(host: String, response: reqwest::Response) -> Self {
        Self {
            host,
            length: response.content_length(),
            had: 0,
            state: State::Reading(Box::pin(response.bytes_stream())),
            resume: None,
            tries: 0,
            hearer: None,
        }
    }

    /// The same; if the connection breaks, the rest is asked for by the request that got it.
    pub(super) fn resumable(
        host: String,
        response: reqwest::Response,
        http: reqwest::Client,
        request: reqwest::Request,
    ) -> Self {
        let resume = Resume::of(http, request, &response).map(Arc::new);
        Self {
            resume,
            ..Self::new(host, response)
        }
    }

    /// Number of bytes, when the rack says it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Has told whenever the connection broke and the download goes on.
    #[must_use]
    pub fn on_resume(mut self, hearer: impl Fn(u64, u32) + Send + Sync + 'static) -> Self {
        self.hearer = Some(Box::new(hearer));
        self
    }

    /// Waits for the next piece; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.next().await.transpose()
    }

    /// Asks for the rest, unless that can not be or was tried too often.
    fn go_on(&mut self, error: ClientError) -> Result<(), ClientError> {
        let lost = match error {
            ClientError::Lost { .. } | ClientError::Unreachable { .. } => true,
            // Something between us and the rack, which may be back in a moment.
            ClientError::Api { status, .. } => matches!(status, 502..=504),
            _ => false,
        };
        let Some(resume) = self.resume.as_ref().filter(|_| lost && self.tries < TRIES) else {
            return Err(error);
        };
        let pause = PAUSE * 2_u32.pow(self.tries);
        self.tries += 1;
        if let Some(hearer) = &self.hearer {
            hearer(self.had, self.tries);
        }
        let rest = Arc::clone(resume).rest(self.host.clone(), self.had, self.length, pause);
        self.state = State::Asking(Box::pin(rest));
        Ok(())
    }
}

impl Stream for Download {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        loop {
            let failed = match &mut me.state {
                State::Reading(pieces) => match ready!(pieces.as_mut().poll_next(cx)) {
                    None => {
                        me.state = State::Reading(Box::pin(futures::stream::empty()));
                        return Poll::Ready(None);
                    }
                    Some(Ok(bytes)) => {
                        me.had += bytes.len() as u64;
                        if !bytes.is_empty() {
                            me.tries = 0;
                        }
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Some(Err(error)) => match ClientError::transport(&me.host, error) {
                        // Half a body is a lost connection, however it is coded.
                        ClientError::Protocol { host, reason } => {
                            ClientError::Lost { host, reason }
                        }
                        error => error,
                    },
                },
                State::Asking(rest) => match ready!(rest.as_mut().poll(cx)) {
                    Ok(pieces) => {
                        me.state = State::Reading(pieces);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            if let Err(error) = me.go_on(failed) {
                // What has failed is not asked again.
                me.state = State::Reading(Box::pin(futures::stream::empty()));
                me.resume = None;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("length", &self.length)
            .field("had", &self.had)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_rest_fits() {
        for (range, fitting) in [
            ("bytes 3-9/10", true),
            ("bytes 2-9/10", false),
            ("bytes 3-8/10", false),
            ("bytes 3-10/11", false),
            ("bytes 3-9/*", false),
            ("bytes */10", false),
            ("", false),
        ] {
            assert_eq!(fits(range, 3, Some(10)), fitting, "{range}");
        }
        assert!(fits("bytes 3-9/10", 3, None));
    }

    #[test]
    fn weak_validators_promise_nothing() {
        let strong = |tag: &'static str| is_strong(&HeaderValue::from_static(tag));
        assert!(strong("\"a\""));
        assert!(!strong("W/\"a\""));
        assert!(!strong("\""));
        assert!(!strong(""));
    }
}
