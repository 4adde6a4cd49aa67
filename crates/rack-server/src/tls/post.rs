//! Sending a document to somebody else's server, over HTTP or HTTPS.
//!
//! Servers are believed if the system trusts them or our own authority has signed for
//! them. Redirects are not followed and answers are not read.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Authority, TlsError};

/// Where to send: an address with its credentials taken out.
pub struct Post {
    host: String,
    port: u16,
    encrypted: bool,
    /// The `Host` header.
    authority: String,
    path: String,
    /// The `Authorization` header.
    credentials: Option<String>,
}

/// Why nothing was sent, or no answer came.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The server cannot be connected to.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// It cannot be believed, or speaks no TLS.
    #[error("tls handshake failed: {0}")]
    Handshake(io::Error),
    /// Our side of TLS does not work.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It does not speak HTTP as it should.
    #[error("no valid answer: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("no valid request: {0}")]
    Request(#[from] http::Error),
}

impl Post {
    /// Reads an address. The refusal says what is wrong and repeats nothing of it.
    pub fn new(url: &str) -> Result<Self, String> {
        let invalid =
            || "invalid url: use http://HOST or https://HOST, with a path if need be".to_owned();
        let uri: Uri = url.trim().parse().map_err(|_| invalid())?;
        let encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err("invalid url: only http and https can be used".into()),
            None => return Err(invalid()),
        };
        let authority = uri.authority().ok_or_else(invalid)?;
        let text = authority.as_str();
        let (credentials, authority_text) = match text.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, text),
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = match authority.port() {
            Some(_) => authority
                .port_u16()
                .filter(|port| *port > 0)
                .ok_or_else(invalid)?,
            None if encrypted => 443,
            None => 80,
        };
        // A port that is no number is to `http` as if there were none.
        let unread = authority.port().is_none() && authority_text.len() > authority.host().len();
        if host.is_empty() || unread {
            return Err(invalid());
        }
        let credentials = credentials.map(|text| {
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
            let decoded = if text.contains(':') {
                decoded
            } else {
                [decoded, b":".to_vec()].concat()
            };
            format!("Basic {}", BASE64_STANDARD.encode(decoded))
        });
        Ok(Self {
            host,
            port,
            encrypted,
            authority: authority_text.to_owned(),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned()),
            credentials,
        })
    }

    /// The address as logs may hold it: paths and queries are secrets as often as not.
    pub fn shown(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Sends a JSON document; returns the status of the answer.
    pub async fn send(&self, trust: &Authority, json: Bytes) -> Result<StatusCode, PostError> {
        let mut request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("twinrack/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close");
        if let Some(credentials) = &self.credentials {
            request = request.header(AUTHORIZATION, credentials);
        }
        let request = request.body(Full::new(json))?;
        let stream = self.connect().await.map_err(PostError::Connect)?;
        if !self.encrypted {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| PostError::Connect(io::Error::other(error)))?;
        let stream = TlsConnector::from(trust.client().await?)
            .connect(name, stream)
            .await
            .map_err(PostError::Handshake)?;
        exchange(stream, request).await
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        // Many resolvers do not know that these names are this machine (RFC 6761).
        let local = self.host == "localhost" || self.host.ends_with(".localhost");
        let host = if local { "127.0.0.1" } else { &self.host };
        TcpStream::connect((host, self.port)).await
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, PostError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answering = sender.send_request(request);
    tokio::pin!(answering, connection);
    tokio::select! {
        answer = &mut answering => Ok(answer?.status()),
        ended = &mut connection => {
            ended?;
            // The answer may have come with the end.
            Ok(answering.await?.status())
        }
    }
}

/// Trusts what the system trusts, and one authority more.
pub(super) fn trust(
    authority: &rustls::pki_types::CertificateDer<'static>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // A system without any still has our own.
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "a certificate of the system cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots.add(authority.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::Post;

    #[test]
    fn addresses_are_read_and_shown_without_secrets() {
        let cases = [
            (
                "http://hooks.example",
                "hooks.example",
                80,
                "/",
                "http://hooks.example",
            ),
            (
                "https://hooks.example/a/b?token=1",
                "hooks.example",
                443,
                "/a/b?token=1",
                "https://hooks.example",
            ),
            (
                "https://user:pass%40@hooks.example:8443/x",
                "hooks.example",
                8443,
                "/x",
                "https://hooks.example:8443",
            ),
            ("http://[::1]:81", "::1", 81, "/", "http://[::1]:81"),
        ];
        for (url, host, port, path, shown) in cases {
            let post = Post::new(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(
                (
                    post.host.as_str(),
                    post.port,
                    post.path.as_str(),
                    post.shown().as_str()
                ),
                (host, port, path, shown),
                "{url}"
            );
        }
        let credentials = |url: &str| Post::new(url).expect("an address").credentials;
        // user:pass@
        assert_eq!(
            credentials("http://user:pass%40@h").as_deref(),
            Some("Basic dXNlcjpwYXNzQA==")
        );
        assert_eq!(
            credentials("http://user@h").as_deref(),
            Some("Basic dXNlcjo=")
        );
        assert_eq!(credentials("http://h"), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "",
            "hooks.example",
            "/path",
            "ftp://h/",
            "file:///etc/passwd",
            "http://",
            "http://h:0",
            "http://h:99999",
            "http://secret word",
        ] {
            let refusal = Post::new(url)
                .err()
                .unwrap_or_else(|| panic!("{url} is no address"));
            assert!(
                refusal.starts_with("invalid url") && !refusal.contains("secret"),
                "{refusal}"
            );
        }
    }
}
