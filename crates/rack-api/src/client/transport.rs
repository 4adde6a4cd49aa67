//! How connections are made: names, TLS, proxies, time limits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::endpoint::{Endpoint, is_localhost};

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
            .tls_backend_preconfigured(unverified())
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

/// TLS that takes any certificate; loads nothing from the platform.
fn unverified() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth()
}

/// Accepts every certificate, but still checks that the server owns its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
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
