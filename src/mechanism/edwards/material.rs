//! Keys on Edwards and Montgomery curves from attributes and to bytes (RFC 8410).

use ed448_goldilocks::{SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::curve::{Curve, spelt};
use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::Material;
use crate::mechanism::der::{self, Malformed, Reader, tag};
use crate::mechanism::ec::unwrapped;
use crate::mechanism::encoding::{Encoded, bytes, required, secret};
use crate::object::{Object, Template, Value};
use crate::sys::awslc::curve25519::{self, EXPANDED_BYTES, KEY_BYTES};

/// A key ready for use.
pub(super) enum Prepared {
    /// Seed and public key.
    SigningEd25519(Zeroizing<[u8; EXPANDED_BYTES]>),
    VerifyingEd25519([u8; KEY_BYTES]),
    SigningEd448(Box<SigningKey>),
    VerifyingEd448(Box<VerifyingKey>),
    /// A private key on a Montgomery curve.
    Agreeing(Curve, Zeroizing<Vec<u8>>),
    /// A peer's key, which no mechanism uses as an object.
    Peer(Curve),
}

impl Prepared {
    /// Which curve it is on.
    pub(super) fn curve(&self) -> Curve {
        match self {
            Self::SigningEd25519(_) | Self::VerifyingEd25519(_) => Curve::Ed25519,
            Self::SigningEd448(_) | Self::VerifyingEd448(_) => Curve::Ed448,
            Self::Agreeing(curve, _) | Self::Peer(curve) => *curve,
        }
    }
}

impl Material for Prepared {
    fn prepare(object: &Object) -> Result<Self> {
        let attributes = &object.attributes;
        let curve = Curve::parse(required(attributes, AttributeType::EC_PARAMS)?)?;
        const UNSOUND: &str = "the Ed448 public key is off the curve";
        match (object.class(), curve) {
            (ObjectClass::PUBLIC_KEY, Curve::Ed25519) => {
                let point = public_of(curve, attributes)?.try_into();
                Ok(Self::VerifyingEd25519(point.doing(Code::PublicKeyInvalid, "the Ed25519 public key is too short")?))
            }
            (ObjectClass::PUBLIC_KEY, Curve::Ed448) => {
                let point = public_of(curve, attributes)?.try_into().doing(Code::PublicKeyInvalid, UNSOUND)?;
                Ok(Self::VerifyingEd448(Box::new(VerifyingKey::from_bytes(point).doing(Code::PublicKeyInvalid, UNSOUND)?)))
            }
            (ObjectClass::PUBLIC_KEY, _) => Ok(Self::Peer(curve)),
            (_, Curve::Ed25519) => {
                let seed =
                    private_of(curve, attributes)?.try_into().doing(Code::KeySizeRange, "the Ed25519 seed is too short")?;
                Ok(Self::SigningEd25519(Zeroizing::new(curve25519::expand(seed))))
            }
            (_, Curve::Ed448) => {
                let key = SigningKey::try_from(private_of(curve, attributes)?);
                Ok(Self::SigningEd448(Box::new(key.doing(Code::KeySizeRange, "the Ed448 seed is too short")?)))
            }
            _ => Ok(Self::Agreeing(curve, Zeroizing::new(private_of(curve, attributes)?.to_vec()))),
        }
    }
}

/// The private key, of the curve's length.
fn private_of(curve: Curve, attributes: &Template) -> Result<&[u8]> {
    exactly(curve, required(attributes, AttributeType::VALUE)?, AttributeType::VALUE)
}

/// The public key, of the curve's length.
fn public_of(curve: Curve, attributes: &Template) -> Result<&[u8]> {
    exactly(curve, required(attributes, AttributeType::EC_POINT)?, AttributeType::EC_POINT)
}

fn exactly(curve: Curve, given: &[u8], kind: AttributeType) -> Result<&[u8]> {
    let wanted = curve.key_len();
    let key = unwrapped(given, |len| len == wanted);
    if key.len() == wanted {
        return Ok(key);
    }
    Err(refuse(Code::AttributeValueInvalid, format!("{kind} has {} bytes, not {wanted}", key.len())))
}

/// Checks the components of a new key and sets what follows from them.
pub(in crate::mechanism) fn complete(class: ObjectClass, attributes: &mut Template) -> Result<Option<Vec<u8>>> {
    let params = required(attributes, AttributeType::EC_PARAMS)?;
    let curve = Curve::parse(params)?;
    let params = bytes(spelt(params));
    attributes.set(AttributeType::EC_PARAMS, params);
    if attributes.ulong(AttributeType::KEY_TYPE) == Some(KeyType::EC_MONTGOMERY.0) && !curve.is_montgomery() {
        return Err(refuse(Code::CurveNotSupported, "CKA_EC_PARAMS does not name a Montgomery curve"));
    }
    let point = match class {
        ObjectClass::PUBLIC_KEY => {
            let point = public_of(curve, attributes)?;
            if !curve.is_sound(point)? {
                return Err(refuse(Code::AttributeValueInvalid, "CKA_EC_POINT is off the curve or of small order"));
            }
            point.to_vec()
        }
        ObjectClass::PRIVATE_KEY => {
            let private = private_of(curve, attributes)?;
            let point = curve.public(private);
            let private = secret(private.to_vec());
            attributes.set(AttributeType::VALUE, private);
            let given = attributes.exposed(AttributeType::EC_POINT).is_some_and(|given| !given.is_empty());
            if given && public_of(curve, attributes)? != point {
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

/// `CKA_EC_POINT` of the public key that belongs to a private one.
pub(in crate::mechanism) fn public_point(private: &Template) -> Result<Vec<u8>> {
    let curve = Curve::parse(required(private, AttributeType::EC_PARAMS)?)?;
    Ok(der::octets(&curve.public(private_of(curve, private)?)).to_vec())
}

/// `CurvePrivateKey` (RFC 8410, 7).
pub(in crate::mechanism) fn to_pkcs8(attributes: &Template) -> Result<Encoded> {
    let curve = Curve::parse(required(attributes, AttributeType::EC_PARAMS)?)?;
    Ok(Encoded { algorithm: curve.algorithm(), key: der::octets(private_of(curve, attributes)?) })
}

/// The reverse.
pub(in crate::mechanism) fn from_pkcs8(
    curve: Curve,
    parameters: Reader<'_>,
    key: &[u8],
) -> std::result::Result<Template, Malformed> {
    parameters.finish()?;
    let mut outer = Reader::new(key);
    let private = outer.element(tag::OCTET_STRING)?;
    outer.finish()?;
    let key_type = if curve.is_montgomery() { KeyType::EC_MONTGOMERY } else { KeyType::EC_EDWARDS };
    Ok(Template::from_iter([
        (AttributeType::KEY_TYPE, Value::Ulong(key_type.0)),
        (AttributeType::EC_PARAMS, bytes(&curve.params())),
        (AttributeType::VALUE, secret(private.to_vec())),
    ]))
}
