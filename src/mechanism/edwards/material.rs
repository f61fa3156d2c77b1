//! Keys on curve25519 and edwards25519 from attributes and to bytes (RFC 8410).

use zeroize::Zeroizing;

use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::Material;
use crate::mechanism::der::{self, Malformed, Reader, tag};
use crate::mechanism::ec::unwrapped;
use crate::mechanism::encoding::{Encoded, bytes, required, secret};
use crate::object::{Object, Template, Value};
use crate::sys::awslc::bignum::Number;
use crate::sys::awslc::curve25519::{self, EXPANDED_BYTES, KEY_BYTES};

/// id-Ed25519, 1.3.101.112.
pub(in crate::mechanism) const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// id-X25519, 1.3.101.110.
pub(in crate::mechanism) const OID_X25519: &[u8] = &[0x2b, 0x65, 0x6e];
/// What GnuPG used before there was an RFC, and tokens made for it still do.
const OID_ED25519_GNU: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
const OID_X25519_GNU: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01];

/// How pkcs11-tool 0.23 spells curve25519: a PrintableString that claims one byte more than it has.
const MISSPELT_X25519: &[u8] = b"\x13\x0bcurve25519";
/// The same as it should be.
const NAMED_X25519: &[u8] = b"\x13\x0acurve25519";

/// `CKA_EC_PARAMS` as they are kept: as they came, but for one misspelling.
pub(super) fn spelt(params: &[u8]) -> &[u8] {
    if params == MISSPELT_X25519 { NAMED_X25519 } else { params }
}

/// Which curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    Ed25519,
    X25519,
}

impl Curve {
    /// What `CKA_EC_PARAMS` means: an object identifier or a name.
    ///
    /// Errors: `CurveNotSupported`; `DomainParamsInvalid` for what is no such DER.
    pub(super) fn parse(params: &[u8]) -> Result<Self> {
        const WRONG: &str = "CKA_EC_PARAMS is not the DER of EC parameters";
        let mut reader = Reader::new(spelt(params));
        let (found, contents) = reader.any().doing(Code::DomainParamsInvalid, WRONG)?;
        reader.finish().doing(Code::DomainParamsInvalid, WRONG)?;
        let is = |names: [&str; 2]| names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(contents));
        match (found, contents) {
            (tag::OBJECT_IDENTIFIER, OID_ED25519 | OID_ED25519_GNU) => Ok(Self::Ed25519),
            (tag::OBJECT_IDENTIFIER, OID_X25519 | OID_X25519_GNU) => Ok(Self::X25519),
            (tag::PRINTABLE_STRING, _) if is(["edwards25519", "Ed25519"]) => Ok(Self::Ed25519),
            (tag::PRINTABLE_STRING, _) if is(["curve25519", "X25519"]) => Ok(Self::X25519),
            (tag::OBJECT_IDENTIFIER | tag::PRINTABLE_STRING | tag::SEQUENCE | tag::NULL, _) => {
                Err(refuse(Code::CurveNotSupported, "CKA_EC_PARAMS names neither edwards25519 nor curve25519"))
            }
            _ => Err(refuse(Code::DomainParamsInvalid, WRONG)),
        }
    }

    fn oid(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => OID_ED25519,
            Self::X25519 => OID_X25519,
        }
    }

    /// The public key of a private one.
    pub(super) fn public(self, private: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
        match self {
            Self::X25519 => curve25519::x25519_public(private),
            Self::Ed25519 => {
                let expanded = Zeroizing::new(curve25519::expand(private));
                *expanded.last_chunk().expect("the public key is the second half")
            }
        }
    }

    fn algorithm(self) -> Zeroizing<Vec<u8>> {
        der::sequence(&[&der::oid(self.oid())])
    }
}

/// A key ready for use.
pub(super) enum Prepared {
    /// Seed and public key.
    SigningEd25519(Zeroizing<[u8; EXPANDED_BYTES]>),
    VerifyingEd25519([u8; KEY_BYTES]),
    AgreeingX25519(Zeroizing<[u8; KEY_BYTES]>),
    /// A peer's key, which no mechanism uses as an object.
    PublicX25519,
}

impl Material for Prepared {
    fn prepare(object: &Object) -> Result<Self> {
        let attributes = &object.attributes;
        let curve = Curve::parse(required(attributes, AttributeType::EC_PARAMS)?)?;
        match (object.class(), curve) {
            (ObjectClass::PUBLIC_KEY, Curve::Ed25519) => public_of(attributes).map(Self::VerifyingEd25519),
            (ObjectClass::PUBLIC_KEY, Curve::X25519) => Ok(Self::PublicX25519),
            (_, Curve::Ed25519) => Ok(Self::SigningEd25519(Zeroizing::new(curve25519::expand(&*private_of(attributes)?)))),
            (_, Curve::X25519) => private_of(attributes).map(Self::AgreeingX25519),
        }
    }
}

fn private_of(attributes: &Template) -> Result<Zeroizing<[u8; KEY_BYTES]>> {
    let value = unwrapped(required(attributes, AttributeType::VALUE)?, |len| len == KEY_BYTES);
    let mut private = Zeroizing::new([0; KEY_BYTES]);
    if value.len() != KEY_BYTES {
        return Err(refuse(Code::AttributeValueInvalid, format!("CKA_VALUE has {} bytes, not {KEY_BYTES}", value.len())));
    }
    private.copy_from_slice(value);
    Ok(private)
}

fn public_of(attributes: &Template) -> Result<[u8; KEY_BYTES]> {
    let point = unwrapped(required(attributes, AttributeType::EC_POINT)?, |len| len == KEY_BYTES);
    point.try_into().doing(Code::AttributeValueInvalid, "CKA_EC_POINT does not have 32 bytes")
}

/// Checks the components of a new key and sets what follows from them.
pub(in crate::mechanism) fn complete(class: ObjectClass, attributes: &mut Template) -> Result<Option<Vec<u8>>> {
    let params = required(attributes, AttributeType::EC_PARAMS)?;
    let curve = Curve::parse(params)?;
    let params = bytes(spelt(params));
    attributes.set(AttributeType::EC_PARAMS, params);
    let montgomery = attributes.ulong(AttributeType::KEY_TYPE) == Some(KeyType::EC_MONTGOMERY.0);
    if montgomery && curve == Curve::Ed25519 {
        return Err(refuse(Code::CurveNotSupported, "CKA_EC_PARAMS does not name a Montgomery curve"));
    }
    let point = match class {
        ObjectClass::PUBLIC_KEY => {
            let point = public_of(attributes)?;
            check_public(curve, &point)?;
            point
        }
        ObjectClass::PRIVATE_KEY => {
            let private = private_of(attributes)?;
            attributes.set(AttributeType::VALUE, secret(private.to_vec()));
            let point = curve.public(&private);
            if attributes.exposed(AttributeType::EC_POINT).is_some_and(|given| !given.is_empty())
                && public_of(attributes)? != point
            {
                return Err(refuse(Code::AttributeValueInvalid, "CKA_EC_POINT does not belong to the private key"));
            }
            point
        }
        _ => return Ok(None),
    };
    if class == ObjectClass::PUBLIC_KEY || attributes.has(AttributeType::EC_POINT) {
        attributes.set(AttributeType::EC_POINT, bytes(&der::octets(&point)));
    }
    Ok(Some(der::sequence(&[&curve.algorithm(), &der::bits(&point)]).to_vec()))
}

fn check_public(curve: Curve, point: &[u8; KEY_BYTES]) -> Result<()> {
    let sound = match curve {
        Curve::Ed25519 => is_sound_edwards_point(point)?,
        // A point of small order makes every shared secret zero.
        Curve::X25519 => curve25519::x25519(&[9; KEY_BYTES], point).is_some(),
    };
    if sound { Ok(()) } else { Err(refuse(Code::AttributeValueInvalid, "CKA_EC_POINT is off the curve or of small order")) }
}

/// 2^255 - 19.
const FIELD: [u8; KEY_BYTES] = {
    let mut prime = [0xff; KEY_BYTES];
    prime[0] = 0x7f;
    prime[KEY_BYTES - 1] = 0xed;
    prime
};

/// The curve's constant `d` (RFC 8032, 5.1).
const D: [u8; KEY_BYTES] = [
    0x52, 0x03, 0x6c, 0xee, 0x2b, 0x6f, 0xfe, 0x73, 0x8c, 0xc7, 0x40, 0x79, 0x77, 0x79, 0xe8, 0x98, 0x00, 0x70, 0x0a, 0x4d, 0x41,
    0x41, 0xd8, 0xab, 0x75, 0xeb, 0x4d, 0xca, 0x13, 0x59, 0x78, 0xa3,
];

/// Whether the bytes are the canonical form of a point on edwards25519 whose order is not 1, 2, 4 or 8.
fn is_sound_edwards_point(point: &[u8; KEY_BYTES]) -> Result<bool> {
    let mut y = *point;
    y[KEY_BYTES - 1] &= 0x7f;
    y.reverse();
    let (y, field, d) = (Number::from_be(&y)?, Number::from_be(&FIELD)?, Number::from_be(&D)?);
    // y = 0 has order 4, y = 1 order 1, y = -1 order 2.
    if y >= field.minus_word(1)? || y.is_word(0) || y.is_word(1) {
        return Ok(false);
    }
    let one = Number::from_word(1)?;
    let y2 = y.times_modulo(&y, &field)?;
    let dy2 = d.times_modulo(&y2, &field)?;
    // Doubling a point of order 8 gives y = 0, so x² = -y², and the curve's equation becomes d y⁴ + 2 y² = 1.
    let order_8 = dy2.times(&y2)?.plus(&y2.plus(&y2)?)?.divided_by(&field)?.1;
    if order_8 == one {
        return Ok(false);
    }
    // x² = (y² - 1) / (d y² + 1) must be a square, hence the product too (Euler's criterion).
    let numerator = y2.plus(&field.minus_word(1)?)?;
    let product = numerator.times_modulo(&dy2.plus(&one)?, &field)?;
    Ok(product.power(&field.shifted_right(1)?, &field)? == one)
}

/// `CKA_EC_POINT` of the public key that belongs to a private one.
pub(in crate::mechanism) fn public_point(private: &Template) -> Result<Vec<u8>> {
    let curve = Curve::parse(required(private, AttributeType::EC_PARAMS)?)?;
    Ok(der::octets(&curve.public(&*private_of(private)?)).to_vec())
}

/// `CurvePrivateKey` (RFC 8410, 7).
pub(in crate::mechanism) fn to_pkcs8(attributes: &Template) -> Result<Encoded> {
    let curve = Curve::parse(required(attributes, AttributeType::EC_PARAMS)?)?;
    Ok(Encoded { algorithm: curve.algorithm(), key: der::octets(&*private_of(attributes)?) })
}

/// The reverse.
pub(in crate::mechanism) fn from_pkcs8(
    oid: &[u8],
    parameters: Reader<'_>,
    key: &[u8],
) -> std::result::Result<Template, Malformed> {
    parameters.finish()?;
    let mut outer = Reader::new(key);
    let private = outer.element(tag::OCTET_STRING)?;
    outer.finish()?;
    let key_type = if oid == OID_ED25519 { KeyType::EC_EDWARDS } else { KeyType::EC_MONTGOMERY };
    Ok(Template::from_iter([
        (AttributeType::KEY_TYPE, Value::Ulong(key_type.0)),
        (AttributeType::EC_PARAMS, bytes(&der::oid(oid))),
        (AttributeType::VALUE, secret(private.to_vec())),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(hex: &str) -> [u8; KEY_BYTES] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    #[test]
    fn the_constant_d_is_minus_121665_by_121666() {
        let (field, d) = (Number::from_be(&FIELD).unwrap(), Number::from_be(&D).unwrap());
        let sum = d.times(&Number::from_word(121666).unwrap()).unwrap().plus(&Number::from_word(121665).unwrap()).unwrap();
        assert!(sum.divided_by(&field).unwrap().1.is_word(0));
    }

    #[test]
    fn points_of_small_order_and_off_the_curve_are_unsound() {
        for unsound in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            // y = p and y = p + 1: not canonical.
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            // y = 2 has no x.
            "0200000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(!is_sound_edwards_point(&point(unsound)).unwrap(), "{unsound}");
        }
    }

    #[test]
    fn public_keys_are_sound() {
        for seed in 0..20 {
            assert!(is_sound_edwards_point(&Curve::Ed25519.public(&[seed; KEY_BYTES])).unwrap());
        }
    }
}
