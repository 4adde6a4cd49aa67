//! The time, as a rack sees it: the machine's, or one that a test has moved on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

/// Where the time comes from; clones are one clock.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Seconds it is ahead of the machine's.
    ahead: AtomicI64,
    moved: Notify,
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.0.ahead.load(Ordering::SeqCst));
        Timestamp::now()
            .saturating_add(ahead)
            .expect("a duration without months")
    }

    /// Moves it on, for tests.
    pub fn advance(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        self.0.ahead.fetch_add(seconds, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    /// Waits until it shows a time, or later.
    pub async fn reaches(&self, time: Timestamp) {
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let left = time.duration_since(self.now());
            let Ok(left) = Duration::try_from(left) else {
                return;
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = moved => {}
            }
        }
    }
}
