//! Numbers for an application's changes: the log tells a new one from one that arrives twice by them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::limits::{REQUEST_STEPS, REQUESTS_KEPT_PER_CLIENT};
use crate::sync::{Condvar, Mutex};

/// Changes that may be under way from the oldest on: the log keeps that many answers. Those who would go beyond wait, since the oldest one could
/// no longer be sent again.
const SPAN: u64 = REQUESTS_KEPT_PER_CLIENT / REQUEST_STEPS;

/// The numbers of one application.
#[derive(Default)]
pub struct Numbers {
    taken: Mutex<Taken>,
    oldest_ended: Condvar,
}

#[derive(Default)]
struct Taken {
    next: u64,
    under_way: BTreeSet<u64>,
}

impl Taken {
    fn has_room(&self) -> bool {
        self.under_way.first().is_none_or(|oldest| self.next - oldest < SPAN)
    }
}

impl Numbers {
    /// The next number, without gaps. Waits, at most so long, while the oldest change under way is `SPAN` numbers behind.
    pub fn take(&self, patience: Duration) -> Option<Number<'_>> {
        let mut taken = self.taken.lock();
        self.oldest_ended.wait_while_for(&mut taken, |taken| !taken.has_room(), patience);
        if !taken.has_room() {
            return None;
        }
        let value = taken.next;
        taken.next += 1;
        taken.under_way.insert(value);
        Some(Number { of: self, value })
    }
}

/// A number that is under way until it is dropped.
pub struct Number<'a> {
    of: &'a Numbers,
    value: u64,
}

impl Number<'_> {
    /// The number.
    pub fn value(&self) -> u64 {
        self.value
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock();
        let was_oldest = taken.under_way.first() == Some(&self.value);
        taken.under_way.remove(&self.value);
        if was_oldest {
            self.of.oldest_ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(30);

    #[test]
    fn nobody_gets_ahead_of_the_oldest_by_more_than_the_log_keeps() {
        let numbers = Numbers::default();
        let oldest = numbers.take(SOON).expect("the first");
        for number in 1..SPAN {
            assert_eq!(numbers.take(SOON).expect("there is room").value(), number);
        }
        assert!(numbers.take(SOON).is_none(), "the oldest is still under way");
        drop(oldest);
        assert_eq!(numbers.take(SOON).expect("there is room again").value(), SPAN, "who gave up has taken no number");
    }

    #[test]
    fn many_threads_stay_within_the_span_of_a_slow_one() {
        let (numbers, highest) = (Numbers::default(), AtomicU64::new(0));
        std::thread::scope(|threads| {
            let slow = numbers.take(SOON).expect("the first");
            for _ in 0..8 {
                threads.spawn(|| {
                    for _ in 0..SPAN {
                        let number = numbers.take(LATE).expect("the slow one ends");
                        highest.fetch_max(number.value(), Ordering::Relaxed);
                    }
                });
            }
            while highest.load(Ordering::Relaxed) < SPAN - 1 {
                std::thread::yield_now();
            }
            std::thread::sleep(SOON);
            assert_eq!(highest.load(Ordering::Relaxed), SPAN - 1);
            drop(slow);
        });
        assert_eq!(highest.load(Ordering::Relaxed), 8 * SPAN);
    }
}
