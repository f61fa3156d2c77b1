//! Keys as DER, and what follows from a key's components.

mod complete;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod pkcs8;
#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

pub use self::complete::{CertificateParts, certificate_parts, complete};
pub use self::pkcs8::{private_from_pkcs8, private_to_pkcs8, public_half};

use super::der::trimmed;
use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Doing, Result, refuse};
use crate::object::{Object, Template, Value};
use crate::secret::Secret;

/// What `C_WrapKey` wraps: the value of a secret key; the PKCS #8 `PrivateKeyInfo` (RFC 5958) of a private key.
///
/// Errors: `KeyNotWrappable` for an object that has no such encoding.
pub fn inner_encoding(key: &Object) -> Result<Secret> {
    match key.class() {
        ObjectClass::SECRET_KEY => key
            .secret(AttributeType::VALUE)
            .map(Secret::duplicate)
            .ok_or_else(|| refuse(Code::KeyNotWrappable, "the secret key has no CKA_VALUE")),
        ObjectClass::PRIVATE_KEY => private_to_pkcs8(&key.attributes),
        class => Err(refuse(Code::KeyNotWrappable, format!("an object of class {class} has no encoding to wrap"))),
    }
}

/// The components of an unwrapped key of this class and type, from what [`inner_encoding`] made (or anybody else).
///
/// Errors: `WrappedKeyInvalid` for everything that is wrong inside.
pub fn from_inner(class: ObjectClass, key_type: KeyType, inner: &Secret) -> Result<Template> {
    let wrong = format!("the unwrapped bytes are no {class} of type {key_type}");
    match class {
        ObjectClass::SECRET_KEY => secret_from_value(key_type, inner).doing(Code::WrappedKeyInvalid, wrong),
        ObjectClass::PRIVATE_KEY => pkcs8::components(key_type, inner.expose()).doing(Code::WrappedKeyInvalid, wrong),
        _ => Err(refuse(Code::TemplateInconsistent, format!("an object of class {class} cannot be unwrapped"))),
    }
}

fn secret_from_value(key_type: KeyType, value: &Secret) -> Result<Template> {
    complete::check_secret_len(key_type, value.len())?;
    Ok(Template::from_iter([(AttributeType::VALUE, Value::Secret(value.duplicate()))]))
}

/// A private key's two halves of `PrivateKeyInfo`: the `AlgorithmIdentifier`, and what goes into the OCTET STRING.
pub(super) struct Encoded {
    pub(super) algorithm: Zeroizing<Vec<u8>>,
    pub(super) key: Zeroizing<Vec<u8>>,
}

/// The bytes of an attribute that must be there and not empty.
///
/// Errors: `TemplateIncomplete`.
pub(super) fn required(attributes: &Template, kind: AttributeType) -> Result<&[u8]> {
    match attributes.exposed(kind) {
        Some(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(refuse(Code::TemplateIncomplete, format!("{kind} is missing"))),
    }
}

/// A public number or string.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

/// A secret number or string, which is taken over.
pub(super) fn secret(bytes: Vec<u8>) -> Value {
    Value::Secret(Secret::new(bytes))
}

/// Strips the leading zeros of numbers that are there; `secret` says how they are kept.
pub(super) fn normalise_numbers(attributes: &mut Template, kinds: &[AttributeType], secrecy: Secrecy) {
    for kind in kinds {
        let Some(number) = attributes.exposed(*kind).map(|number| trimmed(number).to_vec()) else { continue };
        let value = match secrecy {
            Secrecy::Public => Value::Bytes(number),
            Secrecy::Secret => secret(number),
        };
        attributes.set(*kind, value);
    }
}

/// How a number is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    Public,
    Secret,
}
