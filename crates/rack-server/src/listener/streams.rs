//! What is under way on one connection of HTTP/2: whether anything is, since when not, and
//! whether its client makes requests only to give them up.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Requests given up before they were answered, after which a connection is closed if they
/// are also more than half of all. Browsers give up a few when somebody leaves a page;
/// whoever gives up thousands wants to see how much work that makes (CVE-2023-44487).
const GIVEN_UP: usize = 500;

/// See the module.
#[derive(Debug)]
pub(super) struct Streams {
    open: AtomicUsize,
    begun: AtomicUsize,
    given_up: AtomicUsize,
    /// When the last one ended.
    quiet: Mutex<Instant>,
    abuse: Notify,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: AtomicUsize::default(),
            begun: AtomicUsize::default(),
            given_up: AtomicUsize::default(),
            quiet: Mutex::new(Instant::now()),
            abuse: Notify::new(),
        }
    }
}

impl Streams {
    /// Counts a request.
    pub(super) fn begin(this: &Arc<Self>) -> Stream {
        this.open.fetch_add(1, Ordering::SeqCst);
        this.begun.fetch_add(1, Ordering::SeqCst);
        Stream {
            of: Arc::clone(this),
            answered: false,
        }
    }

    /// Resolves when nothing has been under way for a time.
    pub(super) async fn unused(&self, time: Duration) {
        loop {
            let quiet = *self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
            if self.open.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(time).await;
            } else if quiet.elapsed() >= time {
                return;
            } else {
                tokio::time::sleep_until(quiet + time).await;
            }
        }
    }

    /// Resolves when the client has given up too many requests.
    pub(super) async fn abused(&self) {
        self.abuse.notified().await;
    }
}

/// One request, until its answer has ended.
#[derive(Debug)]
pub(super) struct Stream {
    of: Arc<Streams>,
    answered: bool,
}

impl Stream {
    /// The answer has begun.
    pub(super) fn answered(mut self, answer: Response<Body>) -> Response<Body> {
        self.answered = true;
        answer.map(|body| {
            Body::new(Counted {
                body,
                _stream: self,
            })
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let of = &self.of;
        *of.quiet.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        of.open.fetch_sub(1, Ordering::SeqCst);
        if !self.answered {
            let given_up = of.given_up.fetch_add(1, Ordering::SeqCst) + 1;
            if given_up >= GIVEN_UP && given_up * 2 > of.begun.load(Ordering::SeqCst) {
                of.abuse.notify_one();
            }
        }
    }
}

/// The body of an answer, counted to its end.
struct Counted {
    body: Body,
    _stream: Stream,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn giving_up_nearly_everything_is_abuse() {
        let streams = Arc::new(Streams::default());
        let abused = || {
            let abused = streams.abused();
            tokio::time::timeout(Duration::ZERO, abused)
        };
        for _ in 0..GIVEN_UP * 2 {
            Streams::begin(&streams).answered(Response::new(Body::empty()));
            drop(Streams::begin(&streams));
        }
        assert!(abused().await.is_err(), "half of them is odd, but no abuse");
        drop(Streams::begin(&streams));
        assert!(abused().await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_is_unused_some_time_after_its_last_answer() {
        let streams = Arc::new(Streams::default());
        let time = Duration::from_millis(20);
        let one = Streams::begin(&streams);
        let waits = tokio::time::timeout(time * 5, streams.unused(time)).await;
        assert!(waits.is_err(), "something is under way");
        let began = Instant::now();
        drop(one);
        streams.unused(time).await;
        assert!(began.elapsed() >= time);
    }
}
