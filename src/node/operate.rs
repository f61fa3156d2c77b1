//! What an operator asks of a node, as values: status, and changes of the group.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use crate::log::raft::{GroupStatus, Member, Turnover};
use crate::token::message::{Health, Refusal};

/// The kind of frame that carries a [`Operate`] and comes back with an [`Operated`].
pub const OPERATE_KIND: u8 = 3;

/// One request of an operator. Field numbers are for ever.
#[derive(Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Operate {
    /// How the node and its group are.
    #[n(0)]
    Status,
    /// The node becomes the first member of a new group.
    #[n(1)]
    Begin,
    /// A node that follows without a vote.
    #[n(2)]
    AddLearner {
        #[n(0)]
        node: u64,
        #[n(1)]
        member: Member,
    },
    /// Which members vote.
    #[n(3)]
    ChangeVoters {
        #[n(0)]
        voters: BTreeSet<u64>,
        #[n(1)]
        force: bool,
    },
    #[n(4)]
    Remove {
        #[n(0)]
        node: u64,
    },
    #[n(5)]
    TransferLeader {
        #[n(0)]
        to: u64,
    },
    /// The certificate files are read again.
    #[n(6)]
    ReadCertificates,
}

/// The answer.
#[derive(Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Operated {
    #[n(0)]
    Done,
    #[n(1)]
    Refused(#[n(0)] Refusal),
    #[n(2)]
    Status(#[n(0)] Box<NodeStatus>),
}

/// How a node and its group are, as the node knows it.
#[derive(Clone, Debug, Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct NodeStatus {
    #[n(0)]
    pub health: Health,
    #[n(1)]
    pub term: u64,
    #[n(2)]
    pub members: Vec<MemberStatus>,
    /// Entries of the log that are applied here, and that are known to be committed.
    #[n(3)]
    pub applied: u64,
    #[n(4)]
    pub committed: u64,
    /// Milliseconds since a quorum or the leader was heard of.
    #[n(5)]
    pub contact_age: Option<u64>,
    #[n(6)]
    pub applications: u64,
    #[n(7)]
    pub connections: u64,
    #[n(8)]
    pub poisoned: Option<String>,
    #[n(9)]
    pub version: String,
    /// When the node's certificate ends, in seconds since 1970.
    #[n(10)]
    pub certificate_ends: i64,
    /// The group's name: another one after a forced new beginning.
    #[n(11)]
    #[cbor(with = "minicbor::bytes")]
    pub group: [u8; 16],
    /// Members that had not applied revocations when these were acknowledged at this node, and have not since.
    #[n(12)]
    pub unreached: Option<Vec<u64>>,
    /// Why the group goes on without this node.
    #[n(13)]
    pub expelled: Option<String>,
    #[n(14)]
    pub availability: Option<Counted>,
    /// Whether it runs in an application's process.
    #[n(15)]
    pub peer: Option<bool>,
    /// A change of the voters that is not through.
    #[n(16)]
    pub turnover: Option<Turnover>,
    /// The number of the list of revoked certificates that it goes by.
    #[n(17)]
    pub revocations: Option<u64>,
}

impl NodeStatus {
    /// Who votes, once a change that is not through is.
    pub fn voters_to_be(&self) -> BTreeSet<u64> {
        let voters = || self.members.iter().filter(|member| member.votes).map(|member| member.node).collect();
        self.turnover.as_ref().map_or_else(voters, |turnover| turnover.after.clone())
    }
}

/// Calls, by who counted them: failed ÷ all is the availability.
#[derive(Clone, Copy, Debug, Default, Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Counted {
    /// Of modules that told this node.
    #[n(0)]
    pub module_calls: u64,
    #[n(1)]
    pub module_failed: u64,
    #[n(2)]
    pub module_retried: u64,
    /// Of this node.
    #[n(3)]
    pub requests: u64,
    #[n(4)]
    pub sent_elsewhere: u64,
}

/// One member.
#[derive(Clone, Debug, Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct MemberStatus {
    #[n(0)]
    pub node: u64,
    #[n(1)]
    pub member: Member,
    #[n(2)]
    pub votes: bool,
    /// Entries that it has on its disk, if the one who says so leads.
    #[n(3)]
    pub held: Option<u64>,
}

/// Voters, then those who follow.
pub fn members(status: &GroupStatus) -> Vec<MemberStatus> {
    let one = |node: &u64, member: &Member, votes| MemberStatus {
        node: *node,
        member: member.clone(),
        votes,
        held: status.held_before.get(node).copied(),
    };
    let voters = status.voters.iter().map(|(node, member)| one(node, member, true));
    voters.chain(status.learners.iter().map(|(node, member)| one(node, member, false))).collect()
}
