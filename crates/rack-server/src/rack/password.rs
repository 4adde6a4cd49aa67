//! Passwords: random, stored as salted digests, compared in constant time.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What is stored of a password.
///
/// Generated passwords carry 190 random bits, which no search can find; a fast
/// digest protects them as well as a slow one would, and every request checks one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    salt: String,
    digest: String,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

fn digest(salt: &str, password: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(salt.as_bytes());
    hash.update([0]);
    hash.update(password);
    rack_api::id::to_hex(&hash.finalize())
}

impl PasswordHash {
    /// Digests a password with a fresh salt.
    pub fn new(password: &str) -> Self {
        let salt = rack_api::id::hex(32);
        Self {
            digest: digest(&salt, password.as_bytes()),
            salt,
        }
    }

    /// Whether this is the password, in time that does not depend on the answer.
    pub fn matches(&self, password: &[u8]) -> bool {
        digest(&self.salt, password)
            .as_bytes()
            .ct_eq(self.digest.as_bytes())
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches() {
        let hash = PasswordHash::new("secret");
        assert!(hash.matches(b"secret"));
        assert!(!hash.matches(b"Secret"));
        assert!(!hash.matches(b""));
        assert_ne!(hash, PasswordHash::new("secret"), "salts differ");
        let stored = serde_json::to_string(&hash).expect("serialises");
        assert!(!stored.contains("secret"));
        assert!(!format!("{hash:?}").contains(&hash.digest));
    }
}
