//! Connections to what the rack runs.

use ::http::Method;
use bytes::Bytes;

use super::http::path;
use super::websocket::{Reader, Websocket, Writer};
use super::{Client, ClientError};
use crate::socket::Event;

/// A connection through the rack.
#[derive(Debug)]
pub struct ProxySocket {
    incoming: ProxyIncoming,
    outgoing: ProxyOutgoing,
}

impl ProxySocket {
    fn new(socket: Websocket) -> Self {
        let host = socket.reader.host().to_owned();
        Self {
            incoming: ProxyIncoming {
                reader: socket.reader,
            },
            outgoing: ProxyOutgoing {
                host,
                writer: socket.writer,
            },
        }
    }

    /// Splits into what comes and what is sent.
    pub fn split(self) -> (ProxyIncoming, ProxyOutgoing) {
        (self.incoming, self.outgoing)
    }
}

/// What comes from the other end.
#[derive(Debug)]
pub struct ProxyIncoming {
    reader: Reader,
}

impl ProxyIncoming {
    /// Waits for bytes; `None` when the other end sends no more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self.reader.next().await? {
            Event::Data(bytes) => Ok(Some(bytes)),
            Event::End | Event::Close => Ok(None),
        }
    }
}

/// What is sent to the other end.
#[derive(Debug)]
pub struct ProxyOutgoing {
    host: String,
    writer: Writer,
}

impl ProxyOutgoing {
    /// Sends bytes.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), ClientError> {
        let sent = self.writer.data(bytes).await;
        sent.map_err(|error| ClientError::socket(&self.host, error))
    }

    /// Says that no more is sent; what comes goes on.
    pub async fn end(&self) -> Result<(), ClientError> {
        let sent = self.writer.end().await;
        sent.map_err(|error| ClientError::socket(&self.host, error))
    }
}

impl Client {
    /// Connects to a port of something the rack runs.
    pub async fn proxy(&self, host: &str, port: u16) -> Result<ProxySocket, ClientError> {
        let path = path(&["proxy", host, &port.to_string()])?;
        let request = self.rack_request(Method::GET, &path)?;
        Ok(ProxySocket::new(self.websocket(request).await?))
    }
}
