//! The stream of a running command: output, input, exit status.

use bytes::Bytes;

use super::ClientError;
use super::websocket::{Reader, Websocket, Writer};
use crate::exit_status::{Scanned, Scanner};
use crate::socket::Event;

/// Bytes per frame of input, as real clients send them: real racks read in
/// pieces of this size.
const INPUT_FRAME: usize = 1024;

/// A command running in a process.
#[derive(Debug)]
pub struct ExecSocket {
    output: ExecOutput,
    input: ExecInput,
}

impl ExecSocket {
    pub(super) fn new(socket: Websocket) -> Self {
        let input = ExecInput {
            host: socket.reader.host().to_owned(),
            writer: socket.writer,
        };
        let output = ExecOutput {
            reader: socket.reader,
            scanner: Scanner::default(),
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
    /// How the stream has ended, to be told after the last output.
    end: Option<Result<i64, ClientError>>,
}

impl ExecOutput {
    /// Waits for what the command does next. After [`ExecEvent::Exit`] or an
    /// error the stream is over, and further calls fail.
    ///
    /// A stream without an exit status is an error, however it ends: success is
    /// what was observed, not what was left.
    pub async fn next(&mut self) -> Result<ExecEvent, ClientError> {
        if let Some(end) = self.end.as_mut() {
            return std::mem::replace(end, Err(ClientError::NoExitStatus)).map(ExecEvent::Exit);
        }
        loop {
            let lost = match self.reader.next().await {
                Ok(Event::Data(bytes)) => {
                    let output = self.scanner.scan(bytes);
                    if output.is_empty() {
                        continue;
                    }
                    return Ok(ExecEvent::Output(output));
                }
                Ok(Event::End | Event::Close) => None,
                Err(error) => Some(error),
            };
            let Scanned { output, status } = std::mem::take(&mut self.scanner).finish();
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
