//! What members of a group ask one another, as bytes. Every number has its meaning for ever; a reader skips what it does not know.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::codec::{DecisionRow, EntryRow, LogIdRow, VoteRow};
use super::types::{Member, NodeId};
use crate::error::{Code, Error};

/// A request with its addresses.
#[derive(Debug, Encode, Decode)]
pub struct Envelope {
    /// Which group: a member of another does not answer.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub group: [u8; 16],
    /// Who asks.
    #[n(1)]
    pub from: NodeId,
    /// Who is asked: an address may meanwhile be another member's.
    #[n(2)]
    pub to: NodeId,
    /// What.
    #[n(3)]
    pub ask: Ask,
}

/// A request.
#[derive(Debug, Encode, Decode)]
pub enum Ask {
    /// Take these entries after `previous`; without any, a heartbeat.
    #[n(0)]
    Append {
        #[n(0)]
        vote: VoteRow,
        #[n(1)]
        previous: Option<LogIdRow>,
        #[n(2)]
        entries: Vec<EntryRow>,
        #[n(3)]
        committed: Option<LogIdRow>,
    },
    /// Vote for me; `rehearsal`: would you?
    #[n(1)]
    Vote {
        #[n(0)]
        vote: VoteRow,
        #[n(1)]
        last: Option<LogIdRow>,
        #[n(2)]
        transfer: bool,
        #[n(3)]
        rehearsal: bool,
    },
    /// The heir is to stand for election now; the others are not to hold to their leader meanwhile.
    #[n(2)]
    Transfer {
        #[n(0)]
        from: VoteRow,
        #[n(1)]
        last: Option<LogIdRow>,
        #[n(2)]
        heir: NodeId,
    },
    /// A piece of a copy of my store; the last one says where it stands.
    #[n(3)]
    Piece {
        #[n(0)]
        vote: VoteRow,
        #[n(1)]
        copy: u64,
        #[n(2)]
        offset: u64,
        #[n(3)]
        #[cbor(with = "minicbor::bytes")]
        bytes: Vec<u8>,
        #[n(4)]
        last: Option<PlaceRow>,
    },
    /// Propose this.
    #[n(4)]
    Propose {
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        proposal: Vec<u8>,
        #[n(1)]
        wait_milliseconds: u64,
        /// How many changes there were when the request was first sent, if it may be too old. Older members neither say nor ask.
        #[n(2)]
        since: Option<u64>,
    },
    /// Up to where must one have applied to have seen all that is committed now?
    #[n(5)]
    ReadIndex,
    /// Have you applied the entries before this index? Wait a while.
    #[n(6)]
    Reach {
        #[n(0)]
        before: u64,
        #[n(1)]
        wait_milliseconds: u64,
    },
    /// Change the membership.
    #[n(7)]
    Manage {
        #[n(0)]
        manage: Manage,
    },
}

/// Where a copy stands in the log, as the store keeps it.
#[derive(Debug, Encode, Decode)]
pub struct PlaceRow {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub applied: Option<Vec<u8>>,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub membership: Option<Vec<u8>>,
}

/// A change of the membership, or of who leads.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Manage {
    #[n(0)]
    AddLearner {
        #[n(0)]
        node: NodeId,
        #[n(1)]
        member: Member,
    },
    #[n(1)]
    ChangeVoters {
        #[n(0)]
        voters: BTreeSet<NodeId>,
        #[n(1)]
        force: bool,
    },
    #[n(2)]
    Remove {
        #[n(0)]
        node: NodeId,
    },
    #[n(3)]
    TransferLeader {
        #[n(0)]
        node: NodeId,
    },
}

/// An answer.
#[derive(Debug, Encode, Decode)]
pub enum Answer {
    /// It is so.
    #[n(0)]
    Done,
    /// The entries are on the disk, all of them or up to `upto` only.
    #[n(1)]
    Appended {
        #[n(0)]
        partly: bool,
        #[n(1)]
        upto: Option<LogIdRow>,
    },
    /// I have no such previous entry.
    #[n(2)]
    Diverged,
    /// I know of a newer leader or candidate.
    #[n(3)]
    Newer {
        #[n(0)]
        vote: VoteRow,
    },
    /// My vote.
    #[n(4)]
    Voted {
        #[n(0)]
        vote: VoteRow,
        #[n(1)]
        granted: bool,
        #[n(2)]
        last: Option<LogIdRow>,
    },
    /// It was committed at this index.
    #[n(5)]
    Committed {
        #[n(0)]
        index: u64,
        #[n(1)]
        decision: DecisionRow,
    },
    /// An index: entries before it.
    #[n(6)]
    Before {
        #[n(0)]
        index: u64,
    },
    /// Not yet.
    #[n(7)]
    NotYet,
    /// Ask the leader; nothing was done, or it is not known whether anything was.
    #[n(8)]
    NotLeader {
        #[n(0)]
        leader: Option<NodeId>,
    },
    /// No, and asking again does not help.
    #[n(9)]
    Refused {
        #[n(0)]
        fault: Fault,
        #[n(1)]
        told: String,
        /// Of one of another group: the asker's has ended, as another was formed from it by force. Absent in older members.
        #[n(2)]
        ended: Option<Ended>,
    },
}

/// The name of a group that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Ended(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// Why a request is refused, as far as the asker's code depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Fault {
    /// The member cannot.
    #[n(0)]
    Failed,
    /// A rule forbids it.
    #[n(1)]
    Forbidden,
    /// It is of another group.
    #[n(2)]
    OtherGroup,
    /// The asker is no member of the group, as the leader knows it.
    #[n(3)]
    NoMember,
}

impl Answer {
    /// The refusal that an error is.
    pub fn refused(fault: Fault, told: String) -> Self {
        Self::Refused { fault, told, ended: None }
    }
}

impl Fault {
    /// The fault that an error is.
    pub fn of(error: &Error) -> Self {
        if error.code() == Code::ArgumentsBad { Self::Forbidden } else { Self::Failed }
    }

    /// The code that it becomes.
    pub fn code(self) -> Code {
        match self {
            Self::Failed | Self::OtherGroup | Self::NoMember => Code::DeviceError,
            Self::Forbidden => Code::ArgumentsBad,
        }
    }
}
