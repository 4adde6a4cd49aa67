//! The listener, the router and TLS, with real sockets and processes that are
//! HTTP servers inside the test.

mod listening;
mod routing;
mod streams;
mod swap;
mod tls;
mod world;
