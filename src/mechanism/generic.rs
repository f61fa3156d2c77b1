//! Secret keys as plain bytes: generation, the simple derivations (PKCS#11 3.1, 6.18.7 to 6.28), check values.

use std::sync::Arc;

use super::digest::Hash;
use super::params::ParamKind;
use super::table::{Input, Row};
use super::{Key, Mechanism, Params, Verbs, Wanted, aes, des};
use crate::ck::{AttributeType, KeyType, MechanismType};
use crate::error::{Code, Result, refuse};
use crate::limits;
use crate::object::policy::{Derive, Permitted};
use crate::object::{Template, Value};
use crate::secret::Secret;
use crate::sys::awslc::random;

/// Every type of secret key that we have.
pub const SECRET_KEYS: &[KeyType] = &[
    KeyType::GENERIC_SECRET,
    KeyType::AES,
    KeyType::DES,
    KeyType::DES2,
    KeyType::DES3,
    KeyType::MD5_HMAC,
    KeyType::SHA_1_HMAC,
    KeyType::SHA224_HMAC,
    KeyType::SHA256_HMAC,
    KeyType::SHA384_HMAC,
    KeyType::SHA512_HMAC,
    KeyType::SHA512_224_HMAC,
    KeyType::SHA512_256_HMAC,
    KeyType::SHA3_224_HMAC,
    KeyType::SHA3_256_HMAC,
    KeyType::SHA3_384_HMAC,
    KeyType::SHA3_512_HMAC,
];

/// The bytes of a secret key.
///
/// Errors: `KeySizeRange` if there are none.
pub fn value(key: &Key) -> Result<&Secret> {
    match key.object().secret(AttributeType::VALUE) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(refuse(Code::KeySizeRange, "the secret key has no value")),
    }
}

/// `CKA_CHECK_VALUE` of a secret key (PKCS#11 3.1, 4.10.2): of block ciphers the first bytes of an encrypted zero block, of others of the
/// SHA-1 digest. `None` where the value does not fit the type.
pub fn check_value(key_type: KeyType, value: &[u8]) -> Option<[u8; 3]> {
    match key_type {
        KeyType::AES => aes::check_value(value),
        KeyType::DES | KeyType::DES2 | KeyType::DES3 => des::check_value(key_type, value),
        _ => Hash::Sha1.digest(&[value]).first_chunk().copied(),
    }
}

/// The new key's value out of what a derivation gave: its first bytes, as many as are wanted; DES keys get their parity.
///
/// Errors: `KeySizeRange` if there are too few, or the type does not take that many.
pub fn fit(mut derived: Secret, wanted: &Wanted<'_>) -> Result<Secret> {
    let len = wanted.value_len.unwrap_or(derived.len());
    if len == 0 || len > derived.len() {
        let complaint = format!("the derivation gives {} bytes, the new key needs {len}", derived.len());
        return Err(refuse(Code::KeySizeRange, complaint));
    }
    derived.truncate(len);
    match wanted.key_type {
        KeyType::AES if !matches!(len, 16 | 24 | 32) => {
            return Err(refuse(Code::KeySizeRange, format!("{len} bytes are no AES key")));
        }
        KeyType::DES | KeyType::DES2 | KeyType::DES3 => {
            if des::key_len(wanted.key_type) != Some(len) {
                return Err(refuse(Code::KeySizeRange, format!("{len} bytes are no {}", wanted.key_type)));
            }
            des::set_odd_parity(derived.expose_mut());
        }
        _ => {}
    }
    Ok(derived)
}

/// `CKA_VALUE_LEN` of a template for generation.
///
/// Errors: `TemplateIncomplete`.
pub fn wanted_len(template: &Template) -> Result<u64> {
    template
        .ulong(AttributeType::VALUE_LEN)
        .ok_or_else(|| refuse(Code::TemplateIncomplete, "CKA_VALUE_LEN says how long the new key is to be, and is missing"))
}

/// A random value of so many bytes, as attributes for the new key.
pub fn random_value(len: usize) -> Result<Template> {
    let mut value = Secret::zeroed(len);
    random::fill(value.expose_mut())?;
    let attributes = [(AttributeType::VALUE, Value::Secret(value)), (AttributeType::VALUE_LEN, Value::Ulong(len as u64))];
    Ok(attributes.into_iter().collect())
}

fn generate(mechanism: &Mechanism, template: &Template) -> Result<Template> {
    let len = match (template.ulong(AttributeType::VALUE_LEN), KEY_GENERATION.iter().find(|form| form.0 == mechanism.kind)) {
        (None, Some((_, hash))) => hash.output_len() as u64,
        _ => wanted_len(template)?,
    };
    if len == 0 || len > limits::SECRET_VALUE_MAX_BYTES as u64 {
        return Err(refuse(Code::AttributeValueInvalid, format!("CKA_VALUE_LEN of {len} bytes")));
    }
    random_value(len as usize)
}

fn concatenate(mechanism: &Mechanism, key: Permitted<Derive, Arc<Key>>, wanted: &Wanted<'_>) -> Result<Secret> {
    let key = key.into_key();
    let base = value(&key)?.expose();
    let (first, second) = match (mechanism.kind, &mechanism.params, wanted.other) {
        (MechanismType::CONCATENATE_BASE_AND_KEY, _, Some(other)) => (base, value(other)?.expose()),
        (MechanismType::CONCATENATE_BASE_AND_DATA, Params::Data(data), _) => (base, data.as_slice()),
        (MechanismType::CONCATENATE_DATA_AND_BASE, Params::Data(data), _) => (data.as_slice(), base),
        _ => return Err(refuse(Code::MechanismParamInvalid, format!("{} lacks its second part", mechanism.kind))),
    };
    let mut joined = Secret::zeroed(first.len() + second.len());
    let (head, tail) = joined.expose_mut().split_at_mut(first.len());
    head.copy_from_slice(first);
    tail.copy_from_slice(second);
    fit(joined, wanted)
}

fn exclusive_or(mechanism: &Mechanism, key: Permitted<Derive, Arc<Key>>, wanted: &Wanted<'_>) -> Result<Secret> {
    let key = key.into_key();
    let Params::Data(data) = &mechanism.params else {
        return Err(refuse(Code::MechanismParamInvalid, format!("{} lacks its data", mechanism.kind)));
    };
    let base = value(&key)?;
    let mut mixed = base.duplicate();
    mixed.truncate(data.len());
    mixed.expose_mut().iter_mut().zip(data).for_each(|(byte, data)| *byte ^= data);
    fit(mixed, wanted)
}

fn hash(mechanism: &Mechanism, key: Permitted<Derive, Arc<Key>>, wanted: &Wanted<'_>) -> Result<Secret> {
    let key = key.into_key();
    let Some((_, hash)) = KEY_DERIVATION.iter().find(|(kind, _)| *kind == mechanism.kind) else {
        return Err(refuse(Code::MechanismInvalid, format!("{} is no derivation by a digest", mechanism.kind)));
    };
    fit(Secret::copy_of(&hash.digest(&[value(&key)?.expose()])), wanted)
}

const fn derivation(
    kind: MechanismType,
    params: ParamKind,
    derive: fn(&Mechanism, Permitted<Derive, Arc<Key>>, &Wanted<'_>) -> Result<Secret>,
) -> Row {
    Row {
        kind,
        params,
        keys: SECRET_KEYS,
        input: Input::Whole,
        verbs: Verbs { derive: Some(derive), ..Verbs::NONE },
        ..Row::BASE
    }
}

const fn generation(kind: MechanismType, keys: &'static [KeyType]) -> Row {
    Row {
        kind,
        sizes: (1, limits::SECRET_VALUE_MAX_BYTES as u64),
        keys,
        input: Input::Whole,
        verbs: Verbs { generate: Some(generate), ..Verbs::NONE },
        ..Row::BASE
    }
}

macro_rules! by_hash {
    ($($Hash:ident: $KEY_GEN:ident => $KEY:ident, $DERIVATION:ident;)*) => {
        /// Generation of HMAC keys: as long as the digest unless the template says otherwise.
        const KEY_GENERATION: &[(MechanismType, Hash)] = &[$((MechanismType::$KEY_GEN, Hash::$Hash)),*];
        const KEY_DERIVATION: &[(MechanismType, Hash)] = &[$((MechanismType::$DERIVATION, Hash::$Hash)),*];

        /// Generation and derivation of keys without structure.
        pub const ROWS: &[Row] = &[
            generation(MechanismType::GENERIC_SECRET_KEY_GEN, &[KeyType::GENERIC_SECRET]),
            derivation(MechanismType::CONCATENATE_BASE_AND_KEY, ParamKind::OtherKey, concatenate),
            derivation(MechanismType::CONCATENATE_BASE_AND_DATA, ParamKind::StringData, concatenate),
            derivation(MechanismType::CONCATENATE_DATA_AND_BASE, ParamKind::StringData, concatenate),
            derivation(MechanismType::XOR_BASE_AND_DATA, ParamKind::StringData, exclusive_or),
            $(
                generation(MechanismType::$KEY_GEN, &[KeyType::$KEY]),
                derivation(MechanismType::$DERIVATION, ParamKind::None, hash),
            )*
        ];
    };
}

by_hash! {
    Sha1: SHA_1_KEY_GEN => SHA_1_HMAC, SHA1_KEY_DERIVATION;
    Sha224: SHA224_KEY_GEN => SHA224_HMAC, SHA224_KEY_DERIVATION;
    Sha256: SHA256_KEY_GEN => SHA256_HMAC, SHA256_KEY_DERIVATION;
    Sha384: SHA384_KEY_GEN => SHA384_HMAC, SHA384_KEY_DERIVATION;
    Sha512: SHA512_KEY_GEN => SHA512_HMAC, SHA512_KEY_DERIVATION;
    Sha512_224: SHA512_224_KEY_GEN => SHA512_224_HMAC, SHA512_224_KEY_DERIVATION;
    Sha512_256: SHA512_256_KEY_GEN => SHA512_256_HMAC, SHA512_256_KEY_DERIVATION;
    Sha3_224: SHA3_224_KEY_GEN => SHA3_224_HMAC, SHA3_224_KEY_DERIVATION;
    Sha3_256: SHA3_256_KEY_GEN => SHA3_256_HMAC, SHA3_256_KEY_DERIVATION;
    Sha3_384: SHA3_384_KEY_GEN => SHA3_384_HMAC, SHA3_384_KEY_DERIVATION;
    Sha3_512: SHA3_512_KEY_GEN => SHA3_512_HMAC, SHA3_512_KEY_DERIVATION;
}
