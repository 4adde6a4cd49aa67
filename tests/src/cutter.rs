//! Something between client and server that breaks a connection at a word.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A port that leads to a server. A connection on which the server says the word breaks
/// before it.
pub struct Cutter {
    port: u16,
    most: usize,
    left: Arc<AtomicUsize>,
}

impl Cutter {
    /// Listens before the server at a port of this machine.
    pub fn new(server: u16, word: &'static str) -> Self {
        Self::times(server, word, usize::MAX)
    }

    /// As [`Self::new`], for a number of times.
    pub fn times(server: u16, word: &'static str, most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let left = Arc::new(AtomicUsize::new(most));
        let cuts = Arc::clone(&left);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let up = (
                    client.try_clone().expect("a handle"),
                    server.try_clone().expect("a handle"),
                );
                let cuts = Arc::clone(&cuts);
                std::thread::spawn(move || pump(up.0, up.1, |_| None));
                std::thread::spawn(move || {
                    let mut tail = Vec::new();
                    let word = word.as_bytes();
                    pump(server, client, |piece| {
                        // It may stand across two pieces.
                        let before = tail.len();
                        tail.extend_from_slice(piece);
                        let found = tail.windows(word.len()).position(|part| part == word);
                        let kept = tail.len().saturating_sub(word.len() - 1);
                        tail.drain(..kept);
                        let at = found?.saturating_sub(before);
                        let one_less = |left: usize| left.checked_sub(1);
                        let cut = cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
                        cut.is_ok().then_some(at)
                    });
                });
            }
        });
        Self { port, most, left }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often it has cut.
    pub fn cuts(&self) -> usize {
        self.most - self.left.load(Ordering::SeqCst)
    }
}

/// Carries bytes until `cut` says how many of a piece are the last ones.
fn pump(mut from: TcpStream, mut to: TcpStream, mut cut: impl FnMut(&[u8]) -> Option<usize>) {
    let mut block = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut block).unwrap_or(0);
        if let Some(last) = cut(&block[..read]) {
            // Whoever has gone already needs no end.
            let _ = to.write_all(&block[..last]);
            let _ = to.shutdown(Shutdown::Write);
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
        if read == 0 || to.write_all(&block[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
