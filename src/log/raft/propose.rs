//! The log's face: changes are proposed, reads are ordered, wherever the leader is.

use std::time::{Duration, Instant};

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};

use super::codec;
use super::fence::NOBODY;
use super::group::{Group, Retry, Tried};
use super::lease::LEASE;
use super::message::{Answer, Ask};
use super::network::unexpected;
use super::types::{Command, Member, NodeId};
use super::{ground, status, zones};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::{PEER_ANSWER_MAX_MILLISECONDS, PROPOSALS_UNDER_WAY_MAX_BYTES, SERVING_LEASE_MARGIN_MILLISECONDS};
use crate::log::decide::Decision;
use crate::log::{Log, Proposal, Standing, Version, is_remembered};
use crate::store::Outcome;

/// How much earlier than its asker a leader gives up, so that the refusal still arrives.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);
/// How long a state that was seen elsewhere may take to come here before the leader is asked whether there is such a one.
const MARK_COMES_SOON: Duration = Duration::from_millis(200);

/// A request that may have been carried out so long ago that nobody knows any more.
struct TooOld;

/// One attempt's time: after that the leader may be another.
fn attempt(left: Duration) -> Duration {
    left.min(Duration::from_millis(PEER_ANSWER_MAX_MILLISECONDS))
}

impl Log for Group {
    fn propose(&self, proposal: Proposal) -> Result<Outcome> {
        self.propose_by_leader(proposal, None)
    }

    fn propose_since(&self, proposal: Proposal, since: u64) -> Result<Outcome> {
        self.propose_by_leader(proposal, Some(since))
    }

    fn confirm(&self, proposal: Proposal) -> Result<()> {
        match self.quorums_span_two() {
            true => Ok(()),
            false => self.propose(proposal).map(drop),
        }
    }

    fn version(&self) -> Version {
        self.store().stamp().map_or(Version::UNSETTLED, Version::settled)
    }

    fn barrier(&self) -> Result<()> {
        if faults::on(Fault::ReadsAreStale) {
            return Ok(());
        }
        let deadline = self.deadline();
        let before = self.latest(deadline)?;
        self.wait_for(deadline, "the latest state", |mark| mark.before >= before)?;
        if faults::on(Fault::LooksMissWhatIsOpen) {
            return Ok(());
        }
        self.applying().put_down_by(deadline).map(drop)
    }

    fn standing(&self) -> Standing {
        self.lease().standing()
    }

    fn serves_for(&self, time: Duration) -> bool {
        self.lease().serves_for(time)
    }

    fn spread(&self, applied_ago: Duration) -> Result<()> {
        if faults::on(Fault::DestroyDoesNotWait) {
            return Ok(());
        }
        let before = self.progress().mark().before;
        self.wires().wanted.urge();
        // A member that cannot keep it serves no longer than its lease, like one that is silent.
        self.keep_committed(self.deadline());
        let longest = LEASE + Duration::from_millis(SERVING_LEASE_MARGIN_MILLISECONDS);
        let until = ground::now() + longest.saturating_sub(applied_ago);
        let mut others = self.progress().members();
        others.extend(self.others());
        others.remove(&self.wires().node);
        let missed = self.spread_to(&others, before, until)?;
        {
            let mut unreached = self.lease().unreached.lock();
            for node in missed {
                let waited = unreached.entry(node).or_default();
                *waited = before.max(*waited);
            }
        }
        // Nobody can be asked who is no member any more, and goes on for as long as the lease lasts that it has.
        if !faults::on(Fault::RemovedAreNotWaitedFor) {
            let wait = self.progress().gone_serve_for(longest).min(until.saturating_duration_since(ground::now()));
            ground::sleep(wait);
        }
        Ok(())
    }

    fn mark(&self) -> u64 {
        self.progress().mark().changes
    }

    fn at_hand(&self) -> u64 {
        self.progress().at_hand().changes
    }

    fn shown(&self) -> u64 {
        self.progress().shown().changes
    }

    fn show(&self) -> Result<bool> {
        self.applying().put_down_by(self.deadline())
    }

    fn reach(&self, mark: u64) -> Result<()> {
        if faults::on(Fault::MarksAreIgnored) {
            return Ok(());
        }
        let (deadline, soon) = (self.deadline(), ground::now() + MARK_COMES_SOON);
        if self.applying().wait(soon.min(deadline), |reached| reached.changes >= mark) {
            return Ok(());
        }
        // This member may be behind; or nobody has made so many, and who waits would wait in vain.
        let before = self.latest(deadline.min(ground::now() + attempt(self.call_deadline())))?;
        self.wait_for(deadline, "a state that was seen elsewhere", |reached| {
            reached.changes >= mark || reached.before >= before
        })?;
        let made = self.progress().mark().changes;
        if made >= mark {
            return Ok(());
        }
        let told = format!("the client has seen {mark} changes, and this group has made {made}: the client saw another one");
        Err(refuse(Code::DeviceError, told))
    }

    fn epoch(&self) -> Option<u64> {
        let group = *self.wires().group.read();
        let (name, _) = group.split_first_chunk().expect("a group's name is longer than a number");
        Some(u64::from_be_bytes(*name)).filter(|_| group != NOBODY)
    }
}

impl Group {
    /// Before which index a member must have applied to lack nothing that is committed now.
    fn latest(&self, deadline: Instant) -> Result<u64> {
        self.by_leader(
            deadline,
            "asking for the latest state",
            |deadline| self.read_index_here(deadline),
            |to, member, left| match self.ask_leader(to, member, Ask::ReadIndex, attempt(left))? {
                Answer::Before { index } => Ok(index),
                other => Err(Retry::Again(unexpected(to, &other))),
            },
        )
    }

    fn propose_by_leader(&self, proposal: Proposal, since: Option<u64>) -> Result<Outcome> {
        let (command, deadline) = (codec::command(proposal)?, self.deadline());
        let decided = self.by_leader(
            deadline,
            "proposing a change",
            |deadline| self.propose_here(&command, since, deadline),
            |to, member, left| self.propose_there(&command, since, to, member, attempt(left)),
        );
        if decided.is_err() && faults::on(Fault::LateIsDone) {
            return Ok(Outcome::Done);
        }
        let (index, decision) = decided?;
        if !self.applying().wait(deadline, |mark| mark.before > index) {
            let told = "the change was made, but this member did not get it in time: it is cut off from the group";
            return Err(refuse(Code::DeviceError, told));
        }
        decision.told()
    }

    /// Whether the log knows still whether it has a request that was first sent when there were `since` changes. The leader says it: what it has is what is
    /// decided on, while another member may have been asleep.
    fn remembers(&self, since: u64) -> bool {
        let mark = self.progress().mark();
        let last = self.look(|metrics| metrics.last_log_index);
        let not_applied = last.map_or(0, |last| (last + 1).saturating_sub(mark.before));
        is_remembered(since, mark.changes + not_applied)
    }

    /// Has on the disk that all is committed which is applied here: a revocation then outlives a power failure, also where the member is cut off
    /// afterwards. Tells whether it is so.
    pub(super) fn keep_committed(&self, deadline: Instant) -> bool {
        if faults::on(Fault::RevocationsAreNotKept) {
            return true;
        }
        self.within(deadline, self.log().keep_committed()).is_ok_and(|kept| kept.is_ok())
    }

    fn wait_for(&self, deadline: Instant, what: &str, passed: impl Fn(super::progress::Mark) -> bool) -> Result<()> {
        if self.applying().wait(deadline, passed) {
            return Ok(());
        }
        let told = format!("this member did not reach {what} in time: it is cut off from the group, or far behind");
        Err(refuse(Code::DeviceError, told))
    }

    /// Proposes, if this member leads, unless the request is too old. Returns the entry's index, when it is committed and safe from the loss of any one zone.
    pub(super) fn propose_here(&self, command: &Command, since: Option<u64>, deadline: Instant) -> Tried<(u64, Decision)> {
        let bytes = command.0.len().clamp(1, PROPOSALS_UNDER_WAY_MAX_BYTES);
        let bytes = u32::try_from(bytes).expect("the bound is below 2^32");
        let written = self.within(deadline, async {
            // Never closed, so a permit always comes.
            let _permit = self.room.acquire_many(bytes).await;
            // After the wait for it, as that may be long.
            let is_known = since.is_none_or(|since| self.remembers(since));
            if is_known { Ok(self.gather().propose(command.clone()).await) } else { Err(TooOld) }
        })?;
        let Ok(written) = written else {
            // No entry: whoever waits for its being applied waits for nothing.
            return Ok((0, Decision::TooOld(codec::proposal(command)?.request.sequence)));
        };
        let ended = || status::poisoned(&self.look(|metrics| metrics.running_state.clone()).err().unwrap_or(Fatal::Stopped));
        let written = written.ok_or_else(ended)?.map_err(|error| match error {
            error @ (ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_)) => {
                Retry::Again(refuse(Code::DeviceError, "this member does not lead").because(error))
            }
            error => refuse(Code::DeviceError, "the log takes no change").because(error).into(),
        })?;
        let index = written.log_id.index;
        self.wait_for_zones(index, deadline)?;
        let lost = || refuse(Code::DeviceError, "a change was applied without an answer");
        Ok((index, written.data.0.ok_or_else(lost)?))
    }

    fn quorums_span_two(&self) -> bool {
        self.look(|metrics| zones::quorums_span_two(metrics.membership_config.membership()))
    }

    /// Waits until members of two zones have an entry on their disks. Where every quorum has such members, it is so already.
    fn wait_for_zones(&self, index: u64, deadline: Instant) -> Tried<()> {
        if self.quorums_span_two() || faults::on(Fault::CommitsInOneZone) {
            return Ok(());
        }
        let mut watch = self.raft().metrics();
        let node = self.wires().node;
        let safe = self.within(deadline, async {
            loop {
                let metrics = watch.borrow_watched().clone();
                let Some(held) = &metrics.replication else { return false };
                let has = held.iter().filter(|(_, id)| id.is_some_and(|id| id.index >= index));
                let holders = has.map(|(node, _)| *node).collect();
                if zones::survives(metrics.membership_config.membership(), node, &holders) {
                    return true;
                }
                if watch.changed().await.is_err() {
                    return false;
                }
            }
        });
        match safe {
            Ok(true) => Ok(()),
            Ok(false) => Err(Retry::Again(refuse(Code::DeviceError, "this member no longer leads"))),
            Err(Retry::Again(late) | Retry::Never(late)) => {
                let told = "the change is in one zone only, as no member of another zone has taken it in time";
                let todo = "bring one back, or remove those that are gone from the group";
                Err(Retry::Again(refuse(Code::DeviceError, format!("{told}; {todo}")).because(late)))
            }
        }
    }

    fn propose_there(
        &self,
        command: &Command,
        since: Option<u64>,
        to: NodeId,
        member: &Member,
        left: Duration,
    ) -> Tried<(u64, Decision)> {
        let wait_milliseconds = u64::try_from(left.saturating_sub(ANSWER_MARGIN).as_millis()).unwrap_or(u64::MAX);
        let ask = Ask::Propose { proposal: command.0.to_vec(), wait_milliseconds, since };
        match self.ask_leader(to, member, ask, left)? {
            Answer::Committed { index, decision } => Ok((index, decision.into())),
            // Whatever became of it: the request's id makes a second attempt harmless.
            other => Err(Retry::Again(unexpected(to, &other))),
        }
    }

    /// Before which index one must have applied to have seen all that is committed now, if this member leads.
    pub(super) fn read_index_here(&self, deadline: Instant) -> Tried<u64> {
        match self.within(deadline, self.raft().get_read_log_id(ReadPolicy::ReadIndex))? {
            Ok((id, _)) => Ok(id.index() + 1),
            Err(RaftError::Fatal(fatal)) => Err(status::poisoned(&fatal).into()),
            Err(RaftError::APIError(error @ LinearizableReadError::ForwardToLeader(_))) => {
                Err(Retry::Again(refuse(Code::DeviceError, "this member does not lead").because(error)))
            }
            Err(RaftError::APIError(error)) => {
                Err(Retry::Again(refuse(Code::DeviceError, "this member leads no quorum").because(error)))
            }
        }
    }
}
