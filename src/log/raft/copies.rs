//! Members that are sent a copy of the store, for as long as they need the entries after it.
//!
//! The log is cut at each snapshot, some thousand entries behind it: that many are written in a second or two, and a copy may take minutes. If the log were cut
//! meanwhile, a member would need the next copy as soon as it had one, for ever. So no snapshot is made, and nothing is cut, until it has caught up: not for longer than a while
//! in which it takes nothing, and not once too much has been written for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ground;
use super::group::Group;
use super::types::NodeId;
use crate::limits::{COPY_WAITED_FOR_SECONDS, LOG_HELD_MAX_BYTES};

/// How long one may take nothing.
const WAITED_FOR: Duration = Duration::from_secs(COPY_WAITED_FOR_SECONDS);

/// One member's copy.
struct Sent {
    /// How many of them are under way: one that was given up may end after the next one has begun.
    under_way: u32,
    /// Bytes that the log had been given soon after it was begun.
    begun_at: Option<u64>,
    /// The entries before this index are at the member.
    held_before: u64,
    /// When it last took something: entries, or a piece of its copy.
    moved: Instant,
    /// Why nothing is held for it any more, until it has caught up.
    given_up: Option<GivenUp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    /// It took nothing for too long. It may go on.
    Silent,
    /// Too much was written for it.
    Far,
}

/// Where the log of the leader stands.
#[derive(Clone, Copy)]
struct Log {
    now: Instant,
    /// The index after its last entry.
    end: u64,
    /// Bytes that it has been given.
    given: u64,
}

/// Copies that this member sends, or has sent.
#[derive(Default)]
pub struct Copies(Mutex<BTreeMap<NodeId, Sent>>);

/// Says that a copy is no longer under way.
pub struct UnderWay<'a> {
    copies: &'a Copies,
    to: NodeId,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(sent) = self.copies.0.lock().get_mut(&self.to) {
            sent.under_way = sent.under_way.saturating_sub(1);
        }
    }
}

impl UnderWay<'_> {
    /// The member has taken a piece.
    pub fn comes_on(&self) {
        self.copies.comes_on(self.to, ground::now());
    }
}

impl Copies {
    /// A copy to a member is begun.
    pub fn begin(&self, to: NodeId) -> UnderWay<'_> {
        let mut all = self.0.lock();
        // One that broke off and is begun anew has the same bounds.
        let new = Sent { under_way: 0, begun_at: None, held_before: 0, moved: ground::now(), given_up: None };
        let sent = all.entry(to).or_insert(new);
        sent.under_way += 1;
        UnderWay { copies: self, to }
    }

    /// Whether somebody needs what would be cut.
    pub fn hold_the_log(&self) -> bool {
        self.0.lock().values().any(|sent| sent.given_up.is_none())
    }

    fn comes_on(&self, to: NodeId, now: Instant) {
        if let Some(sent) = self.0.lock().get_mut(&to) {
            sent.moved = now;
            sent.given_up = sent.given_up.filter(|why| *why == GivenUp::Far);
        }
    }

    /// Forgets those that have caught up, and gives up those for which too much would be held: the next attempt to send such a one its copy holds nothing.
    /// `held_before` tells how far a member's log is; `None`: this one does not lead, or that one is no member.
    fn look(&self, log: Log, near: u64, held_before: impl Fn(NodeId) -> Option<u64>) {
        self.0.lock().retain(|node, sent| {
            let is_under_way = sent.under_way > 0;
            let Some(held) = held_before(*node) else { return is_under_way };
            if held > sent.held_before {
                (sent.held_before, sent.moved) = (held, log.now);
            }
            if log.given.saturating_sub(*sent.begun_at.get_or_insert(log.given)) > LOG_HELD_MAX_BYTES {
                sent.given_up = Some(GivenUp::Far);
            } else if log.now.saturating_duration_since(sent.moved) >= WAITED_FOR {
                sent.given_up = Some(GivenUp::Silent);
            }
            is_under_way || held + near < log.end
        });
    }
}

impl Group {
    /// Looks whether members that were sent a copy have caught up. To be called now and then.
    pub(super) fn look_after_copies(&self) {
        let copies = &self.wires().copies;
        if !copies.hold_the_log() {
            return;
        }
        let metrics = self.metrics();
        let log = Log { now: ground::now(), end: metrics.last_log_index.map_or(0, |last| last + 1), given: self.log().given() };
        let held_before = |node| {
            let held = metrics.replication.as_ref()?.get(&node)?;
            Some(held.map_or(0, |id| id.index + 1))
        };
        // When the log is cut, as many are kept.
        copies.look(log, self.kept / 2, held_before);
    }
}

#[cfg(test)]
impl Group {
    /// How many copies it has sent.
    pub(super) fn copies_sent(&self) -> u64 {
        self.wires().numbers.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether it does not cut its log now.
    pub(super) fn holds_the_log(&self) -> bool {
        self.wires().copies.hold_the_log()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_held_until_a_member_has_caught_up_or_comes_no_further() {
        let begun = Instant::now();
        let log = |seconds, end, given| Log { now: begun + Duration::from_secs(seconds), end, given };
        let (copies, wait) = (Copies::default(), COPY_WAITED_FOR_SECONDS);
        let holds = |log, held: Option<u64>| {
            copies.look(log, 100, |node| held.filter(|_| node == 3));
            copies.hold_the_log()
        };
        assert!(!holds(log(0, 1000, 0), Some(0)));
        let under_way = copies.begin(3);
        let takes_a_piece = |seconds| copies.comes_on(3, begun + Duration::from_secs(seconds));
        takes_a_piece(9 * wait);
        assert!(holds(log(9 * wait, 9000, 9), Some(0)), "however long it takes");
        assert!(holds(log(9 * wait, 9000, 9), Some(9000)), "the copy is not there yet");
        drop(under_way);
        // Its copy stood at 9,000, and 50,000 more were written meanwhile.
        assert!(holds(log(10 * wait - 1, 59_000, 9), Some(9001)));
        assert!(holds(log(11 * wait - 2, 60_000, 9), Some(40_000)));
        assert!(!holds(log(11 * wait, 60_000, 9), Some(59_900)), "it is near enough");
        assert!(copies.0.lock().is_empty());
        for (log_now, held, why) in [
            (log(20 * wait, 70_000, 9), Some(9), "it takes nothing"),
            (log(0, 70_000, LOG_HELD_MAX_BYTES + 10), Some(9), "too much was written"),
            (log(0, 70_000, 9), None, "this member does not lead any more"),
        ] {
            drop(copies.begin(3));
            takes_a_piece(0);
            assert!(holds(log(0, 70_000, 9), Some(9)));
            assert!(!holds(log_now, held), "{why}");
            if held.is_some() {
                // The next attempts do not reach it either.
                drop(copies.begin(3));
                assert!(!holds(log_now, held), "{why}");
                assert!(!holds(log_now, Some(70_000)) && copies.0.lock().is_empty(), "it has caught up after all");
            }
        }
        let _under_way = copies.begin(3);
        assert!(holds(log(0, 70_000, 9), Some(9)));
        assert!(!holds(log(20 * wait, 70_000, 9), Some(9)));
        takes_a_piece(20 * wait);
        assert!(holds(log(20 * wait, 70_000, 9), Some(9)), "it was away, and goes on");
    }
}
