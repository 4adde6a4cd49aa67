//! The listener, the router and TLS, with real sockets and processes that are
//! HTTP servers inside the test.

mod http2;
mod listening;
mod routing;
mod smuggling;
mod streams;
mod swap;
mod tls;
mod world;
