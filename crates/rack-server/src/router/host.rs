//! Host names: which ones are whose.

use std::borrow::Cow;
use std::net::IpAddr;

use http::Request;
use http::header::HOST;

use super::table::Key;

/// The host a request is for: lower case, without port and last dot.
pub(crate) fn of<B>(request: &Request<B>) -> Option<Cow<'_, str>> {
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST)?.to_str().ok()?,
    };
    Some(normal(without_port(host)))
}

/// A host as a request names it, in parts: lower case, without last dot; and the port.
/// What is no port stays with the name.
pub(crate) fn host_and_port(host: &str) -> (String, Option<u16>) {
    match port(host) {
        Some(port) => (normal(without_port(host)).into_owned(), Some(port)),
        None => (normal(host).into_owned(), None),
    }
}

/// The port a `Host` header names.
pub(super) fn port(host: &str) -> Option<u16> {
    host[without_port(host).len()..]
        .strip_prefix(':')?
        .parse()
        .ok()
}

fn without_port(host: &str) -> &str {
    match (host.rfind(']'), host.rfind(':')) {
        (Some(bracket), Some(colon)) if colon < bracket => host,
        (_, Some(colon)) => &host[..colon],
        (_, None) => host,
    }
}

/// One way to write a host.
pub(super) fn normal(host: &str) -> Cow<'_, str> {
    let host = host.trim_end_matches('.');
    // Nearly all requests name it so: they cost no allocation.
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Whether a host has the form of a service's own name, `<service>.<app>.<rack>.localhost`.
pub fn is_service_host(host: &str) -> bool {
    host.strip_suffix(".localhost")
        .is_some_and(|labels| labels.split('.').count() == 3 && !labels.contains(".."))
}

/// Whether a host belongs to the server or to services of other names and can be nobody's domain.
pub(super) fn is_reserved(host: &str, key: &Key) -> bool {
    if host == key.host() {
        return false;
    }
    let rack_host = host
        .strip_prefix("rack.")
        .and_then(|rest| rest.strip_suffix(".localhost"))
        .is_some_and(|rack| !rack.contains('.'));
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let empty = host.is_empty() || host == "*";
    // `*.localhost` and `*.x.localhost` would cover names of the server and of other services.
    let wild = host.starts_with("*.") && (host.ends_with(".localhost"));
    host == "localhost" || rack_host || address || empty || wild || is_service_host(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, host: Option<&str>) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        request.body(()).expect("a request")
    }

    #[test]
    fn hosts_are_read_without_port_case_and_last_dot() {
        let cases = [
            (
                "/",
                Some("Web.MyApp.Staging.localhost:5443"),
                Some("web.myapp.staging.localhost"),
            ),
            ("/", Some("example.org."), Some("example.org")),
            ("/", Some("[::1]:5443"), Some("[::1]")),
            ("/", Some("[::1]"), Some("[::1]")),
            (
                "http://a.example:81/x",
                Some("b.example"),
                Some("a.example"),
            ),
            ("/", None, None),
        ];
        for (uri, host, expected) in cases {
            assert_eq!(
                of(&request(uri, host)).as_deref(),
                expected,
                "{uri} {host:?}"
            );
        }
        assert_eq!(port("a:81"), Some(81));
        assert_eq!(port("[::1]:81"), Some(81));
        assert_eq!(port("[::1]"), None);
        assert_eq!(port("a"), None);
    }

    #[test]
    fn the_servers_own_names_are_reserved() {
        let key = Key::new("staging", "myapp", "web");
        for host in [
            "localhost",
            "127.0.0.1",
            "[::1]",
            "rack.staging.localhost",
            "api.other.staging.localhost",
            "*.localhost",
            "",
            "*",
        ] {
            assert!(is_reserved(host, &key), "{host}");
        }
        for host in [
            "web.myapp.staging.localhost",
            "example.org",
            "*.example.org",
            "myapp.localhost",
        ] {
            assert!(!is_reserved(host, &key), "{host}");
        }
    }
}
