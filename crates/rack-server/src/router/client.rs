//! Requests to one process, in the version of HTTP it speaks.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::connect::{ConnectError, Connector, spawn};
use super::target::Scheme;
use super::upload::Upload;
use super::wire::{Line, Wires};

/// Streams on one HTTP/2 connection, after which another one is opened: every server must
/// allow as many if it is to be of use (RFC 9113 §6.5.2).
const STREAMS: usize = 100;

/// Pause between pings that tell whether a process is still there while an answer comes.
const PING: Duration = Duration::from_secs(20);

/// Speaks to one port of one process.
pub(super) enum Client {
    /// HTTP/1.1.
    One(Arc<Wires>),
    /// HTTP/2.
    Two(Multiplexed),
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct Failed {
    /// There was no connection.
    pub(super) connecting: bool,
    /// Nothing of the request was sent.
    pub(super) unsent: bool,
    /// The innermost reason, which is the one that helps.
    pub(super) reason: String,
}

impl Failed {
    pub(super) fn new(error: &dyn Error) -> Self {
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self {
            connecting: false,
            unsent: false,
            reason: cause.to_string(),
        }
    }

    pub(super) fn connecting(error: ConnectError) -> Self {
        Self {
            connecting: true,
            unsent: true,
            ..Self::new(&error)
        }
    }

    pub(super) fn unsent(mut self, unsent: bool) -> Self {
        self.unsent = unsent;
        self
    }
}

impl Client {
    pub(super) fn new(connector: Connector, scheme: Scheme) -> Self {
        if scheme.is_http2() {
            Self::Two(Multiplexed {
                connector,
                shared: tokio::sync::Mutex::default(),
            })
        } else {
            Self::One(Wires::new(connector))
        }
    }

    /// Sends a request; with `fresh` not on a connection that was used before.
    pub(super) async fn request(
        &self,
        request: Request<Upload>,
        upload: &Upload,
        fresh: bool,
    ) -> Result<Answer, Failed> {
        match self {
            Self::One(wires) => wires.request(request, upload, fresh).await,
            Self::Two(multiplexed) => multiplexed.request(request, fresh).await,
        }
    }
}

/// The HTTP/2 connections to one port of one process: one, unless it has too much to carry.
pub(super) struct Multiplexed {
    connector: Connector,
    shared: tokio::sync::Mutex<Vec<Shared>>,
}

struct Shared {
    sender: SendRequest<Upload>,
    streams: Arc<AtomicUsize>,
}

/// A place on a connection, until the answer has ended.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(streams))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Multiplexed {
    async fn request(&self, request: Request<Upload>, fresh: bool) -> Result<Answer, Failed> {
        let (mut sender, place) = self.sender(fresh).await?;
        let response = sender
            .try_send_request(request)
            .await
            .map_err(|mut error| {
                let unsent = error.take_message().is_some();
                Failed::new(&error.into_error()).unsent(unsent)
            })?;
        Ok(Answer {
            response,
            line: None,
            place: Some(place),
        })
    }

    /// A connection with room. One connects, the others wait for that.
    async fn sender(&self, fresh: bool) -> Result<(SendRequest<Upload>, Place), Failed> {
        let mut shared = self.shared.lock().await;
        if fresh {
            // What goes on over them goes on.
            shared.clear();
        }
        shared.retain(|one| one.sender.is_ready());
        let free = |one: &&Shared| one.streams.load(Ordering::SeqCst) < STREAMS;
        if let Some(one) = shared.iter().find(free) {
            let found = (one.sender.clone(), Place::take(&one.streams));
            // Of those that carry nothing one is enough.
            let mut spare = 0;
            shared.retain(|one| {
                spare += usize::from(one.streams.load(Ordering::SeqCst) == 0);
                spare < 2
            });
            return Ok(found);
        }
        let stream = self.connector.connect().await.map_err(Failed::connecting)?;
        let (sender, driver) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failed::new(&error).unsent(true))?;
        spawn(driver);
        let streams = Arc::default();
        let place = Place::take(&streams);
        shared.push(Shared {
            sender: sender.clone(),
            streams,
        });
        Ok((sender, place))
    }
}

/// An answer of a process.
pub(super) struct Answer {
    response: Response<Incoming>,
    line: Option<Line>,
    place: Option<Place>,
}

impl Answer {
    pub(super) fn on_wire(response: Response<Incoming>, line: Option<Line>) -> Self {
        Self {
            response,
            line,
            place: None,
        }
    }

    /// What it says before its body.
    pub(super) fn head(&mut self) -> &mut Response<Incoming> {
        &mut self.response
    }

    /// Head and body apart.
    pub(super) fn into_parts(self) -> (http::response::Parts, Download) {
        let (parts, body) = self.response.into_parts();
        let mut download = Download {
            body,
            line: self.line,
            _place: self.place,
        };
        // An answer without a body is over already; nobody will ask for it.
        download.release(&mut Context::from_waker(Waker::noop()));
        (parts, download)
    }
}

/// The body of an answer, as it comes.
pub(super) struct Download {
    body: Incoming,
    line: Option<Line>,
    _place: Option<Place>,
}

impl Download {
    /// Gives the connection back once the answer is over.
    fn release(&mut self, cx: &mut Context<'_>) {
        if self.body.is_end_stream()
            && let Some(line) = self.line.take()
        {
            line.release(cx);
        }
    }
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let frame = match &mut this.line {
            Some(line) => line.poll_frame(Pin::new(&mut this.body), cx),
            None => Pin::new(&mut this.body).poll_frame(cx),
        };
        match &frame {
            Poll::Ready(None) => {
                if let Some(line) = this.line.take() {
                    line.release(cx);
                }
            }
            Poll::Ready(Some(Ok(_))) => this.release(cx),
            Poll::Ready(Some(Err(_))) => this.line = None,
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
