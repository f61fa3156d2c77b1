//! Whether a member's own disk stands still.
//!
//! A disk that fails ends the member, and others go on. One that hangs gives no error: a leader whose store is not written any more, or whose log is not,
//! goes on telling the others that it leads, and no change is ever answered. So it looks at itself, lets another lead, and does not stand again for a while.

use std::time::{Duration, Instant};

use super::ground;
use super::group::Group;
use crate::limits::{DISK_STANDS_STILL_MILLISECONDS, STANDS_AGAIN_AFTER_MILLISECONDS};

const STANDS_STILL: Duration = Duration::from_millis(DISK_STANDS_STILL_MILLISECONDS);
const STANDS_AGAIN_AFTER: Duration = Duration::from_millis(STANDS_AGAIN_AFTER_MILLISECONDS);

/// What a member looks at.
#[derive(Clone, Copy)]
struct Look {
    now: Instant,
    /// Entries before this index are applied.
    applied_before: u64,
    /// And before this one they are committed.
    committed_before: u64,
    /// Since when the thread that writes the log is at what it does.
    writing_since: Option<Instant>,
}

/// What was seen at the last looks.
#[derive(Default)]
pub struct Watch {
    /// How far the log was applied, and since when, if there is more to apply.
    behind: Option<(u64, Instant)>,
    stood_still: Option<Instant>,
}

impl Watch {
    /// What stands still, if something does.
    fn look(&mut self, look: Look) -> Option<&'static str> {
        let Look { now, applied_before, committed_before, writing_since } = look;
        self.behind = match self.behind {
            _ if applied_before >= committed_before => None,
            Some((before, since)) if before == applied_before => Some((before, since)),
            _ => Some((applied_before, now)),
        };
        let is_long = |since: Instant| now.saturating_duration_since(since) >= STANDS_STILL;
        let found = match (self.behind, writing_since) {
            (Some((_, since)), _) if is_long(since) => Some("its store takes no changes"),
            (_, Some(since)) if is_long(since) => Some("its log is not written"),
            _ => None,
        };
        if found.is_some() {
            self.stood_still = Some(now);
        }
        found
    }

    /// Whether nothing has stood still for a while.
    fn may_lead(&self, now: Instant) -> bool {
        self.stood_still.is_none_or(|still| now.saturating_duration_since(still) >= STANDS_AGAIN_AFTER)
    }
}

impl Group {
    /// Lets another member lead while this one's disk stands still. To be called now and then.
    pub(super) fn watch_disk(&self, watch: &mut Watch) {
        let (committed_before, leads, is_alone) = self.look(|metrics| {
            let committed = metrics.local_committed.map_or(0, |id| id.index + 1);
            let leads = metrics.current_leader == Some(self.wires().node);
            (committed, leads, metrics.membership_config.membership().voter_ids().count() < 2)
        });
        let (now, applied_before) = (ground::now(), self.progress().mark().before);
        let stalled = watch.look(Look { now, applied_before, committed_before, writing_since: self.log().writing_since() });
        *self.stalled.lock() = stalled;
        // Where nobody else votes there is nobody to leave it to.
        self.raft().runtime_config().elect(is_alone || watch.may_lead(now));
        if stalled.is_some() && leads && !is_alone {
            self.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_does_not_stand_still() {
        let (begun, mut watch) = (Instant::now(), Watch::default());
        let mut look = |milliseconds, applied_before, committed_before, writing: Option<u64>| {
            let at = |milliseconds| begun + Duration::from_millis(milliseconds);
            let look = Look { now: at(milliseconds), applied_before, committed_before, writing_since: writing.map(at) };
            (watch.look(look).is_some(), watch.may_lead(look.now))
        };
        assert_eq!(look(0, 5, 5, None), (false, true));
        // All is applied for long, then there is more, which comes in time.
        assert_eq!(look(9_000, 5, 6, Some(8_999)), (false, true));
        assert_eq!(look(10_900, 6, 9, None), (false, true));
        assert_eq!(look(12_800, 6, 9, Some(12_799)), (false, true));
        assert_eq!(look(12_900, 6, 900, None), (true, false), "nothing was applied for two seconds");
        assert_eq!(look(13_000, 7, 900, None), (false, false), "it has just stood still");
        assert_eq!(look(13_900, 900, 900, None), (false, false));
        assert_eq!(look(17_900, 900, 900, Some(16_000)), (false, true));
        assert_eq!(look(18_000, 900, 900, Some(16_000)), (true, false), "one write takes two seconds");
    }
}
