//! The marker that carries a process's exit status through a socket
//! (`rack-api.md` §2.3).

/// Text before the decimal status; the whole marker travels in a frame of its own.
pub const MARKER: &str = "F1E49A85-0AD7-4AEF-A618-C249C6E6568D:";

/// Writes the frame that reports a status.
pub fn encode(status: i64) -> String {
    format!("{MARKER}{status}\n")
}
