//! What a member may do, by how long ago it knew all that its group had committed.
//!
//! Each member asks the leader every now and then up to where the log is committed, as a look-up does, with a round of the quorum, and applies
//! so far. From the moment at which it *asked* it holds a serving lease: at that moment it lacked nothing that was committed. So whoever commits a
//! revocation and then waits for one lease and a margin knows that each member that serves has applied it, whatever links are cut, whoever
//! leads, and however late a message arrives; a new leader has nothing to remember, as no lease is granted without a round of its own quorum.
//!
//! Without a living quorum, the time since the last such moment bounds for how long keys are used (`isolated_use`). It is written down, so that a
//! restart does not make it longer: a member that starts cut off counts from its last contact, by the machine's clock since its start, or by the
//! wall clock if the machine was started since.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use minicbor::{Decode, Encode};
use parking_lot::{Condvar, Mutex};

use super::codec;
use super::fence::Fence;
use super::ground;
use super::group::{Group, Retry};
use super::message::{Answer, Ask, Fault};
use super::network::unexpected;
use super::types::{Member, NodeId};
use super::watch::Watch;
use crate::error::{Code, Doing, Result};
use crate::faults::{self, Fault as Mutation};
use crate::limits::{CONTACT_KEPT_EVERY_SECONDS, LEASE_RENEWED_EVERY_MILLISECONDS, SERVING_LEASE_MILLISECONDS};
use crate::log::Standing;
use crate::store::{Journal, JournalFact};

pub const LEASE: Duration = Duration::from_millis(SERVING_LEASE_MILLISECONDS);
const RENEWED_EVERY: Duration = Duration::from_millis(LEASE_RENEWED_EVERY_MILLISECONDS);
/// Longest time of one attempt.
const PATIENCE_MAX: Duration = Duration::from_millis(2 * LEASE_RENEWED_EVERY_MILLISECONDS);
/// Every so many renewals another member is asked whether it has formed a new group.
const LOOKS_FOR_SURVIVOR_EVERY: usize = 4;
/// How long a member is asked aside from the renewal.
pub const ASIDE: Duration = Duration::from_millis(200);

/// How long a lease is, for who holds it.
fn length() -> Duration {
    if faults::on(Mutation::LeasesAreLong) { 3 * LEASE } else { LEASE }
}

/// The last contact, as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ContactRow {
    /// The machine's life; absent where it has no name.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    boot: Option<[u8; 16]>,
    /// Milliseconds since the machine's start.
    #[n(1)]
    since_boot: u64,
    /// Milliseconds since 1970.
    #[n(2)]
    wall: u64,
}

impl ContactRow {
    fn now(age: Duration) -> Self {
        let millis = |time: Duration| time.saturating_sub(age).as_millis() as u64;
        Self { boot: ground::boot_id(), since_boot: millis(ground::since_boot()), wall: millis(ground::wall()) }
    }

    /// How long ago it was. `None`: clocks have gone back, so nobody knows.
    fn age(self, boot: Option<[u8; 16]>, since_boot: Duration, wall: Duration) -> Option<Duration> {
        match boot.is_some() && boot == self.boot {
            true => since_boot.checked_sub(Duration::from_millis(self.since_boot)),
            false => wall.checked_sub(Duration::from_millis(self.wall)),
        }
    }
}

/// A moment on the clock that goes on while the machine sleeps, or none.
#[derive(Default)]
struct Moment(AtomicU64);

impl Moment {
    /// Moves on, never back.
    fn set(&self, at: Duration) {
        self.0.fetch_max(at.as_nanos() as u64, Ordering::Release);
    }

    fn get(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Acquire)).filter(|at| *at != 0).map(Duration::from_nanos)
    }

    fn age(&self) -> Option<Duration> {
        self.get().map(|at| ground::since_boot().saturating_sub(at))
    }
}

/// The lease of one member.
pub struct Lease {
    isolated_use: Duration,
    /// When the member asked for the last state that it has reached since.
    current: Moment,
    /// When it asked for the last state that it was told of.
    living: Moment,
    /// When the last attempt to ask began that failed.
    failed: Moment,
    /// How long ago the contact was, before the member was started, as of `started`.
    before: Option<Duration>,
    started: Duration,
    /// Why the group goes on without this member, as long as it is not heard of again.
    expelled: Mutex<Option<String>>,
    /// Whether it has ended for good.
    fence: Arc<Fence>,
    /// Whether the member's log or store has failed.
    poisoned: AtomicBool,
    /// Members that had not applied revocations when these were acknowledged here, and what they have to apply.
    pub unreached: Mutex<BTreeMap<NodeId, u64>>,
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Lease {
    /// Nothing is held yet. Errors: `StoreRefused`: the log is damaged.
    pub fn new(isolated_use: Duration, journal: &Journal, fence: Arc<Fence>) -> Result<Self> {
        let row = journal.fact(JournalFact::Contact)?;
        let row: Option<ContactRow> = row.map(|bytes| codec::decode(&bytes, "the last contact")).transpose()?;
        let started = ground::since_boot();
        Ok(Self {
            isolated_use,
            current: Moment::default(),
            living: Moment::default(),
            failed: Moment::default(),
            before: row.and_then(|row| row.age(ground::boot_id(), started, ground::wall())),
            started,
            expelled: Mutex::default(),
            fence,
            poisoned: AtomicBool::new(false),
            unreached: Mutex::default(),
            ended: Mutex::default(),
            wake: Condvar::new(),
        })
    }

    /// How long ago the member knew all that was committed; `None`: never, as far as is known.
    pub fn age(&self) -> Option<Duration> {
        let since_start = || ground::since_boot().saturating_sub(self.started);
        self.current.age().or_else(|| self.before.map(|before| before + since_start()))
    }

    /// Whether the lease is held for so long still.
    pub fn serves_for(&self, time: Duration) -> bool {
        !self.fence.is_closed() && self.current.age().is_some_and(|age| age + time < length())
    }

    pub fn standing(&self) -> Standing {
        // A group that has ended may have a quorum still, and grant leases.
        if self.fence.is_closed() {
            return Standing::Expelled;
        }
        if self.current.age().is_some_and(|age| age < length()) {
            return Standing::Ordinary;
        }
        // This matters to one without a lease only.
        if self.expelled.lock().is_some() {
            return Standing::Expelled;
        }
        if self.living.age().is_some_and(|age| age < LEASE) || !self.has_looked() {
            return Standing::Behind;
        }
        let left = self.age().and_then(|age| LEASE.saturating_add(self.isolated_use).checked_sub(age));
        if faults::on(Mutation::IsolationNeverEnds) {
            return Standing::Isolated { left: LEASE };
        }
        let may = !self.isolated_use.is_zero() && !self.poisoned.load(Ordering::Relaxed);
        match left.filter(|left| !left.is_zero() && may) {
            Some(left) => Standing::Isolated { left: left.min(self.isolated_use) },
            None => Standing::Stopped,
        }
    }

    /// Whether it has asked again since the lease was renewed or the member was started, in vain: one that was asleep does not take itself for cut off.
    fn has_looked(&self) -> bool {
        let since = self.current.get().unwrap_or(self.started);
        self.failed.get().is_some_and(|failed| failed >= since + LEASE / 2)
    }

    /// Why the group goes on without this member.
    pub fn expelled(&self) -> Option<String> {
        self.fence.told().or_else(|| self.expelled.lock().clone())
    }

    /// Lets the thread end.
    pub fn end(&self) {
        *self.ended.lock() = true;
        self.wake.notify_all();
    }

    /// Waits; false: it has ended.
    fn pause(&self, time: Duration) -> bool {
        if ground::current().is_some() {
            ground::sleep(time);
            return !*self.ended.lock();
        }
        let mut ended = self.ended.lock();
        if !*ended {
            self.wake.wait_for(&mut ended, time);
        }
        !*ended
    }

    /// How often the contact is written down: often enough that a restart costs little of the time.
    fn kept_every(&self) -> Option<Duration> {
        let every = Duration::from_secs(CONTACT_KEPT_EVERY_SECONDS).min(self.isolated_use / 4);
        (!every.is_zero()).then_some(every)
    }
}

/// What the leader said.
enum Told {
    Before(u64),
    NoMember(String),
}

impl Group {
    /// Starts the thread that renews the lease. It ends with the member.
    pub(super) fn renew_lease(self: &Arc<Self>) -> Result<()> {
        let (lease, group) = (self.lease().clone(), Arc::downgrade(self));
        let thread = ground::thread("lease", move || renew(&lease, &group)).doing(Code::HostMemory, "cannot start a thread")?;
        *self.renewal.lock() = thread;
        Ok(())
    }

    /// One attempt. Whether it was renewed.
    fn renew_once(&self, asked: Duration, deadline: Instant) -> bool {
        let told = self.by_leader(
            deadline,
            "renewing the serving lease",
            |deadline| self.read_index_here(deadline).map(Told::Before),
            |to, member, left| match self.ask_leader(to, member, Ask::ReadIndex, left)? {
                Answer::Before { index } => Ok(Told::Before(index)),
                Answer::Refused { fault: Fault::NoMember | Fault::OtherGroup, told, .. } => Ok(Told::NoMember(told)),
                other => Err(Retry::Again(unexpected(to, &other))),
            },
        );
        match told {
            Ok(Told::Before(before)) => {
                self.lease().living.set(asked);
                *self.lease().expelled.lock() = None;
                let is_there = self.applying().wait(deadline, |mark| mark.before >= before);
                if is_there {
                    self.lease().current.set(asked);
                }
                is_there
            }
            Ok(Told::NoMember(told)) => {
                *self.lease().expelled.lock() = Some(told);
                false
            }
            Err(_) => false,
        }
    }

    /// A member that hears of no leader asks the others whether there is a group without it. `turn` says whom.
    fn ask_whether_expelled(&self, turn: usize) {
        let others = self.others();
        if others.is_empty() {
            return;
        }
        let (node, member) = &others[turn % others.len()];
        if let Ok(Answer::Refused { fault: Fault::NoMember | Fault::OtherGroup, told, .. }) =
            self.wires().ask(*node, member, Ask::ReadIndex, ASIDE)
        {
            *self.lease().expelled.lock() = Some(told);
        }
    }

    /// A member in contact asks one of those that do not lead now and then whether it has formed a new group: a quorum of old members is told of it by nobody
    /// else. [`Wires`](super::network::Wires) heeds the answer, whatever was asked. `turn` says whom.
    fn look_for_survivor(&self, turn: usize) {
        let leader = self.look(|metrics| metrics.current_leader);
        let others: Vec<_> = self.others().into_iter().filter(|(node, _)| Some(*node) != leader).collect();
        if let Some((node, member)) = turn.checked_rem(others.len()).map(|at| &others[at]) {
            // One that is silent is asked again another time.
            let _ = self.wires().ask(*node, member, Ask::ReadIndex, ASIDE);
        }
    }

    /// Whether a member that had not applied revocations has done so since. `turn` says which.
    fn look_after_unreached(&self, turn: usize) {
        let waited = {
            let unreached = self.lease().unreached.lock();
            let at = turn.checked_rem(unreached.len()).unwrap_or(0);
            unreached.iter().nth(at).map(|(node, before)| (*node, *before))
        };
        let Some((node, before)) = waited else { return };
        let record = self.others().into_iter().find(|(other, _)| *other == node);
        let is_done = record.is_none_or(|(_, member)| {
            matches!(self.wires().ask(node, &member, Ask::Reach { before, wait_milliseconds: 0 }, ASIDE), Ok(Answer::Done))
        });
        if is_done {
            let mut unreached = self.lease().unreached.lock();
            // It may have more to apply by now.
            if unreached.get(&node) == Some(&before) {
                unreached.remove(&node);
            }
        }
    }

    /// All other members.
    pub(super) fn others(&self) -> Vec<(NodeId, Member)> {
        let membership = self.metrics().membership_config;
        let others = membership.nodes().filter(|(node, _)| **node != self.wires().node);
        others.map(|(node, member)| (*node, member.clone())).collect()
    }

    /// Whether a node is a member, as far as this one knows. One that leads knows all; a follower may lag, and is asked by leaders that it has not
    /// heard of.
    pub(super) fn has_member(&self, node: NodeId) -> bool {
        self.metrics().membership_config.membership().get_node(&node).is_some()
    }
}

fn renew(lease: &Lease, group: &Weak<Group>) {
    let (mut patience, mut failures, mut turn, mut kept): (_, u32, usize, Option<Instant>) = (RENEWED_EVERY, 0, 0, None);
    let mut watch = Watch::default();
    loop {
        let Some(member) = group.upgrade() else { return };
        member.end_if_failed();
        member.watch_disk(&mut watch);
        member.look_after_copies();
        if lease.fence.is_closed() {
            member.keep_fence();
            drop(member);
            if !lease.pause(RENEWED_EVERY) {
                return;
            }
            continue;
        }
        let (begun, asked) = (ground::now(), ground::since_boot());
        let renewed = member.renew_once(asked, begun + patience);
        turn = turn.wrapping_add(1);
        if renewed {
            failures = 0;
            member.settle_voters();
            patience = (ground::since(begun) * 3).clamp(RENEWED_EVERY, PATIENCE_MAX);
            match turn % LOOKS_FOR_SURVIVOR_EVERY {
                0 => member.look_for_survivor(turn / LOOKS_FOR_SURVIVOR_EVERY),
                _ => member.look_after_unreached(turn),
            }
            let is_time = |every: Duration| kept.is_none_or(|kept| ground::since(kept) >= every);
            if lease.kept_every().is_some_and(is_time) {
                kept = Some(ground::now());
                member.keep_contact();
            }
        } else {
            lease.poisoned.store(member.metrics().running_state.is_err(), Ordering::Relaxed);
            lease.failed.set(asked);
            failures += 1;
            // The leader that was asked may be gone, so the next attempt comes soon; on a slow machine each takes longer.
            patience = if failures < 4 { RENEWED_EVERY } else { PATIENCE_MAX };
            member.ask_whether_expelled(turn);
        }
        drop(member);
        if !lease.pause(if renewed { RENEWED_EVERY } else { RENEWED_EVERY / 10 }) {
            return;
        }
    }
}

impl Group {
    /// Writes the last contact down. One that cannot is about to find out by its next entry.
    fn keep_contact(&self) {
        let Some(age) = self.lease().current.age() else { return };
        let row = codec::encode(&ContactRow::now(age));
        let _ = self.within(ground::now() + LEASE, self.log().set(JournalFact::Contact, row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_before_the_start_is_as_old_as_the_better_clock_says() {
        let seconds = Duration::from_secs;
        let row = ContactRow { boot: Some([1; 16]), since_boot: 100_000, wall: 5_000_000 };
        // The machine's life, time since its start, the wall clock, and how long ago it was.
        for (boot, since_boot, wall, age) in [
            (Some([1; 16]), 160, 9, Some(60)),
            (Some([1; 16]), 90, 6000, None),
            (Some([2; 16]), 160, 5030, Some(30)),
            (Some([2; 16]), 160, 4000, None),
            (None, 160, 5001, Some(1)),
        ] {
            assert_eq!(row.age(boot, seconds(since_boot), seconds(wall)), age.map(seconds), "{boot:?} {since_boot} {wall}");
        }
        assert_eq!(codec::decode::<ContactRow>(&codec::encode(&row), "a row").unwrap(), row);
    }
}
