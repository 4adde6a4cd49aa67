//! One request, from its host to a process and back.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::access::Visit;
use super::client::{self, Answer, Failed};
use super::flight::InFlight;
use super::headers::{self, Origin};
use super::host;
use super::rules;
use super::table::{Route, Router};
use super::target::Target;
use super::upgrade;
use super::upload::Upload;

impl Router {
    /// Carries a request to a healthy process of the service its host names.
    ///
    /// The [`Origin`] extension, if there, becomes the `X-Forwarded-…` headers.
    /// What goes wrong on the way is answered with one line of text.
    pub async fn serve(&self, request: Request<Body>) -> Response<Body> {
        match self.route_of(&request) {
            Some(route) => self.serve_at(route, request).await,
            None => nowhere(),
        }
    }

    /// The same when it is known where the request leads.
    pub(crate) async fn serve_at(
        &self,
        route: Arc<Route>,
        request: Request<Body>,
    ) -> Response<Body> {
        if let Some(refused) = refused(&request, &route) {
            return refused;
        }
        let began = Instant::now();
        let visit = route.access().map(|_| Visit::of(&request, began));
        let (mut response, target) = self.carry(request, &route).await;
        route.counter.count(began.elapsed(), response.status());
        if let (Some(log), Some(visit)) = (route.access(), visit) {
            response = log.watch(visit, &route, target, response);
        }
        response
    }

    /// The answer, and the process it comes from if it comes from one.
    async fn carry(
        &self,
        mut request: Request<Body>,
        route: &Arc<Route>,
    ) -> (Response<Body>, Option<Arc<Target>>) {
        let client = headers::upgrade(request.headers()).map(|_| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let sticky = route.rules().sticky && route.targets().len() > 1;
        let kept = rules::kept(&parts.headers).filter(|_| sticky);
        let kept = kept.map(str::to_owned);
        let upload = Upload::new(body);
        let Some(head) = Head::of(parts) else {
            let reason = "the request target cannot be forwarded";
            return (text(StatusCode::BAD_REQUEST, reason), None);
        };
        let (mut tried, mut again, mut fresh) = (Vec::new(), head.repeatable(), false);
        let mut failure = None;
        let (target, in_flight, mut answer) = loop {
            let Some((target, in_flight)) = self.choose(route, &tried, kept.as_deref()) else {
                let answer = match failure {
                    Some(reason) => bad_gateway(route.key(), reason),
                    None => text(
                        StatusCode::SERVICE_UNAVAILABLE,
                        format!("{} has no healthy process", route.key()),
                    ),
                };
                return (answer, None);
            };
            let request = head.request(&target, upload.clone());
            let asked = target.client.request(request, &upload, fresh);
            match answer(asked, &upload, route.rules().timeout).await {
                None => {
                    let seconds = route.rules().timeout.as_secs_f64();
                    let reason = format!("{} did not answer within {seconds} seconds", route.key());
                    return (text(StatusCode::GATEWAY_TIMEOUT, reason), Some(target));
                }
                Some(Ok(answer)) => break (target, in_flight, answer),
                Some(Err(error)) => {
                    note(&target, &error);
                    let untouched = !upload.touched();
                    if error.connecting && untouched {
                        tried.push(target);
                        failure = Some(error.reason);
                    } else if untouched && !fresh && (again || error.unsent) {
                        // Most likely a kept connection that the process closed as we used it.
                        again = false;
                        fresh = true;
                        failure = Some(error.reason);
                    } else {
                        return (bad_gateway(route.key(), error.reason), Some(target));
                    }
                }
            }
        };
        let stays = kept.is_some_and(|kept| rules::is_kept(&target, &kept));
        let cookie = (sticky && !stays).then(|| rules::keep(&target));
        let cookie = cookie.flatten();
        if answer.head().status() == StatusCode::SWITCHING_PROTOCOLS {
            let answer = match client {
                Some(client) => with_cookie(switch(client, answer, in_flight), cookie),
                None => bad_gateway(route.key(), "it switched protocols unasked"),
            };
            return (answer, Some(target));
        }
        let (mut parts, body) = answer.into_parts();
        headers::remove_hop_by_hop(&mut parts.headers);
        let mut response = Response::new(Body::new(Download {
            body,
            _in_flight: in_flight,
        }));
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        (with_cookie(response, cookie), Some(target))
    }
}

/// The answer for a host that is a service's, but of none that is there.
pub(crate) fn nowhere() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "no such service")
}

/// Tells a client which process it is with, if there is something to tell.
fn with_cookie(mut response: Response<Body>, cookie: Option<HeaderValue>) -> Response<Body> {
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// The answer to a client that may not come, or not in this way.
fn refused(request: &Request<Body>, route: &Route) -> Option<Response<Body>> {
    let origin = request.extensions().get::<Origin>()?;
    let rules = route.rules();
    if !rules::admits(&rules.allow, origin.peer.ip()) {
        let reason = format!("{} does not answer this address", route.key());
        return Some(text(StatusCode::FORBIDDEN, reason));
    }
    if !rules.redirect || origin.tls {
        return None;
    }
    let host = host::of(request)?;
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
    path: PathAndQuery,
    host: HeaderValue,
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
        headers::forward(&mut headers, host.clone(), extensions.get::<Origin>());
        let path = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        Some(Self {
            method,
            path,
            host,
            headers,
            empty,
        })
    }

    /// Whether sending it twice does no harm.
    fn repeatable(&self) -> bool {
        self.method.is_safe() && self.empty
    }

    /// The request as a process wants it.
    fn request(&self, target: &Target, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let scheme = target.scheme();
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(self.path.clone());
        if scheme.is_http2() {
            // There the host stands in the first line, and only there (RFC 9113 §8.3.1).
            parts.authority = Authority::try_from(self.host.as_bytes()).ok();
            parts.scheme = Some(if scheme.is_tls() {
                UriScheme::HTTPS
            } else {
                UriScheme::HTTP
            });
            if parts.authority.is_none() {
                parts.authority = Some(Authority::from_static("localhost"));
            }
            request.headers_mut().remove(HOST);
            *request.version_mut() = Version::HTTP_2;
        }
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        request
    }
}

/// Waits for the beginning of the answer; `None` when it takes too long. The time counts
/// from the last piece of the body that was sent.
async fn answer(
    asked: impl Future<Output = Result<Answer, Failed>>,
    upload: &Upload,
    timeout: Duration,
) -> Option<Result<Answer, Failed>> {
    tokio::pin!(asked);
    let late = tokio::time::sleep_until(upload.active() + timeout);
    tokio::pin!(late);
    loop {
        tokio::select! {
            biased;
            answer = asked.as_mut() => return Some(answer),
            () = late.as_mut() => {
                let deadline = upload.active() + timeout;
                if deadline <= Instant::now() {
                    return None;
                }
                late.as_mut().reset(deadline);
            }
        }
    }
}

/// Passes a switch of protocols on and lets the bytes flow.
fn switch(
    client: hyper::upgrade::OnUpgrade,
    mut answer: Answer,
    in_flight: InFlight,
) -> Response<Body> {
    let process = hyper::upgrade::on(&mut *answer.head());
    upgrade::carry(client, process, in_flight);
    let mut switched = Response::new(Body::empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switched.headers_mut() = std::mem::take(answer.head().headers_mut());
    switched
}

/// A response body; its request is in flight as long as it lives.
struct Download {
    body: client::Download,
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

fn note(target: &Target, error: &Failed) {
    tracing::debug!(
        process = target.process(),
        port = target.port(),
        reason = error.reason,
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
