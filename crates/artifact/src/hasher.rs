//! SHA-256 beside the work instead of in its way: every byte of an archive is
//! hashed two or three times, and one processor alone would do little else.
//!
//! The bytes are copied to a thread in a few buffers that go around, so memory is
//! constant. Little is hashed where it is, and so is everything when there can be
//! no thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use sha2::{Digest as _, Sha256};

/// Bytes handed over at once.
const BATCH: usize = 256 << 10;
/// Batches on the way: one that is filled, one that is hashed, one to spare.
const BATCHES: usize = 3;
/// Less than this is hashed sooner than a thread has started.
const WORTH_A_THREAD: u64 = 2 << 20;

/// Hashes what it is given, here or on a thread.
pub(crate) struct Hasher {
    state: State,
    /// Bytes after which a thread takes over.
    patience: u64,
}

enum State {
    Here(Sha256),
    Aside(Aside),
}

struct Aside {
    batch: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Sha256>,
}

impl Hasher {
    /// Hashes where it is called.
    pub(crate) fn here() -> Self {
        Self {
            state: State::Here(Sha256::new()),
            patience: u64::MAX,
        }
    }

    /// Hashes on a thread of its own once it is much.
    pub(crate) fn aside() -> Self {
        Self {
            patience: WORTH_A_THREAD,
            ..Self::here()
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Here(hasher) => {
                hasher.update(bytes);
                self.patience = self.patience.saturating_sub(bytes.len() as u64);
                if self.patience == 0 {
                    // Asked once: where no thread can be had, none will be.
                    self.patience = u64::MAX;
                    if let Some(aside) = Aside::start(hasher.clone()) {
                        self.state = State::Aside(aside);
                    }
                }
            }
            State::Aside(aside) => aside.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Sha256 {
        match self.state {
            State::Here(hasher) => hasher,
            State::Aside(aside) => aside.finish(),
        }
    }
}

impl Aside {
    fn start(mut hasher: Sha256) -> Option<Self> {
        let (full, batches) = sync_channel::<Vec<u8>>(BATCHES);
        let (used, empty) = sync_channel(BATCHES);
        for _ in 1..BATCHES {
            used.try_send(Vec::with_capacity(BATCH))
                .expect("there is room for all of them");
        }
        let thread = Builder::new().name("hash".into()).spawn(move || {
            for mut batch in batches {
                hasher.update(&batch);
                batch.clear();
                // Nobody wants it back at the end.
                let _ = used.send(batch);
            }
            hasher
        });
        Some(Self {
            batch: Vec::with_capacity(BATCH),
            full,
            empty,
            thread: thread.ok()?,
        })
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (some, rest) = bytes.split_at(bytes.len().min(BATCH - self.batch.len()));
            self.batch.extend_from_slice(some);
            bytes = rest;
            if self.batch.len() == BATCH {
                let next = self.empty.recv().expect("the thread ends after its sender");
                let batch = std::mem::replace(&mut self.batch, next);
                self.full.send(batch).expect("the thread ends after us");
            }
        }
    }

    fn finish(self) -> Sha256 {
        self.full
            .send(self.batch)
            .expect("the thread ends after us");
        drop(self.full);
        drop(self.empty);
        self.thread.join().expect("hashing does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_hashes_like_the_caller() {
        let bytes: Vec<u8> = (0..5 << 20).map(|at: u32| (at >> 3) as u8).collect();
        for length in [0, 1, 2 << 20, (2 << 20) + 1, (2 << 20) + BATCH, bytes.len()] {
            for step in [1 << 20, 65_536, 1000] {
                let mut hasher = Hasher::aside();
                for piece in bytes[..length].chunks(step) {
                    hasher.update(piece);
                }
                let expected = Sha256::digest(&bytes[..length]);
                assert_eq!(hasher.finish().finalize(), expected, "{length} by {step}");
            }
        }
    }

    #[test]
    fn one_that_is_dropped_leaves_no_thread_waiting() {
        let mut hasher = Hasher::aside();
        hasher.update(&vec![0; 4 << 20]);
        let State::Aside(aside) = hasher.state else {
            panic!("it is much");
        };
        let Aside {
            full,
            empty,
            thread,
            ..
        } = aside;
        drop((full, empty));
        thread.join().expect("it ends by itself");
    }
}
