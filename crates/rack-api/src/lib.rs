//! The Rack API contract: what travels between a rack and its clients.
//!
//! One file per noun holds its wire types; [`params`] holds the encodings of
//! form, query and header parameters; [`socket`] the websocket codec whose text
//! frames carry arbitrary bytes; [`exit_status`] the marker that carries a
//! process's status through a stream. With the `client` feature, [`client`]
//! speaks to any rack, local or real; `trust` is TLS without proof of who answers.
//!
//! This crate knows nothing of Docker or databases.

pub mod apart;
pub mod app;
pub mod balancer;
pub mod build;
pub mod capacity;
pub mod certificate;
#[cfg(feature = "client")]
pub mod client;
pub mod config;
pub mod diagnose;
pub mod environment;
pub mod event;
pub mod exit_status;
pub mod fault;
pub mod formation;
pub mod id;
pub mod ignore;
pub mod index;
pub mod instance;
pub mod log;
pub mod metric;
pub mod object;
pub mod params;
pub mod process;
pub mod rack;
pub mod registry;
pub mod release;
pub mod resource;
pub mod service;
pub mod socket;
pub mod system;
pub mod terminal;
pub mod time;
#[cfg(feature = "trust")]
pub mod trust;

pub use app::App;
pub use balancer::Balancer;
pub use build::Build;
pub use certificate::Certificate;
pub use config::AppConfig;
pub use environment::Environment;
pub use event::Event;
pub use formation::FormationEntry;
pub use instance::Instance;
pub use object::Object;
pub use process::Process;
pub use rack::RackListing;
pub use registry::Registry;
pub use release::Release;
pub use resource::Resource;
pub use service::Service;
pub use system::System;
