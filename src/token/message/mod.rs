//! The verbs of the waist as values: what travels between a module and the partitions of a pool, as CBOR with explicit field
//! numbers. Readers skip fields that they do not know, so old modules and new nodes understand one another; a number is never given
//! a new meaning.
//!
//! A request is complete: it can be sent again, to another partition. Requests that change something carry a sequence number; with the
//! scope it names the change, which is applied once however often it arrives.

mod answer;
mod codec;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod make;
#[cfg(test)]
pub(crate) mod tests;

pub use answer::{Answer, Apart, Begun, Capsule, Described, Duty, Health, Named, Read, Refusal, Reply, Verdict};
pub use make::{Making, New};

use std::sync::Arc;

use minicbor::{Decode, Encode};

use super::{Access, LoginId, Role, Scope, TokenId};
use crate::ck::AttributeType;
use crate::error::{Code, Result, refuse};
use crate::mechanism::Mechanism;
use crate::object::{ObjectId, Template};
use crate::secret::Secret;

/// The kind of frame that carries a [`Request`] and comes back with an [`Answer`].
pub const FRAME_KIND: u8 = 1;

/// One request.
#[derive(Encode, Decode)]
pub struct Request {
    /// The token; none for requests about all of them.
    #[n(0)]
    pub token: Option<TokenId>,
    /// Who asks.
    #[n(1)]
    pub who: Who,
    /// Names the change, together with the scope; none for requests that change nothing.
    #[n(2)]
    pub sequence: Option<u64>,
    /// How many changes the partition must have applied before it answers: the client has seen their effect.
    #[n(3)]
    pub mark: u64,
    /// The client's session objects that the request names, or (for a search) all of them.
    #[n(4)]
    pub held: Vec<Held>,
    /// Session objects that the partition said it did not know.
    #[n(5)]
    pub capsules: Vec<Blob>,
    /// What is asked for.
    #[n(6)]
    pub ask: Ask,
    /// What the module's calls have come to since it last told.
    #[n(7)]
    pub tally: Option<Tally>,
    /// Names one use of a key within the scope, so that the use may arrive twice and yet spend its nonce once.
    #[n(8)]
    pub use_number: Option<u64>,
    /// Whether the module knows of no other node that is well: then one that is cut off answers look-ups from what it has. Absent in older modules.
    #[n(9)]
    pub alone: Option<bool>,
    /// Whether a look-up need not show more than what is applied at `mark`.
    #[n(10)]
    pub mark_is_enough: Option<bool>,
    /// Of which group `mark` counts the changes, as its nodes named it: to others it says nothing. Absent in older modules, and before any node has named it.
    #[n(11)]
    pub epoch: Option<u64>,
    /// How many changes the pool had made at least when a request with a number was first sent: it was not carried out before. One that arrives when the answers
    /// of that time may be forgotten is not carried out. Absent in older modules.
    #[n(12)]
    pub since: Option<u64>,
}

impl Request {
    /// A request that carries nothing else.
    pub fn new(token: Option<TokenId>, who: Who, mark: u64, ask: Ask) -> Self {
        Self {
            token,
            who,
            sequence: None,
            mark,
            held: Vec::new(),
            capsules: Vec::new(),
            ask,
            tally: None,
            use_number: None,
            alone: None,
            mark_is_enough: None,
            epoch: None,
            since: None,
        }
    }
}

/// Calls of one module, for those who watch the pool: failed ÷ all is its availability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Tally {
    /// Calls that left the module.
    #[n(0)]
    pub calls: u64,
    /// Those that no node answered in time.
    #[n(1)]
    pub failed: u64,
    /// Those that needed another node or another try.
    #[n(2)]
    pub retried: u64,
}

/// Who asks: an [`Access`] as it travels.
#[derive(Clone, Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Who {
    #[n(0)]
    pub scope: Scope,
    #[n(1)]
    pub role: Option<Role>,
    #[n(2)]
    pub login: Option<LoginId>,
    #[n(3)]
    pub ticket: Blob,
    #[n(4)]
    pub write: bool,
}

impl From<&Access> for Who {
    fn from(access: &Access) -> Self {
        let Access { scope, role, login, ref ticket, write } = *access;
        Self { scope, role, login, ticket: Blob(ticket.to_vec()), write }
    }
}

impl From<&Who> for Access {
    fn from(who: &Who) -> Self {
        let Who { scope, role, login, ref ticket, write } = *who;
        Self { scope, role, login, ticket: Arc::from(&*ticket.0), write }
    }
}

/// One version of a session object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Held {
    /// The object.
    #[n(0)]
    pub id: ObjectId,
    /// Its version, as the client last saw it.
    #[n(1)]
    pub version: u64,
}

/// Bytes that are no secret: a CBOR byte string.
#[derive(Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Blob(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub Vec<u8>,
);

/// What one use of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Verb {
    #[n(0)]
    Sign,
    #[n(1)]
    Verify,
    #[n(2)]
    SignRecover,
    #[n(3)]
    VerifyRecover,
    #[n(4)]
    Encrypt,
    #[n(5)]
    Decrypt,
}

/// A key with what is to be done with it.
#[derive(Clone, Encode, Decode)]
pub struct Use {
    /// What.
    #[n(0)]
    pub verb: Verb,
    /// How.
    #[n(1)]
    pub mechanism: Mechanism,
    /// With which key.
    #[n(2)]
    pub key: ObjectId,
    /// A permit's proof; empty where the key asks for none.
    #[n(3)]
    pub permit: Blob,
}

/// What is asked for.
#[derive(Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Ask {
    #[n(0)]
    Tokens,
    #[n(1)]
    InitToken {
        #[n(0)]
        existing: Option<TokenId>,
        #[cbor(n(1), with = "codec::secret")]
        so_pin: Secret,
        #[cbor(n(2), with = "minicbor::bytes")]
        label: [u8; 32],
    },
    #[n(2)]
    DeleteToken {
        #[n(0)]
        token: TokenId,
    },
    #[n(3)]
    Describe,
    #[n(4)]
    Login {
        #[n(0)]
        role: Role,
        #[cbor(n(1), with = "codec::secret")]
        pin: Secret,
    },
    #[n(5)]
    Logout,
    #[n(6)]
    Authenticate {
        #[cbor(n(0), with = "codec::secret")]
        pin: Secret,
    },
    #[n(7)]
    SetPin {
        #[cbor(n(0), with = "codec::secret")]
        old: Secret,
        #[cbor(n(1), with = "codec::secret")]
        new: Secret,
    },
    #[n(8)]
    InitPin {
        #[cbor(n(0), with = "codec::secret")]
        new: Secret,
    },
    #[n(9)]
    Find {
        #[cbor(n(0), with = "codec::template")]
        template: Template,
    },
    #[n(10)]
    Read {
        #[n(0)]
        id: ObjectId,
        #[n(1)]
        wanted: Vec<AttributeType>,
    },
    #[n(11)]
    Size {
        #[n(0)]
        id: ObjectId,
    },
    #[n(12)]
    Create {
        #[cbor(n(0), with = "codec::template")]
        template: Template,
    },
    #[n(13)]
    Copy {
        #[n(0)]
        id: ObjectId,
        #[cbor(n(1), with = "codec::template")]
        changes: Template,
    },
    #[n(14)]
    Update {
        #[n(0)]
        id: ObjectId,
        #[cbor(n(1), with = "codec::template")]
        changes: Template,
    },
    #[n(15)]
    Destroy {
        #[n(0)]
        id: ObjectId,
    },
    #[n(16)]
    Forget {
        #[n(0)]
        ids: Vec<ObjectId>,
    },
    #[n(17)]
    Leave,
    #[n(18)]
    Generate {
        #[n(0)]
        mechanism: Mechanism,
        #[cbor(n(1), with = "codec::template")]
        template: Template,
    },
    #[n(19)]
    GeneratePair {
        #[n(0)]
        mechanism: Mechanism,
        #[cbor(n(1), with = "codec::template")]
        public: Template,
        #[cbor(n(2), with = "codec::template")]
        private: Template,
    },
    #[n(20)]
    Wrap {
        #[n(0)]
        mechanism: Mechanism,
        #[n(1)]
        wrapping: ObjectId,
        #[n(2)]
        key: ObjectId,
    },
    #[n(21)]
    Unwrap {
        #[n(0)]
        mechanism: Mechanism,
        #[n(1)]
        unwrapping: ObjectId,
        #[cbor(n(2), with = "minicbor::bytes")]
        wrapped: Vec<u8>,
        #[cbor(n(3), with = "codec::template")]
        template: Template,
    },
    #[n(22)]
    Derive {
        #[n(0)]
        mechanism: Mechanism,
        #[n(1)]
        base: ObjectId,
        #[cbor(n(2), with = "codec::template")]
        template: Template,
    },
    /// Whether the key may be used so, and what the caller must know before it sends input. Uses nothing up.
    #[n(23)]
    Start {
        #[n(0)]
        what: Use,
    },
    /// One whole use.
    #[n(24)]
    Run {
        #[n(0)]
        what: Use,
        /// The message, or its digest by the hash that `Start` named.
        #[cbor(n(1), with = "codec::secret")]
        input: Secret,
        #[n(2)]
        hashed: bool,
        #[cbor(n(3), with = "minicbor::bytes")]
        signature: Vec<u8>,
    },
    /// One part of a use whose state is the partition's.
    #[n(25)]
    Part {
        #[n(0)]
        what: Use,
        /// Random; names the stream within the scope.
        #[cbor(n(1), with = "minicbor::bytes")]
        stream: [u8; 16],
        /// How many parts came before: a partition that has taken another number answers `Unknown`, and all are sent again.
        #[n(2)]
        after: u64,
        #[cbor(n(3), with = "codec::secret")]
        input: Secret,
        /// The last one.
        #[n(4)]
        ends: bool,
        #[cbor(n(5), with = "minicbor::bytes")]
        signature: Vec<u8>,
    },
    /// A stream that is given up.
    #[n(26)]
    Drop {
        #[cbor(n(0), with = "minicbor::bytes")]
        stream: [u8; 16],
    },
    /// A whole digest with keys in it.
    #[n(27)]
    Digest {
        #[n(0)]
        mechanism: Mechanism,
        /// The saved state after the caller's own bytes, before the first key.
        #[n(1)]
        state: Option<Blob>,
        #[n(2)]
        parts: Vec<Digested>,
    },
    /// How the node is: no token, no login.
    #[n(28)]
    Health,
    /// The child of a fork makes its own what it has from its parent. Who asks is the child, with the parent's login and ticket, if there is one.
    #[n(29)]
    Inherit {
        /// The parent.
        #[n(0)]
        from: Scope,
        /// The parent's session objects.
        #[n(1)]
        capsules: Vec<Blob>,
    },
    /// Token objects for several calls of the application: one change makes all of them, or none. Older nodes do
    /// not know it.
    #[n(30)]
    Make {
        #[n(0)]
        makings: Vec<Making>,
    },
}

impl Ask {
    /// Whether the request changes something, so that it must be named.
    pub fn changes(&self) -> bool {
        matches!(
            self,
            Ask::InitToken { .. }
                | Ask::DeleteToken { .. }
                | Ask::Login { .. }
                | Ask::Authenticate { .. }
                | Ask::SetPin { .. }
                | Ask::InitPin { .. }
                | Ask::Create { .. }
                | Ask::Copy { .. }
                | Ask::Update { .. }
                | Ask::Destroy { .. }
                | Ask::Generate { .. }
                | Ask::GeneratePair { .. }
                | Ask::Unwrap { .. }
                | Ask::Derive { .. }
                | Ask::Make { .. }
        )
    }

    /// How many calls of the application it stands for.
    pub fn calls(&self) -> u64 {
        if let Ask::Make { makings } = self { makings.len() as u64 } else { 1 }
    }

    /// Whether it uses a key: it waits for the keys' own changes only.
    pub fn uses_a_key(&self) -> bool {
        matches!(self, Ask::Start { .. } | Ask::Run { .. } | Ask::Part { .. } | Ask::Wrap { .. } | Ask::Digest { .. })
    }

    /// Whether the answer must show all that was committed anywhere before.
    pub fn looks_up(&self) -> bool {
        matches!(self, Ask::Tokens | Ask::Describe | Ask::Find { .. } | Ask::Read { .. } | Ask::Size { .. })
    }

    /// The verb's name, for those who count.
    pub fn verb(&self) -> &'static str {
        match self {
            Ask::Tokens => "Tokens",
            Ask::InitToken { .. } => "InitToken",
            Ask::DeleteToken { .. } => "DeleteToken",
            Ask::Describe => "Describe",
            Ask::Login { .. } => "Login",
            Ask::Logout => "Logout",
            Ask::Authenticate { .. } => "Authenticate",
            Ask::SetPin { .. } => "SetPin",
            Ask::InitPin { .. } => "InitPin",
            Ask::Find { .. } => "Find",
            Ask::Read { .. } => "Read",
            Ask::Size { .. } => "Size",
            Ask::Create { .. } => "Create",
            Ask::Copy { .. } => "Copy",
            Ask::Update { .. } => "Update",
            Ask::Destroy { .. } => "Destroy",
            Ask::Forget { .. } => "Forget",
            Ask::Leave => "Leave",
            Ask::Generate { .. } => "Generate",
            Ask::GeneratePair { .. } => "GeneratePair",
            Ask::Wrap { .. } => "Wrap",
            Ask::Unwrap { .. } => "Unwrap",
            Ask::Derive { .. } => "Derive",
            Ask::Start { .. } => "Start",
            Ask::Run { .. } => "Run",
            Ask::Part { .. } => "Part",
            Ask::Drop { .. } => "Drop",
            Ask::Digest { .. } => "Digest",
            Ask::Health => "Health",
            Ask::Inherit { .. } => "Inherit",
            Ask::Make { .. } => "Make",
        }
    }
}

/// One part of a digest.
#[derive(Encode, Decode)]
pub enum Digested {
    /// The caller's bytes.
    #[n(0)]
    Bytes(#[cbor(n(0), with = "codec::secret")] Secret),
    /// A secret key's value.
    #[n(1)]
    Key(#[n(0)] ObjectId),
}

/// Bytes of a message, to be sent; they may hold secrets and are wiped when dropped.
pub fn encode<T: Encode<()>>(message: &T) -> Secret {
    let mut bytes = Wiped(Secret::default());
    minicbor::encode(message, &mut bytes).expect("memory takes every byte, and our encoders do not fail");
    bytes.0
}

/// Bytes that are wiped wherever they have been.
struct Wiped(Secret);

impl minicbor::encode::Write for Wiped {
    type Error = std::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> std::result::Result<(), Self::Error> {
        self.0.extend(bytes);
        Ok(())
    }
}

/// A message again. Total: any bytes give a message or an error.
///
/// Errors: `FunctionNotSupported`: it says what only a later version knows; `DeviceError`: it is none.
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T> {
    minicbor::decode(bytes).map_err(|cause| match cause.is_unknown_variant() {
        true => refuse(Code::FunctionNotSupported, "a message of a later version says what is not known here").because(cause),
        false => refuse(Code::DeviceError, "reading a message of the pool").because(cause),
    })
}
