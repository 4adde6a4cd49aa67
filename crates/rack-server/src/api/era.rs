//! Where it makes a difference which generation of the official client asks.
//!
//! The client of late 2017 has no version gates: it compares what a rack reports with
//! timestamps of 2016, all of which open. It differs from later ones in what it sends
//! with every request (its version and `Accept: application/json`, but no name of its
//! own: Go's) and in what it expects: it reads nearly every answer as JSON.

use axum::http::{HeaderMap, header};

/// Lists of builds and releases end here for a client of late 2017 that sets no limit.
const LIMIT: i64 = 20;

/// Whether a client of late 2017 asks. Its plain requests carry the name of Go's HTTP
/// client, its sockets none at all; every later client sends its own.
pub(super) fn is_2017(headers: &HeaderMap) -> bool {
    match headers.get(header::USER_AGENT) {
        Some(agent) => agent.as_bytes().starts_with(b"Go-http-client/"),
        None => headers.contains_key("version"),
    }
}

/// How many to list for a client that does not say.
pub(super) fn limit(headers: &HeaderMap, otherwise: i64) -> i64 {
    if is_2017(headers) { LIMIT } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    name.parse().expect("a name"),
                    value.parse().expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn clients_of_2017_are_told_by_the_name_they_lack() {
        let plain = headers(&[
            ("user-agent", "Go-http-client/1.1"),
            ("version", "20171018112436"),
        ]);
        let login = headers(&[("user-agent", "Go-http-client/1.1")]);
        let socket = headers(&[("version", "20171018112436")]);
        for old in [plain, login, socket] {
            assert!(is_2017(&old), "{old:?}");
        }
        let later = headers(&[("user-agent", "convox.go/dev"), ("version", "dev")]);
        let other = headers(&[("user-agent", "curl/8.0")]);
        for new in [later, other, HeaderMap::new()] {
            assert!(!is_2017(&new), "{new:?}");
        }
    }
}
