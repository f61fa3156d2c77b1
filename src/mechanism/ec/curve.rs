//! Curves by the names that `CKA_EC_PARAMS` gives them (PKCS#11 3.1, 6.3.4).

use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::der::{self, Reader, tag};
use crate::sys::awslc::ec::Curve;

/// A curve's object identifier (contents) and names.
struct Named {
    curve: Curve,
    oid: &'static [u8],
    names: &'static [&'static str],
}

/// SEC 2 and RFC 5639.
const NAMED: &[Named] = &[
    Named { curve: Curve::P224, oid: &[0x2b, 0x81, 0x04, 0x00, 0x21], names: &["secp224r1", "P-224"] },
    Named {
        curve: Curve::P256,
        oid: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        names: &["secp256r1", "prime256v1", "P-256"],
    },
    Named { curve: Curve::P384, oid: &[0x2b, 0x81, 0x04, 0x00, 0x22], names: &["secp384r1", "P-384"] },
    Named { curve: Curve::P521, oid: &[0x2b, 0x81, 0x04, 0x00, 0x23], names: &["secp521r1", "P-521"] },
    Named { curve: Curve::Secp256k1, oid: &[0x2b, 0x81, 0x04, 0x00, 0x0a], names: &["secp256k1"] },
    Named { curve: Curve::BrainpoolP224r1, oid: &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 5], names: &["brainpoolP224r1"] },
    Named { curve: Curve::BrainpoolP256r1, oid: &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7], names: &["brainpoolP256r1"] },
    Named { curve: Curve::BrainpoolP320r1, oid: &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 9], names: &["brainpoolP320r1"] },
    Named { curve: Curve::BrainpoolP384r1, oid: &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 11], names: &["brainpoolP384r1"] },
    Named { curve: Curve::BrainpoolP512r1, oid: &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 13], names: &["brainpoolP512r1"] },
];

/// How `CKA_EC_PARAMS` named a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By object identifier or name: kept as it is.
    Named,
    /// By all its parameters, which are replaced by the object identifier.
    Explicit,
}

/// The curve that `CKA_EC_PARAMS` means: `namedCurve`, `curveName`, or explicit parameters equal to a curve of ours.
///
/// Errors: `CurveNotSupported`; `DomainParamsInvalid` for what is no such DER.
pub fn parse(params: &[u8]) -> Result<(Curve, Form)> {
    const WRONG: &str = "CKA_EC_PARAMS is not the DER of EC parameters";
    let mut reader = Reader::new(params);
    let (found, contents) = reader.any().doing(Code::DomainParamsInvalid, WRONG)?;
    reader.finish().doing(Code::DomainParamsInvalid, WRONG)?;
    let named = |matches: &dyn Fn(&Named) -> bool| NAMED.iter().find(|named| matches(named)).map(|named| named.curve);
    let (curve, form) = match found {
        tag::OBJECT_IDENTIFIER => (named(&|named| named.oid == contents), Form::Named),
        tag::PRINTABLE_STRING => {
            (named(&|named| named.names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(contents))), Form::Named)
        }
        tag::SEQUENCE => (Curve::from_explicit(params), Form::Explicit),
        tag::NULL => (None, Form::Named),
        _ => return Err(refuse(Code::DomainParamsInvalid, WRONG)),
    };
    let curve = curve.ok_or_else(|| refuse(Code::CurveNotSupported, "CKA_EC_PARAMS names a curve that is not supported"))?;
    Ok((curve, form))
}

/// The DER of the curve's object identifier.
pub fn oid(curve: Curve) -> Vec<u8> {
    let named = NAMED.iter().find(|named| named.curve == curve).expect("every curve has a row");
    der::oid(named.oid).to_vec()
}
