//! Members come, go, vote and lead: decided by the leader, asked for anywhere.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};

use super::group::{Group, Retry, Tried};
use super::message::{Answer, Ask, Manage};
use super::network::unexpected;
use super::settle::{Turnover, second_step};
use super::types::{Membership, NodeId, Types};
use super::zones;
use super::{codec, ground, status};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::MEMBERS_MAX;

/// How long one attempt waits for a leader that may have died; each change may be asked for twice.
const ATTEMPT: Duration = Duration::from_secs(10);

impl Group {
    /// Asks the leader, wherever it is, for a change of the membership, and waits until it is in force.
    pub(super) fn manage(&self, manage: &Manage) -> Result<()> {
        let deadline = self.deadline();
        self.by_leader(
            deadline,
            "changing the group",
            |deadline| self.manage_here(manage, deadline),
            |to, member, left| {
                let ask = Ask::Manage { manage: manage.clone() };
                match self.ask_leader(to, member, ask, left.min(ATTEMPT))? {
                    Answer::Done => Ok(()),
                    Answer::NotLeader { .. } => Err(Retry::Again(refuse(Code::DeviceError, format!("{to} no longer leads")))),
                    other => Err(Retry::Never(unexpected(to, &other))),
                }
            },
        )
    }

    /// Does it, if this member leads.
    pub(super) fn manage_here(&self, manage: &Manage, deadline: Instant) -> Tried<()> {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership().clone();
        let raft = self.raft();
        let changes = !matches!(manage, Manage::TransferLeader { .. });
        let _under_way = changes.then(|| self.changing.begin());
        if changes && Turnover::of(&membership).is_some() && !faults::on(Fault::BrokenOffChangesStay) {
            // Whom a change is about is told from voters that are so for good.
            self.written(deadline, second_step(raft.clone(), *metrics.membership_config.log_id()))?;
            return Err(Retry::Again(refuse(Code::DeviceError, "another change of the voters had to be ended first")));
        }
        match manage {
            Manage::AddLearner { node, member } => {
                codec::check_member(*node, member).map_err(Retry::Never)?;
                check_new(&membership, *node, member)?;
                self.written(deadline, raft.add_learner(*node, member.clone(), false))
            }
            Manage::ChangeVoters { voters, force } => {
                check_voters(&membership, voters, *force)?;
                self.written(deadline, raft.change_membership(voters.clone(), true))
            }
            Manage::Remove { node } => {
                let mut voters: BTreeSet<NodeId> = membership.voter_ids().collect();
                if voters.remove(node) {
                    check_voters(&membership, &voters, false)?;
                    self.written(deadline, raft.change_membership(voters, false))
                } else if membership.get_node(node).is_none() {
                    Ok(())
                } else {
                    let change = ChangeMembers::RemoveNodes(BTreeSet::from([*node]));
                    self.written(deadline, raft.change_membership(change, false))
                }
            }
            Manage::TransferLeader { node } => self.transfer_here(&membership, *node, deadline),
        }
    }

    fn transfer_here(&self, membership: &Membership, to: NodeId, deadline: Instant) -> Tried<()> {
        if !membership.voter_ids().any(|voter| voter == to) {
            let told = format!("member {to} does not vote, so it cannot lead; make it a voter first");
            return Err(Retry::Never(refuse(Code::ArgumentsBad, told)));
        }
        let leader = || self.metrics().current_leader;
        if leader() == Some(to) {
            return Ok(());
        }
        if leader() != Some(self.wires().node) {
            return Err(Retry::Again(refuse(Code::DeviceError, "this member does not lead")));
        }
        self.block_on(self.raft().trigger().transfer_leader(to)).map_err(|fatal| status::poisoned(&fatal))?;
        while ground::now() < deadline {
            if leader() == Some(to) {
                return Ok(());
            }
            ground::sleep(Duration::from_millis(10));
        }
        Err(Retry::Again(refuse(Code::DeviceError, format!("member {to} did not take over"))))
    }

    /// Waits for a change of the membership to be committed and applied.
    fn written<T>(
        &self,
        deadline: Instant,
        change: impl Future<Output = std::result::Result<T, RaftError<Types, ClientWriteError<Types>>>>,
    ) -> Tried<()> {
        let changed = self.within(deadline, change)?;
        changed.map(|_| ()).map_err(|error| match error {
            RaftError::Fatal(fatal) => status::poisoned(&fatal).into(),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                let again =
                    matches!(error, ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_));
                let told = refuse(Code::ArgumentsBad, "the group cannot be changed so").because(error);
                if again { Retry::Again(told) } else { Retry::Never(told) }
            }
            RaftError::APIError(error) => {
                Retry::Again(refuse(Code::DeviceError, "the change was not taken by the leader").because(error))
            }
        })
    }
}

fn check_new(membership: &Membership, node: NodeId, member: &super::Member) -> Tried<()> {
    let never = |told: String| Err(Retry::Never(refuse(Code::ArgumentsBad, told)));
    match membership.get_node(&node) {
        Some(known) if known != member => {
            never(format!("there is a member {node} already, elsewhere; a new member needs a number that was never used"))
        }
        None if membership.nodes().count() >= MEMBERS_MAX => {
            never(format!("the group has {MEMBERS_MAX} members, the most that are possible; remove one first"))
        }
        _ => Ok(()),
    }
}

fn check_voters(membership: &Membership, voters: &BTreeSet<NodeId>, force: bool) -> Tried<()> {
    let never = |told: String| Err(Retry::Never(refuse(Code::ArgumentsBad, told)));
    if voters.is_empty() {
        return never("a group without voters can decide nothing; name one at least".into());
    }
    if let Some(stranger) = voters.iter().find(|voter| membership.get_node(voter).is_none()) {
        return never(format!("{stranger} is no member; add it as a learner first"));
    }
    match zones::overweight(membership, voters).or_else(|| zones::only_zone_left(membership, voters)) {
        Some(zone) if !force && !faults::on(Fault::OneZoneHoldsQuorum) => never(format!(
            "zone {zone} would hold a quorum of the voters, so that its loss stops the group; spread the voters over more zones, or force it"
        )),
        _ => Ok(()),
    }
}
