//! How far a member has applied the log, for threads that wait for it.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ground;

/// How far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Entries of the log are applied before this index.
    pub before: u64,
    /// So many changes have been applied to the store.
    pub changes: u64,
}

/// How often a simulated thread looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A mark that moves.
#[derive(Default)]
pub struct Progress {
    mark: Mutex<Mark>,
    moved: Condvar,
}

impl Progress {
    /// Where it is now.
    pub fn mark(&self) -> Mark {
        *self.mark.lock()
    }

    /// Moves it.
    pub fn set(&self, mark: Mark) {
        *self.mark.lock() = mark;
        self.moved.notify_all();
    }

    /// Waits until it has passed a point; false: not before the deadline.
    pub fn wait(&self, deadline: Instant, passed: impl Fn(Mark) -> bool) -> bool {
        if ground::current().is_some() {
            while !passed(self.mark()) && ground::now() < deadline {
                ground::sleep(LOOK_AGAIN);
            }
            return passed(self.mark());
        }
        let mut mark = self.mark.lock();
        while !passed(*mark) {
            if self.moved.wait_until(&mut mark, deadline).timed_out() {
                return passed(*mark);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Mark, Progress};

    #[test]
    fn waiting_ends_with_the_mark_or_the_deadline() {
        let progress = Progress::default();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(!progress.wait(soon, |mark| mark.before > 3));
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| progress.wait(Instant::now() + Duration::from_secs(20), |mark| mark.changes >= 7));
            progress.set(Mark { before: 5, changes: 7 });
            assert!(waiting.join().unwrap());
        });
        assert!(progress.wait(Instant::now(), |mark| mark.before > 3));
    }
}
