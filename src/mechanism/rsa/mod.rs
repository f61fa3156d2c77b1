//! RSA (PKCS#11 3.1, 6.1): key pairs, PKCS #1 v1.5, PSS, OAEP, raw blocks, AES key wrap under OAEP.

mod aes_wrap;
mod factor;
mod material;
mod oaep;
mod pkcs1;
mod pss;
mod raw;
mod rejection;
#[cfg(test)]
mod tests;

pub(super) use self::material::{OID, complete, from_pkcs8, to_pkcs8};

use self::material::Prepared;
use super::digest::Hash;
use super::params::{Mechanism, ParamKind};
use super::table::{Input, Row};
use super::{GeneratedPair, Verbs};
use crate::ck::{AttributeType, KeyType, MechanismType, Mgf};
use crate::error::{Code, Result, refuse};
use crate::limits;
use crate::object::{Template, Value};
use crate::secret::Secret;
use crate::sys::awslc::rsa::{PaddingHash, Part, Rsa};

/// The public exponent where the template names none (F4).
const PUBLIC_EXPONENT_DEFAULT: &[u8] = &[1, 0, 1];
/// Longest public exponent of a new key.
const PUBLIC_EXPONENT_NEW_MAX_BYTES: usize = 8;

const BASE: Row = Row { sizes: (limits::RSA_MODULUS_MIN_BITS, limits::RSA_MODULUS_MAX_BITS), keys: &[KeyType::RSA], ..Row::BASE };

/// `CKM_*_RSA_PKCS` with a hash.
const fn pkcs1_over_digest(kind: MechanismType) -> Row {
    let verbs = Verbs { sign: Some(pkcs1::sign_digest), verify: Some(pkcs1::verify_digest), ..Verbs::NONE };
    Row { kind, input: Input::Hash, verbs, ..BASE }
}

/// `CKM_*_RSA_PKCS_PSS` with a hash.
const fn pss_over_digest(kind: MechanismType) -> Row {
    let verbs = Verbs { sign: Some(pss::sign_digest), verify: Some(pss::verify_digest), ..Verbs::NONE };
    Row { kind, params: ParamKind::Pss, input: Input::Hash, verbs, ..BASE }
}

/// The family's mechanisms.
pub const ROWS: &[Row] = &[
    Row {
        kind: MechanismType::RSA_PKCS_KEY_PAIR_GEN,
        verbs: Verbs { generate_pair: Some(generate_pair), ..Verbs::NONE },
        ..BASE
    },
    Row {
        kind: MechanismType::RSA_PKCS,
        input: Input::Whole,
        verbs: Verbs {
            sign: Some(pkcs1::sign),
            verify: Some(pkcs1::verify),
            sign_recover: Some(pkcs1::sign_recover),
            verify_recover: Some(pkcs1::verify_recover),
            encrypt: Some(pkcs1::encrypt),
            decrypt: Some(pkcs1::decrypt),
            wrap: Some(pkcs1::wrap),
            unwrap: Some(pkcs1::unwrap),
            ..Verbs::NONE
        },
        ..BASE
    },
    Row {
        kind: MechanismType::RSA_X_509,
        input: Input::Whole,
        verbs: Verbs {
            sign: Some(raw::sign),
            verify: Some(raw::verify),
            sign_recover: Some(raw::sign_recover),
            verify_recover: Some(raw::verify_recover),
            encrypt: Some(raw::encrypt),
            decrypt: Some(raw::decrypt),
            wrap: Some(raw::wrap),
            unwrap: Some(raw::unwrap),
            ..Verbs::NONE
        },
        ..BASE
    },
    pkcs1_over_digest(MechanismType::MD5_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA1_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA224_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA256_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA384_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA512_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA3_224_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA3_256_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA3_384_RSA_PKCS),
    pkcs1_over_digest(MechanismType::SHA3_512_RSA_PKCS),
    Row {
        kind: MechanismType::RSA_PKCS_PSS,
        params: ParamKind::Pss,
        input: Input::Whole,
        verbs: Verbs { sign: Some(pss::sign), verify: Some(pss::verify), ..Verbs::NONE },
        ..BASE
    },
    pss_over_digest(MechanismType::SHA1_RSA_PKCS_PSS),
    pss_over_digest(MechanismType::SHA224_RSA_PKCS_PSS),
    pss_over_digest(MechanismType::SHA256_RSA_PKCS_PSS),
    pss_over_digest(MechanismType::SHA384_RSA_PKCS_PSS),
    pss_over_digest(MechanismType::SHA512_RSA_PKCS_PSS),
    pss_over_digest(MechanismType::SHA3_224_RSA_PKCS_PSS),
    pss_over_digest(MechanismType::SHA3_256_RSA_PKCS_PSS),
    pss_over_digest(MechanismType::SHA3_384_RSA_PKCS_PSS),
    pss_over_digest(MechanismType::SHA3_512_RSA_PKCS_PSS),
    Row {
        kind: MechanismType::RSA_PKCS_OAEP,
        params: ParamKind::Oaep,
        input: Input::Whole,
        verbs: Verbs {
            encrypt: Some(oaep::encrypt),
            decrypt: Some(oaep::decrypt),
            wrap: Some(oaep::wrap),
            unwrap: Some(oaep::unwrap),
            ..Verbs::NONE
        },
        ..BASE
    },
    Row {
        kind: MechanismType::RSA_AES_KEY_WRAP,
        params: ParamKind::RsaAesKeyWrap,
        input: Input::Whole,
        verbs: Verbs { wrap: Some(aes_wrap::wrap), unwrap: Some(aes_wrap::unwrap), ..Verbs::NONE },
        ..BASE
    },
];

/// The hash that a mechanism computes itself.
fn hash_of(kind: MechanismType) -> Result<Hash> {
    match kind {
        MechanismType::MD5_RSA_PKCS => Ok(Hash::Md5),
        MechanismType::SHA1_RSA_PKCS | MechanismType::SHA1_RSA_PKCS_PSS => Ok(Hash::Sha1),
        MechanismType::SHA224_RSA_PKCS | MechanismType::SHA224_RSA_PKCS_PSS => Ok(Hash::Sha224),
        MechanismType::SHA256_RSA_PKCS | MechanismType::SHA256_RSA_PKCS_PSS => Ok(Hash::Sha256),
        MechanismType::SHA384_RSA_PKCS | MechanismType::SHA384_RSA_PKCS_PSS => Ok(Hash::Sha384),
        MechanismType::SHA512_RSA_PKCS | MechanismType::SHA512_RSA_PKCS_PSS => Ok(Hash::Sha512),
        MechanismType::SHA3_224_RSA_PKCS | MechanismType::SHA3_224_RSA_PKCS_PSS => Ok(Hash::Sha3_224),
        MechanismType::SHA3_256_RSA_PKCS | MechanismType::SHA3_256_RSA_PKCS_PSS => Ok(Hash::Sha3_256),
        MechanismType::SHA3_384_RSA_PKCS | MechanismType::SHA3_384_RSA_PKCS_PSS => Ok(Hash::Sha3_384),
        MechanismType::SHA3_512_RSA_PKCS | MechanismType::SHA3_512_RSA_PKCS_PSS => Ok(Hash::Sha3_512),
        other => Err(refuse(Code::MechanismInvalid, format!("{other} names no hash for RSA"))),
    }
}

/// The hash of a parameter (`hashAlg`), for us and for the library that pads.
fn parameter_hash(kind: MechanismType) -> Result<(Hash, PaddingHash)> {
    let unknown = || refuse(Code::MechanismParamInvalid, format!("the parameter's hash {kind} is not supported"));
    let hash = Hash::of(kind).ok_or_else(unknown)?;
    let padding = match hash {
        Hash::Md5 => PaddingHash::Md5,
        Hash::Sha1 => PaddingHash::Sha1,
        Hash::Sha224 => PaddingHash::Sha224,
        Hash::Sha256 => PaddingHash::Sha256,
        Hash::Sha384 => PaddingHash::Sha384,
        Hash::Sha512 => PaddingHash::Sha512,
        Hash::Sha512_224 => PaddingHash::Sha512_224,
        Hash::Sha512_256 => PaddingHash::Sha512_256,
        Hash::Sha3_224 => PaddingHash::Sha3_224,
        Hash::Sha3_256 => PaddingHash::Sha3_256,
        Hash::Sha3_384 => PaddingHash::Sha3_384,
        Hash::Sha3_512 => PaddingHash::Sha3_512,
    };
    Ok((hash, padding))
}

/// The hash of a mask generation function.
fn mask_hash(mgf: Mgf) -> Result<PaddingHash> {
    match mgf {
        Mgf::MGF1_SHA1 => Ok(PaddingHash::Sha1),
        Mgf::MGF1_SHA224 => Ok(PaddingHash::Sha224),
        Mgf::MGF1_SHA256 => Ok(PaddingHash::Sha256),
        Mgf::MGF1_SHA384 => Ok(PaddingHash::Sha384),
        Mgf::MGF1_SHA512 => Ok(PaddingHash::Sha512),
        Mgf::MGF1_SHA3_224 => Ok(PaddingHash::Sha3_224),
        Mgf::MGF1_SHA3_256 => Ok(PaddingHash::Sha3_256),
        Mgf::MGF1_SHA3_384 => Ok(PaddingHash::Sha3_384),
        Mgf::MGF1_SHA3_512 => Ok(PaddingHash::Sha3_512),
        other => Err(refuse(Code::MechanismParamInvalid, format!("the mask generation function {other} is not supported"))),
    }
}

/// `CKM_RSA_PKCS_KEY_PAIR_GEN`: `CKA_MODULUS_BITS` is needed, `CKA_PUBLIC_EXPONENT` is 65537 unless given.
fn generate_pair(_mechanism: &Mechanism, public: &Template, _private: &Template) -> Result<GeneratedPair> {
    let bits = public
        .ulong(AttributeType::MODULUS_BITS)
        .ok_or_else(|| refuse(Code::TemplateIncomplete, "CKA_MODULUS_BITS is missing"))?;
    if !(limits::RSA_MODULUS_MIN_BITS..=limits::RSA_MODULUS_MAX_BITS).contains(&bits) {
        return Err(refuse(
            Code::KeySizeRange,
            format!(
                "an RSA modulus of {bits} bits: it must be {} to {}",
                limits::RSA_MODULUS_MIN_BITS,
                limits::RSA_MODULUS_MAX_BITS
            ),
        ));
    }
    let exponent = match public.exposed(AttributeType::PUBLIC_EXPONENT) {
        None | Some([]) => PUBLIC_EXPONENT_DEFAULT,
        Some(exponent) => super::der::trimmed(exponent),
    };
    material::check_public_exponent(exponent)?;
    if exponent.len() > PUBLIC_EXPONENT_NEW_MAX_BYTES {
        return Err(refuse(Code::AttributeValueInvalid, "a key with a public exponent above 2^64 cannot be generated"));
    }
    let key = match bits as u32 {
        bits if Rsa::generates(bits, exponent) => Rsa::generate(bits, exponent)?,
        bits => factor::generate(bits as i32, exponent)?,
    };
    Ok(GeneratedPair { public: public_parts(&key), private: private_parts(&key) })
}

fn public_parts(key: &Rsa) -> Template {
    [(AttributeType::MODULUS, Part::Modulus), (AttributeType::PUBLIC_EXPONENT, Part::PublicExponent)]
        .into_iter()
        .filter_map(|(kind, part)| Some((kind, Value::Bytes(key.part(part)?))))
        .collect()
}

fn private_parts(key: &Rsa) -> Template {
    let mut parts = public_parts(key);
    for (kind, part) in [
        (AttributeType::PRIVATE_EXPONENT, Part::PrivateExponent),
        (AttributeType::PRIME_1, Part::Prime1),
        (AttributeType::PRIME_2, Part::Prime2),
        (AttributeType::EXPONENT_1, Part::Exponent1),
        (AttributeType::EXPONENT_2, Part::Exponent2),
        (AttributeType::COEFFICIENT, Part::Coefficient),
    ] {
        if let Some(number) = key.part(part) {
            parts.set(kind, Value::Secret(Secret::new(number)));
        }
    }
    parts
}
