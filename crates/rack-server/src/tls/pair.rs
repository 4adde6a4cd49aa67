//! A certificate with its key, as people hand them in: PEM that is checked before it is kept.
//!
//! Every refusal is one line that says what is wrong with which part; none repeats
//! what was handed in, for that may hold a key.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::InconsistentKeys;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// A certificate chain and its key that belong together.
#[derive(Clone)]
pub struct Pair {
    /// First 20 bytes of the SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
    /// The certificate and what signed it, PEM.
    pub chain: String,
    /// The key, PEM.
    pub key: String,
    /// Common name, or the first of the names.
    pub domain: String,
    /// Names it is for.
    pub names: Vec<String>,
    /// When its life began.
    pub begins: Timestamp,
    /// When its life ends.
    pub expires: Timestamp,
    /// What encryption needs of it.
    pub certified: Arc<CertifiedKey>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("fingerprint", &self.fingerprint)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

type Result<T> = std::result::Result<T, String>;

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| format!("{what} is not valid pem: {error}"))?;
    if found.is_empty() {
        return Err(format!("{what} holds no certificate: it must be pem"));
    }
    Ok(found)
}

fn parse<'a>(what: &str, der: &'a [u8]) -> Result<X509Certificate<'a>> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|_| format!("{what} cannot be read: it is damaged or no certificate"))
}

fn time(seconds: i64) -> Timestamp {
    // Years beyond what a timestamp can say mean that there is no end in practice.
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// Names a certificate is for: those clients look at, else the common name.
fn names(certificate: &X509Certificate<'_>, common: &str) -> Result<Vec<String>> {
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|_| "the names of the certificate cannot be read".to_owned())?;
    let mut names: Vec<String> = alternative
        .map(|names| names.value.general_names.iter())
        .into_iter()
        .flatten()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes)
                    .ok()
                    .map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
                16 => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    if names.is_empty() && !common.is_empty() {
        names.push(common.to_ascii_lowercase());
    }
    if names.is_empty() {
        return Err("the certificate names no domain".to_owned());
    }
    Ok(names)
}

impl Pair {
    /// Reads a certificate, its key and what signed the certificate. Fails for parts
    /// that do not belong together.
    pub fn new(certificate: &str, key: &str, chain: Option<&str>) -> Result<Self> {
        let mut all = certificates("the certificate", certificate)?;
        if let Some(chain) = chain.filter(|chain| !chain.trim().is_empty()) {
            all.extend(certificates("the chain", chain)?);
        }
        let parsed = all
            .iter()
            .enumerate()
            .map(|(index, der)| match index {
                0 => parse("the certificate", der),
                _ => parse(&format!("certificate {index} of the chain"), der),
            })
            .collect::<Result<Vec<_>>>()?;
        for (index, pair) in parsed.windows(2).enumerate() {
            let signed = pair[0].verify_signature(Some(pair[1].public_key()));
            // An algorithm that is not known here may be known to clients.
            let belongs = !matches!(signed, Err(X509Error::SignatureVerificationError))
                && pair[0].issuer() == pair[1].subject();
            if !belongs {
                return Err(format!(
                    "certificate {} of the chain did not sign the one before it: give the issuers in order, nearest first",
                    index + 1
                ));
            }
        }
        let leaf = &parsed[0];
        let common = leaf
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let names = names(leaf, &common)?;
        let validity = leaf.validity();
        let (begins, expires) = (
            time(validity.not_before.timestamp()),
            time(validity.not_after.timestamp()),
        );
        let digest = Sha256::digest(all[0].as_ref());
        let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
            "the key holds no private key: it must be pem without a password".to_owned()
        })?;
        drop(parsed);
        let certified = CertifiedKey::from_der(all, private, &ring::default_provider())
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    "the key does not belong to the certificate".to_owned()
                }
                _ => "the key is of a kind that cannot be used: use rsa of 2048 bits or more, ecdsa or ed25519".to_owned(),
            })?;
        let mut pem = certificate.trim().to_owned();
        pem.push('\n');
        if let Some(chain) = chain.map(str::trim).filter(|chain| !chain.is_empty()) {
            pem.push_str(chain);
            pem.push('\n');
        }
        Ok(Self {
            fingerprint: rack_api::id::to_hex(&digest[..20]),
            chain: pem,
            key: key.to_owned(),
            domain: if common.is_empty() {
                names[0].clone()
            } else {
                common
            },
            names,
            begins,
            expires,
            certified: Arc::new(certified),
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::Pair;

    fn own(names: &[&str]) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_belongs_together_is_read() {
        let (certificate, key) = own(&["Shop.example", "*.shop.example", "192.0.2.1"]);
        let pair = Pair::new(&certificate, &key, None).expect("a pair");
        assert_eq!(pair.names, ["shop.example", "*.shop.example", "192.0.2.1"]);
        assert_eq!(pair.fingerprint.len(), 40);
        assert!(pair.begins < pair.expires);
        assert!(!format!("{pair:?}").contains("PRIVATE"));
    }

    #[test]
    fn chains_are_checked_link_by_link() {
        let authority_key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).expect("a certificate");
        let issuer =
            Issuer::from_ca_cert_pem(&authority.pem(), authority_key).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["a.example".to_owned()])
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("a certificate");
        let pair =
            Pair::new(&leaf.pem(), &key.serialize_pem(), Some(&authority.pem())).expect("a chain");
        assert_eq!(pair.certified.cert.len(), 2);
        let bundle = leaf.pem() + &authority.pem();
        let bundled = Pair::new(&bundle, &key.serialize_pem(), Some("")).expect("a bundle");
        assert_eq!(bundled.certified.cert.len(), 2);
        assert_eq!(bundled.fingerprint, pair.fingerprint);
        let (stranger, _) = own(&["b.example"]);
        let refused = Pair::new(&leaf.pem(), &key.serialize_pem(), Some(&stranger))
            .expect_err("it did not sign it");
        assert!(
            refused.starts_with("certificate 1 of the chain did not sign"),
            "{refused}"
        );
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (certificate, key) = own(&["a.example"]);
        let (_, other) = own(&["a.example"]);
        let damaged = certificate.replacen("MII", "MIJ", 1);
        for (certificate, key, chain, said) in [
            (
                certificate.as_str(),
                other.as_str(),
                None,
                "the key does not belong to the certificate",
            ),
            (
                certificate.as_str(),
                certificate.as_str(),
                None,
                "the key holds no private key",
            ),
            (
                certificate.as_str(),
                "",
                None,
                "the key holds no private key",
            ),
            (
                key.as_str(),
                key.as_str(),
                None,
                "the certificate holds no certificate",
            ),
            (
                "",
                key.as_str(),
                None,
                "the certificate holds no certificate",
            ),
            (
                damaged.as_str(),
                key.as_str(),
                None,
                "the certificate cannot be read",
            ),
            (
                certificate.as_str(),
                key.as_str(),
                Some("x"),
                "the chain holds no certificate",
            ),
        ] {
            let refused = Pair::new(certificate, key, chain).expect_err(said);
            assert!(refused.contains(said), "{refused}");
            assert!(
                !refused.contains("PRIVATE") && !refused.contains('%'),
                "{refused}"
            );
        }
    }
}
