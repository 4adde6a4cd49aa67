//! What answers on the gRPC ports of simulated processes: the health service, and an
//! echo under every other name.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::Frame;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;

use super::port::Identity;

/// The one question whose answer is no echo.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Answers HTTP/2 until the peer hangs up.
pub(super) async fn serve(stream: DuplexStream, identity: Identity) {
    let service = service_fn(move |request| {
        let answer = answer(request, &identity);
        async move { Ok::<_, Infallible>(answer) }
    });
    // A peer that hangs up half way is its own business.
    if let Err(error) = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%error, "connection to a simulated process ended");
    }
}

fn answer(request: Request<Incoming>, identity: &Identity) -> Response<Body> {
    let body = if request.uri().path() == CHECK {
        // Field 1 of the answer: 1 says serving, 2 that it is not.
        let status = if identity.unhealthy { 2 } else { 1 };
        let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 0x08, status]);
        Body::new(Ended::new(Body::from(message)))
    } else {
        Body::new(Ended::new(Body::new(request.into_body())))
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    for (fact, value) in &identity.facts {
        let name = HeaderName::try_from(format!("simulated-{fact}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    response
}

/// A body and, as gRPC has it, the status behind it.
struct Ended {
    body: Body,
    told: bool,
}

impl Ended {
    fn new(body: Body) -> Self {
        Self { body, told: false }
    }
}

impl http_body::Body for Ended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            // What trailers a client sends are nobody's.
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => None,
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(match frame {
            Some(data) => Some(Ok(Frame::data(data))),
            None if self.told => None,
            None => {
                self.told = true;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
        })
    }
}
