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
    switch: Switch,
}

/// When the engine goes away by itself.
#[derive(Clone, Copy)]
enum Cut {
    /// So many bytes into a request whose first line contains a text.
    Request(&'static str, usize),
    /// With the first byte of the answer to one: it was heeded, and nobody hears of it.
    Answer(&'static str),
}

/// What takes the engine away.
#[derive(Clone)]
struct Switch {
    up: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<UnixStream>>>,
    cut: Arc<Mutex<Option<Cut>>>,
}

impl Switch {
    fn off(&self) {
        self.up.store(false, Ordering::SeqCst);
        for stream in lock(&self.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes note of bytes of a request; says whether this was all of it.
    fn sees(&self, bytes: &[u8], request: &Mutex<Request>) -> bool {
        let mut request = lock(request);
        let Some(Cut::Request(text, _) | Cut::Answer(text)) = *lock(&self.cut) else {
            return false;
        };
        let line = bytes
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or_default();
        if line.windows(text.len()).any(|part| part == text.as_bytes()) {
            *request = Request {
                meant: true,
                bytes: 0,
            };
        }
        request.bytes += bytes.len();
        let over = matches!(*lock(&self.cut), Some(Cut::Request(_, most)) if request.bytes > most);
        request.meant && over && self.fires()
    }

    /// Says whether an answer is the one that nobody hears.
    fn hides(&self, request: &Mutex<Request>) -> bool {
        let answers = matches!(*lock(&self.cut), Some(Cut::Answer(_)));
        lock(request).meant && answers && self.fires()
    }

    fn fires(&self) -> bool {
        lock(&self.cut).take().is_some()
    }
}

/// The request of a connection.
#[derive(Default)]
struct Request {
    meant: bool,
    bytes: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EngineProxy {
    /// Listens at a path and forwards to the engine's socket.
    pub fn new(path: &Path) -> Self {
        let engine = std::env::var("DOCKER_HOST")
            .ok()
            .and_then(|host| host.strip_prefix("unix://").map(str::to_owned))
            .unwrap_or_else(|| "/var/run/docker.sock".into());
        let listener = UnixListener::bind(path).expect("a socket");
        let switch = Switch {
            up: Arc::new(AtomicBool::new(true)),
            streams: Arc::default(),
            cut: Arc::default(),
        };
        let accepting = switch.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !accepting.up.load(Ordering::SeqCst) {
                    continue; // dropped: connected and closed at once
                }
                let Ok(server) = UnixStream::connect(&engine) else {
                    continue;
                };
                let request = Arc::new(Mutex::new(Request::default()));
                for (from, to, asks) in [(&client, &server, true), (&server, &client, false)] {
                    let (from, to) = (
                        from.try_clone().expect("a handle"),
                        to.try_clone().expect("a handle"),
                    );
                    lock(&accepting.streams).push(from.try_clone().expect("a handle"));
                    let (switch, request) = (accepting.clone(), Arc::clone(&request));
                    std::thread::spawn(move || {
                        pump(from, to, |bytes| {
                            if asks {
                                switch.sees(bytes, &request)
                            } else {
                                switch.hides(&request)
                            }
                            .then(|| switch.off())
                            .is_none()
                        });
                    });
                }
            }
        });
        Self {
            path: path.to_owned(),
            switch,
        }
    }

    /// Address for `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Takes the engine away: open connections break, new ones end at once.
    pub fn stop(&self) {
        self.switch.off();
    }

    /// Takes the engine away so many bytes into a request whose line contains a text.
    pub fn stop_in_request(&self, text: &'static str, bytes: usize) {
        *lock(&self.switch.cut) = Some(Cut::Request(text, bytes));
    }

    /// Takes the engine away when it begins to answer a request whose line contains a
    /// text: what was asked for has been done, and nobody hears of it.
    pub fn stop_at_answer(&self, text: &'static str) {
        *lock(&self.switch.cut) = Some(Cut::Answer(text));
    }

    /// Whether it is there.
    pub fn is_up(&self) -> bool {
        self.switch.up.load(Ordering::SeqCst)
    }

    /// Brings it back.
    pub fn start(&self) {
        self.switch.up.store(true, Ordering::SeqCst);
    }
}

fn pump(mut from: UnixStream, mut to: UnixStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer) {
        let bytes = &buffer[..length];
        if length == 0 || !passes(bytes) || to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
