//! Headers that end at a proxy, and those it adds.

use std::net::SocketAddr;

use http::header::{
    CONNECTION, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use super::host;

/// Where a request came in; a request extension for the router and the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub peer: SocketAddr,
    /// Our address.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// The protocol a client wants to switch to. HTTP/2 is not offered by this server, so asking
/// for it is asking for nothing.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE)?;
    (asked && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

/// Removes what is meant for the next hop only.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let trailers = headers
        .get(TE)
        .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in named {
        // Naming these would change what the request is, not how it travels.
        if name != HOST && name != http::header::CONTENT_LENGTH {
            headers.remove(name);
        }
    }
    for name in [
        CONNECTION,
        UPGRADE,
        TE,
        TRANSFER_ENCODING,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
    ] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Makes a client's headers those of the request to a process.
pub(super) fn forward(headers: &mut HeaderMap, host: HeaderValue, origin: Option<&Origin>) {
    let upgrade = upgrade(headers);
    remove_hop_by_hop(headers);
    // We send "100 Continue" ourselves when the body is first wanted.
    headers.remove(EXPECT);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    if let Some(origin) = origin {
        let mut chain: Vec<&[u8]> = headers
            .get_all("x-forwarded-for")
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let peer = origin.peer.ip().to_canonical().to_string();
        chain.push(peer.as_bytes());
        let chain = HeaderValue::from_bytes(&chain.join(b", ".as_slice()))
            .expect("joined from header values");
        headers.insert("x-forwarded-for", chain);
        headers.insert(
            "x-forwarded-proto",
            HeaderValue::from_static(if origin.tls { "https" } else { "http" }),
        );
        let port = host
            .to_str()
            .ok()
            .and_then(host::port)
            .unwrap_or(if origin.tls { 443 } else { 80 });
        headers.insert("x-forwarded-port", HeaderValue::from(port));
    }
    headers.insert("x-forwarded-host", host.clone());
    headers.insert(HOST, host);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const ORIGIN: Origin = Origin {
        peer: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4000),
        local: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5443),
        tls: true,
    };

    #[test]
    fn hop_by_hop_headers_end_here() {
        let mut headers = headers(&[
            ("connection", "close, X-Hop, host"),
            ("x-hop", "1"),
            ("x-end", "2"),
            ("keep-alive", "timeout=5"),
            ("expect", "100-continue"),
            ("te", "trailers"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "gopher"),
        ]);
        forward(
            &mut headers,
            HeaderValue::from_static("web.a.r.localhost:5443"),
            Some(&ORIGIN),
        );
        for gone in ["connection", "x-hop", "keep-alive", "expect"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        let expected = [
            ("x-end", "2"),
            ("te", "trailers"),
            ("host", "web.a.r.localhost:5443"),
            ("x-forwarded-host", "web.a.r.localhost:5443"),
            ("x-forwarded-for", "10.0.0.1, 127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "5443"),
        ];
        for (name, value) in expected {
            assert_eq!(
                headers.get_all(name).iter().collect::<Vec<_>>(),
                [value],
                "{name}"
            );
        }
    }

    #[test]
    fn upgrades_are_passed_on_except_to_http2() {
        let mut websocket = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        forward(&mut websocket, HeaderValue::from_static("x"), None);
        assert_eq!(
            (&websocket["connection"], &websocket["upgrade"]),
            (
                &HeaderValue::from_static("upgrade"),
                &HeaderValue::from_static("websocket"),
            )
        );
        let mut http2 = headers(&[
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AA"),
        ]);
        forward(&mut http2, HeaderValue::from_static("x"), None);
        assert!(!http2.contains_key("upgrade") && !http2.contains_key("http2-settings"));
        assert_eq!(upgrade(&headers(&[("upgrade", "websocket")])), None);
    }
}
