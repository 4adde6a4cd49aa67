//! Multipart bodies, as the client of late 2017 sends files. Files are streams of any
//! length; whatever else there is has bounds, and never more than a frame of the body is
//! held beyond them.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use futures::{Stream, TryStreamExt as _};
use multer::{Field, Multipart};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::error::{ApiError, Result};
use crate::operations::Failure;

/// Most bytes of all text fields together, their names included: as much as a form.
const LARGEST_TEXT: usize = 4 << 20;
/// Most bytes from the end of one part to the contents of the next.
const LARGEST_HEAD: usize = 64 << 10;

/// The parts of a body, one after the other.
pub(super) struct Parts {
    body: Multipart<'static>,
    /// Bytes that may still come before the next contents begin.
    head: Arc<AtomicUsize>,
    /// Bytes of text that may still come.
    text: usize,
}

impl Parts {
    /// The parts of a request's body, if it says that it has any.
    pub(super) fn of(headers: &HeaderMap) -> Option<impl FnOnce(Body) -> Self + use<>> {
        let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let boundary = multer::parse_boundary(kind).ok()?;
        Some(move |body: Body| {
            let head = Arc::new(AtomicUsize::new(0));
            let frames = Frames {
                body: body.into_data_stream(),
                left: Arc::clone(&head),
                waits: false,
            };
            Self {
                body: Multipart::new(frames, boundary),
                head,
                text: LARGEST_TEXT,
            }
        })
    }

    /// The next part.
    pub(super) async fn next(&mut self) -> Result<Option<Field<'static>>> {
        self.head.store(LARGEST_HEAD, Ordering::Relaxed);
        let field = self.body.next_field().await;
        let found = match field {
            // Said by us, in the middle of what is none.
            Err(_) if self.head.load(Ordering::Relaxed) == 0 => {
                return Err(Failure::Invalid(
                    "the upload is not readable: the head of a part is larger than 64 KiB".into(),
                )
                .into());
            }
            field => field.map_err(|error| broken(&error))?,
        };
        self.head.store(usize::MAX, Ordering::Relaxed);
        Ok(found)
    }

    /// Reads a part that is a text.
    pub(super) async fn text(&mut self, mut field: Field<'static>) -> Result<String> {
        let mut text = Vec::new();
        self.take(field.name().unwrap_or_default().len())?;
        while let Some(bytes) = field.chunk().await.map_err(|error| broken(&error))? {
            self.take(bytes.len())?;
            text.extend_from_slice(&bytes);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn take(&mut self, bytes: usize) -> Result<()> {
        let left = self.text.checked_sub(bytes).ok_or_else(|| {
            Failure::TooLarge("the text fields of the upload are larger than 4 MiB".into())
        })?;
        self.text = left;
        Ok(())
    }
}

fn broken(error: &multer::Error) -> ApiError {
    Failure::Invalid(format!("the upload is not readable: {error}")).into()
}

/// The bytes of a part that is a file, and how it comes to its end.
pub(super) fn file(field: Field<'static>) -> (impl AsyncRead + Send + Unpin, Fate) {
    let fate = Fate::default();
    let seen = fate.clone();
    let bytes = field.map_err(move |error| {
        *seen.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(broken(&error));
        io::Error::other(error)
    });
    (StreamReader::new(bytes), fate)
}

/// How a file came to its end.
#[derive(Clone, Default)]
pub(super) struct Fate(Arc<Mutex<Option<ApiError>>>);

impl Fate {
    /// What became of work with the file: if that failed because the body did, the body is
    /// to blame.
    pub(super) fn judge<T>(&self, done: crate::operations::Result<T>) -> Result<T> {
        let broken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (done, broken) {
            (Err(_), Some(broken)) => Err(broken),
            (done, _) => Ok(done?),
        }
    }
}

/// A body in the pace of who reads it: after each frame it waits to be asked again, for
/// the parser would take whatever is there.
struct Frames {
    body: BodyDataStream,
    left: Arc<AtomicUsize>,
    waits: bool,
}

impl Stream for Frames {
    type Item = std::result::Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.waits) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left.load(Ordering::Relaxed) == 0 {
            let error = std::io::Error::other("more was sent than is taken");
            return Poll::Ready(Some(Err(axum::Error::new(error))));
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_next(context));
        if let Some(Ok(bytes)) = &frame {
            self.waits = true;
            let left = self.left.load(Ordering::Relaxed);
            if left != usize::MAX {
                self.left
                    .store(left.saturating_sub(bytes.len()), Ordering::Relaxed);
            }
        }
        Poll::Ready(frame)
    }
}
