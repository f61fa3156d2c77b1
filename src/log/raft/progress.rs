//! How far a member has applied the log, for threads that wait for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ground;
use super::types::{Member, NodeId, StoredMembership};

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

/// A mark that moves, and members that have gone.
pub struct Progress {
    mark: Mutex<Mark>,
    moved: Condvar,
    /// Members by the last membership that was applied.
    members: Mutex<BTreeMap<NodeId, Member>>,
    /// Members of which this one has applied that they are none any more, and when it did, on the clock of leases.
    gone: Mutex<BTreeMap<NodeId, Duration>>,
    /// When this began, or jumped: nothing is known of those who had gone before.
    begun: Mutex<Duration>,
}

impl Default for Progress {
    fn default() -> Self {
        let (members, gone) = (Mutex::default(), Mutex::default());
        Self { mark: Mutex::default(), moved: Condvar::new(), members, gone, begun: Mutex::new(ground::since_boot()) }
    }
}

impl Progress {
    /// Notes who goes and who comes when a membership is applied.
    pub fn set_members(&self, applied: &StoredMembership) {
        let after: BTreeMap<NodeId, Member> = applied.nodes().map(|(node, member)| (*node, member.clone())).collect();
        let (mut members, mut gone) = (self.members.lock(), self.gone.lock());
        let now = ground::since_boot();
        gone.extend(members.keys().filter(|node| !after.contains_key(node)).map(|node| (*node, now)));
        gone.retain(|node, _| !after.contains_key(node));
        *members = after;
    }

    /// A copy of another member's store has come: who came and went meanwhile is not known.
    pub fn forget_who_left(&self) {
        *self.begun.lock() = ground::since_boot();
    }

    /// Members by the last membership that was applied. The log may hold a later one, of which nobody knows yet whether it is committed.
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        self.members.lock().clone()
    }

    /// For how long somebody who is no member any more may hold a lease that was granted while it was one, if leases last so long.
    pub fn gone_serve_for(&self, lease: Duration) -> Duration {
        let last = self.gone.lock().values().max().copied().unwrap_or_default().max(*self.begun.lock());
        (last + lease).saturating_sub(ground::since_boot())
    }

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
