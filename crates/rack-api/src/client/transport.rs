//! How connections are made: names, TLS, proxies, time limits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::crypto::ring;

use super::endpoint::{Endpoint, is_localhost};
use crate::trust::any_certificate;

/// Time for a connection to be made, its TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle time after which a connection is probed, so that a vanished rack is
/// noticed while an answer is waited for.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Redirects followed at most.
const REDIRECTS: usize = 10;

/// Makes the HTTP client for an endpoint. Answers may take any time: builds and
/// promotes do.
pub(super) fn connect(endpoint: &Endpoint) -> Result<reqwest::Client, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .dns_resolver(Arc::new(LoopbackResolver))
        .referer(false);
    #[cfg(target_os = "linux")]
    {
        // A rack that lets an upload wait acknowledges nothing new for as long; the
        // library would take that for a broken connection after half a minute.
        builder = builder.tcp_user_timeout(None);
    }
    if endpoint.is_loopback() {
        // No proxy leads to this machine.
        builder = builder.no_proxy();
    }
    if endpoint.verifies() {
        // Verifying asks the platform, which needs a process-wide provider. An
        // error means that somebody has chosen one before, which is as good.
        let _ = ring::default_provider().install_default();
        builder = builder.redirect(Policy::limited(REDIRECTS));
    } else {
        builder = builder
            .tls_backend_preconfigured(any_certificate())
            .redirect(same_host(endpoint));
    }
    builder.build()
}

/// Follows redirects within a host only: trust in one unproven host does not
/// extend to others.
fn same_host(endpoint: &Endpoint) -> Policy {
    let host = endpoint.url().host_str().unwrap_or_default().to_owned();
    Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS {
            attempt.error("too many redirects")
        } else if attempt.url().host_str() == Some(&host) {
            attempt.follow()
        } else {
            attempt.error("it redirects to another host")
        }
    })
}

/// Resolves `localhost` and everything below it to this machine without asking
/// anybody: many resolvers do not know `*.localhost`. Other names go the usual way.
struct LoopbackResolver;

impl Resolve for LoopbackResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is the caller's: zero stands for the URL's.
            if is_localhost(name.as_str()) {
                let addresses = [
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(Ipv6Addr::LOCALHOST),
                ];
                let addresses = addresses
                    .into_iter()
                    .map(|address| SocketAddr::new(address, 0));
                return Ok(Box::new(addresses) as Addrs);
            }
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<_> = addresses.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
