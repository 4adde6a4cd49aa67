//! What stands before every handler: who asks, whether they may, and how much they
//! may send. A route has its guard by being in the table, so none can be forgotten.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body::{Frame, SizeHint};

use super::State;
use super::error::ApiError;
use super::route::{Largest, Whose};
use super::scope::{self, Refused};
use super::socket;
use crate::operations::Failure;
use crate::rack::access::Role;
use crate::router::Origin;

/// Largest form of a few fields.
const FORM: u64 = 64 << 10;
/// Largest form with documents in it.
const LARGE_FORM: u64 = 4 << 20;

/// What a guard knows of its route.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) console: State,
    pub(super) needs: Option<Role>,
    pub(super) refusal: Option<&'static str>,
    pub(super) whose: Whose,
    pub(super) largest: Largest,
    pub(super) socket: bool,
}

/// Lets a request through to its handler, or refuses it. Sockets are let through
/// with the refusal: it travels in the stream.
pub(super) async fn admit(
    Shared(guard): Shared<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    // Without an upgrade a socket is an unknown route, to everyone.
    if guard.socket && !socket::is_asked_for(&request) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match scope::grant(&guard, request.headers(), request.uri()).await {
        Ok(granted) => {
            if !is_text(request.uri().path()) {
                let failure = Failure::Invalid("the path of the request is not text".into());
                return ApiError::from(failure).into_response();
            }
            request.extensions_mut().insert(granted);
        }
        Err(refusal) => {
            if refusal.was_guess {
                let peer = peer(&request);
                guard.console.refusals().hold_back(peer).await;
            }
            if !guard.socket {
                return ApiError::from(refusal.failure).into_response();
            }
            request
                .extensions_mut()
                .insert(Refused::new(refusal.failure));
        }
    }
    limit(&guard, request, next).await
}

/// Whether a path means text without control characters.
fn is_text(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8();
    decoded.is_ok_and(|text| !text.chars().any(char::is_control))
}

fn peer(request: &Request) -> IpAddr {
    let origin = request.extensions().get::<Origin>();
    origin.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |origin| origin.peer.ip())
}

/// Sizes as people write them.
fn show(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = |(size, _): &(u64, &str)| bytes >= *size && bytes.is_multiple_of(*size);
    match units.into_iter().find(fits) {
        Some((size, unit)) => format!("{} {unit}", bytes / size),
        None => format!("{bytes} bytes"),
    }
}

/// Refuses what is too large: at once if the client says so, else when it has come.
async fn limit(guard: &Guard, request: Request, next: Next) -> Response {
    let most = match guard.largest {
        Largest::Form => FORM,
        Largest::LargeForm => LARGE_FORM,
        Largest::Upload => guard.console.limits().largest_upload,
    };
    let refuse = || {
        let size = show(most);
        ApiError::from(Failure::TooLarge(match guard.largest {
            Largest::Form | Largest::LargeForm => format!("the form is larger than {size}"),
            Largest::Upload => {
                format!("the upload is larger than {size}: the server takes more with --max-upload")
            }
        }))
        .into_response()
    };
    let said = request.headers().get(header::CONTENT_LENGTH);
    let said = said.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > most) {
        return refuse();
    }
    let fate = Arc::new(AtomicU8::new(WHOLE));
    let request = request.map(|body| {
        Body::new(Limited {
            body,
            left: most,
            fate: Arc::clone(&fate),
        })
    });
    let response = next.run(request).await;
    // The handler saw a body that broke off, and does not know why.
    match fate.load(Ordering::Relaxed) {
        TOO_LONG if !response.status().is_success() => refuse(),
        BROKEN if response.status().is_server_error() => {
            ApiError::from(Failure::Invalid("the request ended early".into())).into_response()
        }
        _ => response,
    }
}

/// How a body fared: nothing is wrong so far.
const WHOLE: u8 = 0;
/// It was longer than it may be.
const TOO_LONG: u8 = 1;
/// It ended before its end, or its chunks are none.
const BROKEN: u8 = 2;

/// A body that breaks off when it is longer than it may be.
struct Limited {
    body: Body,
    left: u64,
    fate: Arc<AtomicU8>,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Err(_)) = &frame {
            self.fate.store(BROKEN, Ordering::Relaxed);
        }
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                self.fate.store(TOO_LONG, Ordering::Relaxed);
                let error = std::io::Error::other("more was sent than is taken");
                return Poll::Ready(Some(Err(axum::Error::new(error))));
            };
            self.left = left;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::show;

    #[test]
    fn sizes_are_round_where_they_are() {
        assert_eq!(show(64 << 10), "64 KiB");
        assert_eq!(show(4 << 20), "4 MiB");
        assert_eq!(show(3 << 30), "3 GiB");
        assert_eq!(show((4 << 20) + 1), "4194305 bytes");
        assert_eq!(show(0), "0 bytes");
    }
}
