//! Tokens: JSON Web Tokens (RFC 7515, RFC 7519) signed with a key of the rack, as
//! `rack-api.md` §1.3 describes them.
//!
//! Read and written here, on the HMAC the TLS stack brings along: without a
//! cryptography of its own a library would need that same glue installed for the
//! whole process, and racks have neither standard claims nor standard words for
//! what is wrong with a token. Whatever is not HMAC is refused, `none` above all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use rack_api::system::Token;
use ring::hmac;
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use super::Rack;
use super::access::Role;
use crate::operations::{Failure, Result};

/// Name of the setting that holds the key.
const KEY: &str = "token-key";
/// Longest life of a token, in hours: a year (`rack-api.md` §1.7).
const LONGEST_LIFE: i64 = 8760;

/// What signs the tokens of a rack.
#[derive(Clone)]
pub struct Key(Arc<str>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What is wrong with a token, in the words of real racks where they have some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts.
    #[error("token contains an invalid number of segments")]
    Segments,
    /// A part is not base64.
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    /// A part is not the JSON it should be.
    #[error("token is malformed")]
    Malformed,
    /// Signed in a way that is not accepted, or not at all.
    #[error("unexpected signing method: {0}")]
    Method(String),
    /// No key that counts here has signed it.
    #[error("signature is invalid")]
    Signature,
    /// Signed, but not for a role and a time.
    #[error("invalid token")]
    Claims,
    /// Its time is over.
    #[error("token is expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    user: String,
    role: String,
    /// Seconds since 1970; not the standard claim `exp`.
    #[serde(rename = "expiresAt")]
    expires: serde_json::Number,
}

/// The claim `role`, and the user it comes with.
fn names(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Read => ("system-read", "r"),
        Role::Write => ("system-write", "rw"),
        Role::Admin => ("system-admin", "rwa"),
    }
}

impl Key {
    fn fresh() -> Self {
        Self(rack_api::id::hex(64).into())
    }

    /// A token for a role that ends at a time.
    fn sign(&self, role: Role, expires: Timestamp) -> String {
        let (user, role) = names(role);
        let header = Header {
            alg: "HS256".into(),
            typ: "JWT".into(),
        };
        let claims = Claims {
            user: user.into(),
            role: role.into(),
            expires: expires.as_second().into(),
        };
        let part = |json: Vec<u8>| BASE64.encode(json);
        let signed = format!(
            "{}.{}",
            part(serde_json::to_vec(&header).expect("plain data serialises")),
            part(serde_json::to_vec(&claims).expect("plain data serialises"))
        );
        let signature = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes()),
            signed.as_bytes(),
        );
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// A token as received: of the right form, signed by nobody knows whom.
pub struct Presented<'a> {
    algorithm: hmac::Algorithm,
    signed: &'a [u8],
    claims: Vec<u8>,
    signature: Vec<u8>,
}

fn decode(part: &[u8]) -> std::result::Result<Vec<u8>, TokenError> {
    use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
    BASE64.decode(part).map_err(|error| {
        TokenError::Base64(match error {
            InvalidByte(at, _) | InvalidLastSymbol(at, _) | InvalidLength(at) => at,
            InvalidPadding => part.len(),
        })
    })
}

fn algorithm(name: &str) -> std::result::Result<hmac::Algorithm, TokenError> {
    match name {
        "HS256" => Ok(hmac::HMAC_SHA256),
        "HS384" => Ok(hmac::HMAC_SHA384),
        "HS512" => Ok(hmac::HMAC_SHA512),
        // Said again only where it is a name.
        other if other.len() <= 16 && other.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Err(TokenError::Method(other.to_owned()))
        }
        _ => Err(TokenError::Malformed),
    }
}

impl<'a> Presented<'a> {
    /// Takes a token apart.
    pub fn read(token: &'a [u8]) -> std::result::Result<Self, TokenError> {
        let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').take(4).collect();
        let [header, claims, signature] = parts[..] else {
            return Err(TokenError::Segments);
        };
        let signed = &token[..header.len() + 1 + claims.len()];
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        Ok(Self {
            algorithm: algorithm(&header.alg)?,
            signed,
            claims: decode(claims)?,
            signature: decode(signature)?,
        })
    }

    /// Whether a key has signed it, in time that does not depend on how near it comes.
    pub fn is_signed_by(&self, key: &Key) -> bool {
        let key = hmac::Key::new(self.algorithm, key.0.as_bytes());
        hmac::verify(&key, self.signed, &self.signature).is_ok()
    }

    /// What it allows at a time. To be asked only once a key has proven good.
    pub fn role(&self, now: Timestamp) -> std::result::Result<Role, TokenError> {
        let claims: Claims =
            serde_json::from_slice(&self.claims).map_err(|_| TokenError::Claims)?;
        let expires = claims.expires.as_f64().ok_or(TokenError::Claims)?;
        let role = [Role::Read, Role::Write, Role::Admin]
            .into_iter()
            .find(|role| names(*role).1 == claims.role)
            .ok_or(TokenError::Claims)?;
        if expires < now.as_second() as f64 {
            return Err(TokenError::Expired);
        }
        Ok(role)
    }
}

/// The key of a rack in memory.
#[derive(Default)]
pub(super) struct Keyring {
    held: RwLock<Held>,
    /// Lasts as long as the key does.
    reign: Mutex<CancellationToken>,
}

impl Keyring {
    fn reign(&self) -> MutexGuard<'_, CancellationToken> {
        self.reign.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
enum Held {
    /// Not looked for yet.
    #[default]
    Unread,
    /// There is none.
    Absent,
    /// The one there is.
    Present(Key),
}

impl Rack {
    /// The key that signs this rack's tokens, if it ever made one.
    pub(super) async fn token_key(&self) -> Result<Option<Key>> {
        match &*self.keyring.held.read().await {
            Held::Unread => {}
            Held::Absent => return Ok(None),
            Held::Present(key) => return Ok(Some(key.clone())),
        }
        let mut held = self.keyring.held.write().await;
        if matches!(*held, Held::Unread) {
            *held = match self.context.store.setting(KEY).await? {
                Some(text) => Held::Present(Key(text.into())),
                None => Held::Absent,
            };
        }
        Ok(match &*held {
            Held::Present(key) => Some(key.clone()),
            Held::Unread | Held::Absent => None,
        })
    }

    /// Ends when the key of tokens does.
    pub(super) fn token_reign(&self) -> CancellationToken {
        self.keyring.reign().clone()
    }

    /// Makes a token: `role` is `read`, `write` or `admin`, and only who is an
    /// administrator makes more of them (`rack-api.md` §3.7).
    pub async fn make_token(&self, maker: Role, role: &str, hours: &str) -> Result<Token> {
        let hours: i64 = hours
            .trim()
            .parse()
            .map_err(|_| Failure::Invalid("invalid duration".into()))?;
        if !(1..=LONGEST_LIFE).contains(&hours) {
            return Err(Failure::Invalid(
                "duration must be between 1 and 8760 hours".into(),
            ));
        }
        let role = match role {
            "read" => Role::Read,
            "write" => Role::Write,
            "admin" => Role::Admin,
            _ => {
                return Err(Failure::Invalid(
                    "invalid role: must be read, write, or admin".into(),
                ));
            }
        };
        if role > maker {
            return Err(Failure::Forbidden("admin role required".into()));
        }
        let expires = self.context.now() + jiff::SignedDuration::from_hours(hours);
        let key = match self.token_key().await? {
            Some(key) => key,
            None => self.first_key().await?,
        };
        Ok(Token {
            token: key.sign(role, expires),
        })
    }

    async fn first_key(&self) -> Result<Key> {
        let mut held = self.keyring.held.write().await;
        let store = &self.context.store;
        let text = store.setting_or(KEY, Key::fresh().0.to_string()).await?;
        let key = Key(text.into());
        *held = Held::Present(key.clone());
        Ok(key)
    }

    /// Makes a new key: earlier tokens open nothing from here on.
    pub async fn rotate_token_key(&self) -> Result<()> {
        // Held over the write, so that no token is checked with a key that is going.
        let mut held = self.keyring.held.write().await;
        let key = Key::fresh();
        let store = &self.context.store;
        store.set_setting(KEY, key.0.to_string()).await?;
        *held = Held::Present(key);
        // What tokens have opened closes with them.
        std::mem::take(&mut *self.keyring.reign()).cancel();
        drop(held);
        self.context
            .rack_log("token key rotated: earlier tokens are no longer good");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn token(header: &str, claims: &str, key: &Key, algorithm: hmac::Algorithm) -> String {
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let key = hmac::Key::new(algorithm, key.0.as_bytes());
        let signature = BASE64.encode(hmac::sign(&key, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn why(token: &str) -> TokenError {
        Presented::read(token.as_bytes()).err().expect("refused")
    }

    /// RFC 7515, appendix A.1: a signature of somebody else's making.
    #[test]
    fn the_vector_of_the_standard_verifies() {
        let key = BASE64
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .expect("base64");
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let token = format!("{signed}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let presented = Presented::read(token.as_bytes()).expect("well formed");
        assert_eq!(presented.signed, signed.as_bytes());
        let key = hmac::Key::new(presented.algorithm, &key);
        assert!(hmac::verify(&key, presented.signed, &presented.signature).is_ok());
        assert_eq!(presented.role(at(0)), Err(TokenError::Claims));
    }

    #[test]
    fn a_token_says_what_it_allows_and_until_when() {
        let key = Key::fresh();
        for role in [Role::Read, Role::Write, Role::Admin] {
            let text = key.sign(role, at(2_000_000_000));
            let presented = Presented::read(text.as_bytes()).expect("well formed");
            assert!(presented.is_signed_by(&key));
            assert!(!presented.is_signed_by(&Key::fresh()));
            assert_eq!(presented.role(at(2_000_000_000)), Ok(role));
            assert_eq!(presented.role(at(2_000_000_001)), Err(TokenError::Expired));
            let claims: serde_json::Value =
                serde_json::from_slice(&presented.claims).expect("json");
            let (user, name) = names(role);
            assert_eq!(
                claims,
                serde_json::json!({ "user": user, "role": name, "expiresAt": 2_000_000_000 })
            );
        }
        assert_eq!(format!("{key:?}"), "Key");
    }

    #[test]
    fn longer_hashes_of_the_same_key_are_good_too() {
        let key = Key::fresh();
        let claims = r#"{"user":"u","role":"rw","expiresAt":2e9}"#;
        for (name, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            let header = format!(r#"{{"alg":"{name}"}}"#);
            let text = token(&header, claims, &key, algorithm);
            let presented = Presented::read(text.as_bytes()).expect("well formed");
            assert!(presented.is_signed_by(&key), "{name}");
            assert_eq!(presented.role(at(0)), Ok(Role::Write));
        }
        let mixed = token(r#"{"alg":"HS512"}"#, claims, &key, hmac::HMAC_SHA256);
        let presented = Presented::read(mixed.as_bytes()).expect("well formed");
        assert!(
            !presented.is_signed_by(&key),
            "the header says how it is signed"
        );
    }

    #[test]
    fn what_is_not_signed_with_a_shared_key_is_refused() {
        let key = Key::fresh();
        for name in ["none", "RS256", "ES256", "hs256", "EdDSA"] {
            let header = format!(r#"{{"alg":"{name}","typ":"JWT"}}"#);
            let text = token(&header, "{}", &key, hmac::HMAC_SHA256);
            assert_eq!(why(&text), TokenError::Method(name.into()));
        }
        let unsigned = format!(
            "{}.{}.",
            BASE64.encode(r#"{"alg":"none"}"#),
            BASE64.encode("{}")
        );
        assert_eq!(why(&unsigned), TokenError::Method("none".into()));
        let cut = key.sign(Role::Admin, at(2_000_000_000));
        let cut = &cut[..=cut.rfind('.').expect("a signature")];
        let presented = Presented::read(cut.as_bytes()).expect("well formed");
        assert!(!presented.is_signed_by(&key));
    }

    #[test]
    fn what_is_no_token_is_told_why() {
        for text in ["", "x", "a.b", "a.b.c.d", "...."] {
            assert_eq!(why(text), TokenError::Segments, "{text:?}");
        }
        assert_eq!(why("!.e30.e30"), TokenError::Base64(0));
        assert_eq!(why("e30.e30.e30"), TokenError::Malformed, "no algorithm");
        let long = BASE64.encode(format!(r#"{{"alg":"{}"}}"#, "x".repeat(100)));
        assert_eq!(why(&format!("{long}.e30.e30")), TokenError::Malformed);
    }

    #[test]
    fn claims_must_be_whole() {
        let key = Key::fresh();
        for claims in [
            "{}",
            "[]",
            "x",
            r#"{"user":"u","role":"rwx","expiresAt":2000000000}"#,
            r#"{"user":"u","role":"","expiresAt":2000000000}"#,
            r#"{"user":"u","role":"rw"}"#,
            r#"{"user":"u","role":"rw","expiresAt":"2000000000"}"#,
            r#"{"user":"u","role":"rw","exp":2000000000}"#,
        ] {
            let text = token(r#"{"alg":"HS256"}"#, claims, &key, hmac::HMAC_SHA256);
            let presented = Presented::read(text.as_bytes()).expect("well formed");
            assert!(presented.is_signed_by(&key));
            assert_eq!(presented.role(at(0)), Err(TokenError::Claims), "{claims}");
        }
    }
}
