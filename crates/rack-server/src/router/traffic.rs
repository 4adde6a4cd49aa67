//! What services were asked, counted as it happens and taken away now and then.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use crate::summary::Summary;

/// Requests to one service since they were last taken away.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Seconds until the answers began.
    pub times: Summary,
    /// Answers of the 500s, ours included.
    pub failed: u64,
}

impl Traffic {
    /// Takes other requests in.
    pub fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.failed += other.failed;
    }
}

/// Counts the requests to one service.
#[derive(Debug, Default)]
pub(super) struct Counter(Mutex<Traffic>);

impl Counter {
    /// Counts a request.
    pub(super) fn count(&self, took: Duration, status: StatusCode) {
        let mut traffic = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.times.add(took.as_secs_f64());
        traffic.failed += u64::from(status.is_server_error());
    }

    /// What was counted; counting begins anew.
    pub(super) fn take(&self) -> Traffic {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_not_counted_again() {
        let counter = Counter::default();
        counter.count(Duration::from_millis(500), StatusCode::OK);
        counter.count(Duration::from_millis(1500), StatusCode::BAD_GATEWAY);
        let mut taken = counter.take();
        assert_eq!((taken.times.count, taken.failed), (2, 1));
        assert!((taken.times.average() - 1.0).abs() < 1e-9);
        assert_eq!(counter.take().times.count, 0);
        counter.count(Duration::from_millis(1), StatusCode::NOT_FOUND);
        taken.merge(&counter.take());
        assert_eq!((taken.times.count, taken.failed), (3, 1));
    }
}
