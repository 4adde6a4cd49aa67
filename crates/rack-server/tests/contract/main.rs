//! The Rack API as clients meet it: a server in this process on a port of its own,
//! requests written byte by byte, the simulated engine beneath.

mod auth;
mod flow;
mod transport;
mod world;
