//! RSA keys from attributes and to bytes: prepared for use, checked and completed, as PKCS #1 in PKCS #8.

use zeroize::Zeroizing;

use super::factor;
use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Doing, Result, refuse};
use crate::limits;
use crate::mechanism::Material;
use crate::mechanism::der::{self, Malformed, Reader, tag, trimmed};
use crate::mechanism::digest::Hash;
use crate::mechanism::encoding::{Encoded, Secrecy, bytes, normalise_numbers, required, secret};
use crate::object::{Object, Template, Value};
use crate::sys::awslc::bignum::Number;
use crate::sys::awslc::rsa::{CrtNumbers, PrivateNumbers, Rsa};

/// rsaEncryption, 1.2.840.113549.1.1.1 (RFC 8017, appendix A.1).
pub(in crate::mechanism) const OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Private numbers of CRT, in the order of PKCS #1.
const CRT: [AttributeType; 5] = [
    AttributeType::PRIME_1,
    AttributeType::PRIME_2,
    AttributeType::EXPONENT_1,
    AttributeType::EXPONENT_2,
    AttributeType::COEFFICIENT,
];

/// An RSA key ready for use.
pub(super) struct Prepared {
    pub(super) key: Rsa,
    /// What implicit rejection derives false plaintexts from: SHA-256 of the private exponent. `None` for a public key.
    pub(super) rejection: Option<Zeroizing<[u8; 32]>>,
}

impl Material for Prepared {
    fn prepare(object: &Object) -> Result<Self> {
        let attributes = &object.attributes;
        if object.class() == ObjectClass::PUBLIC_KEY {
            let modulus = required(attributes, AttributeType::MODULUS)?;
            let key = Rsa::public(modulus, required(attributes, AttributeType::PUBLIC_EXPONENT)?)?;
            return Ok(Self { key, rejection: None });
        }
        let numbers = private_numbers(attributes)?;
        let key = Rsa::private(&numbers)?;
        // The exponent counts with leading zeros, as long as the modulus.
        let exponent = trimmed(numbers.private_exponent);
        let zeros = vec![0; key.size().saturating_sub(exponent.len())];
        let digest = Hash::Sha256.digest(&[&zeros, exponent]);
        let mut rejection = Zeroizing::new([0; 32]);
        rejection.copy_from_slice(&digest);
        Ok(Self { key, rejection: Some(rejection) })
    }
}

fn private_numbers(attributes: &Template) -> Result<PrivateNumbers<'_>> {
    let crt = CRT.map(|kind| attributes.exposed(kind).filter(|number| !number.is_empty()));
    let crt = match crt {
        [Some(prime_1), Some(prime_2), Some(exponent_1), Some(exponent_2), Some(coefficient)] => {
            Some(CrtNumbers { prime_1, prime_2, exponent_1, exponent_2, coefficient })
        }
        _ => None,
    };
    Ok(PrivateNumbers {
        modulus: required(attributes, AttributeType::MODULUS)?,
        public_exponent: required(attributes, AttributeType::PUBLIC_EXPONENT)?,
        private_exponent: required(attributes, AttributeType::PRIVATE_EXPONENT)?,
        crt,
    })
}

/// Checks the numbers of a new key and sets what follows from them.
pub(in crate::mechanism) fn complete(class: ObjectClass, attributes: &mut Template) -> Result<Option<Vec<u8>>> {
    normalise_numbers(attributes, &[AttributeType::MODULUS, AttributeType::PUBLIC_EXPONENT], Secrecy::Public);
    let modulus = Number::from_be(required(attributes, AttributeType::MODULUS)?)?;
    check_modulus(&modulus)?;
    if class == ObjectClass::PRIVATE_KEY {
        complete_private(&modulus, attributes)?;
    }
    check_public_exponent(required(attributes, AttributeType::PUBLIC_EXPONENT)?)?;
    if class == ObjectClass::PUBLIC_KEY {
        Rsa::public(required(attributes, AttributeType::MODULUS)?, required(attributes, AttributeType::PUBLIC_EXPONENT)?)
            .doing(Code::AttributeValueInvalid, "the numbers are no RSA public key")?;
        let bits = modulus.bits() as u64;
        if attributes.ulong(AttributeType::MODULUS_BITS).is_some_and(|given| given != bits) {
            return Err(refuse(Code::TemplateInconsistent, format!("CKA_MODULUS_BITS is not the modulus's length, {bits}")));
        }
        attributes.set(AttributeType::MODULUS_BITS, Value::Ulong(bits));
    }
    public_key_info(attributes).map(Some)
}

fn complete_private(modulus: &Number, attributes: &mut Template) -> Result<()> {
    normalise_numbers(attributes, &CRT, Secrecy::Secret);
    normalise_numbers(attributes, &[AttributeType::PRIVATE_EXPONENT], Secrecy::Secret);
    let exponent = Number::from_be(required(attributes, AttributeType::PRIVATE_EXPONENT)?)?;
    if attributes.exposed(AttributeType::PUBLIC_EXPONENT).is_none_or(<[u8]>::is_empty) {
        let public = factor::public_exponent(modulus, &exponent)?;
        attributes.set(AttributeType::PUBLIC_EXPONENT, Value::Bytes(public));
    }
    if CRT.iter().any(|kind| attributes.exposed(*kind).is_none_or(<[u8]>::is_empty)) {
        complete_crt(modulus, &exponent, attributes)?;
    }
    Rsa::private(&private_numbers(attributes)?)
        .doing(Code::AttributeValueInvalid, "the RSA private key's numbers do not fit each other")?;
    Ok(())
}

/// Fills in the numbers of CRT that are missing; a number that is there stays, to be checked with the others.
fn complete_crt(modulus: &Number, exponent: &Number, attributes: &mut Template) -> Result<()> {
    let given = |kind| attributes.exposed(kind).filter(|number| !number.is_empty()).map(Number::from_be).transpose();
    let (prime_1, prime_2) = match (given(AttributeType::PRIME_1)?, given(AttributeType::PRIME_2)?) {
        (Some(prime_1), Some(prime_2)) => (prime_1, prime_2),
        (Some(prime), None) | (None, Some(prime)) => {
            let other = factor::cofactor(modulus, &prime)?;
            if attributes.has(AttributeType::PRIME_1) { (prime, other) } else { (other, prime) }
        }
        (None, None) => {
            let public = Number::from_be(required(attributes, AttributeType::PUBLIC_EXPONENT)?)?;
            factor::primes(modulus, &public, exponent)?
        }
    };
    let numbers = factor::crt(&prime_1, &prime_2, exponent)?;
    for (kind, number) in CRT.into_iter().zip([&prime_1, &prime_2].into_iter().chain(&numbers)) {
        if attributes.exposed(kind).is_none_or(<[u8]>::is_empty) {
            attributes.set(kind, secret(number.to_be()));
        }
    }
    Ok(())
}

/// Refuses moduli that are even, too short or long, or made by the generator with the ROCA flaw (CVE-2017-15361).
fn check_modulus(modulus: &Number) -> Result<()> {
    let bits = modulus.bits() as u64;
    if !(limits::RSA_MODULUS_MIN_BITS..=limits::RSA_MODULUS_MAX_BITS).contains(&bits) {
        return Err(refuse(
            Code::KeySizeRange,
            format!(
                "an RSA modulus of {bits} bits: it must have {} to {}",
                limits::RSA_MODULUS_MIN_BITS,
                limits::RSA_MODULUS_MAX_BITS
            ),
        ));
    }
    if !modulus.is_odd() {
        return Err(refuse(Code::AttributeValueInvalid, "the RSA modulus is even"));
    }
    if factor::has_roca_fingerprint(modulus) {
        return Err(refuse(Code::AttributeValueInvalid, "the RSA modulus has the ROCA flaw: its factors can be found"));
    }
    Ok(())
}

/// Refuses exponents that are even, 1, or longer than the library computes with.
pub(super) fn check_public_exponent(exponent: &[u8]) -> Result<()> {
    let exponent = trimmed(exponent);
    match exponent.last() {
        Some(last) if last & 1 == 1 && exponent != [1] => Ok(()),
        _ => Err(refuse(Code::AttributeValueInvalid, "the RSA public exponent must be odd and greater than 1")),
    }
}

/// `SubjectPublicKeyInfo` (RFC 3279, 2.3.1).
fn public_key_info(attributes: &Template) -> Result<Vec<u8>> {
    let key = der::sequence(&[
        &der::unsigned(required(attributes, AttributeType::MODULUS)?),
        &der::unsigned(required(attributes, AttributeType::PUBLIC_EXPONENT)?),
    ]);
    Ok(der::sequence(&[&algorithm(), &der::bits(&key)]).to_vec())
}

fn algorithm() -> Zeroizing<Vec<u8>> {
    der::sequence(&[&der::oid(OID), &der::element(tag::NULL, &[])])
}

/// `RSAPrivateKey` (RFC 8017, appendix A.1.2).
pub(in crate::mechanism) fn to_pkcs8(attributes: &Template) -> Result<Encoded> {
    let mut parts = vec![der::unsigned(&[])];
    let public = [AttributeType::MODULUS, AttributeType::PUBLIC_EXPONENT, AttributeType::PRIVATE_EXPONENT];
    for kind in public.into_iter().chain(CRT) {
        parts.push(der::unsigned(required(attributes, kind)?));
    }
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
    Ok(Encoded { algorithm: algorithm(), key: der::sequence(&parts) })
}

/// The reverse. The numbers are checked against each other when the key is completed.
pub(in crate::mechanism) fn from_pkcs8(mut parameters: Reader<'_>, key: &[u8]) -> std::result::Result<Template, Malformed> {
    parameters.optional(tag::NULL)?;
    parameters.finish()?;
    let mut outer = Reader::new(key);
    let mut inner = outer.sequence()?;
    outer.finish()?;
    // Version 0: two primes.
    if !inner.unsigned()?.is_empty() {
        return Err(Malformed::new("the RSA key has a version other than 0"));
    }
    let mut attributes = Template::from_iter([
        (AttributeType::KEY_TYPE, Value::Ulong(KeyType::RSA.0)),
        (AttributeType::MODULUS, bytes(inner.unsigned()?)),
        (AttributeType::PUBLIC_EXPONENT, bytes(inner.unsigned()?)),
        (AttributeType::PRIVATE_EXPONENT, secret(inner.unsigned()?.to_vec())),
    ]);
    for kind in CRT {
        attributes.set(kind, secret(inner.unsigned()?.to_vec()));
    }
    inner.finish()?;
    Ok(attributes)
}
