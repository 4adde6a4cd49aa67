//! Parts of files, so that a download which broke off can go on (RFC 9110 §14).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::error::Result;
use super::reply;
use crate::operations::Failure;

/// What is asked for of so many bytes.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// From one place up to another, which is not part of it.
    Part(u64, u64),
    /// Nothing that is there.
    Beyond,
}

impl Asked {
    /// Reads a `Range`. Several parts at once, and what is no range, are answered with the
    /// whole, as the standard allows.
    fn read(range: &str, length: u64) -> Self {
        let Some((first, last)) = range
            .strip_prefix("bytes=")
            .and_then(|span| span.split_once('-'))
        else {
            return Self::Whole;
        };
        let number = |text: &str| text.parse::<u64>().ok();
        match (first.trim(), last.trim()) {
            ("", last) => match number(last) {
                None => Self::Whole,
                Some(0) => Self::Beyond,
                Some(_) if length == 0 => Self::Beyond,
                Some(many) => Self::Part(length.saturating_sub(many), length),
            },
            (first, last) => {
                let end = match last {
                    "" => Some(length),
                    last => number(last).map(|last| last.saturating_add(1).min(length)),
                };
                match (number(first), end) {
                    (Some(first), Some(_)) if first >= length => Self::Beyond,
                    (Some(first), Some(end)) if first < end => Self::Part(first, end),
                    _ => Self::Whole,
                }
            }
        }
    }
}

/// Names the very bytes of a file that is only ever replaced, never written to.
fn tag(found: &Metadata) -> HeaderValue {
    let (inode, size) = (found.ino(), found.len());
    let (seconds, rest) = (found.mtime(), found.mtime_nsec());
    HeaderValue::try_from(format!("\"{inode:x}-{seconds:x}-{rest:x}-{size:x}\"")).expect("hex")
}

/// Answers with a file, or with the part of it that is asked for.
pub(super) async fn file(mut file: File, headers: &HeaderMap) -> Result<Response> {
    let reading = || Failure::io("the object");
    let found = file.metadata().await.map_err(reading())?;
    let (length, tag) = (found.len(), tag(&found));
    let range = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok())
        // Of another file nobody wants the rest.
        .filter(|_| {
            headers
                .get(header::IF_RANGE)
                .is_none_or(|known| *known == tag)
        });
    let asked = range.map_or(Asked::Whole, |range| Asked::read(range, length));
    let mut response = match asked {
        Asked::Whole => reply::bytes(Body::from_stream(ReaderStream::new(file)), Some(length)),
        Asked::Part(first, end) => {
            file.seek(std::io::SeekFrom::Start(first))
                .await
                .map_err(reading())?;
            let part = ReaderStream::new(file.take(end - first));
            let mut response = reply::bytes(Body::from_stream(part), Some(end - first));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let span = format!("bytes {first}-{}/{length}", end - 1);
            let span = HeaderValue::try_from(span).expect("digits");
            response.headers_mut().insert(header::CONTENT_RANGE, span);
            response
        }
        Asked::Beyond => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            let all = HeaderValue::try_from(format!("bytes */{length}")).expect("digits");
            response.headers_mut().insert(header::CONTENT_RANGE, all);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (range, asked) in [
            ("bytes=0-", Asked::Part(0, 10)),
            ("bytes=3-", Asked::Part(3, 10)),
            ("bytes=3-3", Asked::Part(3, 4)),
            ("bytes=3-99", Asked::Part(3, 10)),
            ("bytes=-4", Asked::Part(6, 10)),
            ("bytes=-99", Asked::Part(0, 10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=10-20", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-3", Asked::Whole),
            ("bytes=1-2,4-5", Asked::Whole),
            ("bytes=x-", Asked::Whole),
            ("lines=1-", Asked::Whole),
            ("", Asked::Whole),
        ] {
            assert_eq!(Asked::read(range, 10), asked, "{range}");
        }
        assert_eq!(Asked::read("bytes=0-", 0), Asked::Beyond);
        assert_eq!(Asked::read("bytes=-1", 0), Asked::Beyond);
    }
}
