//! A connection that ends when what opened it is no longer good.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A connection, and what ends it. To its user it is one whose peer has gone.
pub(super) struct Revocable<T> {
    io: T,
    revoked: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    is_over: bool,
}

impl<T> Revocable<T> {
    /// A connection that ends with `until`, or only by itself.
    pub(super) fn new(io: T, until: Option<CancellationToken>) -> Self {
        Self {
            io,
            revoked: until.map(|until| Box::pin(until.cancelled_owned())),
            is_over: false,
        }
    }

    /// Whether it is over; if not, the task is woken once it is.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(revoked) = &mut self.revoked
            && revoked.as_mut().poll(context).is_ready()
        {
            self.revoked = None;
            self.is_over = true;
        }
        self.is_over
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Revocable<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Revocable<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_reader_that_waits_is_told() {
        let (io, mut peer) = tokio::io::duplex(64);
        let until = CancellationToken::new();
        let mut io = Revocable::new(io, Some(until.clone()));
        peer.write_all(b"a").await.expect("sent");
        assert_eq!(io.read_u8().await.expect("read"), b'a');
        let waits = tokio::spawn(async move {
            let read = io.read(&mut [0; 8]).await.expect("an end");
            (read, io.write_all(b"x").await.is_err())
        });
        tokio::task::yield_now().await;
        until.cancel();
        assert_eq!(waits.await.expect("no panic"), (0, true));
    }

    #[tokio::test]
    async fn nothing_ends_one_without_an_end() {
        let (io, mut peer) = tokio::io::duplex(64);
        let mut io = Revocable::new(io, None);
        peer.write_all(b"a").await.expect("sent");
        assert_eq!(io.read_u8().await.expect("read"), b'a');
        io.write_all(b"b").await.expect("sent");
        assert_eq!(peer.read_u8().await.expect("read"), b'b');
    }
}
