//! Hands what a blocking writer makes to an asynchronous reader, errors included.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use futures::stream;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::Reader;

/// Bytes handed over at once.
const CHUNK: usize = 64 << 10;

/// Runs `write` on a thread of its own; the reader sees its bytes and, at the end, its error.
pub(crate) fn reader(
    write: impl FnOnce(&mut Outflow) -> io::Result<()> + Send + 'static,
) -> Reader {
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut outflow = Outflow {
            sender,
            buffer: BytesMut::with_capacity(CHUNK),
        };
        let result = write(&mut outflow).and_then(|()| outflow.hand_over());
        if let Err(error) = result {
            // A reader that went away does not want to know.
            drop(outflow.sender.blocking_send(Err(error)));
        }
    });
    let chunks = stream::unfold(
        receiver,
        async |mut receiver: mpsc::Receiver<io::Result<Bytes>>| {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        },
    );
    Box::pin(StreamReader::new(Box::pin(chunks)))
}

/// The writing end.
pub(crate) struct Outflow {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Outflow {
    fn hand_over(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender
            .blocking_send(Ok(chunk))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Outflow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
