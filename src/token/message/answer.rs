//! Answers, and what they hold.

use minicbor::{Decode, Encode};

use super::{Blob, Request, Who, codec};
use crate::ck::{MechanismType, Rv};
use crate::error::{Code, Error, refuse};
use crate::mechanism::Shape;
use crate::object::policy::Policy;
use crate::object::{ObjectId, Value};
use crate::secret::Secret;
use crate::token::{Description, PinState, Reading, Reference, TokenId};

/// One answer.
#[derive(Encode, Decode)]
pub struct Answer {
    /// How many changes the partition had applied when it answered.
    #[n(0)]
    pub mark: u64,
    /// A renewed ticket, if it was time.
    #[n(1)]
    pub ticket: Option<Blob>,
    /// What came of it.
    #[n(2)]
    pub verdict: Verdict,
    /// Whether the node is cut off from the quorum: another one, if there is one, knows more.
    #[n(3)]
    pub isolated: Option<bool>,
    /// Names the group whose changes `mark` counts. Absent in older nodes.
    #[n(4)]
    pub epoch: Option<u64>,
}

impl Request {
    /// The mark that must be reached at a node of this group before it answers. `None`: the request's counts the changes of another group.
    pub fn mark_in(&self, epoch: Option<u64>) -> Option<u64> {
        let is_other = self.epoch.zip(epoch).is_some_and(|(theirs, ours)| theirs != ours);
        if is_other { None } else { Some(self.mark) }
    }
}

/// What came of a request.
#[derive(Encode, Decode)]
pub enum Verdict {
    /// Done.
    #[n(0)]
    Done(#[n(0)] Reply),
    /// Refused for good: what the C caller is told.
    #[n(1)]
    Refused(#[n(0)] Refusal),
    /// Not here, not now: another partition, or this one later, may do it.
    #[n(2)]
    Elsewhere(#[n(0)] String),
    /// Session objects or a stream are not known here: the same request with capsules, or all parts of the stream.
    #[n(3)]
    Unknown(#[n(0)] Vec<ObjectId>),
}

/// An error as it travels.
#[derive(Encode, Decode)]
pub struct Refusal {
    /// `CKR_*`.
    #[n(0)]
    pub code: Rv,
    /// A sentence for people.
    #[n(1)]
    pub told: String,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { code: error.code().rv(), told: error.to_string() }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        // `CKR_GENERAL_ERROR` is a panic's; a partition that had one is out of order.
        let code =
            Some(refusal.code).filter(|code| *code != Rv::GENERAL_ERROR).and_then(Code::of_rv).unwrap_or(Code::DeviceError);
        refuse(code, refusal.told)
    }
}

/// What a request gives.
#[derive(Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Reply {
    #[n(0)]
    Nothing,
    #[n(1)]
    Tokens(#[n(0)] Vec<TokenId>),
    #[n(2)]
    Token(#[n(0)] TokenId),
    #[n(3)]
    Described(#[n(0)] Described),
    #[n(4)]
    Who(#[n(0)] Who),
    #[n(5)]
    Permit(#[n(0)] Blob),
    #[n(6)]
    Objects(#[n(0)] Vec<Named>),
    #[n(7)]
    Readings(#[n(0)] Vec<Read>),
    #[n(8)]
    Number(#[n(0)] u64),
    #[n(9)]
    Bytes(#[cbor(n(0), with = "codec::secret")] Secret),
    #[n(10)]
    Started(#[n(0)] Begun),
    #[n(11)]
    Health(#[n(0)] Health),
    /// To [`Ask::Inherit`](super::Ask::Inherit).
    #[n(12)]
    Inherited {
        /// The child's own login in place of the parent's.
        #[n(0)]
        who: Option<Who>,
        /// The session objects that there are, with capsules of the child's own.
        #[n(1)]
        objects: Vec<Named>,
    },
    /// To [`Ask::Make`](super::Ask::Make): these calls are refused, and nothing is made. The others are to be asked for again without them, under the same number.
    #[n(13)]
    Apart(#[n(0)] Vec<Apart>),
}

/// A call that is refused among others.
#[derive(Encode, Decode)]
pub struct Apart {
    /// Its number in the request.
    #[n(0)]
    pub number: u32,
    /// What its caller is told.
    #[n(1)]
    pub refusal: Refusal,
}

/// A [`Description`] as it travels.
#[derive(Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Described {
    #[n(0)]
    pub id: TokenId,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub label: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    pub serial: [u8; 16],
    #[n(3)]
    pub user_pin_set: bool,
    #[n(4)]
    pub so_pin: PinState,
    #[n(5)]
    pub user_pin: PinState,
    #[n(6)]
    pub policy: Policy,
}

impl From<Description> for Described {
    fn from(it: Description) -> Self {
        let Description { id, label, serial, user_pin_set, so_pin, user_pin, policy } = it;
        Self { id, label, serial, user_pin_set, so_pin, user_pin, policy }
    }
}

impl From<Described> for Description {
    fn from(it: Described) -> Self {
        let Described { id, label, serial, user_pin_set, so_pin, user_pin, policy } = it;
        Self { id, label, serial, user_pin_set, so_pin, user_pin, policy }
    }
}

/// A [`Reference`] as it travels; a session object comes with what revives it elsewhere.
#[derive(Clone, Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Named {
    #[n(0)]
    pub id: ObjectId,
    #[n(1)]
    pub token: bool,
    #[n(2)]
    pub private: bool,
    /// The capsule and the version in it, when the session object is new or was changed.
    #[n(3)]
    pub capsule: Option<Capsule>,
}

/// A sealed session object.
#[derive(Clone, Encode, Decode)]
pub struct Capsule {
    /// The version inside.
    #[n(0)]
    pub version: u64,
    /// What only the pool's partitions can open.
    #[n(1)]
    pub sealed: Blob,
}

impl From<&Named> for Reference {
    fn from(named: &Named) -> Self {
        Self { id: named.id, token: named.token, private: named.private }
    }
}

impl From<Reference> for Named {
    fn from(reference: Reference) -> Self {
        Self { id: reference.id, token: reference.token, private: reference.private, capsule: None }
    }
}

/// A [`Reading`] as it travels.
#[derive(Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Read {
    #[n(0)]
    Value(#[cbor(n(0), with = "codec::value")] Value),
    #[n(1)]
    Sensitive,
    #[n(2)]
    Absent,
}

impl From<Reading> for Read {
    fn from(reading: Reading) -> Self {
        match reading {
            Reading::Value(value) => Read::Value(value),
            Reading::Sensitive => Read::Sensitive,
            Reading::Absent => Read::Absent,
        }
    }
}

impl From<Read> for Reading {
    fn from(read: Read) -> Self {
        match read {
            Read::Value(value) => Reading::Value(value),
            Read::Sensitive => Reading::Sensitive,
            Read::Absent => Reading::Absent,
        }
    }
}

/// What a caller must know of a started operation before it sends input.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Begun {
    /// `CKA_ALWAYS_AUTHENTICATE`.
    #[n(0)]
    pub authenticate: bool,
    /// Longest signature, or output of a recovery, in bytes; 0 for a cipher.
    #[n(1)]
    pub output_max: u64,
    /// The digest mechanism of the hash that the caller may compute itself.
    #[n(2)]
    pub hash: Option<MechanismType>,
    /// Whether parts must be sent as they come: the state is the partition's.
    #[n(3)]
    pub streams: bool,
    /// A cipher's rule.
    #[n(4)]
    pub shape: Option<Shape>,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Health {
    /// Its number in the pool.
    #[n(0)]
    pub node: u64,
    /// Its zone.
    #[n(1)]
    pub zone: String,
    /// Whether it serves; false while it drains.
    #[n(2)]
    pub serves: bool,
    /// Whether it hears of a living quorum.
    #[n(3)]
    pub in_contact: bool,
    /// The leader, as far as it knows.
    #[n(4)]
    pub leader: Option<u64>,
    /// Changes applied, and new objects that are before whoever has to see them is answered.
    #[n(5)]
    pub applied: u64,
    /// What it may do; absent in older nodes.
    #[n(6)]
    pub duty: Option<Duty>,
    /// Changes applied, and nothing besides: what people are told; absent in older nodes.
    #[n(7)]
    pub changes: Option<u64>,
}

impl Health {
    /// For people, whom a number that goes back would alarm: the changes that are applied by now.
    pub fn changes_applied(&self) -> u64 {
        self.changes.unwrap_or(self.applied)
    }

    /// Whether it serves, and may do all.
    pub fn is_well(&self) -> bool {
        self.serves && matches!(self.duty, None | Some(Duty::Ordinary))
    }

    /// Whether calls may go to it.
    pub fn is_useful(&self) -> bool {
        self.serves && matches!(self.duty, None | Some(Duty::Ordinary | Duty::Isolated(_)))
    }
}

/// What a node may do, by how long ago it knew all that its group had committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Duty {
    /// All.
    #[n(0)]
    Ordinary,
    /// It catches up with its group first.
    #[n(1)]
    Behind,
    /// Cut off from the quorum, it uses keys for so many seconds still.
    #[n(2)]
    Isolated(#[n(0)] u64),
    /// Cut off for too long, it uses no key.
    #[n(3)]
    Stopped,
    /// The group goes on without it.
    #[n(4)]
    Expelled,
}
