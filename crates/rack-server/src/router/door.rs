//! Doors: ports on loopback that lead to the processes of a service, bytes as they come.
//!
//! What is not HTTP has no host name, so it gets a port of this machine. A connection is
//! with one process from beginning to end and counts on it, so that a process which is on
//! the way out is stopped when its last connection has ended, or its drain time is over.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flight::{Flights, InFlight};
use super::rules;
use crate::engine::Engine;
use crate::tls::Tls;

/// How long a process may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a client may take to shake hands where TLS ends here.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Pause after a failed accept: out of file descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);

/// One process behind the doors of its service.
pub struct Lane {
    engine: Arc<dyn Engine>,
    process: String,
    flights: Arc<Flights>,
}

impl Lane {
    /// A process, reached through the engine.
    pub fn new(engine: Arc<dyn Engine>, process: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            engine,
            process: process.into(),
            flights: Arc::default(),
        })
    }

    /// Connections that are open.
    pub fn in_flight(&self) -> usize {
        self.flights.count()
    }

    /// Resolves when none is open. Meant for a process that is no longer published.
    pub async fn drained(&self) {
        self.flights.over().await;
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("process", &self.process)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// Where a door leads and who may use it.
#[derive(Clone)]
pub struct Way {
    /// Port of the process.
    pub port: u16,
    /// Ends TLS at the door.
    pub tls: Option<Arc<Tls>>,
    /// Networks that may come; empty for all. This machine always may.
    pub allow: Vec<IpNet>,
}

type Lanes = Arc<ArcSwap<Vec<Arc<Lane>>>>;

struct Door {
    address: SocketAddr,
    way: Arc<ArcSwap<Way>>,
    close: CancellationToken,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close.cancel();
    }
}

#[derive(Default)]
struct Service {
    lanes: Lanes,
    doors: HashMap<String, Door>,
}

/// The doors of the apps of one rack.
pub struct Doors {
    /// By app and service.
    services: Mutex<HashMap<(String, String), Service>>,
    shutdown: CancellationToken,
    /// Waited for at the end, so that another server finds the ports free.
    tasks: TaskTracker,
}

impl Doors {
    /// None yet; all close with the token.
    pub fn new(shutdown: CancellationToken, tasks: TaskTracker) -> Self {
        Self {
            services: Mutex::default(),
            shutdown,
            tasks,
        }
    }

    fn services(&self) -> MutexGuard<'_, HashMap<(String, String), Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the processes behind the doors of a service in one step.
    pub fn publish(&self, app: &str, service: &str, lanes: Vec<Arc<Lane>>) {
        let mut services = self.services();
        let key = (app.to_owned(), service.to_owned());
        if lanes.is_empty() && !services.contains_key(&key) {
            return;
        }
        for lane in &lanes {
            lane.flights.close(false);
        }
        let service = services.entry(key).or_default();
        let before = service.lanes.swap(Arc::new(lanes.clone()));
        for lane in before.iter() {
            if !lanes.iter().any(|kept| Arc::ptr_eq(kept, lane)) {
                lane.flights.close(true);
            }
        }
    }

    /// Opens a door at the first of these ports that is free, or changes where it leads if it
    /// is open already; `None` then, else its address. Port 0 is any port. Needs a runtime.
    pub fn open(
        &self,
        app: &str,
        service: &str,
        name: &str,
        way: Way,
        ports: impl IntoIterator<Item = u16>,
    ) -> io::Result<Option<SocketAddr>> {
        let mut services = self.services();
        let service = services
            .entry((app.to_owned(), service.to_owned()))
            .or_default();
        if let Some(door) = service.doors.get(name) {
            door.way.store(Arc::new(way));
            return Ok(None);
        }
        let (listener, address) = bind(ports)?;
        let door = Door {
            address,
            way: Arc::new(ArcSwap::from_pointee(way)),
            close: self.shutdown.child_token(),
        };
        self.tasks.spawn(serve(
            listener,
            Arc::clone(&door.way),
            Arc::clone(&service.lanes),
            door.close.clone(),
        ));
        service.doors.insert(name.to_owned(), door);
        Ok(Some(address))
    }

    /// Where a door is, if it is open.
    pub fn address(&self, app: &str, service: &str, name: &str) -> Option<SocketAddr> {
        let services = self.services();
        let service = services.get(&(app.to_owned(), service.to_owned()))?;
        service.doors.get(name).map(|door| door.address)
    }

    /// Closes the doors of an app that are not kept; connections go on. Services are kept by
    /// the doors they have.
    pub fn close_others(&self, app: &str, keep: impl Fn(&str, &str) -> bool) {
        for ((of, name), service) in self.services().iter_mut() {
            if of == app {
                service.doors.retain(|door, _| keep(name, door));
            }
        }
    }

    /// Forgets an app: doors and processes.
    pub fn forget_app(&self, app: &str) {
        self.services().retain(|(of, _), _| of != app);
    }
}

/// The first port that is free. Whoever comes first gets the port.
fn bind(ports: impl IntoIterator<Item = u16>) -> io::Result<(TcpListener, SocketAddr)> {
    let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for port in ports {
        let opened = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        match opened.and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((TcpListener::from_std(listener)?, address))
        }) {
            Ok(opened) => return Ok(opened),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

async fn serve(
    listener: TcpListener,
    way: Arc<ArcSwap<Way>>,
    lanes: Lanes,
    close: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = close.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (way, lanes) = (way.load_full(), Arc::clone(&lanes));
                tokio::spawn(async move {
                    if let Err(reason) = connect(stream, peer.ip(), &way, &lanes).await {
                        tracing::debug!(%peer, %reason, "a connection through a door ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connect(stream: TcpStream, peer: IpAddr, way: &Way, lanes: &Lanes) -> io::Result<()> {
    if !rules::admits(&way.allow, peer) {
        return Err(io::Error::other("it may not come"));
    }
    stream.set_nodelay(true)?;
    match &way.tls {
        None => carry(stream, way.port, lanes).await,
        Some(tls) => {
            let stream = tokio::time::timeout(HANDSHAKE, tls.accept_other(stream)).await??;
            carry(stream, way.port, lanes).await
        }
    }
}

/// Carries bytes both ways until both sides have ended, or one breaks.
async fn carry(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    port: u16,
    lanes: &Lanes,
) -> io::Result<()> {
    let mut tried = Vec::new();
    let mut refused = io::Error::other("no process is healthy");
    while let Some((lane, _in_flight)) = choose(lanes, &tried) {
        match tokio::time::timeout(CONNECT, lane.engine.dial(&lane.process, port)).await {
            Ok(Ok(mut process)) => {
                return copy_bidirectional(&mut client, &mut process)
                    .await
                    .map(drop);
            }
            Ok(Err(error)) => refused = io::Error::other(error),
            Err(late) => refused = late.into(),
        }
        tried.push(lane);
    }
    Err(refused)
}

/// The process with the fewest connections, one counted in.
fn choose(lanes: &Lanes, tried: &[Arc<Lane>]) -> Option<(Arc<Lane>, InFlight)> {
    loop {
        let now = lanes.load_full();
        let untried = |lane: &&Arc<Lane>| !tried.iter().any(|other| Arc::ptr_eq(other, lane));
        let lane = now
            .iter()
            .filter(untried)
            .min_by_key(|lane| lane.in_flight())?;
        if let Some(in_flight) = Flights::enter(&lane.flights) {
            return Some((Arc::clone(lane), in_flight));
        }
        // Taken away meanwhile: the list is another one by now, or will be in a moment.
        if Arc::ptr_eq(&now, &lanes.load_full()) {
            return None;
        }
    }
}
