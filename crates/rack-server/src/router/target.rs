//! A process that takes requests, and what is in flight to it.

use std::fmt;
use std::sync::Arc;

use super::client::Client;
use super::connect::Connector;
use super::flight::{Flights, InFlight};
use crate::engine::Engine;

/// What a process speaks on its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS; the process's certificate is not checked.
    Https,
    /// Plain HTTP/2, as gRPC has it.
    Grpc,
    /// HTTP/2 over TLS; the process's certificate is not checked.
    SecureGrpc,
    /// None of them: requests are not understood, connections are.
    Other,
}

impl Scheme {
    /// What a manifest means by a word (`convox-yml.md` §7).
    pub fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "https" => Self::Https,
            "grpc" => Self::Grpc,
            "secure-grpc" => Self::SecureGrpc,
            _ => Self::Other,
        }
    }

    /// Whether requests are HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Grpc | Self::SecureGrpc)
    }

    /// Whether connections are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::SecureGrpc)
    }
}

/// One process behind a route. Belongs to one route at a time.
pub struct Target {
    process: String,
    port: u16,
    scheme: Scheme,
    pub(super) connector: Connector,
    /// Keeps connections to this process only; they end with the target.
    pub(super) client: Client,
    flights: Arc<Flights>,
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
        Arc::new(Self {
            client: Client::new(connector.clone(), scheme),
            process,
            port,
            scheme,
            connector,
            flights: Arc::default(),
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
        self.flights.count()
    }

    /// Resolves when nothing is in flight. Meant for a target that is no longer published.
    pub async fn drained(&self) {
        self.flights.over().await;
    }

    /// Counts a request in, unless the target has been taken away.
    pub(super) fn enter(&self) -> Option<InFlight> {
        Flights::enter(&self.flights)
    }

    pub(super) fn retire(&self, retired: bool) {
        self.flights.close(retired);
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
