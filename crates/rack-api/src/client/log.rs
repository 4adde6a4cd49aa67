//! Log streams.

use ::http::Method;
use bytes::Bytes;
use futures::Stream;

use super::http::with_headers;
use super::websocket::{Reader, Websocket, Writer};
use super::{Client, ClientError};
use crate::socket::Event;
use crate::{log, params};

/// A log as it is written: bytes cut anywhere, not only at line ends.
///
/// Real racks report errors in it, as a last line `ERROR: …`.
#[derive(Debug)]
pub struct LogStream {
    reader: Reader,
    /// Kept so that the direction stays open: a log has no body to end.
    _writer: Writer,
    ended: bool,
}

impl LogStream {
    fn new(socket: Websocket) -> Self {
        Self {
            reader: socket.reader,
            _writer: socket.writer,
            ended: false,
        }
    }

    /// Waits for the next bytes; `None` when the rack says that there are no
    /// more. A stream that breaks is an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        match self.reader.next().await? {
            Event::Data(bytes) => Ok(Some(bytes)),
            Event::End | Event::Close => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    /// The same as a stream, which ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ClientError>> + Send {
        futures::stream::try_unfold(self, async |mut log| {
            Ok(log.next().await?.map(|bytes| (bytes, log)))
        })
    }
}

impl Client {
    /// Opens the log at a path; without options everything is left to the rack.
    pub(super) async fn logs(
        &self,
        path: &str,
        options: Option<&log::Options>,
    ) -> Result<LogStream, ClientError> {
        let mut request = self.rack_request(Method::GET, path)?;
        if let Some(log::Options {
            follow,
            prefix,
            since,
            filter,
            tail,
        }) = options
        {
            let headers = [
                ("Filter", filter.clone()),
                // Racks follow and leave the prefix out unless told otherwise.
                ("Follow", (!follow).then(|| "false".to_owned())),
                ("Prefix", prefix.then(|| "true".to_owned())),
                ("Since", since.map(params::encode_duration)),
                ("Tail", tail.map(|lines| lines.to_string())),
            ];
            request = with_headers(request, headers)?;
        }
        Ok(LogStream::new(self.websocket(request).await?))
    }
}
