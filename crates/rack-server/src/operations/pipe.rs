//! Bytes from a thread that writes to a task that reads, a few chunks at a time.
//!
//! An end is only an end if it was said: a writer that goes away without a word has
//! broken off, and its reader gets an error instead of a short stream.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::sync::mpsc;

/// Bytes handed over at once.
const CHUNK: usize = 64 << 10;
/// Chunks on the way.
const QUEUE: usize = 8;

/// The end that a thread writes to.
pub struct PipeWriter {
    chunk: BytesMut,
    sender: mpsc::Sender<io::Result<Bytes>>,
    ended: Arc<AtomicBool>,
}

/// Makes a pipe: what is written to one end comes out of the other.
pub fn pipe() -> (
    PipeWriter,
    impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let ended = Arc::new(AtomicBool::new(false));
    let writer = PipeWriter {
        chunk: BytesMut::new(),
        sender,
        ended: Arc::clone(&ended),
    };
    let stream = futures::stream::unfold(Some((receiver, ended)), |state| async move {
        let (mut receiver, ended) = state?;
        match receiver.recv().await {
            Some(Ok(bytes)) => Some((Ok(bytes), Some((receiver, ended)))),
            Some(Err(error)) => Some((Err(error), None)),
            None if ended.load(Ordering::Acquire) => None,
            None => Some((Err(io::Error::other("it broke off")), None)),
        }
    });
    (writer, Box::pin(stream))
}

impl PipeWriter {
    /// Says that this was all.
    pub fn end(mut self) -> io::Result<()> {
        self.flush()?;
        self.ended.store(true, Ordering::Release);
        Ok(())
    }

    /// Says why there will be no more.
    pub fn fail(self, reason: io::Error) {
        // A reader that has gone away needs no reason.
        let _ = self.sender.blocking_send(Err(reason));
    }

    fn send(&self, bytes: Bytes) -> io::Result<()> {
        self.sender
            .blocking_send(Ok(bytes))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.chunk.reserve(CHUNK);
        }
        let count = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = self.chunk.split().freeze();
        self.send(chunk)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    /// What comes out, and whether it ended well.
    async fn through(
        write: impl FnOnce(PipeWriter) + Send + 'static,
    ) -> (Vec<u8>, Option<io::Error>) {
        let (writer, mut stream) = pipe();
        let writing = tokio::task::spawn_blocking(move || write(writer));
        let (mut got, mut failure) = (Vec::new(), None);
        while let Some(item) = stream.next().await {
            match item {
                Ok(bytes) => got.extend_from_slice(&bytes),
                Err(error) => failure = Some(error),
            }
        }
        writing.await.expect("no panic");
        (got, failure)
    }

    #[tokio::test]
    async fn what_is_written_comes_out() {
        let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at >> 5) as u8).collect();
        let bytes = sent.clone();
        let (got, failure) = through(move |mut writer| {
            for piece in bytes.chunks(100_003) {
                writer.write_all(piece).expect("somebody reads");
            }
            writer.end().expect("somebody reads");
        })
        .await;
        assert!(failure.is_none());
        assert!(got == sent);
    }

    #[tokio::test]
    async fn a_writer_that_goes_away_is_no_end() {
        let (got, failure) = through(|mut writer| {
            writer.write_all(b"half").expect("somebody reads");
            writer.flush().expect("somebody reads");
        })
        .await;
        assert_eq!(got, b"half");
        assert_eq!(failure.expect("a break").to_string(), "it broke off");
        let (_, failure) = through(|writer| writer.fail(io::Error::other("no more"))).await;
        assert_eq!(failure.expect("a reason").to_string(), "no more");
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_stops_the_writer() {
        let (mut writer, stream) = pipe();
        drop(stream);
        let bytes = vec![0; 2 * CHUNK];
        let written = tokio::task::spawn_blocking(move || writer.write_all(&bytes)).await;
        let error = written.expect("no panic").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
