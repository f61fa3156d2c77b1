//! Waits until the other members have applied a revocation.
//!
//! One thread asks a member, however many revocations wait for it: who has applied the entries before an index has applied those before each lower one. Each
//! revocation for itself would have a thread for each member, of the same that heartbeats and votes go by: one member that is gone, and many revocations at once, left none for these.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ground;
use super::group::Group;
use super::message::{Answer, Ask};
use super::network::Wires;
use super::types::{Member, NodeId};
use crate::error::Result;

/// How long a member lets another wait that asks whether it has caught up.
const REACH_WAIT: Duration = Duration::from_millis(500);
/// The pause before a silent member is asked again; whoever waits has it asked for so long at least, so that one that has a revocation is not taken for one that has not.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often a simulated thread looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What is waited for of one member.
#[derive(Default)]
struct Awaited {
    /// The entries before this index are known to be applied.
    reached: u64,
    /// Indices that are waited for, and until when.
    before: BTreeMap<u64, Instant>,
    /// Whether somebody asks it.
    is_asked: bool,
}

impl Awaited {
    /// Whether who waits must see to it that somebody asks.
    fn enter(&mut self, before: u64, until: Instant) -> bool {
        if self.reached >= before {
            return false;
        }
        let latest = self.before.entry(before).or_insert(until);
        *latest = until.max(*latest);
        !std::mem::replace(&mut self.is_asked, true)
    }

    /// What is to be asked for next: all that is waited for; or the least of it, where all was too much. `None`: nothing, and who asked need not go on.
    fn next(&mut self, now: Instant, was_too_much: bool) -> Option<(u64, Instant)> {
        let reached = self.reached;
        self.before.retain(|before, until| *before > reached && *until > now);
        let next = if was_too_much { self.before.first_key_value() } else { self.before.last_key_value() };
        self.is_asked = next.is_some();
        next.map(|(before, until)| (*before, *until))
    }
}

/// What revocations wait for.
#[derive(Default)]
pub struct Spread {
    members: Mutex<BTreeMap<NodeId, Awaited>>,
    moved: Condvar,
}

impl Spread {
    /// Asks a member until it has all that is waited for, or nobody waits any more.
    fn ask(&self, wires: &Wires, node: NodeId, member: &Member) {
        let mut was_too_much = false;
        loop {
            let next = self.members.lock().entry(node).or_default().next(ground::now(), was_too_much);
            let Some((before, until)) = next else { return };
            let left = until.saturating_duration_since(ground::now()).max(ASK_AGAIN);
            let wait_milliseconds = REACH_WAIT.min(left).as_millis() as u64;
            let answer = wires.ask(node, member, Ask::Reach { before, wait_milliseconds }, left);
            was_too_much = matches!(answer, Ok(Answer::NotYet));
            match answer {
                Ok(Answer::Done) => {
                    let mut members = self.members.lock();
                    let awaited = members.entry(node).or_default();
                    awaited.reached = awaited.reached.max(before);
                    drop(members);
                    self.moved.notify_all();
                }
                Ok(Answer::NotYet) => {}
                Ok(_) | Err(_) => ground::sleep(ASK_AGAIN),
            }
        }
    }

    /// Those of the members that have not said by then that they have applied the entries before an index.
    fn missed(&self, others: &BTreeMap<NodeId, Member>, before: u64, until: Instant) -> Vec<NodeId> {
        let mut members = self.members.lock();
        loop {
            let has_it = |node: &NodeId| members.get(node).is_some_and(|awaited| awaited.reached >= before);
            let missed: Vec<NodeId> = others.keys().copied().filter(|node| !has_it(node)).collect();
            if missed.is_empty() || ground::now() >= until {
                return missed;
            }
            if ground::current().is_some() {
                drop(members);
                ground::sleep(LOOK_AGAIN);
                members = self.members.lock();
            } else {
                self.moved.wait_until(&mut members, until);
            }
        }
    }
}

impl Group {
    /// Waits until the others have applied the entries before an index. Tells who has not said so by then.
    pub(super) fn spread_to(&self, others: &BTreeMap<NodeId, Member>, before: u64, until: Instant) -> Result<Vec<NodeId>> {
        let until = until.max(ground::now() + ASK_AGAIN);
        let spread = &self.spread;
        let unasked: Vec<_> = {
            let mut members = spread.members.lock();
            let must_ask = |node: &NodeId| members.entry(*node).or_default().enter(before, until);
            others.keys().copied().filter(must_ask).collect()
        };
        let asking = async {
            for node in unasked {
                let (spread, wires, member) = (spread.clone(), self.wires().clone(), others[&node].clone());
                ground::spawn(Box::pin(async move {
                    // If it breaks off, whoever waits does not hear of the member, and says so.
                    let _ = ground::aside(move || spread.ask(&wires, node, &member)).await;
                }));
            }
        };
        self.within(self.deadline(), asking).map_err(|retry| match retry {
            super::group::Retry::Again(error) | super::group::Retry::Never(error) => error,
        })?;
        Ok(spread.missed(others, before, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_for_all_who_wait_and_for_the_least_when_that_was_too_much() {
        let (now, mut awaited) = (Instant::now(), Awaited::default());
        let late = now + Duration::from_secs(2);
        assert!(awaited.enter(7, late));
        assert!(!awaited.enter(5, late) && !awaited.enter(9, now + ASK_AGAIN), "somebody asks already");
        assert_eq!(awaited.next(now, false), Some((9, now + ASK_AGAIN)));
        assert_eq!(awaited.next(now, true), Some((5, late)));
        awaited.reached = 5;
        assert_eq!(awaited.next(now, true), Some((7, late)));
        assert_eq!(awaited.next(now + ASK_AGAIN, false), Some((7, late)), "nobody waits for the ninth any more");
        assert!(!awaited.enter(4, late), "it has that");
        assert_eq!(awaited.next(late, false), None);
        assert!(awaited.enter(7, late + ASK_AGAIN), "who asked has gone");
    }
}
