//! How many archives a server receives at once. Reading a hostile one may take tens of
//! megabytes of memory, and each honest one the disk and a processor: further ones wait
//! for a place, with their bytes still at the client, and nothing fails for it.
//!
//! Who holds a place must use it. An upload from which nothing comes for a while loses
//! it as soon as another one waits; one that has not begun yet holds none.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Archives received at once.
const PLACES: usize = 4;
/// How long nothing may come while others wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that show that an upload has begun.
const FIRST: usize = 4 << 10;

/// The places of a server.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    patience: Duration,
}

/// The right to receive one archive, until it is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held, not looked at")] OwnedSemaphorePermit);

impl Default for Admission {
    fn default() -> Self {
        Self::new(PLACES, PATIENCE)
    }
}

impl Admission {
    fn new(places: usize, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            waiting: Arc::default(),
            patience,
        }
    }

    /// Waits until an upload has begun and there is a place for it. Returns the place and
    /// the whole upload.
    pub async fn admit<R: AsyncRead + Send + Unpin>(
        &self,
        mut upload: R,
    ) -> io::Result<(Place, impl AsyncRead + Send + Unpin + use<R>)> {
        let mut first = Vec::with_capacity(FIRST);
        upload.read_buf(&mut first).await?;
        let place = {
            let _waits = Waits::new(&self.waiting);
            let places = Arc::clone(&self.places);
            places.acquire_owned().await.expect("never closed")
        };
        let upload = Watched {
            upload: Cursor::new(first).chain(upload),
            waiting: Arc::clone(&self.waiting),
            patience: self.patience,
            silence: None,
        };
        Ok((Place(place), upload))
    }
}

/// One that waits for a place, however its waiting ends.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An upload that ends in an error when nothing comes of it while others wait.
struct Watched<R> {
    upload: R,
    waiting: Arc<AtomicUsize>,
    patience: Duration,
    /// Runs while nothing comes.
    silence: Option<Pin<Box<Sleep>>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.upload).poll_read(cx, buffer);
        if read.is_ready() {
            this.silence = None;
            return read;
        }
        let patience = this.patience;
        let silence = this
            .silence
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        while silence.as_mut().poll(cx).is_ready() {
            if this.waiting.load(Ordering::Relaxed) > 0 {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "nothing came of it for a while, and others wait: send it again",
                )));
            }
            silence.as_mut().reset(Instant::now() + patience);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn one_waits_for_the_other() {
        let admission = Arc::new(Admission::new(1, Duration::from_secs(3600)));
        let (place, mut first) = admission.admit(&b"first"[..]).await.expect("admitted");
        let other = Arc::clone(&admission);
        let second = tokio::spawn(async move {
            let (_place, mut upload) = other.admit(&b"second"[..]).await.expect("admitted");
            let mut text = String::new();
            upload.read_to_string(&mut text).await.expect("text");
            text
        });
        while admission.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let mut text = String::new();
        first.read_to_string(&mut text).await.expect("text");
        assert_eq!((text.as_str(), second.is_finished()), ("first", false));
        drop(place);
        assert_eq!(second.await.expect("no panic"), "second");
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_silent_one_gives_its_place_up_to_one_that_waits() {
        let admission = Admission::new(1, Duration::from_millis(10));
        let (mut client, server) = duplex(64);
        client.write_all(b"begun").await.expect("sent");
        let (place, mut silent) = admission.admit(server).await.expect("admitted");
        let mut buffer = [0; 5];
        silent.read_exact(&mut buffer).await.expect("what came");
        let holding = async {
            let error = silent.read(&mut buffer).await.expect_err("cut off");
            drop(place);
            error
        };
        let (error, waited) = tokio::join!(holding, admission.admit(&b"other"[..]));
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        waited.expect("admitted");
    }

    #[tokio::test]
    async fn silence_harms_nobody_while_none_waits() {
        let admission = Admission::new(1, Duration::from_millis(1));
        let (mut client, server) = duplex(64);
        client.write_all(b"begun").await.expect("sent");
        let (_place, mut upload) = admission.admit(server).await.expect("admitted");
        let late = async {
            // Many times as long as it would be cut off after.
            sleep(Duration::from_millis(50)).await;
            client.write_all(b" and done").await.expect("sent");
            drop(client);
        };
        let mut text = String::new();
        let (read, ()) = tokio::join!(upload.read_to_string(&mut text), late);
        read.expect("all of it");
        assert_eq!(text, "begun and done");
    }

    #[tokio::test]
    async fn one_that_has_not_begun_holds_no_place() {
        let admission = Arc::new(Admission::new(1, PATIENCE));
        let (client, server) = duplex(64);
        let other = Arc::clone(&admission);
        let idle = tokio::spawn(async move { other.admit(server).await.map(drop) });
        admission.admit(&b"other"[..]).await.expect("admitted");
        // It ends without a byte, which is for the reader of the archive to judge.
        drop(client);
        idle.await.expect("no panic").expect("admitted");
    }
}
