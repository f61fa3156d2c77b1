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

const fn derivation(kind: MechanismType, params: ParamKind, verbs: Verbs) -> Row {
    Row { kind, params, keys: SECRET_KEYS, input: Input::Whole, verbs, ..Row::BASE }
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

const CONCATENATE: Verbs = Verbs { derive: Some(concatenate), ..Verbs::NONE };
const EXCLUSIVE_OR: Verbs = Verbs { derive: Some(exclusive_or), ..Verbs::NONE };
const HASH: Verbs = Verbs { derive: Some(hash), ..Verbs::NONE };

macro_rules! by_hash {
    ($($Hash:ident: $KEY_GEN:ident => $KEY:ident, $DERIVATION:ident;)*) => {
        /// Generation of HMAC keys: as long as the digest unless the template says otherwise.
        const KEY_GENERATION: &[(MechanismType, Hash)] = &[$((MechanismType::$KEY_GEN, Hash::$Hash)),*];
        const KEY_DERIVATION: &[(MechanismType, Hash)] = &[$((MechanismType::$DERIVATION, Hash::$Hash)),*];

        /// Generation and derivation of keys without structure.
        pub const ROWS: &[Row] = &[
            generation(MechanismType::GENERIC_SECRET_KEY_GEN, &[KeyType::GENERIC_SECRET]),
            derivation(MechanismType::CONCATENATE_BASE_AND_KEY, ParamKind::OtherKey, CONCATENATE),
            derivation(MechanismType::CONCATENATE_BASE_AND_DATA, ParamKind::StringData, CONCATENATE),
            derivation(MechanismType::CONCATENATE_DATA_AND_BASE, ParamKind::StringData, CONCATENATE),
            derivation(MechanismType::XOR_BASE_AND_DATA, ParamKind::StringData, EXCLUSIVE_OR),
            $(
                generation(MechanismType::$KEY_GEN, &[KeyType::$KEY]),
                derivation(MechanismType::$DERIVATION, ParamKind::None, HASH),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::testing::{hex, permitted, secret_key};

    fn derive(kind: MechanismType, params: Params, base: &[u8], wanted: &Wanted<'_>) -> Result<Vec<u8>> {
        let key = secret_key(KeyType::GENERIC_SECRET, base);
        let row = crate::mechanism::table::find(kind).expect("the mechanism has a row");
        let derive = row.verbs.derive.expect("the mechanism derives");
        derive(&Mechanism { kind, params }, permitted(&key, kind), wanted).map(|value| value.expose().to_vec())
    }

    const fn any(value_len: Option<usize>) -> Wanted<'static> {
        Wanted { key_type: KeyType::GENERIC_SECRET, value_len, other: None }
    }

    #[test]
    fn parts_are_joined_in_the_order_of_the_name() {
        let data = || Params::Data(vec![9, 8]);
        let base_first = derive(MechanismType::CONCATENATE_BASE_AND_DATA, data(), &[1, 2, 3], &any(None));
        assert_eq!(base_first.unwrap(), [1, 2, 3, 9, 8]);
        let data_first = derive(MechanismType::CONCATENATE_DATA_AND_BASE, data(), &[1, 2, 3], &any(Some(4)));
        assert_eq!(data_first.unwrap(), [9, 8, 1, 2]);
        let other = secret_key(KeyType::AES, &[7; 16]);
        let wanted = Wanted { other: Some(&other), ..any(Some(5)) };
        assert_eq!(derive(MechanismType::CONCATENATE_BASE_AND_KEY, Params::None, &[1, 2, 3], &wanted).unwrap(), [1, 2, 3, 7, 7]);
        let alone = derive(MechanismType::CONCATENATE_BASE_AND_KEY, Params::None, &[1], &any(None));
        assert_eq!(alone.unwrap_err().code(), Code::MechanismParamInvalid);
    }

    #[test]
    fn exclusive_or_is_as_long_as_the_shorter_part() {
        let mix =
            |base: &[u8], data: &[u8]| derive(MechanismType::XOR_BASE_AND_DATA, Params::Data(data.to_vec()), base, &any(None));
        assert_eq!(mix(&[0xf0, 1, 2], &[0xff, 1]).unwrap(), [0x0f, 0]);
        assert_eq!(mix(&[1], &[1, 2, 3]).unwrap(), [0]);
        assert_eq!(mix(&[1], &[]).unwrap_err().code(), Code::KeySizeRange);
    }

    #[test]
    fn a_digest_of_the_base_key_is_cut_to_the_new_key() {
        let digest = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let kind = MechanismType::SHA256_KEY_DERIVATION;
        assert_eq!(derive(kind, Params::None, b"abc", &any(None)).unwrap(), digest);
        let aes = |value_len| Wanted { key_type: KeyType::AES, ..any(Some(value_len)) };
        assert_eq!(derive(kind, Params::None, b"abc", &aes(16)).unwrap(), digest[..16]);
        assert_eq!(derive(kind, Params::None, b"abc", &aes(17)).unwrap_err().code(), Code::KeySizeRange);
        assert_eq!(derive(kind, Params::None, b"abc", &any(Some(33))).unwrap_err().code(), Code::KeySizeRange);
        let des = Wanted { key_type: KeyType::DES3, ..any(Some(24)) };
        let made = derive(kind, Params::None, b"abc", &des).unwrap();
        assert!(made.iter().zip(&digest).all(|(made, from)| made | 1 == from | 1 && made.count_ones() % 2 == 1));
    }

    #[test]
    fn generation_is_bounded_by_the_template() {
        let generate = |kind, len: Option<u64>| {
            let template = len.map(|len| (AttributeType::VALUE_LEN, Value::Ulong(len))).into_iter().collect();
            generate(&Mechanism { kind, params: Params::None }, &template)
                .map(|made| made.exposed(AttributeType::VALUE).expect("a value").len())
                .map_err(|error| error.code())
        };
        let generic = MechanismType::GENERIC_SECRET_KEY_GEN;
        assert_eq!(generate(generic, Some(1)), Ok(1));
        assert_eq!(generate(generic, Some(70_000)), Ok(70_000));
        assert_eq!(generate(generic, Some(0)), Err(Code::AttributeValueInvalid));
        assert_eq!(generate(generic, Some(limits::SECRET_VALUE_MAX_BYTES as u64 + 1)), Err(Code::AttributeValueInvalid));
        assert_eq!(generate(generic, None), Err(Code::TemplateIncomplete));
        assert_eq!(generate(MechanismType::SHA384_KEY_GEN, None), Ok(48));
        assert_eq!(generate(MechanismType::SHA384_KEY_GEN, Some(20)), Ok(20));
    }

    /// AES: FIPS 197 zero key and block; DES: the zero block under a known key; others: SHA-1 of "abc".
    #[test]
    fn check_values() {
        assert_eq!(check_value(KeyType::AES, &[0; 16]), Some([0x66, 0xe9, 0x4b]));
        assert_eq!(check_value(KeyType::AES, &[0; 15]), None);
        assert_eq!(check_value(KeyType::DES, &hex("0101010101010101")), Some([0x8c, 0xa6, 0x4d]));
        assert_eq!(check_value(KeyType::DES3, &[1; 24]), Some([0x8c, 0xa6, 0x4d]));
        assert_eq!(check_value(KeyType::DES3, &[1; 16]), None);
        assert_eq!(check_value(KeyType::GENERIC_SECRET, b"abc"), Some([0xa9, 0x99, 0x3e]));
    }
}
