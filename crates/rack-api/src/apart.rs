//! What the rack itself says in the stream of a command, an addition of this project.
//!
//! Output and errors of the rack travel in one stream (`rack-api.md` §2.1), and a command may
//! print whatever a rack would say. A client that asks for it, by the header [`HEADER`], is
//! told by a ping with the payload [`PING`] that all text behind it, up to the status, is the
//! rack's. The text itself is the same for every client.

/// Header of a request that asks to be told.
pub const HEADER: &str = "Errors";
/// Its value.
pub const WANTED: &str = "apart";
/// Payload of the ping that precedes what the rack says.
pub const PING: &[u8] = b"error";

/// What racks write before an error in a stream.
const LABEL: &str = "ERROR: ";

/// The text of an error that stood in a stream, without what racks of all generations put
/// around it.
pub fn message(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    text.strip_prefix(LABEL).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn an_error_is_its_text() {
        for (said, text) in [
            ("ERROR: process not found: x\n", "process not found: x"),
            ("no label\r\n", "no label"),
            ("ERROR: ERROR: twice", "ERROR: twice"),
            ("", ""),
        ] {
            assert_eq!(message(said.as_bytes()), text);
        }
    }
}
