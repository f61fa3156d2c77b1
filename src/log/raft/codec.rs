//! The log's values as bytes with explicit field numbers: what is on the disk and between members outlives any version of openraft.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::{Decode, Encode};

use super::types::{Command, Entry, LeaderId, LogId, Member, Membership, NodeId, Payload, StoredMembership, Vote};
use crate::error::{Code, Doing, Result, refuse};
use crate::limits::{MEMBER_NAME_MAX_BYTES, MEMBERS_MAX, PROPOSAL_MAX_BYTES, PROPOSED_MAX_BYTES};
use crate::store::{Change, Outcome, Place, Proposal, RequestId};

/// Most sets of voters at once: one, and two while the group goes from one to the other.
const VOTER_SETS_MAX: usize = 2;

/// Above any term or index that a group can come to, and far enough below what a number holds.
const COUNT_MAX: u64 = 1 << 60;

/// The place of an entry: its index and by whom, in which term, it was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogIdRow {
    #[n(0)]
    term: u64,
    #[n(1)]
    node: u64,
    #[n(2)]
    index: u64,
}

/// Who has a member's vote, and whether a quorum gave it theirs as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteRow {
    #[n(0)]
    term: u64,
    #[n(1)]
    node: u64,
    #[n(2)]
    committed: bool,
}

#[derive(Clone, Debug, Encode, Decode)]
struct NodeRow {
    #[n(0)]
    node: u64,
    #[n(1)]
    member: Member,
}

/// All members, and which of them vote.
#[derive(Clone, Debug, Encode, Decode)]
pub struct MembershipRow {
    #[n(0)]
    voters: Vec<Vec<u64>>,
    #[n(1)]
    nodes: Vec<NodeRow>,
}

#[derive(Clone, Debug, Encode, Decode)]
struct StoredMembershipRow {
    #[n(0)]
    at: Option<LogIdRow>,
    #[n(1)]
    membership: MembershipRow,
}

#[derive(Clone, Debug, Encode, Decode)]
enum PayloadRow {
    #[n(0)]
    Blank,
    #[n(1)]
    Command {
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        proposal: Vec<u8>,
    },
    #[n(2)]
    Membership {
        #[n(0)]
        membership: MembershipRow,
    },
}

/// One entry of the log.
#[derive(Clone, Debug, Encode, Decode)]
pub struct EntryRow {
    #[n(0)]
    id: LogIdRow,
    #[n(1)]
    payload: PayloadRow,
}

#[derive(Encode, Decode)]
struct ProposalRow {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    client: [u8; 16],
    #[n(1)]
    sequence: u64,
    #[n(2)]
    change: Change,
}

/// A decision, as it goes from the leader to the member that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DecisionRow {
    #[n(0)]
    Answered {
        #[n(0)]
        outcome: Outcome,
    },
    #[n(1)]
    AboveBounds {
        #[n(0)]
        number: u64,
    },
    #[n(2)]
    TooOld {
        #[n(0)]
        number: u64,
    },
}

impl From<LogId> for LogIdRow {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl LogIdRow {
    /// The place, when terms and indices can still grow from it. Errors: `DeviceError`.
    pub fn read(self) -> Result<LogId> {
        within_bounds(self.term, self.index)?;
        Ok(LogId { leader_id: LeaderId { term: self.term, node_id: self.node }, index: self.index })
    }
}

impl From<Vote> for VoteRow {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl VoteRow {
    /// The vote, when terms can still grow from it. Errors: `DeviceError`.
    pub fn read(self) -> Result<Vote> {
        within_bounds(self.term, 0)?;
        Ok(Vote { leader_id: LeaderId { term: self.term, node_id: self.node }, committed: self.committed })
    }
}

fn within_bounds(term: u64, index: u64) -> Result<()> {
    if term > COUNT_MAX || index > COUNT_MAX {
        return Err(refuse(Code::DeviceError, format!("term {term} or index {index} is above all bounds, {COUNT_MAX}")));
    }
    Ok(())
}

impl From<&Membership> for MembershipRow {
    fn from(membership: &Membership) -> Self {
        let voters = membership.get_joint_config().iter().map(|set| set.iter().copied().collect()).collect();
        let nodes = membership.nodes().map(|(node, member)| NodeRow { node: *node, member: member.clone() }).collect();
        Self { voters, nodes }
    }
}

impl TryFrom<MembershipRow> for Membership {
    type Error = crate::error::Error;

    fn try_from(row: MembershipRow) -> Result<Self> {
        if row.voters.len() > VOTER_SETS_MAX || row.nodes.len() > MEMBERS_MAX {
            let told = format!("a membership of {} sets of voters and {} members", row.voters.len(), row.nodes.len());
            return Err(refuse(Code::DeviceError, format!("{told}; at most {VOTER_SETS_MAX} and {MEMBERS_MAX} are possible")));
        }
        if row.voters.is_empty() && row.nodes.is_empty() {
            return Ok(Self::default());
        }
        row.nodes.iter().try_for_each(|row| check_member(row.node, &row.member))?;
        let voters: Vec<BTreeSet<NodeId>> = row.voters.into_iter().map(|set| set.into_iter().collect()).collect();
        let nodes: BTreeMap<NodeId, Member> = row.nodes.into_iter().map(|row| (row.node, row.member)).collect();
        Self::new(voters, nodes).doing(Code::DeviceError, "a membership contradicts itself")
    }
}

/// Refuses names that are longer than the group keeps.
pub fn check_member(node: NodeId, member: &Member) -> Result<()> {
    let names = [("zone", &member.zone), ("region", &member.region), ("address", &member.address)];
    match names.iter().find(|(_, name)| name.len() > MEMBER_NAME_MAX_BYTES) {
        Some((what, name)) => {
            let told =
                format!("the {what} of member {node} has {} bytes, at most {MEMBER_NAME_MAX_BYTES} are possible", name.len());
            Err(refuse(Code::ArgumentsBad, told))
        }
        None => Ok(()),
    }
}

impl From<&Entry> for EntryRow {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            Payload::Blank => PayloadRow::Blank,
            Payload::Normal(command) => PayloadRow::Command { proposal: command.0.to_vec() },
            Payload::Membership(membership) => PayloadRow::Membership { membership: membership.into() },
        };
        Self { id: entry.log_id.into(), payload }
    }
}

impl EntryRow {
    /// The entry, when it is one that a member can have sent. Errors: `DeviceError`.
    pub fn into_entry(self) -> Result<Entry> {
        let payload = match self.payload {
            PayloadRow::Blank => Payload::Blank,
            PayloadRow::Command { proposal } if proposal.len() > PROPOSAL_MAX_BYTES => {
                let told = format!("a proposal of {} bytes, at most {PROPOSAL_MAX_BYTES} are possible", proposal.len());
                return Err(refuse(Code::DeviceError, told));
            }
            PayloadRow::Command { proposal } => Payload::Normal(Command(Arc::from(proposal))),
            PayloadRow::Membership { membership } => Payload::Membership(membership.try_into()?),
        };
        Ok(Entry { log_id: self.id.read()?, payload })
    }
}

impl From<super::Decision> for DecisionRow {
    fn from(decision: super::Decision) -> Self {
        match decision {
            super::Decision::Answered(outcome) => Self::Answered { outcome },
            super::Decision::AboveBounds(number) => Self::AboveBounds { number },
            super::Decision::TooOld(number) => Self::TooOld { number },
        }
    }
}

impl From<DecisionRow> for super::Decision {
    fn from(row: DecisionRow) -> Self {
        match row {
            DecisionRow::Answered { outcome } => Self::Answered(outcome),
            DecisionRow::AboveBounds { number } => Self::AboveBounds(number),
            DecisionRow::TooOld { number } => Self::TooOld(number),
        }
    }
}

/// Any of our values as bytes.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a vector cannot fail, and our encoders do not")
}

/// A value from bytes that may be anything.
pub fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8], what: &str) -> Result<T> {
    minicbor::decode(bytes).doing(Code::DeviceError, format!("{what} of {} bytes cannot be decoded", bytes.len()))
}

/// An entry as it is kept.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    encode(&EntryRow::from(entry))
}

/// An entry that was kept.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry> {
    decode::<EntryRow>(bytes, "an entry of the log")?.into_entry()
}

/// A proposal as a command. Errors: `PastLimit`: it is longer than the log takes.
pub fn command(proposal: Proposal) -> Result<Command> {
    let RequestId { client, sequence } = proposal.request;
    let bytes = encode(&ProposalRow { client, sequence, change: proposal.change });
    if bytes.len() > PROPOSED_MAX_BYTES {
        let told = format!("the change has {} bytes, at most {PROPOSED_MAX_BYTES} are possible; send less at once", bytes.len());
        return Err(refuse(Code::PastLimit, told));
    }
    Ok(Command(Arc::from(bytes)))
}

/// The proposal of a command.
pub fn proposal(command: &Command) -> Result<Proposal> {
    let row: ProposalRow = decode(&command.0, "a proposal")?;
    Ok(Proposal { request: RequestId { client: row.client, sequence: row.sequence }, change: row.change })
}

/// Whether a command's change only makes new objects: by its number alone, as each member has to know before it decodes all of it.
pub fn only_makes(command: &Command) -> bool {
    let mut decoder = minicbor::Decoder::new(&command.0);
    let mut change = || -> std::result::Result<u32, minicbor::decode::Error> {
        decoder.array()?;
        decoder.skip()?;
        decoder.skip()?;
        decoder.array()?;
        decoder.u32()
    };
    change().is_ok_and(|number| number == Change::CREATE_OBJECTS)
}

/// Where a store stands, for the store.
pub fn place(applied: Option<LogId>, membership: &StoredMembership) -> Place {
    let row = StoredMembershipRow { at: membership.log_id().map(LogIdRow::from), membership: membership.membership().into() };
    Place { applied: applied.map(|id| encode(&LogIdRow::from(id))), membership: Some(encode(&row)) }
}

/// Where a store stands, from the store.
pub fn standing(place: &Place) -> Result<(Option<LogId>, StoredMembership)> {
    let applied = place.applied.as_deref().map(|bytes| decode::<LogIdRow>(bytes, "the place in the log")).transpose()?;
    let membership = match place.membership.as_deref() {
        Some(bytes) => {
            let row: StoredMembershipRow = decode(bytes, "the membership")?;
            StoredMembership::new(row.at.map(LogIdRow::read).transpose()?, row.membership.try_into()?)
        }
        None => StoredMembership::default(),
    };
    Ok((applied.map(LogIdRow::read).transpose()?, membership))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{FRAME_MAX_BYTES, OBJECT_MAX_BYTES};
    use crate::store::tests::fixtures::{create, row};
    use crate::store::{ObjectRow, Sealed};

    #[test]
    fn what_is_taken_into_the_log_fits_a_frame_as_the_longest_object_does() {
        let of = |bytes: usize| {
            let objects = vec![ObjectRow { sealed: Sealed::from_ciphertext(vec![7; bytes]), ..row(1) }];
            command(Proposal { request: RequestId { client: [1; 16], sequence: 1 }, change: create(objects) })
        };
        let longest = of(PROPOSED_MAX_BYTES - 1000).unwrap();
        assert!(longest.0.len() + (256 << 10) <= FRAME_MAX_BYTES);
        assert!(of(OBJECT_MAX_BYTES + 1000).is_ok());
        assert_eq!(of(PROPOSED_MAX_BYTES).err().map(|error| error.code()), Some(Code::PastLimit));
    }
}
