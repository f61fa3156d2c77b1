//! Keys as DER, and what follows from a key's components.

use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::object::{Object, Template, Value};
use crate::secret::Secret;

/// What `C_WrapKey` wraps: the value of a secret key; the PKCS#8 `PrivateKeyInfo` (RFC 5958) of a private key.
///
/// Errors: `KeyNotWrappable` for an object that has no such encoding.
pub fn inner_encoding(key: &Object) -> Result<Secret> {
    match key.class() {
        ObjectClass::SECRET_KEY => secret_value(key),
        class => Err(refuse(Code::KeyNotWrappable, format!("an object of class {class} has no encoding to wrap"))),
    }
}

/// The attributes of an unwrapped key of this class and type, from what [`inner_encoding`] made (or anybody else).
///
/// Errors: `WrappedKeyInvalid` for everything that is wrong inside.
pub fn from_inner(class: ObjectClass, key_type: KeyType, inner: &Secret) -> Result<Template> {
    match class {
        ObjectClass::SECRET_KEY if !inner.is_empty() => {
            Ok(Template::from_iter([(AttributeType::VALUE, Value::Secret(inner.duplicate()))]))
        }
        _ => Err(refuse(Code::WrappedKeyInvalid, format!("the unwrapped bytes are no {class} of type {key_type}"))),
    }
}

/// Checks that the components of a new key object are sane and fit each other, and sets what follows from them.
///
/// Errors: `AttributeValueInvalid`, `TemplateInconsistent`, `CurveNotSupported`, `DomainParamsInvalid`, `KeySizeRange`.
pub fn complete(attributes: &mut Template) -> Result<()> {
    let class = attributes.ulong(AttributeType::CLASS).map(ObjectClass);
    if class == Some(ObjectClass::SECRET_KEY)
        && let Some(value) = attributes.exposed(AttributeType::VALUE)
    {
        let len = value.len() as u64;
        attributes.set(AttributeType::VALUE_LEN, Value::Ulong(len));
    }
    Ok(())
}

/// The attributes of both halves of a key pair (public, private) from a PKCS#8 `PrivateKeyInfo`: class, key type, components.
///
/// Errors: `DataInvalid` for what is no such thing.
pub fn private_from_pkcs8(_der: &[u8]) -> Result<(Template, Template)> {
    Err(refuse(Code::DataInvalid, "this kind of private key is not supported"))
}

/// The PKCS#8 `PrivateKeyInfo` of a private key given by its attributes (class, key type, components).
///
/// Errors: `KeyNotWrappable` for a key without such an encoding; `TemplateIncomplete` where a component is missing.
pub fn private_to_pkcs8(_private: &Template) -> Result<Secret> {
    Err(refuse(Code::KeyNotWrappable, "this kind of private key has no PKCS#8 encoding here"))
}

fn secret_value(key: &Object) -> Result<Secret> {
    key.secret(AttributeType::VALUE)
        .map(Secret::duplicate)
        .ok_or_else(|| refuse(Code::KeyNotWrappable, "the secret key has no CKA_VALUE"))
}
