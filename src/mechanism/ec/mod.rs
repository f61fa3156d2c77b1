//! Elliptic curves over prime fields (PKCS#11 3.1, 6.3): key pairs, ECDSA, ECDH.

mod agree;
mod curve;
mod ecdsa;
mod material;
#[cfg(test)]
mod tests;

pub(super) use self::agree::tail;
pub(super) use self::material::{OID, complete, from_pkcs8, public_point, to_pkcs8, unwrapped};

use self::material::Prepared;
use super::digest::Hash;
use super::encoding::{bytes, required, secret};
use super::params::{Mechanism, ParamKind};
use super::table::{Input, Row};
use super::{GeneratedPair, Verbs, der};
use crate::ck::{AttributeType, KeyType, MechanismType, flags};
use crate::error::{Code, Result, refuse};
use crate::object::Template;
use crate::sys::awslc::ec::EcKey;

const BASE: Row = Row {
    // Bits of the field: P-224 to P-521.
    sizes: (224, 521),
    keys: &[KeyType::EC],
    extra_flags: flags::EC_F_P | flags::EC_NAMEDCURVE | flags::EC_CURVENAME | flags::EC_UNCOMPRESS,
    ..Row::BASE
};

const fn over_digest(kind: MechanismType) -> Row {
    let verbs = Verbs { sign: Some(ecdsa::sign_digest), verify: Some(ecdsa::verify_digest), ..Verbs::NONE };
    Row { kind, input: Input::Hash, verbs, ..BASE }
}

const fn derivation(kind: MechanismType) -> Row {
    Row {
        kind,
        params: ParamKind::Ecdh1,
        keys: &[KeyType::EC, KeyType::EC_MONTGOMERY, KeyType::EC_EDWARDS],
        verbs: Verbs { derive: Some(agree::derive), ..Verbs::NONE },
        ..BASE
    }
}

/// The family's mechanisms.
pub const ROWS: &[Row] = &[
    Row { kind: MechanismType::EC_KEY_PAIR_GEN, verbs: Verbs { generate_pair: Some(generate_pair), ..Verbs::NONE }, ..BASE },
    Row {
        kind: MechanismType::ECDSA,
        input: Input::Whole,
        verbs: Verbs { sign: Some(ecdsa::sign), verify: Some(ecdsa::verify), ..Verbs::NONE },
        ..BASE
    },
    over_digest(MechanismType::ECDSA_SHA1),
    over_digest(MechanismType::ECDSA_SHA224),
    over_digest(MechanismType::ECDSA_SHA256),
    over_digest(MechanismType::ECDSA_SHA384),
    over_digest(MechanismType::ECDSA_SHA512),
    over_digest(MechanismType::ECDSA_SHA3_224),
    over_digest(MechanismType::ECDSA_SHA3_256),
    over_digest(MechanismType::ECDSA_SHA3_384),
    over_digest(MechanismType::ECDSA_SHA3_512),
    derivation(MechanismType::ECDH1_DERIVE),
    derivation(MechanismType::ECDH1_COFACTOR_DERIVE),
];

/// The hash that a mechanism computes itself.
fn hash_of(kind: MechanismType) -> Result<Hash> {
    match kind {
        MechanismType::ECDSA_SHA1 => Ok(Hash::Sha1),
        MechanismType::ECDSA_SHA224 => Ok(Hash::Sha224),
        MechanismType::ECDSA_SHA256 => Ok(Hash::Sha256),
        MechanismType::ECDSA_SHA384 => Ok(Hash::Sha384),
        MechanismType::ECDSA_SHA512 => Ok(Hash::Sha512),
        MechanismType::ECDSA_SHA3_224 => Ok(Hash::Sha3_224),
        MechanismType::ECDSA_SHA3_256 => Ok(Hash::Sha3_256),
        MechanismType::ECDSA_SHA3_384 => Ok(Hash::Sha3_384),
        MechanismType::ECDSA_SHA3_512 => Ok(Hash::Sha3_512),
        other => Err(refuse(Code::MechanismInvalid, format!("{other} names no hash for ECDSA"))),
    }
}

/// `CKM_EC_KEY_PAIR_GEN`: the curve is `CKA_EC_PARAMS` of the public template.
fn generate_pair(_mechanism: &Mechanism, public: &Template, _private: &Template) -> Result<GeneratedPair> {
    let params = required(public, AttributeType::EC_PARAMS)?;
    let (curve, form) = curve::parse(params)?;
    let key = EcKey::generate(curve)?;
    let named = match form {
        curve::Form::Named => params.to_vec(),
        curve::Form::Explicit => curve::oid(curve),
    };
    let point = der::octets(&key.public_point()?);
    let scalar = key.scalar().ok_or_else(|| refuse(Code::FunctionFailed, "the generated EC key has no private half"))?;
    Ok(GeneratedPair {
        public: Template::from_iter([(AttributeType::EC_PARAMS, bytes(&named)), (AttributeType::EC_POINT, bytes(&point))]),
        private: Template::from_iter([(AttributeType::EC_PARAMS, bytes(&named)), (AttributeType::VALUE, secret(scalar))]),
    })
}
