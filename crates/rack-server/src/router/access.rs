//! Who asked for what: one line per request, told to whoever keeps the log.
//!
//! Telling costs a request nothing it could notice: lines go into a queue that is read now
//! and then, and are counted instead when it is full. What may be secret is never in it:
//! neither what follows the question mark nor any header.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::headers::Origin;
use super::table::{Key, Route};
use super::target::Target;

/// Lines that wait to be read.
const WAITING: usize = 4096;
/// Most characters of a path.
const PATH: usize = 512;

/// Where the requests of some services are told.
#[derive(Debug, Clone)]
pub struct Log {
    lines: mpsc::Sender<Access>,
    lost: Arc<AtomicU64>,
}

/// What was told.
#[derive(Debug)]
pub struct Told {
    lines: mpsc::Receiver<Access>,
    lost: Arc<AtomicU64>,
}

/// A request that is over.
#[derive(Debug)]
pub struct Access {
    route: Arc<Route>,
    target: Option<Arc<Target>>,
    visit: Visit,
    status: StatusCode,
    bytes: u64,
    took: Duration,
    whole: bool,
}

/// What a request asked for.
#[derive(Debug)]
pub(super) struct Visit {
    method: Method,
    target: Option<PathAndQuery>,
    version: Version,
    peer: Option<IpAddr>,
    began: Instant,
}

/// Makes a log and what reads it.
pub fn log() -> (Log, Told) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let lost = Arc::default();
    let log = Log {
        lines: sender,
        lost: Arc::clone(&lost),
    };
    let told = Told {
        lines: receiver,
        lost,
    };
    (log, told)
}

impl Told {
    /// Waits for requests and takes those that are there, in the order they ended, and how
    /// many were not told; none when nobody will tell any more.
    pub async fn take(&mut self, into: &mut Vec<Access>) -> Option<u64> {
        if self.lines.recv_many(into, WAITING).await == 0 {
            return None;
        }
        Some(self.lost.swap(0, Ordering::Relaxed))
    }
}

impl Access {
    /// The service.
    pub fn key(&self) -> &Key {
        self.route.key()
    }

    /// Id of the process that answered, if one did.
    pub fn process(&self) -> Option<&str> {
        self.target.as_ref().map(|target| target.process())
    }
}

/// `GET /path HTTP/1.1 200 512 0.004 127.0.0.1`: what was asked, the status, bytes of the
/// body, seconds until it had ended, who asked; ` cut` when it did not come whole.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.visit.target.as_ref().map_or("/", PathAndQuery::path);
        let shown = path
            .char_indices()
            .nth(PATH)
            .map_or(path, |(at, _)| &path[..at]);
        write!(f, "{} {}", self.visit.method, shown)?;
        if shown.len() < path.len() {
            f.write_str("…")?;
        }
        write!(
            f,
            " {:?} {} {} {:.3}",
            self.visit.version,
            self.status.as_u16(),
            self.bytes,
            self.took.as_secs_f64()
        )?;
        match self.visit.peer {
            Some(peer) => write!(f, " {peer}")?,
            None => f.write_str(" -")?,
        }
        f.write_str(if self.whole { "" } else { " cut" })
    }
}

impl Visit {
    pub(super) fn of(request: &Request<Body>, began: Instant) -> Self {
        let origin = request.extensions().get::<Origin>();
        Self {
            method: request.method().clone(),
            target: request.uri().path_and_query().cloned(),
            version: request.version(),
            peer: origin.map(|origin| origin.peer.ip().to_canonical()),
            began,
        }
    }
}

impl Log {
    /// Tells of a request when its answer has ended.
    pub(super) fn watch(
        &self,
        visit: Visit,
        route: &Arc<Route>,
        target: Option<Arc<Target>>,
        response: Response<Body>,
    ) -> Response<Body> {
        let status = response.status();
        response.map(|body| {
            Body::new(Watched {
                whole: body_is_over(&body),
                body,
                bytes: 0,
                pending: Some(Pending {
                    log: self.clone(),
                    visit,
                    route: Arc::clone(route),
                    target,
                    status,
                }),
            })
        })
    }

    fn tell(&self, access: Access) {
        if self.lines.try_send(access).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn body_is_over(body: &Body) -> bool {
    http_body::Body::is_end_stream(body)
}

/// A request whose answer goes on.
struct Pending {
    log: Log,
    visit: Visit,
    route: Arc<Route>,
    target: Option<Arc<Target>>,
    status: StatusCode,
}

/// The body of an answer; its end is told.
struct Watched {
    body: Body,
    bytes: u64,
    whole: bool,
    pending: Option<Pending>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.whole = body_is_over(&self.body);
            }
            Poll::Ready(None) => self.whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        body_is_over(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let log = pending.log;
        log.tell(Access {
            took: pending.visit.began.elapsed(),
            // Whoever asks for a head gets no body, however long it would be.
            whole: self.whole || pending.visit.method == Method::HEAD,
            route: pending.route,
            target: pending.target,
            visit: pending.visit,
            status: pending.status,
            bytes: self.bytes,
        });
    }
}
