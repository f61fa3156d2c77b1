//! DSA (PKCS#11 3.1, 6.2): domain parameters, key pairs, signatures `r || s`.

use std::sync::Arc;

use super::der::{self, Malformed, Reader};
use super::digest::Hash;
use super::encoding::{Encoded, Secrecy, bytes, normalise_numbers, required, secret};
use super::table::{Input, Row};
use super::whole::{OverDigest, OverWhole, SignOnce, VerifyOnce, check_signature_len, check_valid};
use super::{GeneratedPair, Key, Material, Mechanism, Signer, Verbs, Verifier};
use crate::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::object::policy::{Permitted, Sign, Verify};
use crate::object::{Object, Template, Value};
use crate::sys::awslc::bignum::Number;
use crate::sys::awslc::dsa::{Domain, Dsa};

/// id-dsa, 1.2.840.10040.4.1 (RFC 3279, 2.3.2).
pub(super) const OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];

/// Bits of a prime, the least and the most.
const PRIME_BITS: std::ops::RangeInclusive<u64> = 512..=3072;
/// Bits of a subprime (FIPS 186-4, 4.2).
const SUBPRIME_BITS: [usize; 3] = [160, 224, 256];
/// New primes have a multiple of so many bits.
const PRIME_STEP_BITS: u64 = 64;

const DOMAIN: [AttributeType; 3] = [AttributeType::PRIME, AttributeType::SUBPRIME, AttributeType::BASE];

const BASE: Row = Row { sizes: (*PRIME_BITS.start(), *PRIME_BITS.end()), keys: &[KeyType::DSA], ..Row::BASE };

const fn over_digest(kind: MechanismType) -> Row {
    let verbs = Verbs { sign: Some(sign_digest), verify: Some(verify_digest), ..Verbs::NONE };
    Row { kind, input: Input::Hash, verbs, ..BASE }
}

/// The family's mechanisms.
pub const ROWS: &[Row] = &[
    Row { kind: MechanismType::DSA_PARAMETER_GEN, verbs: Verbs { generate: Some(generate_domain), ..Verbs::NONE }, ..BASE },
    Row { kind: MechanismType::DSA_KEY_PAIR_GEN, verbs: Verbs { generate_pair: Some(generate_pair), ..Verbs::NONE }, ..BASE },
    Row {
        kind: MechanismType::DSA,
        input: Input::Whole,
        verbs: Verbs { sign: Some(sign), verify: Some(verify), ..Verbs::NONE },
        ..BASE
    },
    over_digest(MechanismType::DSA_SHA1),
    over_digest(MechanismType::DSA_SHA224),
    over_digest(MechanismType::DSA_SHA256),
    over_digest(MechanismType::DSA_SHA384),
    over_digest(MechanismType::DSA_SHA512),
    over_digest(MechanismType::DSA_SHA3_224),
    over_digest(MechanismType::DSA_SHA3_256),
    over_digest(MechanismType::DSA_SHA3_384),
    over_digest(MechanismType::DSA_SHA3_512),
];

fn hash_of(kind: MechanismType) -> Result<Hash> {
    match kind {
        MechanismType::DSA_SHA1 => Ok(Hash::Sha1),
        MechanismType::DSA_SHA224 => Ok(Hash::Sha224),
        MechanismType::DSA_SHA256 => Ok(Hash::Sha256),
        MechanismType::DSA_SHA384 => Ok(Hash::Sha384),
        MechanismType::DSA_SHA512 => Ok(Hash::Sha512),
        MechanismType::DSA_SHA3_224 => Ok(Hash::Sha3_224),
        MechanismType::DSA_SHA3_256 => Ok(Hash::Sha3_256),
        MechanismType::DSA_SHA3_384 => Ok(Hash::Sha3_384),
        MechanismType::DSA_SHA3_512 => Ok(Hash::Sha3_512),
        other => Err(refuse(Code::MechanismInvalid, format!("{other} names no hash for DSA"))),
    }
}

/// `CKM_DSA_PARAMETER_GEN`: `CKA_PRIME_BITS` is needed; `CKA_SUBPRIME_BITS` may say what follows from it.
fn generate_domain(_mechanism: &Mechanism, template: &Template) -> Result<Template> {
    let bits =
        template.ulong(AttributeType::PRIME_BITS).ok_or_else(|| refuse(Code::TemplateIncomplete, "CKA_PRIME_BITS is missing"))?;
    if !PRIME_BITS.contains(&bits) || !bits.is_multiple_of(PRIME_STEP_BITS) {
        return Err(refuse(Code::KeySizeRange, format!("a DSA prime of {bits} bits cannot be generated")));
    }
    let subprime_bits = if bits < 2048 { 160 } else { 256 };
    if template.ulong(AttributeType::SUBPRIME_BITS).is_some_and(|wanted| wanted != subprime_bits) {
        return Err(refuse(Code::KeySizeRange, format!("a DSA prime of {bits} bits goes with a subprime of {subprime_bits}")));
    }
    let domain = Dsa::generate_domain(bits as u32)?;
    Ok(Template::from_iter([
        (AttributeType::PRIME, Value::Bytes(domain.prime)),
        (AttributeType::SUBPRIME, Value::Bytes(domain.subprime)),
        (AttributeType::BASE, Value::Bytes(domain.base)),
    ]))
}

/// `CKM_DSA_KEY_PAIR_GEN`: the domain is in the public template.
fn generate_pair(_mechanism: &Mechanism, public: &Template, _private: &Template) -> Result<GeneratedPair> {
    check_domain(public)?;
    prove_primes(public)?;
    let domain = domain_of(public)?;
    let (public_value, private_value) = Dsa::generate(&domain)?;
    let private = Template::from_iter([
        (AttributeType::PRIME, Value::Bytes(domain.prime)),
        (AttributeType::SUBPRIME, Value::Bytes(domain.subprime)),
        (AttributeType::BASE, Value::Bytes(domain.base)),
        (AttributeType::VALUE, secret(private_value)),
    ]);
    Ok(GeneratedPair { public: Template::from_iter([(AttributeType::VALUE, Value::Bytes(public_value))]), private })
}

fn domain_of(attributes: &Template) -> Result<Domain> {
    let number = |kind| required(attributes, kind).map(|number| der::trimmed(number).to_vec());
    Ok(Domain {
        prime: number(AttributeType::PRIME)?,
        subprime: number(AttributeType::SUBPRIME)?,
        base: number(AttributeType::BASE)?,
    })
}

impl Material for Dsa {
    fn prepare(object: &Object) -> Result<Self> {
        let domain = domain_of(&object.attributes)?;
        let value = required(&object.attributes, AttributeType::VALUE)?;
        if object.class() == ObjectClass::PUBLIC_KEY {
            return Dsa::new(&domain, value, None);
        }
        Dsa::new(&domain, &public_value(&object.attributes)?, Some(value))
    }
}

/// One use of a key.
struct Signature {
    key: Arc<Key>,
    len: usize,
}

impl Signature {
    fn new(key: Arc<Key>) -> Result<Self> {
        let len = key.material::<Dsa>()?.signature_len();
        Ok(Self { key, len })
    }
}

impl SignOnce for Signature {
    fn signature_len(&self) -> usize {
        self.len
    }

    fn sign(&self, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        self.key.material::<Dsa>()?.sign(digest, out)
    }
}

impl VerifyOnce for Signature {
    fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<()> {
        check_signature_len(signature, self.len)?;
        check_valid(self.key.material::<Dsa>()?.verify(digest, signature)?)
    }
}

/// `CKM_DSA`: over a digest, of which the leftmost bits count that the subprime has.
fn sign(_mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(OverWhole::unbounded(Signature::new(key.into_key())?))
}

/// As [`sign`].
fn verify(_mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(OverWhole::unbounded(Signature::new(key.into_key())?))
}

/// `CKM_DSA_SHA256` and its like.
fn sign_digest(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(OverDigest::new(hash_of(mechanism.kind)?, Signature::new(key.into_key())?))
}

/// As [`sign_digest`].
fn verify_digest(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(OverDigest::new(hash_of(mechanism.kind)?, Signature::new(key.into_key())?))
}

/// Checks the numbers of a new key or domain and sets what follows from them.
pub(super) fn complete(class: ObjectClass, attributes: &mut Template) -> Result<Option<Vec<u8>>> {
    normalise_numbers(attributes, &DOMAIN, Secrecy::Public);
    let prime_bits = check_domain(attributes)?;
    if attributes.bool(AttributeType::LOCAL) != Some(true) {
        prove_primes(attributes)?;
    }
    let prime = Number::from_be(required(attributes, AttributeType::PRIME)?)?;
    let subprime = Number::from_be(required(attributes, AttributeType::SUBPRIME)?)?;
    let public = match class {
        ObjectClass::PUBLIC_KEY => {
            normalise_numbers(attributes, &[AttributeType::VALUE], Secrecy::Public);
            let value = Number::from_be(required(attributes, AttributeType::VALUE)?)?;
            if value.is_word(1) || value >= prime || !value.power(&subprime, &prime)?.is_word(1) {
                return Err(refuse(Code::AttributeValueInvalid, "CKA_VALUE is no public key in the DSA domain"));
            }
            value.to_be()
        }
        ObjectClass::PRIVATE_KEY => {
            normalise_numbers(attributes, &[AttributeType::VALUE], Secrecy::Secret);
            if Number::from_be(required(attributes, AttributeType::VALUE)?)? >= subprime {
                return Err(refuse(Code::AttributeValueInvalid, "CKA_VALUE is no private key in the DSA domain"));
            }
            public_value(attributes)?
        }
        _ => {
            attributes.set(AttributeType::PRIME_BITS, Value::Ulong(prime_bits));
            return Ok(None);
        }
    };
    Ok(Some(der::sequence(&[&algorithm(attributes)?, &der::bits(&der::unsigned(&public))]).to_vec()))
}

/// That prime and subprime are what they are called. Slow.
///
/// Errors: `DomainParamsInvalid`.
fn prove_primes(attributes: &Template) -> Result<()> {
    for kind in [AttributeType::SUBPRIME, AttributeType::PRIME] {
        if !Number::from_be(required(attributes, kind)?)?.is_prime()? {
            return Err(refuse(Code::DomainParamsInvalid, format!("{kind} is not a prime number")));
        }
    }
    Ok(())
}

/// Length of the prime in bits.
///
/// Errors: `DomainParamsInvalid`, `KeySizeRange`.
fn check_domain(attributes: &Template) -> Result<u64> {
    let prime = Number::from_be(required(attributes, AttributeType::PRIME)?)?;
    let subprime = Number::from_be(required(attributes, AttributeType::SUBPRIME)?)?;
    let base = Number::from_be(required(attributes, AttributeType::BASE)?)?;
    let bits = prime.bits() as u64;
    if !PRIME_BITS.contains(&bits) || !SUBPRIME_BITS.contains(&subprime.bits()) {
        return Err(refuse(Code::KeySizeRange, format!("DSA with {bits} and {} bits is not supported", subprime.bits())));
    }
    let sound = prime.is_odd()
        && subprime.is_odd()
        && prime.minus_word(1)?.divided_by(&subprime)?.1.is_word(0)
        && base < prime
        && !base.is_word(0)
        && !base.is_word(1)
        && base.power(&subprime, &prime)?.is_word(1);
    if sound { Ok(bits) } else { Err(refuse(Code::DomainParamsInvalid, "the DSA domain parameters do not fit each other")) }
}

/// The public number that belongs to a private key.
pub(super) fn public_value(private: &Template) -> Result<Vec<u8>> {
    let base = Number::from_be(required(private, AttributeType::BASE)?)?;
    let prime = Number::from_be(required(private, AttributeType::PRIME)?)?;
    let value = Number::from_be(required(private, AttributeType::VALUE)?)?;
    Ok(base.power(&value, &prime)?.to_be())
}

fn algorithm(attributes: &Template) -> Result<zeroize::Zeroizing<Vec<u8>>> {
    let [prime, subprime, base] = DOMAIN.map(|kind| required(attributes, kind).map(der::unsigned));
    Ok(der::sequence(&[&der::oid(OID), &der::sequence(&[&prime?, &subprime?, &base?])]))
}

/// The private number as an INTEGER.
pub(super) fn to_pkcs8(attributes: &Template) -> Result<Encoded> {
    Ok(Encoded { algorithm: algorithm(attributes)?, key: der::unsigned(required(attributes, AttributeType::VALUE)?) })
}

/// The reverse.
pub(super) fn from_pkcs8(mut parameters: Reader<'_>, key: &[u8]) -> std::result::Result<Template, Malformed> {
    let mut domain = parameters.sequence()?;
    parameters.finish()?;
    let mut attributes = Template::from_iter([(AttributeType::KEY_TYPE, Value::Ulong(KeyType::DSA.0))]);
    for kind in DOMAIN {
        attributes.set(kind, bytes(domain.unsigned()?));
    }
    domain.finish()?;
    let mut value = Reader::new(key);
    attributes.set(AttributeType::VALUE, secret(value.unsigned()?.to_vec()));
    value.finish()?;
    Ok(attributes)
}

#[cfg(test)]
#[path = "dsa_tests.rs"]
mod tests;
