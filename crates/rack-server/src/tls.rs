//! TLS with a certificate authority of our own.
//!
//! Responsible for `ca.pem` and `ca-key.pem` in the server's data directory, made
//! when the first encrypted connection comes in, and for certificates minted from
//! them per host name, which live in memory only. Clients that check certificates
//! trust `ca.pem`; the official ones check nothing. It gives out no certificate for
//! names that are not the server's: those get the default one.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca-key.pem";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Life of the authority: long, because people put it into their trust stores by hand.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// Life of a host's certificate: browsers refuse much longer ones.
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A cached certificate is minted anew after this, long before it ends.
const REFRESH: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Most certificates kept in memory.
const CACHE: usize = 256;
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

type Known = dyn Fn(&str) -> bool + Send + Sync;

/// Accepts encrypted connections.
pub struct Tls {
    directory: PathBuf,
    known: Arc<Known>,
    acceptor: OnceCell<TlsAcceptor>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Keeps the authority in a directory. `known` says which names besides
    /// `*.localhost` are ours: the custom domains of services. Touches no file yet.
    pub fn new(
        directory: impl Into<PathBuf>,
        known: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            directory: directory.into(),
            known: Arc::new(known),
            acceptor: OnceCell::new(),
        }
    }

    /// The authority's certificate, made if it does not exist yet.
    pub async fn authority(&self) -> Result<PathBuf, TlsError> {
        self.acceptor().await?;
        Ok(self.directory.join(CERTIFICATE))
    }

    /// Answers a client's handshake.
    pub async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: T,
    ) -> io::Result<TlsStream<T>> {
        let acceptor = self.acceptor().await.map_err(io::Error::other)?;
        acceptor.accept(stream).await
    }

    async fn acceptor(&self) -> Result<&TlsAcceptor, TlsError> {
        self.acceptor
            .get_or_try_init(|| async {
                let (directory, known) = (self.directory.clone(), Arc::clone(&self.known));
                tokio::task::spawn_blocking(move || acceptor(&directory, known))
                    .await
                    .expect("making a certificate does not panic")
            })
            .await
    }
}

fn acceptor(directory: &Path, known: Arc<Known>) -> Result<TlsAcceptor, TlsError> {
    let minter = Minter::open(directory, known)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(minter));
    // The official clients send no list at all, which is fine too.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Mints certificates while clients say hello.
struct Minter {
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    /// One key for all hosts: making keys takes longer than signing.
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    known: Arc<Known>,
    /// By name; the empty name is the default.
    cache: Mutex<HashMap<String, (Instant, Arc<CertifiedKey>)>>,
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").finish_non_exhaustive()
    }
}

impl Minter {
    fn open(directory: &Path, known: Arc<Known>) -> Result<Self, TlsError> {
        let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
        let (certificate_pem, key_pem) = match (read(&certificate)?, read(&key)?) {
            (Some(certificate), Some(key)) => (certificate, key),
            // One without the other is what a crash in between leaves.
            _ => create(&certificate, &key)?,
        };
        let invalid = |reason: String| TlsError::Invalid {
            path: certificate.clone(),
            reason,
        };
        let authority = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|e| invalid(e.to_string()))?;
        let authority_key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|e| invalid(e.to_string()))?;
        // A key that belongs to another certificate would only show in clients, as a riddle.
        CertifiedKey::from_der(
            vec![authority.clone()],
            authority_key,
            &ring::default_provider(),
        )
        .map_err(|error| invalid(error.to_string()))?;
        let authority_key =
            KeyPair::from_pem(&key_pem).map_err(|error| invalid(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, authority_key)
            .map_err(|error| invalid(error.to_string()))?;
        let key = KeyPair::generate()?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key we made");
        let signer = ring::sign::any_ecdsa_type(&der)?;
        Ok(Self {
            issuer,
            authority,
            key,
            signer,
            known,
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
        // Clients ignore the common name, people do not; it holds 64 characters.
        let common = names[0].chars().take(64).collect::<String>();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_identity(&mut params, LEAF_LIFE);
        let leaf = params.signed_by(&self.key, &self.issuer)?;
        Ok(CertifiedKey::new(
            vec![leaf.der().clone(), self.authority.clone()],
            Arc::clone(&self.signer),
        ))
    }
}

impl ResolvesServerCert for Minter {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello
            .server_name()
            .map(str::to_ascii_lowercase)
            .unwrap_or_default();
        let ours = name == "localhost" || name.ends_with(".localhost") || (self.known)(&name);
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

/// A random serial number, since browsers refuse two certificates with the same one, and a
/// life that begins yesterday, since clocks differ.
fn set_identity(params: &mut CertificateParams, life: Duration) {
    let mut serial: [u8; 16] = rand::random();
    serial[0] = serial[0] & 0x7f | 0x01;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + life).into();
}

/// Makes an authority. Nothing is left that looks complete and is not.
fn create(certificate: &Path, key: &Path) -> Result<(String, String), TlsError> {
    let pair = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Trust stores tell authorities apart by name: each server's has its own.
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Twinrack local CA {:08x}", rand::random::<u32>()),
    );
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Twinrack");
    set_identity(&mut params, AUTHORITY_LIFE);
    let (certificate_pem, key_pem) = (params.self_signed(&pair)?.pem(), pair.serialize_pem());
    // The certificate is removed first and written last: with it there, its key is there.
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    match fs::remove_file(certificate) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(file(certificate)(error));
        }
        _ => {}
    }
    write(key, &key_pem, false).map_err(file(key))?;
    write(certificate, &certificate_pem, true).map_err(file(certificate))?;
    Ok((certificate_pem, key_pem))
}

fn read(path: &Path) -> Result<Option<String>, TlsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a file in one step; only its owner may read it unless it is public.
fn write(path: &Path, text: &str, public: bool) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // Temporary files are made for their owner alone.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    #[cfg(unix)]
    if public {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = public;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
