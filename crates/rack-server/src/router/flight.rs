//! What is in flight to a process: counted in, counted out, waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Everything in flight to one process.
#[derive(Debug, Default)]
pub(super) struct Flights {
    count: AtomicUsize,
    idle: Notify,
    /// Taken away: whoever has just counted in must choose again.
    closed: AtomicBool,
}

impl Flights {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Resolves when there are none.
    pub(super) async fn over(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Counts one in, unless the process has been taken away.
    pub(super) fn enter(this: &Arc<Self>) -> Option<InFlight> {
        // Counting comes first: `close` followed by `over` either sees the
        // count, or we see that it is closed (both sequentially consistent).
        this.count.fetch_add(1, Ordering::SeqCst);
        let guard = InFlight(Arc::clone(this));
        (!this.closed.load(Ordering::SeqCst)).then_some(guard)
    }

    /// Takes the process away, or back.
    pub(super) fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }
}

/// Holds something in flight until dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Flights>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
