//! Diffie–Hellman over a prime field (PKCS#11 3.1, 6.4): parameters, key pairs, derivation.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::der::{self, Malformed, Reader, tag};
use super::ec::tail;
use super::encoding::{Encoded, Secrecy, bytes, normalise_numbers, required, secret};
use super::params::ParamKind;
use super::table::Row;
use super::{GeneratedPair, Key, Material, Mechanism, Params, Verbs, Wanted};
use crate::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use crate::error::{Code, Doing, Result, refuse};
use crate::object::policy::{Derive, Permitted};
use crate::object::{Object, Template, Value};
use crate::secret::Secret;
use crate::sys::awslc::bignum::Number;
use crate::sys::awslc::dh::Dh;

/// dhKeyAgreement, 1.2.840.113549.1.3.1 (PKCS #3).
pub(super) const OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x03, 0x01];

/// Bits of a prime, the least and the most.
const PRIME_BITS: std::ops::RangeInclusive<u64> = 512..=8192;
/// Longest prime that is searched for; for the usual longer sizes there are the primes of RFC 3526.
const SEARCHED_PRIME_MAX_BITS: u64 = 2048;

const BASE: Row = Row { sizes: (*PRIME_BITS.start(), *PRIME_BITS.end()), keys: &[KeyType::DH], ..Row::BASE };

/// The family's mechanisms.
pub const ROWS: &[Row] = &[
    Row { kind: MechanismType::DH_PKCS_PARAMETER_GEN, verbs: Verbs { generate: Some(generate_domain), ..Verbs::NONE }, ..BASE },
    Row { kind: MechanismType::DH_PKCS_KEY_PAIR_GEN, verbs: Verbs { generate_pair: Some(generate_pair), ..Verbs::NONE }, ..BASE },
    Row {
        kind: MechanismType::DH_PKCS_DERIVE,
        params: ParamKind::RawData,
        verbs: Verbs { derive: Some(derive), ..Verbs::NONE },
        ..BASE
    },
];

/// `CKM_DH_PKCS_PARAMETER_GEN`: `CKA_PRIME_BITS` is needed. For 1536 bits and the usual sizes above, the prime is that of
/// RFC 3526, which has been looked at more than a new one ever will be; for others a safe prime is searched for.
fn generate_domain(_mechanism: &Mechanism, template: &Template) -> Result<Template> {
    let bits =
        template.ulong(AttributeType::PRIME_BITS).ok_or_else(|| refuse(Code::TemplateIncomplete, "CKA_PRIME_BITS is missing"))?;
    let refused = || refuse(Code::KeySizeRange, format!("a Diffie-Hellman prime of {bits} bits cannot be generated"));
    if !PRIME_BITS.contains(&bits) {
        return Err(refused());
    }
    let (prime, base) = match Dh::known_prime(bits as u32)? {
        Some(prime) => (prime, vec![2]),
        None if bits <= SEARCHED_PRIME_MAX_BITS => Dh::generate_domain(bits as u32)?,
        None => return Err(refused()),
    };
    Ok(Template::from_iter([(AttributeType::PRIME, Value::Bytes(prime)), (AttributeType::BASE, Value::Bytes(base))]))
}

/// `CKM_DH_PKCS_KEY_PAIR_GEN`: the parameters are in the public template; `CKA_VALUE_BITS` of the private one bounds its number.
fn generate_pair(_mechanism: &Mechanism, public: &Template, private: &Template) -> Result<GeneratedPair> {
    check_domain(public)?;
    prove_prime(public)?;
    let prime = der::trimmed(required(public, AttributeType::PRIME)?);
    let base = der::trimmed(required(public, AttributeType::BASE)?);
    let bits = private.ulong(AttributeType::VALUE_BITS).unwrap_or(0);
    let bits = u32::try_from(bits).doing(Code::AttributeValueInvalid, "CKA_VALUE_BITS is longer than the prime")?;
    let (public_value, private_value) = Dh::generate(prime, base, bits)?;
    Ok(GeneratedPair {
        public: Template::from_iter([(AttributeType::VALUE, Value::Bytes(public_value))]),
        private: Template::from_iter([
            (AttributeType::PRIME, bytes(prime)),
            (AttributeType::BASE, bytes(base)),
            (AttributeType::VALUE, secret(private_value)),
        ]),
    })
}

impl Material for Dh {
    fn prepare(object: &Object) -> Result<Self> {
        let attributes = &object.attributes;
        Dh::new(
            required(attributes, AttributeType::PRIME)?,
            required(attributes, AttributeType::BASE)?,
            required(attributes, AttributeType::VALUE)?,
        )
    }
}

/// `CKM_DH_PKCS_DERIVE`: the secret is as long as the prime; a shorter key is its end, as the standard says.
fn derive(mechanism: &Mechanism, key: Permitted<Derive, Arc<Key>>, wanted: &Wanted<'_>) -> Result<Secret> {
    let Params::Data(peer) = &mechanism.params else {
        return Err(refuse(Code::MechanismParamInvalid, "the parameter is the peer's public value"));
    };
    let key = key.into_key();
    let shared = key.material::<Dh>()?.agree(peer);
    let shared = shared.doing(Code::MechanismParamInvalid, "the peer's public value is refused")?;
    tail(&Zeroizing::new(shared), wanted.value_len)
}

/// Checks the numbers of a new key or domain and sets what follows from them.
pub(super) fn complete(class: ObjectClass, attributes: &mut Template) -> Result<Option<Vec<u8>>> {
    normalise_numbers(attributes, &[AttributeType::PRIME, AttributeType::BASE], Secrecy::Public);
    let prime_bits = check_domain(attributes)?;
    if attributes.bool(AttributeType::LOCAL) != Some(true) {
        prove_prime(attributes)?;
    }
    let last = Number::from_be(required(attributes, AttributeType::PRIME)?)?.minus_word(1)?;
    let public = match class {
        ObjectClass::PUBLIC_KEY => {
            normalise_numbers(attributes, &[AttributeType::VALUE], Secrecy::Public);
            let value = Number::from_be(required(attributes, AttributeType::VALUE)?)?;
            if value.is_word(1) || value >= last {
                return Err(refuse(Code::AttributeValueInvalid, "CKA_VALUE is no Diffie-Hellman public value of the prime"));
            }
            value.to_be()
        }
        ObjectClass::PRIVATE_KEY => {
            normalise_numbers(attributes, &[AttributeType::VALUE], Secrecy::Secret);
            let value = Number::from_be(required(attributes, AttributeType::VALUE)?)?;
            if value >= last {
                return Err(refuse(Code::AttributeValueInvalid, "CKA_VALUE is no Diffie-Hellman private value of the prime"));
            }
            if !attributes.has(AttributeType::VALUE_BITS) {
                attributes.set(AttributeType::VALUE_BITS, Value::Ulong(value.bits() as u64));
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

/// That the prime is one: another modulus would let whoever chose it read private numbers off the public ones. Slow, but for RFC 3526's.
///
/// Errors: `DomainParamsInvalid`.
fn prove_prime(attributes: &Template) -> Result<()> {
    let prime = Number::from_be(required(attributes, AttributeType::PRIME)?)?;
    let known = Dh::known_prime(prime.bits() as u32)?;
    if known.is_some_and(|known| known == prime.to_be()) || prime.is_prime()? {
        return Ok(());
    }
    Err(refuse(Code::DomainParamsInvalid, "CKA_PRIME is not a prime number"))
}

/// Length of the prime in bits.
///
/// Errors: `DomainParamsInvalid`, `KeySizeRange`.
fn check_domain(attributes: &Template) -> Result<u64> {
    let prime = Number::from_be(required(attributes, AttributeType::PRIME)?)?;
    let base = Number::from_be(required(attributes, AttributeType::BASE)?)?;
    let bits = prime.bits() as u64;
    if !PRIME_BITS.contains(&bits) {
        return Err(refuse(Code::KeySizeRange, format!("a Diffie-Hellman prime of {bits} bits is not supported")));
    }
    let sound = prime.is_odd() && !base.is_word(0) && !base.is_word(1) && base < prime.minus_word(1)?;
    if sound { Ok(bits) } else { Err(refuse(Code::DomainParamsInvalid, "the Diffie-Hellman parameters do not fit each other")) }
}

/// The public number that belongs to a private key.
pub(super) fn public_value(private: &Template) -> Result<Vec<u8>> {
    let base = Number::from_be(required(private, AttributeType::BASE)?)?;
    let prime = Number::from_be(required(private, AttributeType::PRIME)?)?;
    let value = Number::from_be(required(private, AttributeType::VALUE)?)?;
    Ok(base.power(&value, &prime)?.to_be())
}

fn algorithm(attributes: &Template) -> Result<Zeroizing<Vec<u8>>> {
    let prime = der::unsigned(required(attributes, AttributeType::PRIME)?);
    let base = der::unsigned(required(attributes, AttributeType::BASE)?);
    Ok(der::sequence(&[&der::oid(OID), &der::sequence(&[&prime, &base])]))
}

/// The private number as an INTEGER.
pub(super) fn to_pkcs8(attributes: &Template) -> Result<Encoded> {
    Ok(Encoded { algorithm: algorithm(attributes)?, key: der::unsigned(required(attributes, AttributeType::VALUE)?) })
}

/// The reverse.
pub(super) fn from_pkcs8(mut parameters: Reader<'_>, key: &[u8]) -> std::result::Result<Template, Malformed> {
    let mut domain = parameters.sequence()?;
    parameters.finish()?;
    let mut attributes = Template::from_iter([
        (AttributeType::KEY_TYPE, Value::Ulong(KeyType::DH.0)),
        (AttributeType::PRIME, bytes(domain.unsigned()?)),
        (AttributeType::BASE, bytes(domain.unsigned()?)),
    ]);
    // privateValueLength, which the value itself tells.
    domain.optional(tag::INTEGER)?;
    domain.finish()?;
    let mut value = Reader::new(key);
    attributes.set(AttributeType::VALUE, secret(value.unsigned()?.to_vec()));
    value.finish()?;
    Ok(attributes)
}

#[cfg(test)]
#[path = "dh_tests.rs"]
mod tests;
