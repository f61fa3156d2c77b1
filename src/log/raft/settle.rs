//! A change of the voters goes in two steps: first a joint membership, in which a quorum of the old voters and one of the new ones is needed; once that is committed, the
//! new voters alone. openraft takes the second step in the call that asked for the first, and nobody takes it when that call has given up or its leader is gone: the group would
//! need its old voters for ever. So whoever leads takes the second step of a change that no call here is at.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use minicbor::{Decode, Encode};
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, RaftMetrics};

use super::ground;
use super::group::Group;
use super::types::{LogId, Membership, NodeId, Raft, Types};
use crate::faults::{self, Fault};

/// A change of the voters that is not through.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Turnover {
    /// Who voted before: a quorum of them is needed still.
    #[n(0)]
    pub before: BTreeSet<NodeId>,
    /// Who votes once it is through: a quorum of them is needed already.
    #[n(1)]
    pub after: BTreeSet<NodeId>,
}

impl Turnover {
    /// The one that a group is in.
    pub(super) fn of(membership: &Membership) -> Option<Self> {
        match membership.get_joint_config().as_slice() {
            [before, .., after] => Some(Self { before: before.clone(), after: after.clone() }),
            _ => None,
        }
    }
}

/// Calls that change the membership at this moment.
#[derive(Default)]
pub struct Changing(AtomicUsize);

/// One of them, until it ends.
pub struct UnderWay<'a>(&'a Changing);

impl Changing {
    /// A call begins. Both steps of its change are its own while it lasts.
    pub fn begin(&self) -> UnderWay<'_> {
        self.0.fetch_add(1, Ordering::AcqRel);
        UnderWay(self)
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The place in the log of a joint membership that this member, which leads, may end: openraft refuses the next step until the last one is committed.
fn half_way(metrics: &RaftMetrics<Types>, node: NodeId) -> Option<LogId> {
    let membership = &metrics.membership_config;
    let leads = metrics.current_leader == Some(node) && metrics.running_state.is_ok();
    let joint = (*membership.log_id()).filter(|_| leads && Turnover::of(membership.membership()).is_some())?;
    metrics.local_committed.is_some_and(|committed| committed.index >= joint.index).then_some(joint)
}

/// The second step, from the joint membership at this place in the log: nothing is done when another one has taken its place. Who voted before and does not any more follows without a vote, as nobody knows whether it
/// was to go; [`Group::remove`] removes it.
pub async fn second_step(raft: Raft, joint: Option<LogId>) -> Result<(), RaftError<Types, ClientWriteError<Types>>> {
    let nobody_more = ChangeMembers::AddVoterIds(BTreeSet::new());
    let only_then = [Precondition::LastMembershipLogId { last_membership_log_id: joint }];
    raft.change_membership_if(nobody_more, true, only_then).await.map(drop)
}

impl Group {
    /// Ends a change of the voters that broke off half way, if this member leads. Waits for nobody; what comes of it is seen by the next call. To be called now and then.
    pub(super) fn settle_voters(&self) {
        if self.changing.is_any() || faults::on(Fault::BrokenOffChangesStay) {
            return;
        }
        let Some(joint) = self.look(|metrics| half_way(metrics, self.wires().node)) else { return };
        let step = second_step(self.raft().clone(), Some(joint));
        // One that fails is taken again, by whoever leads then.
        self.block_on(async { ground::spawn(Box::pin(async { drop(step.await) })) });
    }
}
