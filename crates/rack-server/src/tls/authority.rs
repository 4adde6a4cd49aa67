//! The certificate authority of a server.
//!
//! Responsible for `ca.pem` and `ca-key.pem` in the server's data directory, made when
//! they are needed first, and for what is signed with them.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::sync::OnceCell;

use super::TlsError;

const CERTIFICATE: &str = "ca.pem";
pub(super) const KEY: &str = "ca-key.pem";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Life of the authority: long, because people put it into their trust stores by hand.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// Life of a certificate unless somebody says otherwise: browsers refuse much longer ones.
pub const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The authority of a server. Touches no file before it is used.
pub struct Authority {
    directory: PathBuf,
    signer: OnceCell<Arc<Signer>>,
    client: OnceCell<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// A certificate with its key, PEM.
pub struct Issued {
    /// The certificate, then the authority's.
    pub chain: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// Keeps the authority in a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            directory: directory.into(),
            signer: OnceCell::new(),
            client: OnceCell::new(),
        })
    }

    /// The authority's certificate, made if it does not exist yet.
    pub async fn certificate(&self) -> Result<PathBuf, TlsError> {
        self.signer().await?;
        Ok(self.directory.join(CERTIFICATE))
    }

    /// The authority's certificate, PEM.
    pub async fn pem(&self) -> Result<String, TlsError> {
        Ok(self.signer().await?.authority_pem.clone())
    }

    /// What a client of ours needs that trusts the system and this authority.
    pub(super) async fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.client
            .get_or_try_init(|| async {
                let authority = self.signer().await?.authority.clone();
                blocking(move || super::post::trust(&authority)).await
            })
            .await
            .cloned()
    }

    /// Makes a certificate for names, with a key of its own.
    pub async fn issue(&self, names: Vec<String>, life: Duration) -> Result<Issued, TlsError> {
        let signer = Arc::clone(self.signer().await?);
        blocking(move || {
            let key = KeyPair::generate()?;
            let leaf = signer.sign(names, life, &key)?;
            Ok(Issued {
                chain: leaf.pem() + &signer.authority_pem,
                key: key.serialize_pem(),
            })
        })
        .await
    }

    pub(super) async fn signer(&self) -> Result<&Arc<Signer>, TlsError> {
        self.signer
            .get_or_try_init(|| async {
                let directory = self.directory.clone();
                blocking(move || Signer::open(&directory).map(Arc::new)).await
            })
            .await
    }
}

/// Making keys takes a while and files are read: off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TlsError> + Send + 'static,
) -> Result<T, TlsError> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("making a certificate does not panic")
}

/// The authority, read.
pub(super) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pub(super) authority: CertificateDer<'static>,
    authority_pem: String,
}

impl Signer {
    fn open(directory: &Path) -> Result<Self, TlsError> {
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
        Ok(Self {
            issuer,
            authority,
            authority_pem: certificate_pem,
        })
    }

    /// Signs a certificate of names for a key.
    pub(super) fn sign(
        &self,
        names: Vec<String>,
        life: Duration,
        key: &KeyPair,
    ) -> Result<rcgen::Certificate, TlsError> {
        // Clients ignore the common name, people do not; it holds 64 characters.
        let common = names
            .first()
            .map(|name| name.chars().take(64).collect::<String>());
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, common.unwrap_or_default());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_identity(&mut params, life);
        Ok(params.signed_by(key, &self.issuer)?)
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
