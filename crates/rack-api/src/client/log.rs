//! Log streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// The place told last, and how much has come since.
    reached: Arc<Mutex<Reached>>,
}

/// Where a stream has come to.
#[derive(Debug, Clone, Copy)]
struct Reached {
    told: Option<log::Place>,
    /// Bytes that came after that was told.
    since: u64,
}

fn lock(reached: &Mutex<Reached>) -> MutexGuard<'_, Reached> {
    reached.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogStream {
    fn new(mut socket: Websocket, begins: Option<log::Cursor>) -> Self {
        let told = match begins {
            Some(log::Cursor::After(place)) => Some(place),
            Some(log::Cursor::Wanted) | None => None,
        };
        let reached = Arc::new(Mutex::new(Reached { told, since: 0 }));
        let hears = Arc::clone(&reached);
        socket.reader.on_ping(move |payload| {
            if let Some(told) = log::Place::told(payload) {
                *lock(&hears) = Reached {
                    told: Some(told),
                    since: 0,
                };
            }
        });
        Self {
            reader: socket.reader,
            _writer: socket.writer,
            ended: false,
            reached,
        }
    }

    /// Where another stream can go on, if the rack has told, and how many bytes of what
    /// it will send have been received here already.
    pub fn cursor(&self) -> Option<(log::Place, u64)> {
        let reached = *lock(&self.reached);
        reached.told.map(|told| (told, reached.since))
    }

    /// Waits for the next bytes; `None` when the rack says that there are no
    /// more. A stream that breaks is an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        match self.reader.next().await? {
            Event::Data(bytes) => {
                lock(&self.reached).since += bytes.len() as u64;
                Ok(Some(bytes))
            }
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
            previous,
            cursor,
        }) = options
        {
            let headers = [
                ("Filter", filter.clone()),
                // Racks follow and leave the prefix out unless told otherwise.
                ("Follow", (!follow).then(|| "false".to_owned())),
                ("Prefix", prefix.then(|| "true".to_owned())),
                ("Since", since.map(params::encode_duration)),
                ("Tail", tail.map(|lines| lines.to_string())),
                ("Previous", previous.then(|| "true".to_owned())),
                ("Cursor", cursor.map(log::Cursor::encode)),
            ];
            request = with_headers(request, headers)?;
        }
        let begins = options.and_then(|options| options.cursor);
        Ok(LogStream::new(self.websocket(request).await?, begins))
    }
}
