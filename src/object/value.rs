//! Attribute values by kind, and templates.

use std::fmt;

use crate::ck::{AttributeType, MechanismType};
use crate::secret::Secret;

/// The value of one attribute. Which kind an attribute has stands in `object::table`.
pub enum Value {
    /// `CK_BBOOL`.
    Bool(bool),
    /// `CK_ULONG`.
    Ulong(u64),
    /// Byte array, string, big integer (big-endian, unsigned), date (8 digits or empty), DER.
    Bytes(Vec<u8>),
    /// A byte string that may be sensitive: the value of a secret key, the private parts of a private key.
    Secret(Secret),
    /// `CKA_ALLOWED_MECHANISMS`.
    Mechanisms(Vec<MechanismType>),
    /// `CKA_WRAP_TEMPLATE` and its like.
    Template(Template),
}

impl Value {
    /// A second owner, on purpose: secrets are copied too.
    pub fn duplicate(&self) -> Self {
        match self {
            Value::Bool(flag) => Value::Bool(*flag),
            Value::Ulong(number) => Value::Ulong(*number),
            Value::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Value::Secret(secret) => Value::Secret(secret.duplicate()),
            Value::Mechanisms(mechanisms) => Value::Mechanisms(mechanisms.clone()),
            Value::Template(template) => Value::Template(template.duplicate()),
        }
    }

    /// Equality; secrets are compared in constant time, templates without regard to order.
    pub fn same_as(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Ulong(a), Value::Ulong(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Secret(a), Value::Secret(b)) => a.same_as(b.expose()),
            (Value::Secret(a), Value::Bytes(b)) | (Value::Bytes(b), Value::Secret(a)) => a.same_as(b),
            (Value::Mechanisms(a), Value::Mechanisms(b)) => a == b,
            (Value::Template(a), Value::Template(b)) => a.same_as(b),
            _ => false,
        }
    }
}

/// Prints kinds and lengths, never contents.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(flag) => write!(f, "{flag}"),
            Value::Ulong(number) => write!(f, "{number}"),
            Value::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Value::Secret(secret) => write!(f, "secret of {} bytes", secret.len()),
            Value::Mechanisms(mechanisms) => write!(f, "{mechanisms:?}"),
            Value::Template(template) => write!(f, "{template:?}"),
        }
    }
}

/// Attributes sorted by type, each at most once.
#[derive(Default)]
pub struct Template(Vec<(AttributeType, Value)>);

impl Template {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of an attribute, if it is there.
    pub fn get(&self, kind: AttributeType) -> Option<&Value> {
        self.0.binary_search_by_key(&kind, |(k, _)| *k).ok().map(|at| &self.0[at].1)
    }

    /// Sets an attribute and returns what it was.
    pub fn set(&mut self, kind: AttributeType, value: Value) -> Option<Value> {
        match self.0.binary_search_by_key(&kind, |(k, _)| *k) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (kind, value));
                None
            }
        }
    }

    /// Takes an attribute out.
    pub fn remove(&mut self, kind: AttributeType) -> Option<Value> {
        self.0.binary_search_by_key(&kind, |(k, _)| *k).ok().map(|at| self.0.remove(at).1)
    }

    /// Whether the attribute is there and has this value.
    pub fn has_value(&self, kind: AttributeType, value: &Value) -> bool {
        self.get(kind).is_some_and(|own| own.same_as(value))
    }

    /// Whether the attribute is there.
    pub fn has(&self, kind: AttributeType) -> bool {
        self.get(kind).is_some()
    }

    /// `Some` only for a boolean that is there.
    pub fn bool(&self, kind: AttributeType) -> Option<bool> {
        match self.get(kind) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// `Some` only for a number that is there.
    pub fn ulong(&self, kind: AttributeType) -> Option<u64> {
        match self.get(kind) {
            Some(Value::Ulong(number)) => Some(*number),
            _ => None,
        }
    }

    /// The bytes of a byte string, secret or not.
    pub fn exposed(&self, kind: AttributeType) -> Option<&[u8]> {
        match self.get(kind) {
            Some(Value::Bytes(bytes)) => Some(bytes),
            Some(Value::Secret(secret)) => Some(secret.expose()),
            _ => None,
        }
    }

    /// In ascending order of attribute type.
    pub fn iter(&self) -> impl Iterator<Item = (AttributeType, &Value)> {
        self.0.iter().map(|(kind, value)| (*kind, value))
    }

    /// How many attributes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second owner, on purpose: secrets are copied too.
    pub fn duplicate(&self) -> Self {
        Self(self.0.iter().map(|(kind, value)| (*kind, value.duplicate())).collect())
    }

    /// Whether both hold the same attributes with the same values.
    pub fn same_as(&self, other: &Template) -> bool {
        self.len() == other.len() && self.0.iter().zip(&other.0).all(|((a, x), (b, y))| a == b && x.same_as(y))
    }
}

impl FromIterator<(AttributeType, Value)> for Template {
    /// A later value of the same attribute replaces an earlier one.
    fn from_iter<I: IntoIterator<Item = (AttributeType, Value)>>(items: I) -> Self {
        let mut template = Self::new();
        for (kind, value) in items {
            template.set(kind, value);
        }
        template
    }
}

impl IntoIterator for Template {
    type Item = (AttributeType, Value);
    type IntoIter = std::vec::IntoIter<(AttributeType, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
