//! Websockets over the HTTP client: the opening handshake and the keep-alive.

use std::time::Duration;

use ::http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{RequestBuilder, StatusCode, Upgraded};
use tokio_util::task::AbortOnDropHandle;

use super::{Client, ClientError};
use crate::socket::{Event, Role, Socket, SocketReader, SocketWriter, accept_key};

/// Time between pings: load balancers between us and a real rack cut idle
/// connections.
const PING_INTERVAL: Duration = Duration::from_secs(5);

pub(super) type Writer = SocketWriter<Upgraded>;

/// An open websocket.
#[derive(Debug)]
pub(super) struct Websocket {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// The receiving direction; pings the rack as long as it lives.
#[derive(Debug)]
pub(super) struct Reader {
    host: String,
    socket: SocketReader<Upgraded>,
    _keep_alive: AbortOnDropHandle<()>,
}

impl Reader {
    pub(super) async fn next(&mut self) -> Result<Event, ClientError> {
        self.socket
            .next()
            .await
            .map_err(|error| ClientError::socket(&self.host, error))
    }

    pub(super) fn on_ping(&mut self, hearer: impl FnMut(&[u8]) + Send + Sync + 'static) {
        self.socket.on_ping(hearer);
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

impl Client {
    /// Opens a websocket with a request that has its path and option headers.
    pub(super) async fn websocket(
        &self,
        request: RequestBuilder,
    ) -> Result<Websocket, ClientError> {
        let key = STANDARD.encode(rand::random::<[u8; 16]>());
        let request = request
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key)
            .header(ORIGIN, self.endpoint().origin());
        let response = self.send(request).await?;
        let protocol = |reason: &str| ClientError::Protocol {
            host: self.host(),
            reason: reason.into(),
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(protocol(&format!(
                "response status {} in place of a websocket",
                response.status().as_u16()
            )));
        }
        let accepted = response
            .headers()
            .get(SEC_WEBSOCKET_ACCEPT)
            .map(reqwest::header::HeaderValue::as_bytes);
        if accepted != Some(accept_key(&key).as_bytes()) {
            return Err(protocol("websocket handshake does not match"));
        }
        let upgraded = response
            .upgrade()
            .await
            .map_err(|error| ClientError::transport(&self.host(), error))?;
        let (reader, writer) = Socket::new(upgraded, Role::Client).split();
        let pings = writer.clone();
        let keep_alive = tokio::spawn(async move {
            // The reader reports a broken connection; here it only ends the pings.
            loop {
                tokio::time::sleep(PING_INTERVAL).await;
                if pings.ping().await.is_err() {
                    break;
                }
            }
        });
        let reader = Reader {
            host: self.host(),
            socket: reader,
            _keep_alive: AbortOnDropHandle::new(keep_alive),
        };
        Ok(Websocket { reader, writer })
    }
}
