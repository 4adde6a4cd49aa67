//! Patience with those who guess: after a few wrong passwords from one address the
//! answers to further wrong ones take longer and longer.
//!
//! Only failed answers wait. On one machine everybody comes from the same address,
//! so nobody is ever shut out: good credentials are answered at once, however many
//! wrong ones came before. Memory is bounded twice: addresses remembered, and
//! answers held back. Beyond the second bound an answer is refused without waiting:
//! holding it back would let strangers pile up work, and the passwords the server
//! makes (190 random bits) are beyond guessing anyway; the delays protect those that
//! people choose, and calm programs that keep using an old one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Failures of one address that are answered at once.
const FREE: u32 = 5;
/// A pause this long makes an address a stranger again.
const FORGET: Duration = Duration::from_secs(60);
/// The first delay; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// Addresses remembered.
const REMEMBERED: usize = 1024;

struct Streak {
    failures: u32,
    last: Instant,
}

/// Who has failed lately.
pub struct Refusals {
    slowest: Duration,
    waiting: Semaphore,
    recent: Mutex<HashMap<IpAddr, Streak>>,
    shutdown: CancellationToken,
}

/// Whoever has one IPv6 address as a rule has the 2⁶⁴ around it.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl Refusals {
    /// Delays grow up to `slowest`; at most `waiting` answers are held back at a time.
    pub fn new(slowest: Duration, waiting: usize, shutdown: CancellationToken) -> Self {
        Self {
            slowest,
            waiting: Semaphore::new(waiting),
            recent: Mutex::default(),
            shutdown,
        }
    }

    /// Notes a failure and says how long its answer should take.
    fn note(&self, address: IpAddr, now: Instant) -> Duration {
        let address = source(address);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |streak: &Streak| now.saturating_duration_since(streak.last) < FORGET;
        if recent.len() >= REMEMBERED && !recent.contains_key(&address) {
            recent.retain(|_, streak| is_fresh(streak));
            let oldest = recent.iter().min_by_key(|(_, streak)| streak.last);
            if recent.len() >= REMEMBERED
                && let Some(oldest) = oldest.map(|(address, _)| *address)
            {
                recent.remove(&oldest);
            }
        }
        let streak = recent.entry(address).or_insert(Streak {
            failures: 0,
            last: now,
        });
        if !is_fresh(streak) {
            streak.failures = 0;
        }
        streak.failures = streak.failures.saturating_add(1);
        streak.last = now;
        match streak.failures.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST
                .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
                .min(self.slowest),
        }
    }

    /// Notes a failure and returns when it may be answered.
    pub async fn hold_back(&self, address: IpAddr) {
        let delay = self.note(address, Instant::now());
        if delay.is_zero() {
            return;
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals() -> Refusals {
        Refusals::new(Duration::from_secs(2), 8, CancellationToken::new())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn delays_begin_late_double_and_end_somewhere() {
        let refusals = refusals();
        let now = Instant::now();
        let delays: Vec<_> = (0..12)
            .map(|_| refusals.note(address("127.0.0.1"), now).as_millis())
            .collect();
        assert_eq!(
            delays,
            [0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 2000, 2000]
        );
        for _ in 0..200 {
            let delay = refusals.note(address("127.0.0.1"), now);
            assert_eq!(delay, Duration::from_secs(2), "never overflows");
        }
    }

    #[test]
    fn a_quiet_minute_is_a_new_beginning() {
        let refusals = refusals();
        let now = Instant::now();
        for _ in 0..10 {
            refusals.note(address("127.0.0.1"), now);
        }
        let later = now + FORGET;
        assert_eq!(refusals.note(address("127.0.0.1"), later), Duration::ZERO);
    }

    #[test]
    fn addresses_are_counted_apart_networks_together() {
        let refusals = refusals();
        let now = Instant::now();
        for last in 0..10 {
            refusals.note(address(&format!("2001:db8::{last}")), now);
            refusals.note(address("::ffff:192.0.2.1"), now);
        }
        assert!(!refusals.note(address("2001:db8::ffff"), now).is_zero());
        assert!(!refusals.note(address("192.0.2.1"), now).is_zero());
        assert!(refusals.note(address("2001:db8:1::1"), now).is_zero());
        assert!(refusals.note(address("192.0.2.2"), now).is_zero());
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let refusals = refusals();
        let now = Instant::now();
        for number in 0..10_000_u32 {
            let soon = now + Duration::from_micros(number.into());
            refusals.note(IpAddr::V4(number.into()), soon);
        }
        let count = refusals.recent.lock().expect("not poisoned").len();
        assert_eq!(count, REMEMBERED);
    }
}
