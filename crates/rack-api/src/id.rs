//! Identifiers (`rack-api.md` §4.9).

use rand::RngExt as _;

fn letters(prefix: char) -> String {
    let mut rng = rand::rng();
    std::iter::once(prefix)
        .chain((0..10).map(|_| char::from(rng.random_range(b'A'..=b'Z'))))
        .collect()
}

/// Makes a build id: `B` and ten random capital letters.
pub fn build() -> String {
    letters('B')
}

/// Makes a release id: `R` and ten random capital letters.
pub fn release() -> String {
    letters('R')
}

/// Makes `digits` random lower-case hexadecimal digits.
pub fn hex(digits: usize) -> String {
    let mut rng = rand::rng();
    (0..digits)
        .map(|_| char::from_digit(rng.random_range(0..16), 16).expect("below 16"))
        .collect()
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("below 16");
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Makes a password of 32 letters and digits (190 bits), safe in URLs unescaped.
pub fn password() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..32)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

fn is_letters(id: &str, prefix: u8) -> bool {
    let bytes = id.as_bytes();
    bytes.len() == 11 && bytes[0] == prefix && bytes[1..].iter().all(u8::is_ascii_uppercase)
}

/// Whether the text has the form of a build id.
pub fn is_build(id: &str) -> bool {
    is_letters(id, b'B')
}

/// Whether the text has the form of a release id.
pub fn is_release(id: &str) -> bool {
    is_letters(id, b'R')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form() {
        for _ in 0..100 {
            assert!(is_build(&build()));
            assert!(is_release(&release()));
            assert_eq!(hex(12).len(), 12);
        }
        assert_eq!(to_hex(&[0, 0x1f, 0xff]), "001fff");
        assert!(!is_build("RABCDEFGHIJ"));
        assert!(!is_build("BABCDEFGHI"));
        assert!(!is_build("Babcdefghij"));
    }
}
