//! Changes of the size of a terminal, an addition of this project.
//!
//! The protocol tells a terminal's size once, in headers (`rack-api.md` §2.2). Here a
//! later size is the payload of a websocket ping, which every other server just answers.

const WORD: &str = "resize ";

/// The payload that tells a size.
pub fn encode_size(rows: u16, columns: u16) -> String {
    format!("{WORD}{rows}x{columns}")
}

/// Reads the payload of a ping: rows and columns, if it tells a size.
pub fn decode_size(payload: &[u8]) -> Option<(u16, u16)> {
    let text = std::str::from_utf8(payload).ok()?;
    let (rows, columns) = text.strip_prefix(WORD)?.split_once('x')?;
    let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
    (rows > 0 && columns > 0).then_some((rows, columns))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_sizes_are_sizes() {
        assert_eq!(decode_size(b"resize 40x100"), Some((40, 100)));
        for payload in [
            b"".as_slice(),
            b"resize",
            b"resize 40",
            b"resize 0x100",
            b"resize 40x70000",
            b"resize -1x5",
            b"\xff",
        ] {
            assert_eq!(decode_size(payload), None, "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn sizes_survive(rows in 1_u16.., columns in 1_u16..) {
            let payload = encode_size(rows, columns);
            prop_assert!(payload.len() <= 125, "fits a ping");
            prop_assert_eq!(decode_size(payload.as_bytes()), Some((rows, columns)));
        }
    }
}
