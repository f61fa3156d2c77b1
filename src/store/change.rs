//! Every durable fact that we know how to alter, as values with explicit field numbers: log entries are kept, so a number is never
//! given a new meaning.

use minicbor::{Decode, Encode};

use crate::ck::AttributeType;
use crate::object::{ObjectId, TokenId};

/// Bytes that are ciphertext, so that log, store and backup may carry them.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Sealed(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    Vec<u8>,
);

impl Sealed {
    /// The caller states that the bytes are ciphertext: only `partition::seal` says so of new bytes, and the store of what it read.
    pub fn from_ciphertext(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The ciphertext.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The ciphertext, taken over.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// One row of the blind index: which attribute, and a keyed hash of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Tag {
    /// The attribute.
    #[n(0)]
    pub attribute: AttributeType,
    /// 128 bits of the keyed hash of its value.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub hash: [u8; 16],
}

/// An object at rest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ObjectRow {
    /// Its name for ever.
    #[n(0)]
    pub id: ObjectId,
    /// 1 for a new object, raised by one with each change.
    #[n(1)]
    pub version: u64,
    /// `CKA_PRIVATE`: hidden from those who are not logged in.
    #[n(2)]
    pub private: bool,
    /// All its attributes.
    #[n(3)]
    pub sealed: Sealed,
    /// What it can be found by. The same tag twice counts once.
    #[n(4)]
    pub tags: Vec<Tag>,
}

/// Public facts of a token: in clear, authenticated by the partition.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TokenRow {
    /// Its name for ever.
    #[n(0)]
    pub id: TokenId,
    /// 16 characters, different from every other token's.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub serial: [u8; 16],
    /// Padded with blanks.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub label: [u8; 32],
    /// How strict it is; a number that the partition understands.
    #[n(3)]
    pub policy: u8,
    /// Raised by each `C_InitToken`.
    #[n(4)]
    pub generation: u64,
    /// The key of the token's public objects, plain or wrapped.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub public_key: Vec<u8>,
    /// The partition's authentication of this row.
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub mac: Vec<u8>,
}

/// One holder of a PIN.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UserRow {
    /// The token.
    #[n(0)]
    pub token: TokenId,
    /// 0 is the security officer, 1 the user.
    #[n(1)]
    pub role: u8,
    /// Raised by each change of the PIN.
    #[n(2)]
    pub generation: u64,
    /// The token key under the PIN's key, with all that is needed to derive that from the PIN.
    #[n(3)]
    pub wrapped: Sealed,
    /// Wrong PINs in a row; each attempt is reserved here before it is verified.
    #[n(4)]
    pub attempts: u32,
    /// Attempts after which the user is locked; 0 never locks.
    #[n(5)]
    pub attempts_max: u32,
}

/// A durable fact to be altered. Each names the versions that it was decided on; apply compares them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// A new token, or an existing one emptied: all its objects and users go, its place in the order stays.
    #[n(0)]
    InitToken {
        /// The token as it shall be.
        #[n(0)]
        token: TokenRow,
        /// Its security officer.
        #[n(1)]
        so: UserRow,
        /// The generation that it was decided on; `None`: there must be no such token, nor another of this serial number.
        #[n(2)]
        expected_generation: Option<u64>,
    },
    /// The token goes with all that it holds.
    #[n(1)]
    DeleteToken {
        /// The token.
        #[n(0)]
        token: TokenId,
    },
    /// New objects, all or none.
    #[n(2)]
    CreateObjects {
        /// The token that they belong to.
        #[n(0)]
        token: TokenId,
        /// The generation that it was decided on.
        #[n(1)]
        token_generation: u64,
        /// The objects; an id that exists already is a conflict.
        #[n(2)]
        objects: Vec<ObjectRow>,
    },
    /// Replaces an object that was at version `row.version - 1`.
    #[n(3)]
    ReplaceObject {
        /// The token that it belongs to.
        #[n(0)]
        token: TokenId,
        /// The object as it shall be.
        #[n(1)]
        row: ObjectRow,
    },
    /// An object goes.
    #[n(4)]
    DeleteObject {
        /// The token that it belongs to.
        #[n(0)]
        token: TokenId,
        /// The object.
        #[n(1)]
        id: ObjectId,
        /// The version that it was decided on.
        #[n(2)]
        expected_version: u64,
    },
    /// A PIN is set or changed.
    #[n(5)]
    SetUser {
        /// The user as it shall be.
        #[n(0)]
        user: UserRow,
        /// The generation that it was decided on; `None`: there must be no such user.
        #[n(1)]
        expected_generation: Option<u64>,
    },
    /// Reserves one PIN attempt before it is verified.
    #[n(6)]
    ReserveAttempt {
        /// The token.
        #[n(0)]
        token: TokenId,
        /// Whose PIN.
        #[n(1)]
        role: u8,
    },
    /// The PIN was right: no wrong attempt in a row any more.
    #[n(7)]
    ClearAttempts {
        /// The token.
        #[n(0)]
        token: TokenId,
        /// Whose PIN.
        #[n(1)]
        role: u8,
        /// The generation of the PIN that was right.
        #[n(2)]
        generation: u64,
    },
    /// A new token with its users and all that it holds, or nothing of it.
    #[n(8)]
    ImportToken {
        /// The token; there must be none with its id or serial number.
        #[n(0)]
        token: TokenRow,
        /// Its security officer.
        #[n(1)]
        so: UserRow,
        /// Its user, if a PIN is set.
        #[n(2)]
        user: Option<UserRow>,
        /// Its objects.
        #[n(3)]
        objects: Vec<ObjectRow>,
    },
}

impl Change {
    /// The number of [`Change::CreateObjects`] where changes are kept as bytes.
    pub const CREATE_OBJECTS: u32 = 2;
}

/// What apply answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// It is so.
    #[n(0)]
    Done,
    /// It was decided on old facts: read again, decide again. Nothing was changed or recorded.
    #[n(1)]
    Conflict,
    /// The token, user or object is not there (any more). Nothing was changed.
    #[n(2)]
    Gone,
    /// An attempt is reserved.
    #[n(3)]
    Attempt {
        /// Attempts in a row, this one included.
        #[n(0)]
        attempts: u32,
    },
    /// The user is locked; no attempt was reserved.
    #[n(4)]
    Locked,
}

/// Names one request for ever, so that it is applied once however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Random bits of the proposing client.
    pub client: [u8; 16],
    /// Rises with each request of the client.
    pub sequence: u64,
}

/// A change and the request that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The request.
    pub request: RequestId,
    /// What it asks for.
    pub change: Change,
}

/// A proposal that has its place in the order of all changes. Only the log makes one.
#[derive(Debug)]
pub struct Committed {
    index: u64,
    proposal: Proposal,
}

impl Committed {
    /// The log states that the proposal is the `index`-th change of this store: nobody but room `log` may say so.
    pub fn by_log(index: u64, proposal: Proposal) -> Self {
        Self { index, proposal }
    }

    /// Its place: 1 is the first change of a store.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What was proposed.
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Outcome, Tag};
    use crate::ck::AttributeType;
    use crate::object::{ObjectId, TokenId};
    use crate::store::tests::fixtures::{init, row, token_row, user_row};

    const TOKEN: TokenId = TokenId([7; 16]);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The encodings that logs of format 1 hold. They are never edited: a new meaning gets a new number.
    #[test]
    fn changes_keep_their_encoding() {
        let token = "5007070707070707070707070707070707";
        let cases = [
            (Change::DeleteToken { token: TOKEN }, format!("820181{token}")),
            (Change::CreateObjects { token: TOKEN, token_generation: 3, objects: vec![] }, format!("820283{token}0380")),
            (
                Change::DeleteObject { token: TOKEN, id: ObjectId([1; 16]), expected_version: 500 },
                format!("820483{token}50{}1901f4", "01".repeat(16)),
            ),
            (
                Change::SetUser { user: user_row(TOKEN, 1, 2), expected_generation: None },
                format!("82058186{token}0102583c{}0003", "01".repeat(60)),
            ),
            (Change::ReserveAttempt { token: TOKEN, role: 1 }, format!("820682{token}01")),
            (Change::ClearAttempts { token: TOKEN, role: 0, generation: 4 }, format!("820783{token}0004")),
            (
                Change::ImportToken { token: token_row(TOKEN, 1), so: user_row(TOKEN, 0, 1), user: None, objects: vec![] },
                format!(
                    "8208848750{id}50{}5820{}0101582c{}5820{}86{token}0001583c{}0003f680",
                    "07".repeat(16),
                    "4c".repeat(32),
                    "09".repeat(44),
                    "08".repeat(32),
                    "00".repeat(60),
                    id = "07".repeat(16)
                ),
            ),
        ];
        for (change, encoded) in cases {
            assert_eq!(hex(&minicbor::to_vec(&change).unwrap()), encoded, "{change:?}");
        }
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let tag = Tag { attribute: AttributeType(0x8000_0000_0000_0001), hash: [5; 16] };
        let mut object = row(5);
        object.tags.push(tag);
        let changes = [
            init(TOKEN, u64::MAX, Some(9)),
            Change::CreateObjects { token: TOKEN, token_generation: 1, objects: vec![row(1), object.clone()] },
            Change::ReplaceObject { token: TOKEN, row: object },
        ];
        for change in changes {
            let encoded = minicbor::to_vec(&change).unwrap();
            assert_eq!(minicbor::decode::<Change>(&encoded).unwrap(), change);
            for cut in 0..encoded.len() {
                assert!(minicbor::decode::<Change>(&encoded[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn outcomes_keep_their_encoding() {
        let cases = [
            (Outcome::Done, "820080"),
            (Outcome::Conflict, "820180"),
            (Outcome::Gone, "820280"),
            (Outcome::Attempt { attempts: 3 }, "82038103"),
            (Outcome::Locked, "820480"),
        ];
        for (outcome, encoded) in cases {
            assert_eq!(hex(&minicbor::to_vec(outcome).unwrap()), encoded, "{outcome:?}");
        }
    }
}
