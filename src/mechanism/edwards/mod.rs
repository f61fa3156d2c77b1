//! Ed25519 and X25519 (PKCS#11 3.1, 6.3.5 to 6.3.8 and 6.3.15): key pairs, EdDSA, and the shared secret for ECDH.
//!
//! Private keys are 32 bytes as RFC 8032 and RFC 7748 have them, little-endian, never stripped of zeros. As with SoftHSM,
//! a key of type `CKK_EC_EDWARDS` may be on either curve; what it can do depends on the curve.

mod material;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use zeroize::Zeroizing;

pub(super) use self::material::{OID_ED25519, OID_X25519, complete, from_pkcs8, public_point, to_pkcs8};

use self::material::{Curve, Prepared, spelt};
use super::digest::Hash;
use super::ec::unwrapped;
use super::encoding::{bytes, required, secret};
use super::params::ParamKind;
use super::table::{Input, Row};
use super::whole::{OverDigest, OverWhole, SignOnce, VerifyOnce, check_signature_len, check_valid};
use super::{GeneratedPair, Key, Mechanism, Params, Signer, Verbs, Verifier, der};
use crate::ck::{AttributeType, KeyType, MechanismType, flags};
use crate::error::{Code, Doing, Result, refuse};
use crate::object::Template;
use crate::object::policy::{Permitted, Sign, Verify};
use crate::sys::awslc::curve25519::{self, KEY_BYTES, SIGNATURE_BYTES, Variant};
use crate::sys::awslc::random;

/// Longest context of a signature (RFC 8032, 5.1).
const CONTEXT_MAX_BYTES: usize = 255;

const BASE: Row = Row {
    // The one size in bits that RFC 8032 and RFC 7748 have below 448.
    sizes: (255, 255),
    extra_flags: flags::EC_F_P | flags::EC_NAMEDCURVE | flags::EC_CURVENAME | flags::EC_UNCOMPRESS,
    ..Row::BASE
};

/// The family's mechanisms; `CKM_ECDH1_DERIVE` stands with the other curves.
pub const ROWS: &[Row] = &[
    Row {
        kind: MechanismType::EC_EDWARDS_KEY_PAIR_GEN,
        keys: &[KeyType::EC_EDWARDS],
        verbs: Verbs { generate_pair: Some(generate_pair), ..Verbs::NONE },
        ..BASE
    },
    Row {
        kind: MechanismType::EC_MONTGOMERY_KEY_PAIR_GEN,
        keys: &[KeyType::EC_MONTGOMERY],
        verbs: Verbs { generate_pair: Some(generate_pair), ..Verbs::NONE },
        ..BASE
    },
    Row {
        kind: MechanismType::EDDSA,
        keys: &[KeyType::EC_EDWARDS],
        params: ParamKind::OptionalEddsa,
        input: Input::Whole,
        verbs: Verbs { sign: Some(sign), verify: Some(verify), ..Verbs::NONE },
        ..BASE
    },
];

/// `CKM_EC_EDWARDS_KEY_PAIR_GEN` and `CKM_EC_MONTGOMERY_KEY_PAIR_GEN`: the curve is `CKA_EC_PARAMS` of the public template.
fn generate_pair(mechanism: &Mechanism, public: &Template, _private: &Template) -> Result<GeneratedPair> {
    let params = spelt(required(public, AttributeType::EC_PARAMS)?);
    let curve = Curve::parse(params)?;
    if mechanism.kind == MechanismType::EC_MONTGOMERY_KEY_PAIR_GEN && curve == Curve::Ed25519 {
        return Err(refuse(Code::CurveNotSupported, "CKA_EC_PARAMS does not name a Montgomery curve"));
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    random::fill(&mut *key)?;
    let point = der::octets(&curve.public(&key));
    Ok(GeneratedPair {
        public: Template::from_iter([(AttributeType::EC_PARAMS, bytes(params)), (AttributeType::EC_POINT, bytes(&point))]),
        private: Template::from_iter([(AttributeType::EC_PARAMS, bytes(params)), (AttributeType::VALUE, secret(key.to_vec()))]),
    })
}

/// The variant of EdDSA that the parameter asks for.
enum Instance {
    Pure,
    Context(Vec<u8>),
    Prehashed(Vec<u8>),
}

impl Instance {
    /// No parameter, or one with neither flag nor context, is Ed25519 itself: Ed25519ctx with an empty context is not to be used
    /// (RFC 8032, 8.3).
    fn of(params: &Params) -> Result<Self> {
        match params {
            Params::None => Ok(Self::Pure),
            Params::Eddsa { context, .. } if context.len() > CONTEXT_MAX_BYTES => Err(refuse(
                Code::MechanismParamInvalid,
                format!("the EdDSA context has {} bytes, more than {CONTEXT_MAX_BYTES}", context.len()),
            )),
            Params::Eddsa { prehash: true, context } => Ok(Self::Prehashed(context.clone())),
            Params::Eddsa { prehash: false, context } if context.is_empty() => Ok(Self::Pure),
            Params::Eddsa { prehash: false, context } => Ok(Self::Context(context.clone())),
            _ => Err(refuse(Code::MechanismParamInvalid, "EdDSA takes CK_EDDSA_PARAMS or nothing")),
        }
    }

    fn variant(&self) -> Variant<'_> {
        match self {
            Self::Pure => Variant::Pure,
            Self::Context(context) => Variant::Context(context),
            Self::Prehashed(context) => Variant::Prehashed(context),
        }
    }
}

/// One use of a key.
struct Eddsa {
    key: Arc<Key>,
    instance: Instance,
}

impl Eddsa {
    fn new(mechanism: &Mechanism, key: Arc<Key>) -> Result<Self> {
        key.material::<Prepared>()?;
        Ok(Self { key, instance: Instance::of(&mechanism.params)? })
    }
}

impl SignOnce for Eddsa {
    fn signature_len(&self) -> usize {
        SIGNATURE_BYTES
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let Prepared::SigningEd25519(key) = self.key.material::<Prepared>()? else {
            return Err(refuse(Code::KeyTypeInconsistent, "EdDSA signing takes a private key on edwards25519"));
        };
        let signature = curve25519::sign(self.instance.variant(), key, input)?;
        out[..SIGNATURE_BYTES].copy_from_slice(&signature);
        Ok(SIGNATURE_BYTES)
    }
}

impl VerifyOnce for Eddsa {
    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        let Prepared::VerifyingEd25519(key) = self.key.material::<Prepared>()? else {
            return Err(refuse(Code::KeyTypeInconsistent, "EdDSA verification takes a public key on edwards25519"));
        };
        check_signature_len(signature, SIGNATURE_BYTES)?;
        let signature = signature.first_chunk().expect("the length was checked");
        check_valid(curve25519::verify(self.instance.variant(), key, input, signature))
    }
}

/// `CKM_EDDSA`: over the whole message, or (prehashed) its SHA-512 digest.
fn sign(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    let eddsa = Eddsa::new(mechanism, key.into_key())?;
    match eddsa.instance {
        Instance::Prehashed(_) => Ok(OverDigest::new(Hash::Sha512, eddsa)),
        _ => Ok(OverWhole::unbounded(eddsa)),
    }
}

/// As [`sign`].
fn verify(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    let eddsa = Eddsa::new(mechanism, key.into_key())?;
    match eddsa.instance {
        Instance::Prehashed(_) => Ok(OverDigest::new(Hash::Sha512, eddsa)),
        _ => Ok(OverWhole::unbounded(eddsa)),
    }
}

/// The X25519 shared secret with a peer's public key, raw or in an OCTET STRING.
///
/// Errors: `MechanismParamInvalid` for a peer's key of another length or of small order.
pub(super) fn shared_secret(key: &Arc<Key>, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let Prepared::AgreeingX25519(own) = key.material::<Prepared>()? else {
        return Err(refuse(Code::KeyTypeInconsistent, "key agreement takes a private key on curve25519"));
    };
    let peer = unwrapped(peer, |len| len == KEY_BYTES);
    let peer: &[u8; KEY_BYTES] =
        peer.try_into().doing(Code::MechanismParamInvalid, "the peer's X25519 public key does not have 32 bytes")?;
    let shared = curve25519::x25519(own, peer).map(Zeroizing::new);
    let shared = shared.ok_or_else(|| refuse(Code::MechanismParamInvalid, "the peer's X25519 public key is of small order"))?;
    Ok(Zeroizing::new(shared.to_vec()))
}
