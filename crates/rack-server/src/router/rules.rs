//! What a service says of how requests reach it (`convox-yml.md` §16): its time limit, who
//! may come, whether plain HTTP is sent on to TLS, whether clients stay with a process.

use std::net::IpAddr;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::target::Target;

/// How long a process may take to begin its answer when the service does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer ones would overflow the clock.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Name of the cookie that keeps a client with a process.
const STICKY: &str = "twinrack-process";
/// Characters of a process id in it.
const ID_LENGTH: usize = 12;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long a process may take to begin its answer.
    pub timeout: Duration,
    /// A client that keeps cookies stays with one process while that takes requests.
    pub sticky: bool,
    /// Plain HTTP is answered with the same place over TLS.
    pub redirect: bool,
    /// Networks that may come; empty for all. This machine always may.
    pub allow: Vec<IpNet>,
    /// Its requests are told ([`super::access`]).
    pub access: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            timeout: DEFAULT_TIMEOUT,
            sticky: false,
            redirect: false,
            allow: Vec::new(),
            access: false,
        }
    }
}

impl Rules {
    /// The same within what the clock can hold.
    pub(super) fn bounded(mut self) -> Self {
        self.timeout = self.timeout.min(LONGEST_TIMEOUT);
        self
    }
}

/// Whether a client at this address may come where only these networks may.
pub(super) fn admits(allow: &[IpNet], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    allow.is_empty() || peer.is_loopback() || allow.iter().any(|net| net.contains(&peer))
}

/// The process a client was with, by the beginning of its id.
pub(super) fn kept(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == STICKY)
        .map(|(_, id)| id)
        .filter(|id| id.len() == ID_LENGTH)
}

/// Whether a process is the one a client was with.
pub(super) fn is_kept(target: &Target, kept: &str) -> bool {
    short(target) == kept
}

/// What tells a client which process it is with.
pub(super) fn keep(target: &Target) -> Option<HeaderValue> {
    let id = short(target);
    HeaderValue::try_from(format!("{STICKY}={id}; Path=/; HttpOnly")).ok()
}

fn short(target: &Target) -> &str {
    let id = target.process();
    id.get(..ID_LENGTH).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_admitted_and_this_machine_always_is() {
        let allow = ["10.0.0.0/8".parse().expect("a network")];
        for (peer, may) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("2001:db8::1", false),
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
        ] {
            assert_eq!(
                admits(&allow, peer.parse().expect("an address")),
                may,
                "{peer}"
            );
        }
        assert!(admits(&[], "11.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(kept(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=b; c"));
        headers.append(
            COOKIE,
            HeaderValue::from_static("x=1;twinrack-process=0123456789ab; y=2"),
        );
        assert_eq!(kept(&headers), Some("0123456789ab"));
        for bad in ["twinrack-process=0123", "Xtwinrack-process=0123456789ab"] {
            let headers = [(COOKIE, HeaderValue::from_static(bad))]
                .into_iter()
                .collect();
            assert_eq!(kept(&headers), None, "{bad}");
        }
    }
}
