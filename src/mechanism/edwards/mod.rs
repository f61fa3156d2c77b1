//! Edwards and Montgomery curves (PKCS#11 3.1, 6.3.5 to 6.3.8 and 6.3.15): key pairs, EdDSA, and the shared secret for ECDH.
//!
//! Private keys are bytes as RFC 8032 and RFC 7748 have them, little-endian, never stripped of zeros. As with SoftHSM, a
//! key of type `CKK_EC_EDWARDS` may be on a curve of either kind; what it can do depends on the curve.

mod curve;
mod material;
mod sound;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ed448_goldilocks::shake::{Shake256, Update};
use ed448_goldilocks::{PreHasherXof, Signature};
use zeroize::Zeroizing;

pub(super) use self::curve::Curve;
pub(super) use self::material::{complete, from_pkcs8, public_point, to_pkcs8};

use self::curve::spelt;
use self::material::Prepared;
use super::digest::Hash;
use super::ec::unwrapped;
use super::encoding::{bytes, required, secret};
use super::params::ParamKind;
use super::table::{Input, Row};
use super::whole::{OverDigest, OverWhole, SignOnce, VerifyOnce, check_signature_len, check_valid};
use super::{GeneratedPair, Key, Mechanism, Params, Signer, Verbs, Verifier, der};
use crate::ck::{AttributeType, KeyType, MechanismType, flags};
use crate::error::{Code, Doing, Result, refuse};
use crate::faults::{self, Fault};
use crate::object::Template;
use crate::object::policy::{Permitted, Sign, Verify};
use crate::sys::awslc::curve25519::{self, Variant};
use crate::sys::awslc::random;

/// Longest context of a signature (RFC 8032, 5.1).
const CONTEXT_MAX_BYTES: usize = 255;

const BASE: Row = Row {
    // The two sizes in bits that RFC 8032 and RFC 7748 have.
    sizes: (255, 448),
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
    if mechanism.kind == MechanismType::EC_MONTGOMERY_KEY_PAIR_GEN && !curve.is_montgomery() {
        return Err(refuse(Code::CurveNotSupported, "CKA_EC_PARAMS does not name a Montgomery curve"));
    }
    let mut key = Zeroizing::new(vec![0; curve.key_len()]);
    random::fill(&mut key)?;
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
    /// No parameter, or one with neither flag nor context, is Ed25519 or Ed448 itself: Ed25519ctx with an empty context is
    /// not to be used (RFC 8032, 8.3).
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
    signature_len: usize,
}

impl Eddsa {
    fn new(mechanism: &Mechanism, key: Arc<Key>) -> Result<Self> {
        let signature_len = key.material::<Prepared>()?.curve().signature_len();
        Ok(Self { key, instance: Instance::of(&mechanism.params)?, signature_len })
    }

    /// Ed25519ph hashes as it goes; the others take the message whole, also Ed448ph, whose hash is no digest of ours.
    fn hashes(&self) -> Result<bool> {
        let curve = self.key.material::<Prepared>()?.curve();
        Ok(curve == Curve::Ed25519 && matches!(self.instance, Instance::Prehashed(_)))
    }
}

impl SignOnce for Eddsa {
    fn signature_len(&self) -> usize {
        self.signature_len
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        match self.key.material::<Prepared>()? {
            Prepared::SigningEd25519(key) => {
                let signature = curve25519::sign(self.instance.variant(), key, input)?;
                out[..signature.len()].copy_from_slice(&signature);
            }
            Prepared::SigningEd448(key) => {
                let signature = match &self.instance {
                    Instance::Pure => Ok(key.sign_raw(input)),
                    Instance::Context(context) => key.sign_ctx(context, input),
                    Instance::Prehashed(context) => key.sign_prehashed(Some(context), shake(input)),
                };
                let signature = signature.doing(Code::FunctionFailed, "Ed448 signing failed")?.to_bytes();
                out[..signature.len()].copy_from_slice(&signature);
            }
            _ => return Err(refuse(Code::KeyTypeInconsistent, "EdDSA signing takes a private key on an Edwards curve")),
        }
        Ok(self.signature_len)
    }
}

impl VerifyOnce for Eddsa {
    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        check_signature_len(signature, self.signature_len)?;
        match self.key.material::<Prepared>()? {
            Prepared::VerifyingEd25519(key) => {
                let signature = signature.first_chunk().expect("the length was checked");
                check_valid(curve25519::verify(self.instance.variant(), key, input, signature))
            }
            Prepared::VerifyingEd448(key) => {
                let (point, _) = signature.split_at(self.signature_len / 2);
                check_valid(sound::is_canonical_448(point)?)?;
                let verified = Signature::try_from(signature).and_then(|signature| match &self.instance {
                    Instance::Pure => key.verify_raw(&signature, input),
                    Instance::Context(context) => key.verify_ctx(&signature, context, input),
                    Instance::Prehashed(context) => key.verify_prehashed(&signature, Some(context), shake(input)),
                });
                check_valid(verified.is_ok())
            }
            _ => Err(refuse(Code::KeyTypeInconsistent, "EdDSA verification takes a public key on an Edwards curve")),
        }
    }
}

/// The hash of Ed448ph (RFC 8032, 5.2).
fn shake(message: &[u8]) -> PreHasherXof<Shake256> {
    let mut hash = Shake256::default();
    hash.update(message);
    PreHasherXof::new(hash)
}

/// `CKM_EDDSA`: over the whole message, or (prehashed) its digest.
fn sign(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    let eddsa = Eddsa::new(mechanism, key.into_key())?;
    if eddsa.hashes()? { Ok(OverDigest::new(Hash::Sha512, eddsa)) } else { Ok(OverWhole::unbounded(eddsa)) }
}

/// As [`sign`].
fn verify(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    let eddsa = Eddsa::new(mechanism, key.into_key())?;
    if eddsa.hashes()? { Ok(OverDigest::new(Hash::Sha512, eddsa)) } else { Ok(OverWhole::unbounded(eddsa)) }
}

/// The shared secret with a peer's public key, raw or in an OCTET STRING.
///
/// Errors: `MechanismParamInvalid` for a peer's key of another length or of small order.
pub(super) fn shared_secret(key: &Arc<Key>, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let Prepared::Agreeing(curve, own) = key.material::<Prepared>()? else {
        return Err(refuse(Code::KeyTypeInconsistent, "key agreement takes a private key on a Montgomery curve"));
    };
    let wanted = curve.key_len();
    let peer = unwrapped(peer, |len| len == wanted);
    if peer.len() != wanted {
        return Err(refuse(Code::MechanismParamInvalid, format!("the peer's public key has {} bytes, not {wanted}", peer.len())));
    }
    let shared = curve.shared(own, peer);
    let zero = || faults::on(Fault::SmallOrderIsTaken).then(|| Zeroizing::new(vec![0; wanted]));
    shared.or_else(zero).ok_or_else(|| refuse(Code::MechanismParamInvalid, "the peer's public key is of small order"))
}
