//! Keys: generated, wrapped, unwrapped, derived.

use std::sync::Arc;

use super::object::Call;
use super::operate::{row, verb};
use crate::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::mechanism::{Key, Mechanism, Params, Wanted, encoding};
use crate::object::policy::{self, Derive, Permitted, Unwrap, Wrap};
use crate::object::template::{self, Context, Settled};
use crate::object::{ObjectId, Template, Value};
use crate::secret::Secret;
use crate::token::Reference;

impl Call<'_> {
    /// `C_GenerateKey`, domain parameters included.
    pub fn generate(&self, mechanism: &Mechanism, given: Template) -> Result<Reference> {
        if let Some([before]) = self.made_before()? {
            return Ok(before);
        }
        self.put_one(generated(mechanism, given, &self.context()?)?)
    }

    /// `C_WrapKey`.
    pub fn wrap(&self, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        let row = row(mechanism.kind)?;
        let make = verb(row, |verbs| verbs.wrap)?;
        let (permitted, _): (Permitted<Wrap, Arc<Key>>, _) =
            self.permitted(row, wrapping, Code::WrappingKeyHandleInvalid, Code::WrappingKeyTypeInconsistent)?;
        let wrapping = self.open(wrapping, Code::WrappingKeyHandleInvalid)?;
        let key = self.open(key, Code::KeyHandleInvalid)?;
        policy::may_wrap(key.object(), wrapping.object(), self.facts().policy)?;
        make(mechanism, permitted, &encoding::inner_encoding(key.object())?)
    }

    /// `C_UnwrapKey`.
    pub fn unwrap(&self, mechanism: &Mechanism, unwrapping: ObjectId, wrapped: &[u8], given: Template) -> Result<Reference> {
        if let Some([before]) = self.made_before()? {
            return Ok(before);
        }
        let row = row(mechanism.kind)?;
        let make = verb(row, |verbs| verbs.unwrap)?;
        let (permitted, _): (Permitted<Unwrap, Arc<Key>>, _) =
            self.permitted(row, unwrapping, Code::UnwrappingKeyHandleInvalid, Code::UnwrappingKeyTypeInconsistent)?;
        let unwrapping = self.open(unwrapping, Code::UnwrappingKeyHandleInvalid)?;
        let settled = Settled::for_unwrap(given, unwrapping.object())?;
        let len = settled.value_len()?;
        let mut inner = make(mechanism, permitted, wrapped)?;
        if settled.class() == ObjectClass::SECRET_KEY {
            inner = cut(mechanism.kind, inner, len, settled.key_type())?;
        }
        let parts = encoding::from_inner(settled.class(), settled.key_type(), &inner)?;
        let attributes = template::for_unwrap(settled, parts, &self.context()?)?;
        self.put_one(attributes)
    }

    /// `C_DeriveKey`.
    pub fn derive(&self, mechanism: &Mechanism, base: ObjectId, given: Template) -> Result<Reference> {
        if let Some([before]) = self.made_before()? {
            return Ok(before);
        }
        let row = row(mechanism.kind)?;
        let make = verb(row, |verbs| verbs.derive)?;
        let (permitted, _): (Permitted<Derive, Arc<Key>>, _) =
            self.permitted(row, base, Code::KeyHandleInvalid, Code::KeyTypeInconsistent)?;
        let base = self.open(base, Code::KeyHandleInvalid)?;
        let other = match mechanism.params {
            Params::OtherKey(id) => Some(self.open(id, Code::KeyHandleInvalid)?),
            _ => None,
        };
        let settled = Settled::for_derive(given, base.object())?;
        let key_type = settled.key_type();
        let wanted = Wanted { key_type, value_len: settled.value_len()?.or(fixed_len(key_type)), other: other.as_deref() };
        let value = make(mechanism, permitted, &wanted)?;
        // What contains the base key's own bits inherits its secrecy, as if the base were concatenated with itself.
        let inherits = match mechanism.kind {
            MechanismType::CONCATENATE_BASE_AND_DATA
            | MechanismType::CONCATENATE_DATA_AND_BASE
            | MechanismType::XOR_BASE_AND_DATA
            | MechanismType::EXTRACT_KEY_FROM_KEY => Some(base.object()),
            _ => other.as_deref().map(Key::object),
        };
        let mut attributes = template::for_derive(settled, base.object(), inherits, &self.context()?)?;
        attributes.set(AttributeType::VALUE_LEN, Value::Ulong(value.len() as u64));
        attributes.set(AttributeType::VALUE, Value::Secret(value));
        self.put_one(attributes)
    }
}

/// A new key's attributes, or those of domain parameters.
pub(super) fn generated(mechanism: &Mechanism, given: Template, context: &Context) -> Result<Template> {
    let row = row(mechanism.kind)?;
    let make = verb(row, |verbs| verbs.generate)?;
    let class = match mechanism.kind {
        MechanismType::DSA_PARAMETER_GEN | MechanismType::DH_PKCS_PARAMETER_GEN => ObjectClass::DOMAIN_PARAMETERS,
        _ => ObjectClass::SECRET_KEY,
    };
    let mut attributes = template::for_generate(class, row.keys[0], mechanism.kind, given, context)?;
    let made = make(mechanism, &attributes)?;
    merge(&mut attributes, made);
    Ok(attributes)
}

/// What the mechanism made goes over what the template had.
pub(super) fn merge(attributes: &mut Template, made: Template) {
    for (kind, value) in made {
        attributes.set(kind, value);
    }
}

/// Mechanisms without padding give back whole blocks; template and key type say how much of it is the key: the front, but
/// the end of an RSA number (PKCS#11 3.1, 6.1.9).
///
/// Errors: `TemplateInconsistent` for more than there is.
fn cut(kind: MechanismType, mut inner: Secret, wanted: Option<usize>, key_type: KeyType) -> Result<Secret> {
    let number = kind == MechanismType::RSA_X_509;
    let Some(len) = wanted.or(fixed_len(key_type).filter(|_| number)) else { return Ok(inner) };
    let Some(spare) = inner.len().checked_sub(len) else {
        return Err(refuse(
            Code::TemplateInconsistent,
            format!("the new key is to have {len} bytes, the wrapped key has {}", inner.len()),
        ));
    };
    if number {
        return Ok(Secret::copy_of(&inner.expose()[spare..]));
    }
    inner.truncate(len);
    Ok(inner)
}

/// Key types with one length only.
fn fixed_len(key_type: KeyType) -> Option<usize> {
    match key_type {
        KeyType::DES => Some(8),
        KeyType::DES2 => Some(16),
        KeyType::DES3 => Some(24),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_front_of_a_block_and_the_end_of_a_number() {
        let cut = |kind, wanted, key_type| {
            let inner = Secret::copy_of(&[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
            cut(kind, inner, wanted, key_type).map(|key| key.expose().to_vec())
        };
        let (block, number) = (MechanismType::AES_CBC, MechanismType::RSA_X_509);
        let generic = KeyType::GENERIC_SECRET;
        assert_eq!(cut(block, Some(5), generic).unwrap(), [0, 0, 0, 0, 1]);
        assert_eq!(cut(number, Some(5), generic).unwrap(), [4, 5, 6, 7, 8]);
        assert_eq!(cut(number, None, KeyType::DES).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(cut(block, None, KeyType::DES).unwrap().len(), 12, "left to be refused");
        assert_eq!(cut(number, Some(13), generic).unwrap_err().code(), Code::TemplateInconsistent);
    }
}
