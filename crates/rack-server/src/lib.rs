//! A Rack API server that runs apps on one machine.
//!
//! The rooms and the one way dependencies point are described in `ARCHITECTURE.md`.

pub mod api;
pub mod engine;
pub mod listener;
pub mod logs;
pub mod operations;
pub mod rack;
pub mod router;
pub mod store;
pub mod summary;
pub mod tls;
