//! How often requests are repeated: so often that no call waits for it while few fail, and no more often than a pool that is slow as a
//! whole can bear. It delays repeats; it never makes a call fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::limits::{REPEATS_AT_ONCE_MAX, REPEATS_PER_HUNDRED_CALLS, REPEATS_PER_SECOND};

/// Longest that a repeat is put off.
const PUT_OFF_MAX: Duration = Duration::from_secs(1);
/// Requests beside one that is under way anyway leave this share to those that must be repeated.
const RESERVE: i64 = REPEATS_AT_ONCE_MAX * MILLI / 4;
/// A repeat, in thousandths of one.
const MILLI: i64 = 1000;

/// Repeats that one application may still send.
pub struct Budget {
    left: Mutex<Left>,
    /// Calls that were answered since the last look.
    answered: AtomicU64,
}

struct Left {
    thousandths: i64,
    at: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        let left = Left { thousandths: REPEATS_AT_ONCE_MAX * MILLI, at: Duration::ZERO };
        Self { left: Mutex::new(left), answered: AtomicU64::new(0) }
    }
}

impl Budget {
    /// A call was answered: a share of a repeat is earned.
    pub fn earn(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one more node may be asked while others may still answer. Spends a repeat if so.
    pub fn spare(&self, now: Duration) -> bool {
        let mut left = self.left.lock();
        self.fill(&mut left, now);
        let may = left.thousandths - MILLI >= RESERVE;
        if may {
            left.thousandths -= MILLI;
        }
        may
    }

    /// How long to wait before a request is repeated. Spends it: those who come later wait longer.
    pub fn wait(&self, now: Duration) -> Duration {
        let mut left = self.left.lock();
        self.fill(&mut left, now);
        let debt_max = (PUT_OFF_MAX.as_millis() as i64) * REPEATS_PER_SECOND;
        left.thousandths = (left.thousandths - MILLI).max(-debt_max);
        // A thousandth is refilled in as many microseconds as this, times 1000.
        Duration::from_micros((left.thousandths.min(0).unsigned_abs() * 1000) / REPEATS_PER_SECOND as u64)
    }

    fn fill(&self, left: &mut Left, now: Duration) {
        let earned = self.answered.swap(0, Ordering::Relaxed) as i64 * MILLI * REPEATS_PER_HUNDRED_CALLS / 100;
        let passed = now.saturating_sub(left.at).as_millis() as i64;
        // What is less than a millisecond is counted the next time.
        left.at += Duration::from_millis(passed as u64);
        let all = left.thousandths.saturating_add(earned).saturating_add(passed.saturating_mul(REPEATS_PER_SECOND));
        left.thousandths = all.min(REPEATS_AT_ONCE_MAX * MILLI);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(5);

    fn spent() -> Budget {
        let budget = Budget::default();
        (0..REPEATS_AT_ONCE_MAX).for_each(|_| assert_eq!(budget.wait(START), Duration::ZERO));
        budget
    }

    #[test]
    fn many_repeats_at_once_are_free_and_more_of_them_are_put_off_evenly() {
        let budget = spent();
        let step = Duration::from_secs(1) / REPEATS_PER_SECOND as u32;
        for later in 1..20 {
            assert_eq!(budget.wait(START), step * later);
        }
        assert_eq!(budget.wait(START + Duration::from_secs(1)), Duration::ZERO, "a second later all is paid");
    }

    #[test]
    fn nothing_is_put_off_longer_than_a_second_however_many_wait() {
        let budget = spent();
        let longest = (0..100_000).map(|_| budget.wait(START)).max();
        assert_eq!(longest, Some(PUT_OFF_MAX));
    }

    #[test]
    fn answered_calls_earn_repeats_up_to_the_bound() {
        let budget = spent();
        (0..1000).for_each(|_| budget.earn());
        let free = (0..1000).take_while(|_| budget.wait(START).is_zero()).count();
        assert_eq!(free as i64, 1000 * REPEATS_PER_HUNDRED_CALLS / 100);
        (0..10_000_000).for_each(|_| budget.earn());
        let free = (0..10_000).take_while(|_| budget.wait(START + PUT_OFF_MAX * 2).is_zero()).count();
        assert_eq!(free as i64, REPEATS_AT_ONCE_MAX);
    }

    #[test]
    fn requests_beside_others_leave_a_reserve_for_those_that_must_go_out() {
        let budget = Budget::default();
        let beside = (0..10_000).take_while(|_| budget.spare(START)).count() as i64;
        assert_eq!(beside, REPEATS_AT_ONCE_MAX - RESERVE / MILLI);
        assert_eq!(budget.wait(START), Duration::ZERO);
    }
}
