//! A terminal that is none: what is typed into it, and what it shows.

use std::io::{Read as _, Write as _};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};

use pty_process::Size;
use pty_process::blocking::{Command, Pty};

use crate::wait_until;

/// A shell in a terminal of its own, with everything it starts.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    /// How much of it was looked at.
    seen: usize,
}

impl Terminal {
    /// Starts a shell as `like` says, in a terminal of this size.
    pub(crate) fn start(like: &std::process::Command, rows: u16, columns: u16) -> Self {
        let (pty, inside) = pty_process::blocking::open().expect("a terminal");
        pty.resize(Size::new(rows, columns)).expect("a size");
        let variables = like
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        let child = Command::new(like.get_program())
            .env_clear()
            .envs(variables)
            .current_dir(like.get_current_dir().expect("a directory"))
            .spawn(inside)
            .expect("a shell");
        let (pty, shown) = (Arc::new(pty), Arc::new(Mutex::new(Vec::new())));
        let (from, to) = (Arc::clone(&pty), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It breaks when the last program in it has ended.
            while let Ok(length @ 1..) = (&*from).read(&mut buffer) {
                let mut shown = to.lock().unwrap_or_else(PoisonError::into_inner);
                shown.extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            pty,
            child,
            shown,
            seen: 0,
        }
    }

    /// Types keys.
    pub fn types(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).expect("typed");
    }

    /// Waits until it shows something it has not shown before; what came until then.
    pub fn shows(&mut self, wanted: &str) -> String {
        let mut found = None;
        let (seen, shown) = (self.seen, Arc::clone(&self.shown));
        let text = || {
            let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown[seen..].to_vec()
        };
        wait_until(&format!("{wanted:?} in the terminal"), || {
            let text = text();
            let place = text
                .windows(wanted.len())
                .position(|window| window == wanted.as_bytes());
            found = place.map(|at| text[..at + wanted.len()].to_vec());
            found.is_some()
        });
        let found = found.expect("waited for");
        self.seen += found.len();
        String::from_utf8_lossy(&found).into_owned()
    }

    /// Types a command whose one line of output is wanted. The command itself, which is
    /// shown as it is typed, is told from its output by how the shell puts that together.
    pub fn asks(&mut self, expression: &str) -> String {
        self.types(&format!("printf '<%s:%s>\\n' ans \"{expression}\"\n"));
        self.shows("<ans:");
        let answer = self.shows(">");
        answer.trim_end_matches('>').to_owned()
    }

    /// Changes its size.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.pty.resize(Size::new(rows, columns)).expect("a size");
    }

    /// Everything it has shown.
    pub fn text(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = format!("terminal:\n{}\n", self.text());
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
