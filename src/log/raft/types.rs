//! What openraft is told about us, and the names of its types as we use them. Everything else of openraft's that is stored or sent goes
//! through `codec`.

use std::fmt;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::log::decide::Decision;

/// The name of a member for ever: never given to another, nor to the same one after its disk was wiped.
pub type NodeId = u64;

/// Where a member stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// Members of one zone fail together.
    #[n(0)]
    pub zone: String,
    /// Zones of one region share a quorum.
    #[n(1)]
    pub region: String,
    /// Where it is called; understood by room `node`.
    #[n(2)]
    pub address: String,
}

/// An encoded proposal.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub Arc<[u8]>);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answers; entries without a proposal have no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied(pub Option<Decision>);

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

openraft::declare_raft_types!(
    /// openraft's parameters.
    pub Types:
        D = Command,
        R = Applied,
        NodeId = NodeId,
        Node = Member,
        AsyncRuntime = super::ground::Runtime,
);

pub type LeaderId = openraft::alias::LeaderIdOf<Types>;
pub type LogId = openraft::alias::LogIdOf<Types>;
pub type Vote = openraft::alias::VoteOf<Types>;
pub type Entry = openraft::alias::EntryOf<Types>;
pub type Payload = openraft::alias::PayloadOf<Types>;
pub type Membership = openraft::Membership<NodeId, Member>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub type Snapshot = openraft::alias::SnapshotOf<Types, super::machine::Carried>;
pub type Raft = openraft::Raft<Types, super::machine::Machine>;
