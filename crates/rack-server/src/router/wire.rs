//! HTTP/1 to one process: connections that are kept, and driven by whoever uses them.
//!
//! A connection needs somebody who lets it read and write. That is the request it carries,
//! and then the body of its answer, in the very task that serves the client: no second task
//! has to be woken for every piece. Only what must go on without them, a switch of protocols
//! or an upload that outlasts the beginning of its answer, gets a task of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::client::{Answer, Failed};
use super::connect::{Connector, spawn};
use super::upload::Upload;

/// How long an unused connection to a process is kept: shorter than the common
/// servers keep theirs (Node: 5 s), so that we rarely send into a closing one.
const IDLE: Duration = Duration::from_secs(4);

/// Most unused connections kept to one process.
const KEPT: usize = 64;

/// The connections to one port of one process.
pub(super) struct Wires {
    connector: Connector,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The longest unused one first.
    wires: Vec<(Instant, Wire)>,
    /// Somebody looks after their end.
    swept: bool,
}

/// One connection.
pub(super) struct Wire {
    sender: SendRequest<Upload>,
    /// What lets it read and write; none once it has ended.
    driver: Option<BoxFuture<'static, hyper::Result<()>>>,
}

impl Wire {
    /// Lets the connection read and write; true while it lives.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(driver) = &mut self.driver else {
            return false;
        };
        let lives = driver.as_mut().poll(cx).is_pending();
        if !lives {
            // How it ended shows in the request that used it.
            self.driver = None;
        }
        lives
    }

    /// Lets it go on without us.
    fn leave(self) {
        if let Some(driver) = self.driver {
            spawn(driver);
        }
    }
}

impl Wires {
    pub(super) fn new(connector: Connector) -> Arc<Self> {
        Arc::new(Self {
            connector,
            idle: Mutex::default(),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection that is still open, if there is one.
    async fn kept(&self) -> Option<Wire> {
        poll_fn(|cx| {
            loop {
                let Some((since, mut wire)) = self.idle().wires.pop() else {
                    return Poll::Ready(None);
                };
                // Nobody has looked at it meanwhile: the process may have closed it.
                if since.elapsed() < IDLE && wire.drive(cx) && wire.sender.is_ready() {
                    return Poll::Ready(Some(wire));
                }
            }
        })
        .await
    }

    /// Sends a request, on a new connection if that is wanted.
    pub(super) async fn request(
        self: &Arc<Self>,
        request: Request<Upload>,
        upload: &Upload,
        fresh: bool,
    ) -> Result<Answer, Failed> {
        let kept = if fresh { None } else { self.kept().await };
        let mut wire = match kept {
            Some(wire) => wire,
            None => self.open().await?,
        };
        let mut answer = pin!(wire.sender.try_send_request(request));
        let answer = poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer);
            }
            let driver = &mut wire.driver;
            if let Some(running) = driver
                && running.as_mut().poll(cx).is_ready()
            {
                *driver = None;
            }
            // What the connection has just done may be what is waited for.
            answer.as_mut().poll(cx)
        })
        .await;
        let response = answer.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            Failed::new(&error.into_error()).unsent(unsent)
        })?;
        let lasts = response.status() == StatusCode::SWITCHING_PROTOCOLS || !upload.ended();
        let line = if lasts {
            wire.leave();
            None
        } else {
            Some(Line {
                wire,
                home: Arc::downgrade(self),
            })
        };
        Ok(Answer::on_wire(response, line))
    }

    async fn open(&self) -> Result<Wire, Failed> {
        let stream = self.connector.connect().await.map_err(Failed::connecting)?;
        let (sender, driver) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failed::new(&error).unsent(true))?;
        Ok(Wire {
            sender,
            driver: Some(Box::pin(driver.with_upgrades())),
        })
    }

    /// Keeps a connection for the next request.
    fn keep(self: &Arc<Self>, wire: Wire) {
        let mut idle = self.idle();
        if idle.wires.len() >= KEPT {
            return;
        }
        idle.wires.push((Instant::now(), wire));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes connections that nobody has used for a while, until there are none.
async fn sweep(wires: Weak<Wires>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(wires) = wires.upgrade() else { return };
        let mut idle = wires.idle();
        idle.wires.retain(|(since, _)| since.elapsed() < IDLE);
        if idle.wires.is_empty() {
            idle.swept = false;
            return;
        }
    }
}

/// A connection while the body of an answer comes over it.
pub(super) struct Line {
    wire: Wire,
    home: Weak<Wires>,
}

impl Line {
    /// The next piece of the body.
    pub(super) fn poll_frame(
        &mut self,
        mut body: Pin<&mut Incoming>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.wire.drive(cx);
        body.poll_frame(cx)
    }

    /// The answer has come to its end: the connection may carry another one.
    pub(super) fn release(mut self, cx: &mut Context<'_>) {
        if self.wire.drive(cx)
            && self.wire.sender.is_ready()
            && let Some(home) = self.home.upgrade()
        {
            home.keep(self.wire);
        }
    }
}
