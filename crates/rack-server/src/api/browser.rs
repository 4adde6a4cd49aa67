//! Keeps web pages out: a page that somebody looks at on this machine must not reach
//! the API, by whatever name its author makes this machine known (DNS rebinding) and
//! whatever requests it makes the browser send.
//!
//! A request must name a host that is this server: a loopback address, `localhost`,
//! a name below it, the very address it came in on, or a name given with `--host`.
//! `Origin`, where there is one, must be that same host: the official clients send
//! it on sockets. Browsers also say where a request comes from (`Sec-Fetch-Site`).
//! No answer carries headers that would let other origins read it.

use std::net::IpAddr;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::State;
use super::error::{self, ApiError};
use super::reply;
use crate::operations::Failure;
use crate::router::{Origin, host_and_port};

/// Refuses what a page of somebody else made a browser send.
pub(super) async fn keep_out(
    Shared(console): Shared<State>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.extensions().get::<Origin>().copied();
    let Err(reason) = check(
        request.headers(),
        request.uri(),
        request.version(),
        origin.as_ref(),
        &console.limits().hosts,
    ) else {
        return next.run(request).await;
    };
    let mut response = ApiError::from(Failure::Forbidden(reason.into())).into_response();
    if error::wants_json(request.headers()) {
        response = reply::in_json(response);
    }
    super::add_headers(&mut response);
    response
}

fn check(
    headers: &HeaderMap,
    uri: &Uri,
    version: Version,
    arrival: Option<&Origin>,
    names: &[String],
) -> Result<(), &'static str> {
    const HOST: &str =
        "host is not a name of this server: use a loopback address, or start it with --host NAME";
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).map_err(|_| HOST);
    let mut hosts = Vec::new();
    for value in headers.get_all(header::HOST) {
        hosts.push(text(value)?);
    }
    hosts.extend(
        uri.authority()
            .map(|authority| authority.as_str().to_owned()),
    );
    // Only programs leave the host out, which HTTP/1.0 alone allows them.
    if hosts.is_empty() && version >= Version::HTTP_11 {
        return Err(HOST);
    }
    for host in &hosts {
        let (name, _) = host_and_port(host);
        if !is_ours(&name, arrival, names) {
            return Err(HOST);
        }
    }
    for value in headers.get_all(header::ORIGIN) {
        let origin = value.to_str().unwrap_or_default();
        if !hosts.iter().any(|host| is_same(origin, host)) {
            return Err("origin is not this server: web pages may not use it");
        }
    }
    for value in headers.get_all("sec-fetch-site") {
        if !matches!(value.as_bytes(), b"same-origin" | b"none") {
            return Err("the request comes from another site: web pages may not use this server");
        }
    }
    Ok(())
}

fn is_ours(name: &str, arrival: Option<&Origin>, names: &[String]) -> bool {
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        // Nobody can make an address point elsewhere.
        let address = address.to_canonical();
        return address.is_loopback()
            || arrival.is_some_and(|arrival| arrival.local.ip().to_canonical() == address);
    }
    names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether an origin, `scheme://host[:port]`, is a host.
fn is_same(origin: &str, host: &str) -> bool {
    let usual = match origin.split_once("://") {
        Some(("http", _)) => 80,
        Some(("https", _)) => 443,
        _ => return false,
    };
    let own = origin.split_once("://").map_or("", |(_, own)| own);
    let (own, own_port) = host_and_port(own);
    let (host, port) = host_and_port(host);
    own == host && own_port.unwrap_or(usual) == port.unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
                (name.parse().expect("a name"), value)
            })
            .collect();
        let arrival = Origin {
            peer: "192.0.2.9:1000".parse().expect("an address"),
            local: "192.0.2.1:5443".parse().expect("an address"),
            tls: true,
        };
        let names = ["Racks.Example".to_owned()];
        let uri = Uri::from_static("/apps");
        check(&headers, &uri, Version::HTTP_11, Some(&arrival), &names)
    }

    #[test]
    fn hosts_must_be_this_server() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:5443",
            "127.8.9.1:1",
            "[::1]",
            "[::1]:5443",
            "localhost",
            "LOCALHOST:5443",
            "localhost.",
            "rack.staging.localhost:5443",
            "192.0.2.1:5443",
            "racks.example",
            "RACKS.example.:5443",
        ] {
            assert_eq!(ask(&[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "",
            "example.org",
            "127.0.0.1.example.org",
            "localhost.example.org",
            "notlocalhost",
            "192.0.2.2:5443",
            "10.0.0.1",
            "[2001:db8::1]:5443",
            "0x7f.1",
            "2130706433",
            "höst",
            "evil.racks.example",
        ] {
            let refused = ask(&[("host", host)]).expect_err(host);
            assert!(refused.starts_with("host is not a name"), "{refused}");
        }
        assert!(ask(&[("host", "localhost"), ("host", "example.org")]).is_err());
        assert!(ask(&[]).is_err(), "HTTP/1.1 has one");
        let (none, uri) = (HeaderMap::new(), Uri::from_static("/apps"));
        let old = check(&none, &uri, Version::HTTP_10, None, &[]);
        assert_eq!(old, Ok(()), "programs of before may leave it out");
    }

    #[test]
    fn the_target_counts_as_the_host_does() {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        let uri = Uri::from_static("http://example.org/apps");
        assert!(check(&headers, &uri, Version::HTTP_11, None, &[]).is_err());
    }

    #[test]
    fn origins_must_be_the_host() {
        for (host, origin) in [
            ("127.0.0.1:5443", "https://127.0.0.1:5443"),
            ("127.0.0.1:5443", "http://127.0.0.1:5443"),
            (
                "Rack.Staging.localhost:5443",
                "https://rack.staging.localhost:5443",
            ),
            ("localhost", "http://localhost"),
            ("localhost", "https://localhost:443"),
            ("localhost:443", "https://localhost"),
            ("[::1]:5443", "https://[::1]:5443"),
        ] {
            assert_eq!(
                ask(&[("host", host), ("origin", origin)]),
                Ok(()),
                "{origin}"
            );
        }
        for origin in [
            "null",
            "",
            "https://example.org",
            "https://127.0.0.1",
            "https://127.0.0.1:3000",
            "https://localhost:5443",
            "https://127.0.0.1:5443.example.org",
            "https://127.0.0.1:5443/",
            "https://user@127.0.0.1:5443",
            "ftp://127.0.0.1:5443",
            "127.0.0.1:5443",
        ] {
            let refused = ask(&[("host", "127.0.0.1:5443"), ("origin", origin)]).expect_err(origin);
            assert!(refused.starts_with("origin"), "{refused}");
        }
        assert!(ask(&[("origin", "https://localhost")]).is_err(), "no host");
    }

    #[test]
    fn browsers_say_where_a_request_comes_from() {
        let host = ("host", "localhost");
        for site in ["none", "same-origin"] {
            assert_eq!(ask(&[host, ("sec-fetch-site", site)]), Ok(()), "{site}");
        }
        for site in ["cross-site", "same-site", "", "Cross-Site"] {
            assert!(ask(&[host, ("sec-fetch-site", site)]).is_err(), "{site}");
        }
    }
}
