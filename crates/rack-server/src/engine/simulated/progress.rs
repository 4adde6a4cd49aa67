//! How a build speaks and how it is stopped: the log in BuildKit's plain style,
//! and readers that break when the build is cancelled.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::super::{EngineError, LogSink, Reader, Result};

/// Writes the log in the plain style of BuildKit.
pub(super) struct Progress {
    log: LogSink,
    cancel: CancellationToken,
    vertex: usize,
}

impl Progress {
    /// Writes to a log until the build is cancelled.
    pub(super) fn new(log: LogSink, cancel: CancellationToken) -> Self {
        Self {
            log,
            cancel,
            vertex: 0,
        }
    }

    /// The token that cancels the build.
    pub(super) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Begins a step.
    pub(super) async fn begin(&mut self, title: &str) -> Result<()> {
        self.vertex += 1;
        self.line(title).await
    }

    /// Ends the present step.
    pub(super) async fn done(&self) -> Result<()> {
        self.line("DONE 0.0s").await
    }

    /// Says something of the present step.
    pub(super) async fn line(&self, text: &str) -> Result<()> {
        self.say(&format!("#{} {text}", self.vertex)).await
    }

    /// Says something of no step.
    pub(super) async fn say(&self, text: &str) -> Result<()> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(EngineError::Cancelled),
            // A build goes on when nobody reads its log.
            _ = self.log.send(Bytes::from(format!("{text}\n"))) => Ok(()),
        }
    }

    /// Says why the present step failed and gives the error back.
    pub(super) async fn fail(&self, error: EngineError) -> EngineError {
        let text = error.to_string();
        let text = text.strip_prefix("failed to solve: ").unwrap_or(&text);
        match self.line(&format!("ERROR: {text}")).await {
            Ok(()) => error,
            Err(cancelled) => cancelled,
        }
    }
}

/// A reader that breaks when the work is cancelled, so that no thread waits for a silent sender.
pub(super) struct Cancellable {
    reader: Reader,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cancellable {
    /// Reads until the token is cancelled.
    pub(super) fn new(reader: Reader, cancel: &CancellationToken) -> Self {
        Self {
            reader,
            cancelled: Box::pin(cancel.clone().cancelled_owned()),
        }
    }
}

impl AsyncRead for Cancellable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cancelled.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::other("cancelled")));
        }
        self.reader.as_mut().poll_read(context, buffer)
    }
}
