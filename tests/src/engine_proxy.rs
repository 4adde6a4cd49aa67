//! A socket in front of the real engine that can be taken away, as if Docker had
//! been stopped, without touching anybody's Docker.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
pub struct EngineProxy {
    path: PathBuf,
    up: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<UnixStream>>>,
}

impl EngineProxy {
    /// Listens at a path and forwards to the engine's socket.
    pub fn new(path: &Path) -> Self {
        let engine = std::env::var("DOCKER_HOST")
            .ok()
            .and_then(|host| host.strip_prefix("unix://").map(str::to_owned))
            .unwrap_or_else(|| "/var/run/docker.sock".into());
        let listener = UnixListener::bind(path).expect("a socket");
        let proxy = Self {
            path: path.to_owned(),
            up: Arc::new(AtomicBool::new(true)),
            streams: Arc::default(),
        };
        let (up, streams) = (Arc::clone(&proxy.up), Arc::clone(&proxy.streams));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !up.load(Ordering::SeqCst) {
                    continue; // dropped: connected and closed at once
                }
                let Ok(server) = UnixStream::connect(&engine) else {
                    continue;
                };
                let mut kept = streams.lock().unwrap_or_else(PoisonError::into_inner);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (
                        from.try_clone().expect("a handle"),
                        to.try_clone().expect("a handle"),
                    );
                    kept.push(from.try_clone().expect("a handle"));
                    std::thread::spawn(move || pump(from, to));
                }
            }
        });
        proxy
    }

    /// Address for `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Takes the engine away: open connections break, new ones end at once.
    pub fn stop(&self) {
        self.up.store(false, Ordering::SeqCst);
        for stream in self
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Brings it back.
    pub fn start(&self) {
        self.up.store(true, Ordering::SeqCst);
    }
}

fn pump(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
