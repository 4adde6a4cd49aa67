//! Reading what a client still sends after its request was answered.
//!
//! A handler that refuses an upload drops its body unread. If the connection were
//! closed then, the reset could destroy the answer on its way, and the client would
//! see a broken pipe in place of the reason.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

/// Most bytes read in vain.
const MOST: usize = 4 << 30;
/// Longest time spent on it.
const LONGEST: Duration = Duration::from_secs(60);
/// A client that sends nothing for this long is waiting, not sending.
const PAUSE: Duration = Duration::from_millis(250);

/// Gives a request a body that is read to its end whatever the handler does with it.
pub(super) async fn keep_reading(request: Request, next: Next) -> Response {
    // A client that asks before it sends is not told to send what nobody wants.
    let wanted = !request.headers().contains_key(header::EXPECT);
    let drained = |body| {
        Body::new(Drained {
            body: Some(body),
            wanted,
        })
    };
    next.run(request.map(drained)).await
}

/// A body that is read on in the background when it is dropped.
struct Drained {
    body: Option<Body>,
    /// The client sends, or has been told to.
    wanted: bool,
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.wanted = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        let Some(mut body) = rest.filter(|_| self.wanted) else {
            return;
        };
        let drain = async move {
            let mut read = 0;
            while let Ok(Some(Ok(frame))) = tokio::time::timeout(PAUSE, body.frame()).await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > MOST {
                    break;
                }
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Whoever sends longer than that has the answer, or will not read it.
                let _ = tokio::time::timeout(LONGEST, drain).await;
            });
        }
    }
}
