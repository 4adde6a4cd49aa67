//! The HTTP and websocket client for any rack, local or real.
//!
//! One file per noun holds its calls, named `noun_verb`, as methods of
//! [`Client`]; `http` holds what they share, `transport` how connections are
//! made, `websocket`, [`LogStream`] and [`ExecSocket`] the streams. The client
//! decides nothing about what a rack does and prints nothing.

mod api;
mod app;
mod auth;
mod balancer;
mod build;
mod certificate;
mod config;
mod diagnose;
mod endpoint;
mod error;
mod exec;
mod fault;
mod file;
mod http;
mod instance;
mod legacy;
mod log;
mod object;
mod process;
mod proxy;
mod rack;
mod rack_resource;
mod registry;
mod release;
mod resource;
mod service;
mod system;
#[cfg(test)]
mod tests;
mod transfer;
mod transport;
mod websocket;

pub use self::endpoint::{Endpoint, Verification};
pub use self::error::ClientError;
pub use self::exec::{ExecEvent, ExecInput, ExecOutput, ExecSocket};
pub use self::http::{Client, Revive};
pub use self::log::LogStream;
pub use self::proxy::{ProxyIncoming, ProxyOutgoing, ProxySocket};
pub use self::transfer::{Download, Upload};
