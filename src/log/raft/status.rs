//! What a member knows of its group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::Instant;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::metrics::{RaftMetrics, RaftServerMetrics};
use openraft::type_config::alias::{SerdeInstantOf, WatchReceiverOf};

use super::ground;
use super::group::{Group, Retry};
use super::settle::Turnover;
use super::types::{Member, NodeId, Types};
use crate::error::{Code, Error, refuse};
use crate::log::Standing;

/// A member's view of its group. What others know may be newer.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// This member.
    pub node: NodeId,
    /// Its group: a new one after [`Group::force_new`]; all zeros before the first contact.
    pub group: [u8; 16],
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// The term, which each election raises.
    pub term: u64,
    /// Members that vote.
    pub voters: BTreeMap<NodeId, Member>,
    /// Members that follow without a vote.
    pub learners: BTreeMap<NodeId, Member>,
    /// A change of the voters that is not through: both its old and its new ones are among the voters until it is.
    pub turnover: Option<Turnover>,
    /// Entries of the log before this index are applied here.
    pub applied_before: u64,
    /// Entries of the log before this index are known here to be committed.
    pub committed_before: u64,
    /// Changes applied to the store here.
    pub changes: u64,
    /// On the leader: the entries before this index that each member has on its disk.
    pub held_before: BTreeMap<NodeId, u64>,
    /// On the leader: how long ago each other member was heard of, by its answer or its own asking; absent: not yet.
    pub heard_ago: BTreeMap<NodeId, Duration>,
    /// How long ago a quorum (on the leader), or the leader (elsewhere), was heard of; `None`: not since this member started.
    pub contact_age: Option<Duration>,
    /// What this member may do.
    pub standing: Standing,
    /// Why the group goes on without this member, if it does.
    pub expelled: Option<String>,
    /// Members that had not applied revocations when these were acknowledged here, and have not since.
    pub unreached: Vec<NodeId>,
    /// What of this member's disk stands still, if something does: it does not lead meanwhile, where another one can.
    pub stalled: Option<&'static str>,
    /// Why this member has stopped for good, if it has: it must be started anew, or replaced.
    pub poisoned: Option<String>,
}

impl Group {
    /// What this member knows of its group. Waits for nobody.
    pub fn status(&self) -> GroupStatus {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let (voting, learning) = membership
            .nodes()
            .map(|(node, member)| (*node, member.clone()))
            .partition::<BTreeMap<_, _>, _>(|(node, _)| voters.contains(node));
        let mark = self.progress().mark();
        let held = metrics.replication.iter().flatten();
        GroupStatus {
            node: self.wires().node,
            group: *self.wires().group.read(),
            leader: metrics.current_leader,
            term: metrics.current_term,
            voters: voting,
            learners: learning,
            turnover: Turnover::of(membership),
            applied_before: mark.before,
            committed_before: metrics.local_committed.map_or(0, |id| id.index + 1),
            changes: mark.changes,
            held_before: held.map(|(node, id)| (*node, id.map_or(0, |id| id.index + 1))).collect(),
            heard_ago: self.heard_ago(&metrics),
            contact_age: self.contact_age(),
            standing: self.lease().standing(),
            expelled: self.lease().expelled(),
            unreached: self.lease().unreached.lock().keys().copied().collect(),
            stalled: *self.stalled.lock(),
            poisoned: self
                .applying()
                .failed()
                .map(str::to_owned)
                .or_else(|| metrics.running_state.err().map(|fatal| fatal.to_string())),
        }
    }
}

/// Waits for changes of who leads, who votes and who follows.
pub struct Changes {
    group: Arc<Group>,
    seen: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
}

impl Changes {
    /// Returns at a change that came after the one that was waited for last, and after `at_most` without one.
    pub fn wait(&mut self, at_most: Duration) {
        let begun = ground::now();
        match self.group.within(begun + at_most, self.seen.changed()) {
            Ok(Ok(())) | Err(Retry::Again(_)) => {}
            // Nothing changes any more: the member has stopped, and whoever looks again will see that.
            Ok(Err(_)) | Err(Retry::Never(_)) => ground::sleep(at_most.saturating_sub(ground::since(begun))),
        }
    }
}

impl Group {
    /// From now on.
    pub fn changes(self: &Arc<Self>) -> Changes {
        Changes { group: self.clone(), seen: self.raft().server_metrics() }
    }

    /// A far member's answers to heartbeats may come too late for openraft, but it asks this leader for its lease.
    fn heard_ago(&self, metrics: &RaftMetrics<Types>) -> BTreeMap<NodeId, Duration> {
        let Some(heartbeat) = &metrics.heartbeat else { return BTreeMap::new() };
        let asked = self.asked.lock();
        let ago = |node: &NodeId, answered: &Option<_>| {
            let answered = (*answered).map(|at: SerdeInstantOf<Types>| at.into_inner().elapsed());
            answered.into_iter().chain(asked.get(node).map(|at| ground::since(*at))).min()
        };
        heartbeat.iter().filter_map(|(node, answered)| Some((*node, ago(node, answered)?))).collect()
    }

    /// How long ago a quorum (on the leader), or the leader (elsewhere), was heard of.
    pub(super) fn contact_age(&self) -> Option<Duration> {
        let watched = self.raft().metrics();
        let metrics = watched.borrow_watched();
        if metrics.running_state.is_err() || metrics.current_leader != Some(self.wires().node) {
            return self.heard().map(ground::since);
        }
        let is_alone = metrics.membership_config.voter_ids().count() == 1;
        if is_alone {
            return Some(Duration::ZERO);
        }
        // One that leads since a moment ago has heard of the leader before it.
        let acked = metrics.last_quorum_acked.map(|acked| acked.into_inner().elapsed());
        acked.or_else(|| self.heard().map(ground::since))
    }
}

/// The refusal of everything by a member that has stopped.
pub fn poisoned(fatal: &Fatal<Types>) -> Error {
    let told = "this member of the group has stopped, because its log or store could not be written, or is shutting down";
    refuse(Code::DeviceError, format!("{told}: {fatal}; start it anew, and replace its disk if that does not help"))
}
