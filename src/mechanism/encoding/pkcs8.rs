//! `PrivateKeyInfo` of PKCS #8 (RFC 5958, `OneAsymmetricKey`): private keys of all kinds, in and out.

use super::{Encoded, complete};
use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::der::{self, Malformed, Reader, tag};
use crate::mechanism::{dh, dsa, ec, edwards, rsa};
use crate::object::{Template, Value};
use crate::secret::Secret;

/// Public halves take these over from private ones, where they are there.
const SHARED: [AttributeType; 6] = [
    AttributeType::MODULUS,
    AttributeType::PUBLIC_EXPONENT,
    AttributeType::EC_PARAMS,
    AttributeType::PRIME,
    AttributeType::SUBPRIME,
    AttributeType::BASE,
];

/// The attributes of both halves of a key pair (public, private) from a `PrivateKeyInfo`: class, key type, components.
///
/// Errors: `DataInvalid` for what is no such thing, or a key that cannot be used here.
pub fn private_from_pkcs8(der: &[u8]) -> Result<(Template, Template)> {
    let mut private = parse(der).doing(Code::DataInvalid, "the private key is not PKCS #8 of a supported kind")?;
    private.set(AttributeType::CLASS, Value::Ulong(ObjectClass::PRIVATE_KEY.0));
    complete(&mut private).doing(Code::DataInvalid, "the private key cannot be used")?;
    let public = public_half(&private)?;
    Ok((public, private))
}

/// The `PrivateKeyInfo` of a private key given by its attributes (key type, components).
///
/// Errors: `KeyNotWrappable` for a type without such an encoding; `TemplateIncomplete` where a component is missing.
pub fn private_to_pkcs8(private: &Template) -> Result<Secret> {
    let kind = private.ulong(AttributeType::KEY_TYPE).map(KeyType);
    let Encoded { algorithm, key } = match kind {
        Some(KeyType::RSA) => rsa::to_pkcs8(private)?,
        Some(KeyType::EC) => ec::to_pkcs8(private)?,
        Some(KeyType::EC_EDWARDS | KeyType::EC_MONTGOMERY) => edwards::to_pkcs8(private)?,
        Some(KeyType::DSA) => dsa::to_pkcs8(private)?,
        Some(KeyType::DH) => dh::to_pkcs8(private)?,
        _ => return Err(refuse(Code::KeyNotWrappable, "a private key of this type has no PKCS #8 encoding here")),
    };
    let info = der::sequence(&[&der::unsigned(&[]), &algorithm, &der::octets(&key)]);
    Ok(Secret::copy_of(&info))
}

/// The components of an unwrapped private key, which must be of the type that the template says.
pub(super) fn components(key_type: KeyType, der: &[u8]) -> Result<Template> {
    let der = without_block_padding(der);
    let mut private = parse(der).doing(Code::WrappedKeyInvalid, "not PKCS #8 of a supported kind")?;
    let found = private.ulong(AttributeType::KEY_TYPE).map(KeyType);
    if found != Some(key_type) {
        return Err(refuse(Code::WrappedKeyInvalid, format!("the private key inside is not of type {key_type}")));
    }
    private.set(AttributeType::CLASS, Value::Ulong(ObjectClass::PRIVATE_KEY.0));
    complete(&mut private)?;
    for derived in [AttributeType::CLASS, AttributeType::KEY_TYPE, AttributeType::PUBLIC_KEY_INFO] {
        private.remove(derived);
    }
    Ok(private)
}

/// Mechanisms that wrap whole blocks only put zero bytes behind the key, fewer than a block's (PKCS#11 3.1, 6.13.5).
fn without_block_padding(der: &[u8]) -> &[u8] {
    const BLOCK_BYTES_MAX: usize = 16;
    match Reader::new(der).whole_element(tag::SEQUENCE) {
        Ok(key) if der.len() - key.len() < BLOCK_BYTES_MAX && der[key.len()..].iter().all(|byte| *byte == 0) => key,
        _ => der,
    }
}

/// Key type and components; their values are checked when the key is completed.
fn parse(der: &[u8]) -> std::result::Result<Template, Malformed> {
    let mut outer = Reader::new(der);
    let mut info = outer.sequence()?;
    outer.finish()?;
    // Version 0, or 1 where the public key follows.
    if !matches!(info.unsigned()?, [] | [1]) {
        return Err(Malformed::new("the PKCS #8 version is unknown"));
    }
    let mut algorithm = info.sequence()?;
    let oid = algorithm.element(tag::OBJECT_IDENTIFIER)?;
    let key = info.element(tag::OCTET_STRING)?;
    info.optional(tag::CONTEXT_0)?;
    info.optional(tag::CONTEXT_1_PRIMITIVE)?;
    info.finish()?;
    match oid {
        rsa::OID => rsa::from_pkcs8(algorithm, key),
        ec::OID => ec::from_pkcs8(algorithm, key),
        dsa::OID => dsa::from_pkcs8(algorithm, key),
        dh::OID => dh::from_pkcs8(algorithm, key),
        _ => match edwards::Curve::of_oid(oid) {
            Some(curve) => edwards::from_pkcs8(curve, algorithm, key),
            None => Err(Malformed::new("the key's algorithm is not supported")),
        },
    }
}

/// The public key's attributes that follow from a private key's: class, key type, components.
///
/// Errors: `TemplateIncomplete` where a component is missing.
pub fn public_half(private: &Template) -> Result<Template> {
    let kind = private.ulong(AttributeType::KEY_TYPE).map(KeyType);
    let mut public = Template::from_iter([(AttributeType::CLASS, Value::Ulong(ObjectClass::PUBLIC_KEY.0))]);
    for shared in SHARED.into_iter().chain([AttributeType::KEY_TYPE]) {
        if let Some(value) = private.get(shared) {
            public.set(shared, value.duplicate());
        }
    }
    match kind {
        Some(KeyType::EC) => drop(public.set(AttributeType::EC_POINT, Value::Bytes(ec::public_point(private)?))),
        Some(KeyType::EC_EDWARDS | KeyType::EC_MONTGOMERY) => {
            drop(public.set(AttributeType::EC_POINT, Value::Bytes(edwards::public_point(private)?)));
        }
        Some(KeyType::DSA) => drop(public.set(AttributeType::VALUE, Value::Bytes(dsa::public_value(private)?))),
        Some(KeyType::DH) => drop(public.set(AttributeType::VALUE, Value::Bytes(dh::public_value(private)?))),
        _ => {}
    }
    complete(&mut public)?;
    Ok(public)
}
