//! The client against a small server that records what it is asked.

mod calls;
mod failures;
mod resume;
mod server;
mod streams;
