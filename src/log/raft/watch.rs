//! Whether a member's own disk stands still.
//!
//! A disk that fails ends the member, and others go on. One that hangs gives no error: a leader whose store is not written any more, or whose log is not,
//! goes on telling the others that it leads, and no change is ever answered. So it looks at itself, and if another member has come further meanwhile, it lets that one
//! lead, and does not stand again for a while. Where all stand still, at a change that takes long or on a disk that they share, the leader goes on leading.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ground;
use super::group::Group;
use super::lease::ASIDE;
use super::message::{Answer, Ask};
use super::types::NodeId;
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
    /// When others were last seen to come further.
    overtaken: Option<Instant>,
}

/// What stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stall {
    Store,
    Log,
}

impl Stall {
    fn told(self) -> &'static str {
        match self {
            Stall::Store => "its store takes no changes",
            Stall::Log => "its log is not written",
        }
    }
}

impl Watch {
    /// What stands still, if something does.
    fn look(&mut self, look: Look) -> Option<Stall> {
        let Look { now, applied_before, committed_before, writing_since } = look;
        self.behind = match self.behind {
            _ if applied_before >= committed_before => None,
            Some((before, since)) if before == applied_before => Some((before, since)),
            _ => Some((applied_before, now)),
        };
        let is_long = |since: Instant| now.saturating_duration_since(since) >= STANDS_STILL;
        match (self.behind, writing_since) {
            (Some((_, since)), _) if is_long(since) => Some(Stall::Store),
            (_, Some(since)) if is_long(since) => Some(Stall::Log),
            _ => None,
        }
    }

    /// Whether no other has come further for a while.
    fn may_lead(&self, now: Instant) -> bool {
        self.overtaken.is_none_or(|overtaken| now.saturating_duration_since(overtaken) >= STANDS_AGAIN_AFTER)
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
        *self.stalled.lock() = stalled.map(Stall::told);
        let further = stalled.filter(|_| !is_alone).and_then(|stall| self.further(stall, applied_before));
        if further.is_some() {
            watch.overtaken = Some(now);
        }
        // Where nobody else votes there is nobody to leave it to.
        self.raft().runtime_config().elect(is_alone || watch.may_lead(now));
        if let Some(heir) = further.filter(|_| leads) {
            self.hand_over_to(heir);
        }
    }

    /// Another voter that has come further than this member.
    fn further(&self, stall: Stall, applied_before: u64) -> Option<NodeId> {
        let metrics = self.metrics();
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let mut others = self.others().into_iter().filter(|(node, _)| voters.contains(node));
        let found = match stall {
            Stall::Store => others.find(|(node, member)| {
                let ask = Ask::Reach { before: applied_before + 1, wait_milliseconds: 0 };
                matches!(self.wires().ask(*node, member, ask, ASIDE), Ok(Answer::Done))
            }),
            // Only who leads knows what others have written; another one cannot win an election without its log.
            Stall::Log => {
                let (held, written) = (metrics.replication.unwrap_or_default(), self.log().flushed_before());
                others.find(|(node, _)| held.get(node).copied().flatten().is_some_and(|id| id.index >= written))
            }
        };
        found.map(|(node, _)| node)
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
            watch.look(look)
        };
        assert_eq!(look(0, 5, 5, None), None);
        // All is applied for long, then there is more, which comes in time.
        assert_eq!(look(9_000, 5, 6, Some(8_999)), None);
        assert_eq!(look(10_900, 6, 9, None), None);
        assert_eq!(look(12_800, 6, 9, Some(12_799)), None);
        assert_eq!(look(12_900, 6, 900, None), Some(Stall::Store), "nothing was applied for two seconds");
        assert_eq!(look(13_000, 7, 900, None), None);
        assert_eq!(look(17_900, 900, 900, Some(16_000)), None);
        assert_eq!(look(18_000, 900, 900, Some(16_000)), Some(Stall::Log), "one write takes two seconds");
    }

    #[test]
    fn one_that_was_overtaken_does_not_stand_for_a_while() {
        let now = Instant::now();
        let watch = Watch { overtaken: Some(now), ..Watch::default() };
        assert!(Watch::default().may_lead(now));
        assert!(!watch.may_lead(now + STANDS_AGAIN_AFTER / 2) && watch.may_lead(now + STANDS_AGAIN_AFTER));
    }
}
