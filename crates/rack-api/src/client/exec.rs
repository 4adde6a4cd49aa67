//! The stream of a running command: output, input, exit status, what the rack says itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use reqwest::RequestBuilder;

use super::websocket::{Reader, Websocket, Writer};
use super::{Client, ClientError};
use crate::apart;
use crate::exit_status::{Scanned, Scanner};
use crate::socket::Event;

/// Bytes per frame of input, as real clients send them: real racks read in
/// pieces of this size.
const INPUT_FRAME: usize = 1024;
/// Most that a rack says of itself; the rest says nothing more.
const MOST_SAID: usize = 64 * 1024;

impl Client {
    /// Opens the stream of a command.
    pub(super) async fn exec_socket(
        &self,
        request: RequestBuilder,
    ) -> Result<ExecSocket, ClientError> {
        let request = request.header(apart::HEADER, apart::WANTED);
        Ok(ExecSocket::new(self.websocket(request).await?))
    }
}

/// A command running in a process.
#[derive(Debug)]
pub struct ExecSocket {
    output: ExecOutput,
    input: ExecInput,
}

impl ExecSocket {
    fn new(mut socket: Websocket) -> Self {
        let apart = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&apart);
        socket.reader.on_ping(move |payload| {
            if payload == apart::PING {
                heard.store(true, Ordering::Relaxed);
            }
        });
        let input = ExecInput {
            host: socket.reader.host().to_owned(),
            writer: socket.writer,
        };
        let output = ExecOutput {
            reader: socket.reader,
            scanner: Scanner::default(),
            apart,
            said: BytesMut::new(),
            end: None,
        };
        Self { output, input }
    }

    /// Splits into what the command writes and what it reads.
    pub fn split(self) -> (ExecOutput, ExecInput) {
        (self.output, self.input)
    }
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// It has written these bytes, to standard output or standard error.
    Output(Bytes),
    /// It has ended with this status; nothing follows.
    Exit(i64),
}

/// What a command writes.
#[derive(Debug)]
pub struct ExecOutput {
    reader: Reader,
    scanner: Scanner,
    /// Whether the rack speaks by now, no more the command.
    apart: Arc<AtomicBool>,
    /// What the rack has said.
    said: BytesMut,
    /// How the stream has ended, to be told after the last output.
    end: Option<Result<i64, ClientError>>,
}

impl ExecOutput {
    /// Waits for what the command does next. After [`ExecEvent::Exit`] or an
    /// error the stream is over, and further calls fail.
    ///
    /// A stream without an exit status is an error, however it ends: success is
    /// what was observed, not what was left. So is one in which the rack itself speaks,
    /// where it can be told from the command.
    pub async fn next(&mut self) -> Result<ExecEvent, ClientError> {
        if let Some(end) = self.end.as_mut() {
            return std::mem::replace(end, Err(ClientError::NoExitStatus)).map(ExecEvent::Exit);
        }
        loop {
            let lost = match self.reader.next().await {
                Ok(Event::Data(bytes)) => {
                    let output = self.scanner.scan(bytes);
                    if self.apart.load(Ordering::Relaxed) {
                        self.say(&output);
                    } else if !output.is_empty() {
                        return Ok(ExecEvent::Output(output));
                    }
                    continue;
                }
                Ok(Event::End | Event::Close) => None,
                Err(error) => Some(error),
            };
            let Scanned { mut output, status } = std::mem::take(&mut self.scanner).finish();
            // What follows the status is never the command's: racks of version 3 say there
            // why it has failed.
            if status.is_some() || self.apart.load(Ordering::Relaxed) {
                self.say(&std::mem::take(&mut output));
            }
            if !self.said.is_empty() {
                self.end = Some(Err(ClientError::NoExitStatus));
                return Err(ClientError::Refused {
                    message: apart::message(&self.said),
                    status: status.filter(|status| *status != 0).unwrap_or(1),
                });
            }
            // The status comes last: a connection lost after it has lost nothing.
            let end = status.ok_or(lost.unwrap_or(ClientError::NoExitStatus));
            if output.is_empty() {
                self.end = Some(Err(ClientError::NoExitStatus));
                return end.map(ExecEvent::Exit);
            }
            self.end = Some(end);
            return Ok(ExecEvent::Output(output));
        }
    }

    fn say(&mut self, text: &[u8]) {
        let room = MOST_SAID.saturating_sub(self.said.len());
        self.said.extend_from_slice(&text[..text.len().min(room)]);
    }
}

/// What a command reads.
#[derive(Debug, Clone)]
pub struct ExecInput {
    host: String,
    writer: Writer,
}

impl ExecInput {
    /// Sends bytes to the command's standard input.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), ClientError> {
        let sent = self.writer.data_in_frames(bytes, INPUT_FRAME).await;
        sent.map_err(|error| ClientError::socket(&self.host, error))
    }

    /// Tells the command's terminal its new size. Servers other than ours take no notice.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), ClientError> {
        let payload = crate::terminal::encode_size(rows, columns);
        let sent = self.writer.ping_with(payload.as_bytes()).await;
        sent.map_err(|error| ClientError::socket(&self.host, error))
    }

    /// Ends the command's standard input; its output goes on.
    pub async fn end(&self) -> Result<(), ClientError> {
        self.writer
            .end()
            .await
            .map_err(|error| ClientError::socket(&self.host, error))
    }
}
