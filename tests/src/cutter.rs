//! Something between client and server that breaks a connection at a word.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

/// A port that leads to a server. A connection on which the server says the word breaks
/// at once, and the client does not hear the piece with the word in it.
pub struct Cutter {
    port: u16,
}

impl Cutter {
    /// Listens before the server at a port of this machine.
    pub fn new(server: u16, word: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let (up, down) = (
                    (
                        client.try_clone().expect("a handle"),
                        server.try_clone().expect("a handle"),
                    ),
                    (server, client),
                );
                std::thread::spawn(move || pump(up.0, up.1, None));
                std::thread::spawn(move || pump(down.0, down.1, Some(word)));
            }
        });
        Self { port }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, word: Option<&str>) {
    let (mut block, mut tail) = (vec![0; 16 << 10], Vec::new());
    loop {
        let read = from.read(&mut block).unwrap_or(0);
        if let Some(word) = word.map(str::as_bytes) {
            // It may stand across two pieces.
            tail.extend_from_slice(&block[..read]);
            if tail.windows(word.len()).any(|part| part == word) {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
            let kept = tail.len().saturating_sub(word.len());
            tail.drain(..kept);
        }
        if read == 0 || to.write_all(&block[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
