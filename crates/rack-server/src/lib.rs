//! A Rack API server that runs apps on one machine.
//!
//! The rooms and the one way dependencies point are described in `ARCHITECTURE.md`.

pub mod engine;
