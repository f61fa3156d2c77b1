//! EC keys from attributes and to bytes: prepared for use, checked and completed, as SEC 1 in PKCS #8.

use std::sync::Arc;

use k256::ecdsa::{SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::curve::{self, Form};
use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::der::{self, Malformed, Reader, tag};
use crate::mechanism::encoding::{Encoded, Secrecy, bytes, normalise_numbers, required, secret};
use crate::mechanism::{Key, Material};
use crate::object::{Object, Template, Value};
use crate::sys::awslc::ec::{Curve, EcKey, Point};

/// id-ecPublicKey, 1.2.840.10045.2.1 (RFC 5480, 2.1.1).
pub(in crate::mechanism) const OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// An EC key ready for use, in the library that is fastest on its curve.
pub(super) enum Prepared {
    /// Any curve but secp256k1.
    Library(EcKey),
    /// A private key on secp256k1.
    SigningK256(SigningKey),
    /// A public key on secp256k1.
    VerifyingK256(VerifyingKey),
}

impl Prepared {
    /// The key's material and curve.
    pub(super) fn of(key: &Arc<Key>) -> Result<&Self> {
        key.material::<Self>()
    }

    /// Length of the order, hence of half a signature, in bytes.
    pub(super) fn order_len(&self) -> usize {
        match self {
            Prepared::Library(key) => key.curve().bytes(),
            Prepared::SigningK256(_) | Prepared::VerifyingK256(_) => Curve::Secp256k1.bytes(),
        }
    }
}

impl Material for Prepared {
    fn prepare(object: &Object) -> Result<Self> {
        let attributes = &object.attributes;
        let (curve, _) = curve::parse(required(attributes, AttributeType::EC_PARAMS)?)?;
        if object.class() == ObjectClass::PUBLIC_KEY {
            let point = point_of(curve, required(attributes, AttributeType::EC_POINT)?)?;
            return match curve {
                Curve::Secp256k1 => {
                    let key = VerifyingKey::from_sec1_bytes(&point.to_uncompressed()?);
                    Ok(Prepared::VerifyingK256(key.doing(Code::PublicKeyInvalid, "the secp256k1 public key is refused")?))
                }
                _ => EcKey::public(&point).map(Prepared::Library),
            };
        }
        let scalar = required(attributes, AttributeType::VALUE)?;
        match curve {
            Curve::Secp256k1 => {
                let key = SigningKey::from_slice(&fixed_scalar(curve, scalar)?);
                Ok(Prepared::SigningK256(key.doing(Code::KeySizeRange, "the secp256k1 private key is not below the order")?))
            }
            _ => EcKey::private(curve, scalar).map(Prepared::Library),
        }
    }
}

/// A point as `CKA_EC_POINT` or a mechanism parameter has it: the encoding of SEC 1 itself, or that in an OCTET STRING
/// (PKCS#11 3.1, 6.3.3), or, as some old programs write it, in a BIT STRING.
pub(super) fn point_of(curve: Curve, given: &[u8]) -> Result<Point> {
    Point::parse(curve, unwrapped(given, |len| len == 1 + 2 * curve.bytes() || len == 1 + curve.bytes()))
}

/// The contents of an OCTET STRING or BIT STRING, unless the bytes have the length of a public key themselves: an
/// uncompressed point begins with the tag of an OCTET STRING.
pub(in crate::mechanism) fn unwrapped(given: &[u8], is_key_len: impl Fn(usize) -> bool) -> &[u8] {
    if is_key_len(given.len()) {
        return given;
    }
    let mut reader = Reader::new(given);
    match reader.any() {
        Ok((tag::OCTET_STRING, contents)) if reader.is_empty() => contents,
        Ok((tag::BIT_STRING, [0, contents @ ..])) if reader.is_empty() => contents,
        _ => given,
    }
}

/// The scalar with leading zeros, as long as the order.
fn fixed_scalar(curve: Curve, scalar: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let scalar = der::trimmed(scalar);
    let zeros = curve.bytes().checked_sub(scalar.len());
    let zeros = zeros.ok_or_else(|| refuse(Code::KeySizeRange, "the EC private key is longer than the curve's order"))?;
    let mut fixed = Zeroizing::new(vec![0; curve.bytes()]);
    fixed[zeros..].copy_from_slice(scalar);
    Ok(fixed)
}

/// Checks the components of a new key and sets what follows from them.
pub(in crate::mechanism) fn complete(class: ObjectClass, attributes: &mut Template) -> Result<Option<Vec<u8>>> {
    let (curve, form) = curve::parse(required(attributes, AttributeType::EC_PARAMS)?)?;
    if form == Form::Explicit {
        attributes.set(AttributeType::EC_PARAMS, Value::Bytes(curve::oid(curve)));
    }
    let point = match class {
        ObjectClass::PUBLIC_KEY => point_of(curve, required(attributes, AttributeType::EC_POINT)?)
            .doing(Code::AttributeValueInvalid, "CKA_EC_POINT is no point on the curve")?
            .to_uncompressed()?,
        ObjectClass::PRIVATE_KEY => {
            normalise_numbers(attributes, &[AttributeType::VALUE], Secrecy::Secret);
            let key = EcKey::private(curve, required(attributes, AttributeType::VALUE)?)
                .doing(Code::AttributeValueInvalid, "CKA_VALUE is no private key on the curve")?;
            let point = key.public_point()?;
            check_same_point(curve, attributes, &point)?;
            point
        }
        _ => return Ok(None),
    };
    if class == ObjectClass::PUBLIC_KEY || attributes.has(AttributeType::EC_POINT) {
        attributes.set(AttributeType::EC_POINT, bytes(&der::octets(&point)));
    }
    let algorithm = der::sequence(&[&der::oid(OID), &curve::oid(curve)]);
    Ok(Some(der::sequence(&[&algorithm, &der::bits(&point)]).to_vec()))
}

/// A private key may come with its public point, which must be the right one.
fn check_same_point(curve: Curve, attributes: &Template, point: &[u8]) -> Result<()> {
    let Some(given) = attributes.exposed(AttributeType::EC_POINT).filter(|given| !given.is_empty()) else { return Ok(()) };
    let given = point_of(curve, given).doing(Code::AttributeValueInvalid, "CKA_EC_POINT is no point on the curve")?;
    if given.to_uncompressed()? == point {
        return Ok(());
    }
    Err(refuse(Code::AttributeValueInvalid, "CKA_EC_POINT does not belong to the private key"))
}

/// `CKA_EC_POINT` of the public key that belongs to a private one.
pub(in crate::mechanism) fn public_point(private: &Template) -> Result<Vec<u8>> {
    let (curve, _) = curve::parse(required(private, AttributeType::EC_PARAMS)?)?;
    let key = EcKey::private(curve, required(private, AttributeType::VALUE)?)?;
    Ok(der::octets(&key.public_point()?).to_vec())
}

/// `ECPrivateKey` (RFC 5915), with the public key, without the curve, which the algorithm identifier names.
pub(in crate::mechanism) fn to_pkcs8(attributes: &Template) -> Result<Encoded> {
    let (curve, _) = curve::parse(required(attributes, AttributeType::EC_PARAMS)?)?;
    let scalar = required(attributes, AttributeType::VALUE)?;
    let point = EcKey::private(curve, scalar)?.public_point()?;
    let key = der::sequence(&[
        &der::unsigned(&[1]),
        &der::octets(&fixed_scalar(curve, scalar)?),
        &der::element(tag::CONTEXT_1, &[&der::bits(&point)]),
    ]);
    Ok(Encoded { algorithm: der::sequence(&[&der::oid(OID), &curve::oid(curve)]), key })
}

/// The reverse. The scalar is checked when the key is completed; a public key inside must belong to it.
pub(in crate::mechanism) fn from_pkcs8(mut parameters: Reader<'_>, key: &[u8]) -> std::result::Result<Template, Malformed> {
    let params = parameters.rest()?;
    let mut outer = Reader::new(key);
    let mut inner = outer.sequence()?;
    outer.finish()?;
    if inner.unsigned()? != [1] {
        return Err(Malformed::new("the EC key has a version other than 1"));
    }
    let mut attributes = Template::from_iter([
        (AttributeType::KEY_TYPE, Value::Ulong(KeyType::EC.0)),
        (AttributeType::EC_PARAMS, bytes(params)),
        (AttributeType::VALUE, secret(inner.element(tag::OCTET_STRING)?.to_vec())),
    ]);
    if inner.optional(tag::CONTEXT_0)?.is_some_and(|inside| inside != params) {
        return Err(Malformed::new("the EC key names two curves"));
    }
    if let Some(inside) = inner.optional(tag::CONTEXT_1)? {
        let mut inside = Reader::new(inside);
        let point = inside.bits()?;
        inside.finish()?;
        attributes.set(AttributeType::EC_POINT, bytes(point));
    }
    inner.finish()?;
    Ok(attributes)
}
