//! Requests without a pause, to see whether any of them fails.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// See the module.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts threads that each send one request after the other.
    pub fn start(port: u16, host: &str, threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..threads)
            .map(|_| {
                let (stop, answered, failures) = (
                    Arc::clone(&stop),
                    Arc::clone(&answered),
                    Arc::clone(&failures),
                );
                let request =
                    format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
                std::thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        match ask(port, &request) {
                            Ok(()) => drop(answered.fetch_add(1, Ordering::SeqCst)),
                            Err(reason) => failures
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push(reason),
                        }
                    }
                })
            })
            .collect();
        Self {
            stop,
            answered,
            failures,
            threads,
        }
    }

    /// Requests answered well so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// Ends the load. Returns the requests answered well and what went wrong.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a thread without a panic");
        }
        let failures = self
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        (self.answered.load(Ordering::SeqCst), failures)
    }
}

fn ask(port: u16, request: &str) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(broken)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .map_err(broken)?;
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(broken)?;
    let whole = answer.starts_with("HTTP/1.1 200") && answer.contains("RELEASE=R");
    if whole {
        Ok(())
    } else {
        Err(answer
            .lines()
            .next()
            .unwrap_or("an empty answer")
            .to_owned())
    }
}
