//! Objects, attributes and templates: what a token holds, and the rules for what may be set, read and changed.
//!
//! Knows: ck, error, faults, limits, secret.
//! Crates: minicbor, zeroize.

pub mod encode;
pub mod index;
pub mod policy;
pub mod table;
pub mod template;
mod value;

use std::fmt;

pub use value::{Template, Value};

use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::secret::Secret;

/// 128 random bits that name an object everywhere, for ever (also its `CKA_UNIQUE_ID`, as 32 hexadecimal digits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct ObjectId(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

impl ObjectId {
    /// The object of this `CKA_UNIQUE_ID`: 32 hexadecimal digits, no capitals, as [`fmt::Display`] writes them. `None`: no object has it.
    pub fn of_unique_id(digits: &[u8]) -> Option<Self> {
        let text = str::from_utf8(digits).ok().filter(|text| text.len() == 32)?;
        let id = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 128 random bits that name a token for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct TokenId(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// One object with all its attributes, secrets included. It exists in `partition` and `mechanism` only.
pub struct Object {
    /// Its name for ever.
    pub id: ObjectId,
    /// Raised by each change; bound into the sealed form.
    pub version: u64,
    /// Sorted by attribute type, each once.
    pub attributes: Template,
}

impl Object {
    /// `CKA_CLASS`. Every object has one.
    pub fn class(&self) -> ObjectClass {
        ObjectClass(self.ulong(AttributeType::CLASS).unwrap_or(u64::MAX))
    }

    /// `CKA_KEY_TYPE`, for keys and domain parameters.
    pub fn key_type(&self) -> Option<KeyType> {
        self.ulong(AttributeType::KEY_TYPE).map(KeyType)
    }

    /// A boolean attribute; absent counts as false.
    pub fn flag(&self, kind: AttributeType) -> bool {
        matches!(self.attributes.get(kind), Some(Value::Bool(true)))
    }

    /// A number.
    pub fn ulong(&self, kind: AttributeType) -> Option<u64> {
        match self.attributes.get(kind) {
            Some(Value::Ulong(number)) => Some(*number),
            _ => None,
        }
    }

    /// A byte string that is not secret.
    pub fn bytes(&self, kind: AttributeType) -> Option<&[u8]> {
        match self.attributes.get(kind) {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// A secret byte string (`CKA_VALUE` of a key, private components).
    pub fn secret(&self, kind: AttributeType) -> Option<&Secret> {
        match self.attributes.get(kind) {
            Some(Value::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    /// `CKA_TOKEN`.
    pub fn is_token(&self) -> bool {
        self.flag(AttributeType::TOKEN)
    }

    /// `CKA_PRIVATE`.
    pub fn is_private(&self) -> bool {
        self.flag(AttributeType::PRIVATE)
    }
}
