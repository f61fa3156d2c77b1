//! What the application has seen of the pool's past: how many changes, and at which of them each object was changed.
//!
//! Such a number counts the changes of one group. A group that was formed anew, by force or of a backup, may have lost some and counts on from less, so that
//! what was seen of the one before it might not be reached for days. So each number stands for its group (`epoch`), and what was seen of another one is
//! forgotten: a node of the new group is asked for all that it has committed instead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::object::ObjectId;

/// Marks that are remembered one by one.
const CHANGED_MAX: usize = 100_000;

/// A number of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How many.
    pub changes: u64,
    /// Of which group; `None`: the node did not say, as older ones do not.
    pub epoch: Option<u64>,
}

impl Mark {
    /// The later one, if both are of one group: else this one.
    pub fn or_later(self, other: Self) -> Self {
        let changes = if other.fits(self.epoch) { self.changes.max(other.changes) } else { self.changes };
        Self { changes, ..self }
    }

    /// Whether both can be of one group.
    fn fits(self, epoch: Option<u64>) -> bool {
        self.epoch.is_none() || epoch.is_none() || self.epoch == epoch
    }
}

/// What one application has seen.
#[derive(Default)]
pub struct Seen(RwLock<OfGroup>);

/// Of one group.
#[derive(Default)]
struct OfGroup {
    epoch: Option<u64>,
    /// The highest mark that was seen: how much the application knows of the past.
    most: AtomicU64,
    /// At which mark an object was changed by the application, or first seen: using it waits for that only.
    changed: HashMap<ObjectId, u64>,
    /// What all other objects wait for: the highest mark of `changed` that was forgotten.
    floor: u64,
}

impl OfGroup {
    fn mark(&self, changes: u64) -> Mark {
        Mark { changes, epoch: self.epoch }
    }

    fn note(&mut self, id: ObjectId, changes: u64) {
        if self.changed.len() >= CHANGED_MAX {
            // From now on all unknown objects wait for what any of the forgotten ones would.
            self.floor = self.floor.max(self.changed.values().copied().max().unwrap_or(0));
            self.changed.clear();
        }
        self.changed.insert(id, changes);
    }
}

impl Seen {
    /// The pool was seen at this mark.
    pub fn saw(&self, mark: Mark) {
        {
            let seen = self.0.read();
            if mark.epoch.is_none() || mark.epoch == seen.epoch {
                seen.most.fetch_max(mark.changes, Ordering::Relaxed);
                return;
            }
        }
        let mut seen = self.0.write();
        if !mark.fits(seen.epoch) {
            // What the application has changed of this group before it saw the other one is not known any more: all objects wait for what is there now.
            *seen = OfGroup { floor: mark.changes, ..OfGroup::default() };
        }
        seen.epoch = mark.epoch;
        seen.most.fetch_max(mark.changes, Ordering::Relaxed);
    }

    /// All that was seen.
    pub fn mark(&self) -> Mark {
        let seen = self.0.read();
        seen.mark(seen.most.load(Ordering::Relaxed))
    }

    /// What must be applied where these objects are used.
    pub fn mark_of(&self, ids: &[ObjectId]) -> Mark {
        let seen = self.0.read();
        seen.mark(ids.iter().map(|id| seen.changed.get(id).copied().unwrap_or(seen.floor)).max().unwrap_or(0))
    }

    /// Whether who has applied so much lacks nothing that was seen. All that was seen of another group is no measure.
    pub fn is_reached_by(&self, applied: Mark) -> bool {
        let mark = self.mark();
        !applied.fits(mark.epoch) || applied.changes >= mark.changes
    }

    /// The application has changed the object, and seen this mark then.
    pub fn changed(&self, id: ObjectId, mark: Mark) {
        let mut seen = self.0.write();
        if mark.fits(seen.epoch) {
            seen.note(id, mark.changes);
        }
    }

    /// The application has seen the objects at this mark: where it is applied, they are.
    pub fn found(&self, ids: impl Iterator<Item = ObjectId>, mark: Mark) {
        let mut seen = self.0.write();
        if mark.fits(seen.epoch) {
            for id in ids {
                if !seen.changed.contains_key(&id) {
                    seen.note(id, mark.changes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(epoch: u64, changes: u64) -> Mark {
        Mark { changes, epoch: Some(epoch) }
    }

    const UNKNOWN: ObjectId = ObjectId([9; 16]);

    #[test]
    fn what_was_seen_of_a_group_that_lost_changes_holds_nobody_up() {
        let (seen, object) = (Seen::default(), ObjectId([1; 16]));
        seen.saw(of(1, 500));
        seen.changed(object, of(1, 500));
        assert_eq!((seen.mark(), seen.mark_of(&[object]), seen.mark_of(&[UNKNOWN])), (of(1, 500), of(1, 500), of(1, 0)));
        assert!(!seen.is_reached_by(of(1, 480)) && seen.is_reached_by(of(2, 480)));
        seen.saw(of(2, 480));
        assert_eq!((seen.mark(), seen.mark_of(&[object]), seen.mark_of(&[UNKNOWN])), (of(2, 480), of(2, 480), of(2, 480)));
        // An answer of the old group that was read before, and is noted late.
        seen.changed(object, of(1, 501));
        seen.found([UNKNOWN].into_iter(), of(1, 501));
        assert_eq!(seen.mark_of(&[object, UNKNOWN]), of(2, 480));
        seen.changed(object, of(2, 482));
        seen.saw(of(2, 482));
        assert_eq!((seen.mark(), seen.mark_of(&[object])), (of(2, 482), of(2, 482)));
    }

    #[test]
    fn the_later_of_two_marks_is_that_of_one_group_only() {
        assert_eq!(of(1, 5).or_later(of(1, 7)), of(1, 7));
        assert_eq!(of(1, 5).or_later(of(1, 3)), of(1, 5));
        assert_eq!(of(2, 5).or_later(of(1, 7)), of(2, 5));
        assert_eq!(of(1, 5).or_later(Mark::default()), of(1, 5));
    }

    #[test]
    fn nodes_that_name_no_group_are_heard_as_they_always_were() {
        let (seen, object, old) = (Seen::default(), ObjectId([1; 16]), |changes| Mark { changes, epoch: None });
        seen.saw(old(7));
        seen.changed(object, old(7));
        assert_eq!((seen.mark(), seen.mark_of(&[object])), (old(7), old(7)));
        // One node has been upgraded.
        seen.saw(of(1, 5));
        assert_eq!((seen.mark(), seen.mark_of(&[object])), (of(1, 7), of(1, 7)));
        seen.saw(old(8));
        seen.saw(of(1, 6));
        assert_eq!(seen.mark(), of(1, 8));
    }

    #[test]
    fn forgotten_objects_wait_for_all_that_was_forgotten() {
        let seen = Seen::default();
        let id = |number: usize| ObjectId((number as u128).to_be_bytes());
        (0..=CHANGED_MAX).for_each(|number| seen.changed(id(number), of(1, number as u64)));
        assert_eq!(seen.mark_of(&[id(3)]).changes, CHANGED_MAX as u64 - 1);
        assert_eq!(seen.mark_of(&[id(CHANGED_MAX)]).changes, CHANGED_MAX as u64);
    }
}
