//! From a host name to a healthy process.
//!
//! Responsible for the table of hosts, for the ports that lead to what is not HTTP ([`Doors`]), for choosing a process, for carrying
//! requests, streams and upgraded connections to it without buffering them, and
//! for knowing when a process has nothing in flight any more. It refuses to judge
//! health: whoever publishes targets has found them healthy ([`Router::probe`]
//! helps). It keeps nothing on disk; its table is published anew after a start. It also
//! knows which certificate a published host is shown ([`Certificates`]).
//!
//! A request is in flight from the choice of its target until its response body
//! has ended or its upgraded connection is closed. Publishing swaps the table in
//! one step; a request either counts on its target before [`Target::drained`]
//! looks, or sees that the target has been taken away and chooses again. So
//! swap, drain, stop loses no request.

pub mod access;
mod certificate;
mod client;
mod connect;
mod door;
mod flight;
mod forward;
mod headers;
mod host;
mod probe;
mod rules;
mod table;
mod target;
mod traffic;
mod upgrade;
mod upload;
mod wire;

pub use certificate::{Certificate, Certificates};
pub use door::{Doors, Lane, Way};
pub(crate) use forward::nowhere;
pub use headers::Origin;
pub use host::is_service_host;
pub(crate) use host::{host_and_port, of as host_of};
pub use probe::ProbeError;
pub use rules::{DEFAULT_TIMEOUT, Rules};
pub use table::{Key, PublishError, Route, Router};
pub use target::{Scheme, Target};
pub use traffic::Traffic;
