//! TLS: who proves what to whom.
//!
//! Responsible for accepting encrypted connections and for the certificate each client
//! is shown: one of the rack's own where a custom domain has one ([`Router::certificate`]),
//! else one minted by the local authority ([`authority`]) and kept in memory only. Clients
//! that check certificates trust `ca.pem`; the official ones check nothing. It gives out no
//! certificate for names that are not the server's: those get the default one.

mod authority;
pub mod pair;
pub mod post;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

pub use authority::{Authority, Issued, LEAF_LIFE};
use authority::{KEY, Signer};

use crate::router::{self, Router};

/// A cached certificate is minted anew after this, long before it ends.
const REFRESH: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Most certificates kept in memory.
const CACHE: usize = 256;
/// What HTTP/2 is called in handshakes.
const HTTP2: &[u8] = b"h2";
/// What a client is certified that names no host we know.
const DEFAULT_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the authority cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The files are there but are no authority.
    #[error("{} and {KEY} beside it are not a certificate authority: {reason}; remove both to have them made anew", path.display())]
    Invalid {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificates cannot be made.
    #[error("cannot make a certificate: {0}")]
    Mint(#[from] rcgen::Error),
    /// The library refuses the key or the settings.
    #[error("cannot set up tls: {0}")]
    Setup(#[from] rustls::Error),
}

/// Accepts encrypted connections.
pub struct Tls {
    authority: Arc<Authority>,
    router: Arc<Router>,
    configs: OnceCell<Configs>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Shows certificates of this authority, and those the router has for its domains.
    pub fn new(authority: Arc<Authority>, router: Arc<Router>) -> Self {
        Self {
            authority,
            router,
            configs: OnceCell::new(),
        }
    }

    /// The authority's certificate, made if it does not exist yet.
    pub async fn authority(&self) -> Result<PathBuf, TlsError> {
        self.authority.certificate().await
    }

    /// Answers a client's handshake; also tells whether HTTP/2 was agreed on.
    pub async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: T,
    ) -> io::Result<(TlsStream<T>, bool)> {
        let configs = self.configs().await.map_err(io::Error::other)?;
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        // HTTP/2 is for apps: clients of the API know HTTP/1.1 and its upgrades.
        let for_app = hello.client_hello().server_name().is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            router::is_service_host(&name) || self.router.lookup(&name).is_some()
        });
        let config = if for_app { &configs.apps } else { &configs.api };
        let stream = hello.into_stream(Arc::clone(config)).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Ok((stream, http2))
    }

    /// Answers a handshake of a client that will speak something else than HTTP.
    pub async fn accept_other<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: T,
    ) -> io::Result<TlsStream<T>> {
        let configs = self.configs().await.map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&configs.other));
        acceptor.accept(stream).await
    }

    async fn configs(&self) -> Result<&Configs, TlsError> {
        self.configs
            .get_or_try_init(|| async {
                let signer = Arc::clone(self.authority.signer().await?);
                Configs::new(Minter::new(signer, Arc::clone(&self.router))?)
            })
            .await
    }
}

/// What is offered to clients, by what they want.
struct Configs {
    apps: Arc<ServerConfig>,
    api: Arc<ServerConfig>,
    other: Arc<ServerConfig>,
}

impl Configs {
    fn new(minter: Minter) -> Result<Self, TlsError> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(minter));
        // The official clients send no list at all, which is fine too.
        let offer = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            apps: offer(&[HTTP2, b"http/1.1"]),
            api: offer(&[b"http/1.1"]),
            other: offer(&[]),
        })
    }
}

/// Chooses and mints certificates while clients say hello.
struct Minter {
    signer: Arc<Signer>,
    router: Arc<Router>,
    /// One key for all hosts: making keys takes longer than signing.
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    /// By name; the empty name is the default.
    cache: Mutex<HashMap<String, (Instant, Arc<CertifiedKey>)>>,
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").finish_non_exhaustive()
    }
}

impl Minter {
    fn new(signer: Arc<Signer>, router: Arc<Router>) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key we made");
        let signing = ring::sign::any_ecdsa_type(&der)?;
        Ok(Self {
            signer,
            router,
            key,
            signing,
            cache: Mutex::default(),
        })
    }

    fn certificate(&self, name: &str) -> Result<Arc<CertifiedKey>, TlsError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, certificate)) = cache
            .get(name)
            .filter(|(minted, _)| minted.elapsed() < REFRESH)
        {
            return Ok(Arc::clone(certificate));
        }
        let certificate = Arc::new(self.mint(name)?);
        if cache.len() >= CACHE
            && let Some(oldest) = cache
                .iter()
                .min_by_key(|(_, (minted, _))| *minted)
                .map(|(name, _)| name.clone())
        {
            cache.remove(&oldest);
        }
        cache.insert(name.to_owned(), (Instant::now(), Arc::clone(&certificate)));
        Ok(certificate)
    }

    fn mint(&self, name: &str) -> Result<CertifiedKey, TlsError> {
        let names = match name {
            "" => DEFAULT_NAMES.map(str::to_owned).to_vec(),
            name => vec![name.to_owned()],
        };
        let leaf = self.signer.sign(names, LEAF_LIFE, &self.key)?;
        Ok(CertifiedKey::new(
            vec![leaf.der().clone(), self.signer.authority.clone()],
            Arc::clone(&self.signing),
        ))
    }
}

impl ResolvesServerCert for Minter {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello
            .server_name()
            .map(str::to_ascii_lowercase)
            .unwrap_or_default();
        if let Some(certificate) = self.router.certificate(&name) {
            return Some(Arc::clone(&certificate.key));
        }
        let ours = name == "localhost"
            || name.ends_with(".localhost")
            || self.router.lookup(&name).is_some();
        let name = if ours { name.as_str() } else { "" };
        match self.certificate(name) {
            Ok(certificate) => Some(certificate),
            Err(error) => {
                tracing::warn!(name, %error, "no certificate for a client");
                None
            }
        }
    }
}
