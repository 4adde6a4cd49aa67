//! Websocket codec for server and client (RFC 6455 after the HTTP upgrade).
//!
//! Racks use websockets as byte pipes: text frames carry arbitrary bytes, frame
//! boundaries mean nothing, and a binary frame ends its direction while the other
//! one goes on (`rack-api.md` §2.2). Ordinary websocket libraries insist on UTF-8
//! in text frames and so lose data here.
//!
//! [`frame`] is the codec without any input or output; [`Socket`] puts it on a
//! connection; [`accept_key`] is the one part of the handshake that needs
//! computing. What the bytes mean (log lines, exit status) is not known here.

pub mod frame;
mod handshake;
mod stream;

pub use handshake::accept_key;
pub use stream::{Event, Socket, SocketReader, SocketWriter};

/// Which end of a connection this is: clients mask what they send, servers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that asked for the connection.
    Client,
    /// The end that was asked.
    Server,
}
