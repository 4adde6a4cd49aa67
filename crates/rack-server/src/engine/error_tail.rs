//! The last of what a command says of its errors, apart from its output.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes kept: the reason stands at the end.
const MOST: usize = 8 << 10;

/// Receives standard error; clones share one text.
#[derive(Debug, Clone, Default)]
pub struct ErrorTail(Arc<Mutex<VecDeque<u8>>>);

impl ErrorTail {
    /// Adds bytes; what came first goes first.
    pub fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = &bytes[bytes.len().saturating_sub(MOST)..];
        let excess = (kept.len() + bytes.len()).saturating_sub(MOST);
        kept.drain(..excess);
        kept.extend(bytes);
    }

    /// What is kept, as text.
    pub fn text(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept() {
        let tail = ErrorTail::default();
        tail.push(b"first ");
        tail.clone().push(&[b'x'; MOST - 4]);
        assert_eq!(tail.text().len(), MOST);
        assert!(tail.text().starts_with("rst x"));
        tail.push(&[b'y'; MOST * 2]);
        tail.push(b"end");
        assert!(tail.text().ends_with("yend"));
        assert_eq!(tail.text().len(), MOST);
    }
}
