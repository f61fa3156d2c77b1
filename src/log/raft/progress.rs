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

/// How far changes are applied, and up to where reads see them.
#[derive(Clone, Copy, Default)]
struct Marks {
    taken: Mark,
    shown: Mark,
    /// How far it comes at most once what has come, and is not applied yet, is; `None`: there is nothing.
    held: Option<Mark>,
    /// It goes no further.
    is_ended: bool,
}

/// What ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The mark has passed the point.
    Passed,
    /// It may pass it once what is held is applied.
    Held,
    /// The deadline, or it goes no further.
    Late,
}

/// How often a simulated thread looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A mark that moves, and members that have gone.
pub struct Progress {
    marks: Mutex<Marks>,
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
        Self { marks: Mutex::default(), moved: Condvar::new(), members, gone, begun: Mutex::new(ground::since_boot()) }
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

    /// How far it has come.
    pub fn mark(&self) -> Mark {
        self.marks.lock().taken
    }

    /// How far it is for who waits for it: what is held is applied then.
    pub fn at_hand(&self) -> Mark {
        let marks = self.marks.lock();
        marks.held.unwrap_or(marks.taken)
    }

    /// Up to where reads see it.
    pub fn shown(&self) -> Mark {
        self.marks.lock().shown
    }

    /// Whether reads see all.
    pub fn is_shown(&self) -> bool {
        let marks = self.marks.lock();
        marks.taken == marks.shown && marks.held.is_none()
    }

    /// More has come, and is not applied yet; `most`: how far the mark comes at most once it is.
    pub fn hold(&self, most: Mark) {
        self.marks.lock().held = Some(most);
        self.moved.notify_all();
    }

    /// It has come so far; reads do not see it yet.
    pub fn take(&self, mark: Mark) {
        let mut marks = self.marks.lock();
        (marks.taken, marks.held) = (mark, None);
        drop(marks);
        self.moved.notify_all();
    }

    /// It has come so far, and reads see it.
    pub fn show(&self, mark: Mark) {
        let mut marks = self.marks.lock();
        (marks.taken, marks.shown, marks.held) = (mark, mark, None);
        drop(marks);
        self.moved.notify_all();
    }

    /// It goes no further: who waits for more need not wait for long.
    pub fn end(&self) {
        self.marks.lock().is_ended = true;
        self.moved.notify_all();
    }

    /// Waits until it has passed a point, or may once what is held is applied, or the deadline. Who waits for more than that leaves it to be applied together
    /// with what comes.
    pub fn wait(&self, deadline: Instant, passed: impl Fn(Mark) -> bool) -> Waited {
        let ended = |marks: Marks| match marks {
            Marks { taken, .. } if passed(taken) => Some(Waited::Passed),
            Marks { is_ended: true, .. } => Some(Waited::Late),
            Marks { held: Some(most), .. } if passed(most) => Some(Waited::Held),
            _ => None,
        };
        if ground::current().is_some() {
            loop {
                let marks = *self.marks.lock();
                match ended(marks) {
                    Some(waited) => return waited,
                    None if ground::now() >= deadline => return Waited::Late,
                    None => ground::sleep(LOOK_AGAIN),
                }
            }
        }
        let mut marks = self.marks.lock();
        loop {
            if let Some(waited) = ended(*marks) {
                return waited;
            }
            if self.moved.wait_until(&mut marks, deadline).timed_out() {
                return ended(*marks).unwrap_or(Waited::Late);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Mark, Progress, Waited};

    #[test]
    fn waiting_ends_with_the_mark_or_the_deadline() {
        let progress = Progress::default();
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(progress.wait(soon, |mark| mark.before > 3), Waited::Late);
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| progress.wait(Instant::now() + Duration::from_secs(20), |mark| mark.changes >= 7));
            progress.take(Mark { before: 5, changes: 7 });
            assert_eq!(waiting.join().unwrap(), Waited::Passed);
        });
        assert_eq!(progress.shown(), Mark::default());
        assert_eq!(progress.wait(Instant::now(), |mark| mark.before > 3), Waited::Passed);
        let late = Instant::now() + Duration::from_secs(20);
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| progress.wait(late, |mark| mark.before > 9));
            progress.hold(Mark { before: 9, changes: 11 });
            let soon = Instant::now() + Duration::from_millis(20);
            assert_eq!(progress.wait(soon, |mark| mark.before > 9), Waited::Late, "what is held is not enough");
            assert_eq!(progress.wait(soon, |mark| mark.changes >= 11), Waited::Held);
            progress.hold(Mark { before: 10, changes: 12 });
            assert_eq!(waiting.join().unwrap(), Waited::Held);
        });
        assert!(!progress.is_shown());
        progress.show(Mark { before: 5, changes: 7 });
        assert!(progress.is_shown());
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| progress.wait(late, |mark| mark.before > 9));
            progress.end();
            assert_eq!(waiting.join().unwrap(), Waited::Late);
        });
        assert!(Instant::now() < late);
        assert_eq!(progress.wait(late, |mark| mark.before > 4), Waited::Passed);
    }
}
