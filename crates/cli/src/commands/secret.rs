//! `convox encrypt` and `convox decrypt` of version 2: text sealed with a key of 32 bytes.
//!
//! The form is NaCl's secretbox (XSalsa20 and Poly1305), nonce and sealed bytes in JSON, and
//! that in base64 (`cli.md` §3.8). No rack is asked.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;

/// Bytes of a key.
const KEY: usize = 32;

/// What is sealed or opened, and with what.
#[derive(Debug, Args)]
pub(crate) struct Secret {
    /// key: 32 bytes in base64
    #[arg(long, value_name = "key")]
    key: Option<String>,
    /// text to encrypt, or what `encrypt` has printed
    #[arg(long, value_name = "data")]
    data: Option<String>,
    #[command(flatten)]
    _rack: RackArgs,
}

/// Sealed bytes as version 2 writes them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    nonce: [u8; 24],
    cipher_text: String,
}

impl Secret {
    /// Prints the text sealed.
    pub(crate) fn encrypt(self, context: &Context) -> Outcome {
        let (key, data) = self.given()?;
        context
            .ui
            .line(seal(&cipher(&key)?, rand::random(), data.as_bytes())?)?;
        Ok(Exit::SUCCESS)
    }

    /// Prints the text that was sealed.
    pub(crate) fn decrypt(self, context: &Context) -> Outcome {
        let (key, data) = self.given()?;
        let mut text = open(&cipher(&key)?, &data)?;
        text.push(b'\n');
        context.ui.bytes(&text)?;
        Ok(Exit::SUCCESS)
    }

    fn given(self) -> Result<(String, String), Error> {
        match (self.key, self.data) {
            (Some(key), Some(data)) if !key.is_empty() && !data.is_empty() => Ok((key, data)),
            _ => Err(Error::failed("key and data must be non empty")),
        }
    }
}

fn cipher(key: &str) -> Result<XSalsa20Poly1305, Error> {
    let bytes = BASE64_STANDARD
        .decode(key)
        .map_err(|error| Error::failed(format!("the key is not base64: {error}")))?;
    // Longer ones are cut, as version 2 does.
    let bytes: [u8; KEY] = bytes
        .get(..KEY)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            Error::with_hint(
                format!("the key has {} bytes, {KEY} are needed", bytes.len()),
                "`openssl rand -base64 32` makes one",
            )
        })?;
    Ok(XSalsa20Poly1305::new(&Key::from(bytes)))
}

fn seal(cipher: &XSalsa20Poly1305, nonce: [u8; 24], data: &[u8]) -> Result<String, Error> {
    let sealed = cipher
        .encrypt(&Nonce::from(nonce), data)
        .map_err(|_| Error::failed("could not encrypt data"))?;
    let envelope = Envelope {
        nonce,
        cipher_text: BASE64_STANDARD.encode(sealed),
    };
    let text = serde_json::to_string(&envelope).expect("numbers and a text are JSON");
    Ok(BASE64_STANDARD.encode(text))
}

fn open(cipher: &XSalsa20Poly1305, data: &str) -> Result<Vec<u8>, Error> {
    let wrong = || {
        Error::with_hint(
            "the data is nothing that was encrypted",
            "give what `convox encrypt` has printed",
        )
    };
    let text = BASE64_STANDARD.decode(data.trim()).map_err(|_| wrong())?;
    let envelope: Envelope = serde_json::from_slice(&text).map_err(|_| wrong())?;
    let sealed = BASE64_STANDARD
        .decode(envelope.cipher_text)
        .map_err(|_| wrong())?;
    cipher
        .decrypt(&Nonce::from(envelope.nonce), &sealed[..])
        .map_err(|_| Error::failed("could not decrypt data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn what_is_sealed_can_be_opened_with_the_key_only() {
        let cipher_of = |key: &str| cipher(key).expect("a key");
        let sealed = seal(&cipher_of(KEY), rand::random(), b"hello").expect("sealed");
        assert_eq!(open(&cipher_of(KEY), &sealed).expect("opened"), b"hello");
        let other = BASE64_STANDARD.encode([9; 32]);
        let error = open(&cipher_of(&other), &sealed).expect_err("another key");
        assert_eq!(error.to_string(), "could not decrypt data");
        assert!(open(&cipher_of(KEY), "e30=").is_err());
        assert!(cipher("AAEC").is_err() && cipher("?").is_err());
    }

    /// Made by libsodium's `crypto_secretbox_easy`.
    #[test]
    fn the_bytes_are_those_of_nacl() {
        let nonce: [u8; 24] = std::array::from_fn(|index| index as u8);
        let sealed = seal(&cipher(KEY).expect("a key"), nonce, b"hello").expect("sealed");
        let text = BASE64_STANDARD.decode(sealed).expect("base64");
        assert_eq!(
            String::from_utf8(text).expect("text"),
            r#"{"Nonce":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23],"CipherText":"ZpgnWzjsuN8UVQnZoJsCEDaaVCOo"}"#
        );
    }
}
