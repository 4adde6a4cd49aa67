//! A process that takes requests, and what is in flight to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Notify;

use super::connect::Connector;
use super::upload::Upload;
use crate::engine::Engine;

/// How long an unused connection to a process is kept: shorter than the common
/// servers keep theirs (Node: 5 s), so that we rarely send into a closing one.
const IDLE: Duration = Duration::from_secs(4);

/// Most unused connections kept to one process.
const KEPT: usize = 64;

/// What a process speaks on its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS; the process's certificate is not checked.
    Https,
    /// Neither: requests are not understood, connections are.
    Other,
}

/// One process behind a route. Belongs to one route at a time.
pub struct Target {
    process: String,
    port: u16,
    scheme: Scheme,
    pub(super) connector: Connector,
    /// Pools connections to this process only; they end with the target.
    pub(super) client: Client<Connector, Upload>,
    in_flight: AtomicUsize,
    idle: Notify,
    /// Taken out of the table: whoever has just counted on it must choose again.
    retired: AtomicBool,
}

impl Target {
    /// A process's port, reached through the engine.
    pub fn new(
        engine: Arc<dyn Engine>,
        process: impl Into<String>,
        port: u16,
        scheme: Scheme,
    ) -> Arc<Self> {
        let process = process.into();
        let connector = Connector::new(engine, process.clone(), port, scheme);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(KEPT)
            .pool_timer(TokioTimer::new())
            .set_host(false)
            .build(connector.clone());
        Arc::new(Self {
            process,
            port,
            scheme,
            connector,
            client,
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            retired: AtomicBool::new(false),
        })
    }

    /// Engine id of the process.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Container port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it speaks.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Requests and upgraded connections in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Resolves when nothing is in flight. Meant for a target that is no longer published.
    pub async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Counts a request in, unless the target has been taken away.
    pub(super) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        // Counting comes first: `retire` followed by `drained` either sees the
        // count, or we see the retirement (both sequentially consistent).
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let guard = InFlight(Arc::clone(self));
        (!self.retired.load(Ordering::SeqCst)).then_some(guard)
    }

    pub(super) fn retire(&self, retired: bool) {
        self.retired.store(retired, Ordering::SeqCst);
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("process", &self.process)
            .field("port", &self.port)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// Holds a request in flight until dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Target>);

impl InFlight {
    /// The target it counts on.
    pub(super) fn target(&self) -> &Arc<Target> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
