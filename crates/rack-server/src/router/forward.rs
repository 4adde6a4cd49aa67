//! One request, from its host to a process and back.

use std::error::Error as _;
use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Error, ResponseFuture};
use tokio::time::Instant;

use super::headers::{self, Origin};
use super::host;
use super::rules;
use super::table::{Route, Router};
use super::target::{InFlight, Target};
use super::upgrade;
use super::upload::Upload;

impl Router {
    /// Carries a request to a healthy process of the service its host names.
    ///
    /// The [`Origin`] extension, if there, becomes the `X-Forwarded-…` headers.
    /// What goes wrong on the way is answered with one line of text.
    pub async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let Some((host, route)) =
            host::of(&request).and_then(|host| self.lookup(&host).map(|route| (host, route)))
        else {
            return text(StatusCode::NOT_FOUND, "no such service");
        };
        if let Some(refused) = refused(&request, &host, &route) {
            return refused;
        }
        let began = Instant::now();
        let response = self.carry(request, &host, &route).await;
        route.counter.count(began.elapsed(), response.status());
        response
    }

    async fn carry(&self, mut request: Request<Body>, host: &str, route: &Route) -> Response<Body> {
        let client = headers::upgrade(request.headers()).map(|_| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let sticky = route.rules().sticky && route.targets().len() > 1;
        let kept = rules::kept(&parts.headers).filter(|_| sticky);
        let kept = kept.map(str::to_owned);
        let upload = Upload::new(body);
        let Some(head) = Head::of(parts) else {
            return text(
                StatusCode::BAD_REQUEST,
                "the request target cannot be forwarded",
            );
        };
        let (mut tried, mut again) = (Vec::new(), head.repeatable());
        let mut failure = None;
        let (in_flight, response) = loop {
            let Some(in_flight) = self.choose(host, &tried, kept.as_deref()) else {
                return match failure {
                    Some(reason) => bad_gateway(route.key(), reason),
                    None => text(
                        StatusCode::SERVICE_UNAVAILABLE,
                        format!("{} has no healthy process", route.key()),
                    ),
                };
            };
            let target = in_flight.target();
            match answer(
                target.client.request(head.request(upload.clone())),
                &upload,
                route.rules().timeout,
            )
            .await
            {
                None => {
                    let seconds = route.rules().timeout.as_secs_f64();
                    let reason = format!("{} did not answer within {seconds} seconds", route.key());
                    return text(StatusCode::GATEWAY_TIMEOUT, reason);
                }
                Some(Ok(response)) => break (in_flight, response),
                Some(Err(error)) => {
                    note(target, &error);
                    let untouched = !upload.touched();
                    failure = Some(cause(&error));
                    if error.is_connect() && untouched {
                        tried.push(target.clone());
                    } else if again && untouched {
                        // Most likely a kept connection that the process closed as we used it.
                        again = false;
                    } else {
                        return bad_gateway(route.key(), cause(&error));
                    }
                }
            }
        };
        let stays = kept.is_some_and(|kept| rules::is_kept(in_flight.target(), &kept));
        let cookie = (sticky && !stays).then(|| rules::keep(in_flight.target()));
        let cookie = cookie.flatten();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return match client {
                Some(client) => with_cookie(switch(client, response, in_flight), cookie),
                None => bad_gateway(route.key(), "it switched protocols unasked"),
            };
        }
        let (mut parts, body) = response.into_parts();
        headers::remove_hop_by_hop(&mut parts.headers);
        let mut response = Response::new(Body::new(Download {
            body,
            _in_flight: in_flight,
        }));
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        with_cookie(response, cookie)
    }
}

/// Tells a client which process it is with, if there is something to tell.
fn with_cookie(mut response: Response<Body>, cookie: Option<HeaderValue>) -> Response<Body> {
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// The answer to a client that may not come, or not in this way.
fn refused(request: &Request<Body>, host: &str, route: &Route) -> Option<Response<Body>> {
    let origin = request.extensions().get::<Origin>()?;
    let rules = route.rules();
    if !rules.admits(origin.peer.ip()) {
        let reason = format!("{} does not answer this address", route.key());
        return Some(text(StatusCode::FORBIDDEN, reason));
    }
    if !rules.redirect || origin.tls {
        return None;
    }
    // One port speaks both; the usual one for plain HTTP has another beside it.
    let port = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(host::port)
        .filter(|port| *port != 80)
        .map(|port| format!(":{port}"));
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let place = format!("https://{host}{}{path}", port.unwrap_or_default());
    let mut answer = text(StatusCode::PERMANENT_REDIRECT, format!("go to {place}"));
    let place = HeaderValue::try_from(place).ok()?;
    answer.headers_mut().insert(LOCATION, place);
    Some(answer)
}

/// The part of a request that every attempt repeats.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    empty: bool,
}

impl Head {
    fn of(parts: Parts) -> Option<Self> {
        let Parts {
            method,
            uri,
            mut headers,
            extensions,
            ..
        } = parts;
        // Tunnels lead anywhere; we lead to services only.
        if method == Method::CONNECT {
            return None;
        }
        let host = match uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok()?,
            None => headers.get(HOST)?.clone(),
        };
        let empty = !headers.contains_key(http::header::TRANSFER_ENCODING)
            && headers
                .get(http::header::CONTENT_LENGTH)
                .is_none_or(|length| length == "0");
        headers::forward(&mut headers, host, extensions.get::<Origin>());
        // The authority only tells the client library that there is one: the connector
        // of a target leads to its process whatever is asked for.
        let path = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder()
            .scheme("http")
            .authority("process")
            .path_and_query(path)
            .build()
            .ok()?;
        Some(Self {
            method,
            uri,
            headers,
            empty,
        })
    }

    /// Whether sending it twice does no harm.
    fn repeatable(&self) -> bool {
        self.method.is_safe() && self.empty
    }

    fn request(&self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Waits for the beginning of the answer; `None` when it takes too long. The time counts
/// from the last piece of the body that was sent.
async fn answer(
    mut answer: ResponseFuture,
    upload: &Upload,
    timeout: Duration,
) -> Option<Result<Response<Incoming>, Error>> {
    loop {
        let deadline = upload.active() + timeout;
        tokio::select! {
            response = &mut answer => return Some(response),
            () = tokio::time::sleep_until(deadline) => {
                if upload.active() + timeout <= Instant::now() {
                    return None;
                }
            }
        }
    }
}

/// Passes a switch of protocols on and lets the bytes flow.
fn switch(
    client: hyper::upgrade::OnUpgrade,
    mut response: Response<Incoming>,
    in_flight: InFlight,
) -> Response<Body> {
    let process = hyper::upgrade::on(&mut response);
    upgrade::carry(client, process, in_flight);
    let mut switched = Response::new(Body::empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switched.headers_mut() = std::mem::take(response.headers_mut());
    switched
}

/// A response body; its request is in flight as long as it lives.
struct Download {
    body: Incoming,
    _in_flight: InFlight,
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The innermost reason, which is the one that helps.
fn cause(error: &Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

fn note(target: &Target, error: &Error) {
    tracing::debug!(
        process = target.process(),
        port = target.port(),
        reason = cause(error),
        "a process failed a request"
    );
}

fn bad_gateway(service: impl Display, reason: impl Display) -> Response<Body> {
    text(
        StatusCode::BAD_GATEWAY,
        format!("{service} cannot be reached: {reason}"),
    )
}

/// An answer of our own, one line.
fn text(status: StatusCode, line: impl Display) -> Response<Body> {
    let line = line.to_string().replace(['\n', '\r'], " ");
    let mut response = Response::new(Body::from(line + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
