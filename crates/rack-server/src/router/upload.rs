//! A request body on its way to a process: streamed, and still ours when the process
//! could not be reached.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

/// A handle on a request body. The HTTP client consumes one per attempt; the body
/// itself stays with us until it has been touched.
#[derive(Clone)]
pub(super) struct Upload(Arc<Mutex<State>>);

struct State {
    body: Body,
    touched: bool,
    ended: bool,
    active: Instant,
}

impl Upload {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(State {
            ended: body.is_end_stream(),
            body,
            touched: false,
            active: Instant::now(),
        })))
    }

    /// Whether any of it may have been sent.
    pub(super) fn touched(&self) -> bool {
        self.state().touched
    }

    /// Whether nothing more of it will come.
    pub(super) fn ended(&self) -> bool {
        self.state().ended
    }

    /// When a piece of it was last on its way.
    pub(super) fn active(&self) -> Instant {
        self.state().active
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut state = self.state();
        state.touched = true;
        state.active = Instant::now();
        let frame = Pin::new(&mut state.body).poll_frame(cx);
        state.ended |= match &frame {
            Poll::Ready(Some(Ok(_))) => state.body.is_end_stream(),
            Poll::Ready(_) => true,
            Poll::Pending => false,
        };
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.state().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.state().body.size_hint()
    }
}
