//! AES against the standards' examples, against its own definition, in parts, and with everything that can be wrong.

use super::*;
use crate::mechanism::Params;
use crate::mechanism::testing::{Dice, decrypt, encrypt, hex, permitted, secret_key, sign, verify};

fn aes(value: &[u8]) -> Arc<Key> {
    secret_key(KeyType::AES, value)
}

fn ctr(counter_bits: u64, block: [u8; 16]) -> Params {
    Params::Ctr { counter_bits, block }
}

fn gcm(iv: &[u8], aad: &[u8], tag_bits: u64) -> Params {
    Params::Gcm { iv: iv.to_vec(), aad: aad.to_vec(), tag_bits }
}

fn ccm(data_len: usize, nonce: &[u8], aad: &[u8], mac_len: u64) -> Params {
    Params::Ccm { data_len: data_len as u64, nonce: nonce.to_vec(), aad: aad.to_vec(), mac_len }
}

const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                     30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
const IV: &str = "000102030405060708090a0b0c0d0e0f";

/// NIST SP 800-38A, appendix F, and FIPS 197, appendix C.
#[test]
fn nist_vectors_of_the_plain_modes() {
    let key128 = hex("2b7e151628aed2a6abf7158809cf4f3c");
    let key256 = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let iv = || Params::Iv(hex(IV));
    let counter = ctr(128, hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").try_into().unwrap());
    let known = [
        (MechanismType::AES_ECB, Params::None, &key128, "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"),
        (MechanismType::AES_ECB, Params::None, &key256, "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"),
        (MechanismType::AES_CBC, iv(), &key128, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"),
        (MechanismType::AES_CBC, iv(), &key256, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"),
        (MechanismType::AES_CTR, counter, &key128, "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"),
        (MechanismType::AES_OFB, iv(), &key128, "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed825"),
        (MechanismType::AES_CFB128, iv(), &key128, "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b"),
    ];
    for (kind, params, key, expected) in known {
        let key = aes(key);
        let (data, expected) = (&hex(PLAIN)[..32], hex(expected));
        assert_eq!(encrypt(kind, &params, &key, data, &[]).unwrap(), expected, "{kind}");
        assert_eq!(decrypt(kind, &params, &key, &expected, &[]).unwrap(), data, "{kind}");
    }
    let cfb8 = encrypt(MechanismType::AES_CFB8, &iv(), &aes(&key128), &hex(PLAIN)[..18], &[]).unwrap();
    assert_eq!(cfb8, hex("3b79424c9c0dd436bace9e0ed4586a4f32b9"));
}

/// NIST SP 800-38B, appendix D.1, and RFC 3394, 4.1 and 4.6, and RFC 5649, 6.
#[test]
fn nist_and_rfc_vectors_of_mac_and_wrap() {
    let key = aes(&hex("2b7e151628aed2a6abf7158809cf4f3c"));
    let mac = |len: usize| sign(MechanismType::AES_CMAC, &Params::None, &key, &hex(PLAIN)[..len], &[]).unwrap();
    assert_eq!(mac(0), hex("bb1d6929e95937287fa37d129b756746"));
    assert_eq!(mac(16), hex("070a16b46b4d4144f79bdd9dd04a287c"));
    assert_eq!(mac(40), hex("dfa66747de9ae63030ca32611497c827"));
    assert_eq!(mac(64), hex("51f0bebf7e3b9d92fc49741779363cfe"));

    let kek = hex("000102030405060708090A0B0C0D0E0F");
    let wrapped = hex("1FA68B0A8112B447 AEF34BD8FB5A7B82 9D3E862371D2CFE5");
    check_wrap(MechanismType::AES_KEY_WRAP, &kek, &hex("00112233445566778899AABBCCDDEEFF"), &wrapped);
    let kek = hex("5840df6e29b02af1 ab493b705bf16ea1 ae8338f4dcc176a8");
    let wrapped = hex("138bdeaa9b8fa7fc 61f97742e72248ee 5ae6ae5360d1ae6a 5f54f373fa543b6a");
    check_wrap(MechanismType::AES_KEY_WRAP_KWP, &kek, &hex("c37b7e6492584340 bed1220780894115 5068f738"), &wrapped);
    check_wrap(MechanismType::AES_KEY_WRAP_PAD, &kek, &hex("466f7250617369"), &hex("afbeb0f07dfbf541 9200f2ccb50bb24f"));
}

fn check_wrap(kind: MechanismType, kek: &[u8], inner: &[u8], wrapped: &[u8]) {
    let mechanism = Mechanism { kind, params: Params::None };
    let kek = aes(kek);
    assert_eq!(super::wrap::wrap(&mechanism, permitted(&kek, kind), &Secret::copy_of(inner)).unwrap(), wrapped, "{kind}");
    let unwrapped = super::wrap::unwrap(&mechanism, permitted(&kek, kind), wrapped).unwrap();
    assert_eq!(unwrapped.expose(), inner, "{kind}");
}

/// Every mode, every key length: parts give what the whole gives, and the way back gives the data.
#[test]
fn parts_are_the_whole_and_the_way_back_is_the_data() {
    let mut dice = Dice::new(1);
    for round in 0..300 {
        let key = aes(&dice.bytes([16, 24, 32][round % 3]));
        let most = [40, 300, 5000][dice.below(3)];
        let len = dice.below(most);
        let (iv, block) = (dice.bytes(16), dice.bytes(16).try_into().unwrap());
        let (nonce_len, tag_bits) = (1 + dice.below(40), 8 * (1 + dice.below(16)) as u64);
        let (nonce, ccm_nonce_len) = (dice.bytes(nonce_len), 7 + dice.below(7));
        let aad_len = dice.below(60);
        let aad = dice.bytes(aad_len);
        let data = dice.bytes(len);
        let whole_blocks = &data[..len / 16 * 16];
        let iv = || Params::Iv(iv.clone());
        let modes = [
            (MechanismType::AES_ECB, Params::None, whole_blocks),
            (MechanismType::AES_CBC, iv(), whole_blocks),
            (MechanismType::AES_CBC_PAD, iv(), &data),
            (MechanismType::AES_CTR, ctr(64 + dice.below(65) as u64, block), &data),
            (MechanismType::AES_OFB, iv(), &data),
            (MechanismType::AES_CFB8, iv(), &data),
            (MechanismType::AES_CFB128, iv(), &data),
            (MechanismType::AES_GCM, gcm(&nonce, &aad, tag_bits), &data),
            (MechanismType::AES_CCM, ccm(len, &dice.bytes(ccm_nonce_len), &aad, 4 + 2 * dice.below(7) as u64), &data),
        ];
        for (kind, params, data) in modes {
            let whole = encrypt(kind, &params, &key, data, &[]).unwrap();
            let splits = dice.splits(data.len(), 6);
            assert_eq!(encrypt(kind, &params, &key, data, &splits).unwrap(), whole, "{kind} of {len} at {splits:?}");
            assert_eq!(decrypt(kind, &params, &key, &whole, &[]).unwrap(), data, "{kind} of {len}");
            let splits = dice.splits(whole.len(), 6);
            assert_eq!(decrypt(kind, &params, &key, &whole, &splits).unwrap(), data, "{kind} of {len} at {splits:?}");
        }
        for (kind, params) in [(MechanismType::AES_CMAC, Params::None), (MechanismType::AES_GMAC, Params::Data(nonce.clone()))] {
            let whole = sign(kind, &params, &key, &data, &[]).unwrap();
            let splits = dice.splits(len, 6);
            assert_eq!(sign(kind, &params, &key, &data, &splits).unwrap(), whole, "{kind} of {len} at {splits:?}");
            verify(kind, &params, &key, &data, &splits, &whole).unwrap();
        }
    }
}

/// Against the other library's modes: chaining, counting and CMAC are composed here from single blocks.
#[test]
fn modes_agree_with_their_definition_over_single_blocks() {
    let mut dice = Dice::new(2);
    for key_len in [16, 24, 32] {
        let value = dice.bytes(key_len);
        let (key, block) = (aes(&value), Parallel::new(&value).unwrap());
        let one = |input: Block| {
            let mut out = [[0; 16]];
            block.encrypt(&[input], &mut out);
            out[0]
        };
        let iv: Block = dice.bytes(16).try_into().unwrap();
        let data = dice.bytes(16 * 700);
        let mut chain = iv;
        let cbc: Vec<u8> = data
            .as_chunks::<16>()
            .0
            .iter()
            .flat_map(|plain| {
                chain = one((u128::from_ne_bytes(*plain) ^ u128::from_ne_bytes(chain)).to_ne_bytes());
                chain
            })
            .collect();
        let mut counter = u128::from_be_bytes(iv);
        let counted: Vec<u8> = data
            .as_chunks::<16>()
            .0
            .iter()
            .flat_map(|plain| {
                let mask = one(counter.to_be_bytes());
                counter = counter.wrapping_add(1);
                (u128::from_ne_bytes(*plain) ^ u128::from_ne_bytes(mask)).to_ne_bytes()
            })
            .collect();
        assert_eq!(encrypt(MechanismType::AES_CBC, &Params::Iv(iv.to_vec()), &key, &data, &[]).unwrap(), cbc);
        assert_eq!(decrypt(MechanismType::AES_CBC, &Params::Iv(iv.to_vec()), &key, &cbc, &[]).unwrap(), data);
        assert_eq!(encrypt(MechanismType::AES_CTR, &ctr(128, iv), &key, &data, &[]).unwrap(), counted);
    }
}

/// The path of processors without wide vectors, which tests on others would never take.
#[test]
fn a_key_without_kernels_does_the_same() {
    let mut dice = Dice::new(5);
    for key_len in [16, 24, 32] {
        let object = aes(&dice.bytes(key_len));
        let with = AesKey::prepare(object.object()).unwrap();
        let without = AesKey { wide: None, ..AesKey::prepare(object.object()).unwrap() };
        for len in [0, 1, 2, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH] {
            let bytes = dice.bytes(16 * len);
            let input = bytes.as_chunks().0;
            let run = |key: &AesKey| {
                let (mut plain, mut counted, mut chain, mut counter) =
                    (vec![[0; 16]; len], vec![[0; 16]; len], [4; 16], [255; 16]);
                key.cbc_decrypt(&mut chain, input, &mut plain);
                key.ctr(&mut counter, input, &mut counted);
                (plain, counted, chain, counter)
            };
            assert_eq!(run(&with), run(&without), "{len} blocks");
        }
    }
}

#[test]
fn a_counter_never_comes_round() {
    let key = aes(&[7; 16]);
    let mut block = [0xff; 16];
    block[15] = 0xfd;
    // Three values are left of eight bits, and of any more: 0xfd, 0xfe, 0xff.
    for bits in [2, 8, 9, 64, 127, 128] {
        let most = 3 * 16;
        for splits in [&[][..], &[1], &[17, 40]] {
            encrypt(MechanismType::AES_CTR, &ctr(bits, block), &key, &vec![0; most], splits).unwrap();
            let refused = encrypt(MechanismType::AES_CTR, &ctr(bits, block), &key, &vec![0; most + 1], splits);
            assert_eq!(refused.unwrap_err().code(), Code::DataLenRange, "{bits} bits at {splits:?}");
            let refused = decrypt(MechanismType::AES_CTR, &ctr(bits, block), &key, &vec![0; most + 1], splits);
            assert_eq!(refused.unwrap_err().code(), Code::EncryptedDataLenRange);
        }
    }
    encrypt(MechanismType::AES_CTR, &ctr(1, [0; 16]), &key, &[0; 32], &[]).unwrap();
    encrypt(MechanismType::AES_CTR, &ctr(1, [0; 16]), &key, &[0; 33], &[]).unwrap_err();
    encrypt(MechanismType::AES_CTR, &ctr(128, [0; 16]), &key, &[0; 100], &[]).unwrap();
    for bits in [0, 129, u64::MAX] {
        let refused = encrypt(MechanismType::AES_CTR, &ctr(bits, [0; 16]), &key, &[0; 16], &[]);
        assert_eq!(refused.unwrap_err().code(), Code::MechanismParamInvalid);
    }
}

#[test]
fn wrong_lengths_and_wrong_padding_have_their_codes() {
    let key = aes(&[1; 32]);
    let iv = Params::Iv(vec![2; 16]);
    for (kind, params) in [(MechanismType::AES_ECB, Params::None), (MechanismType::AES_CBC, iv.clone())] {
        for splits in [&[][..], &[3]] {
            let code = |result: Result<Vec<u8>>| result.unwrap_err().code();
            assert_eq!(code(encrypt(kind, &params, &key, &[0; 17], splits)), Code::DataLenRange);
            assert_eq!(code(decrypt(kind, &params, &key, &[0; 17], splits)), Code::EncryptedDataLenRange);
        }
        assert!(encrypt(kind, &params, &key, &[], &[]).unwrap().is_empty());
    }
    for bad in [0, 1, 15, 17] {
        let refused = decrypt(MechanismType::AES_CBC_PAD, &iv, &key, &vec![0; bad], &[]);
        assert_eq!(refused.unwrap_err().code(), Code::EncryptedDataLenRange, "{bad} bytes");
    }
    // The last block of the plaintext, then what becomes of it.
    let paddings: [(&[u8], Option<usize>); 7] = [
        (&[16; 16], Some(0)),
        (&[9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1], Some(15)),
        (&[9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 3, 3, 3], Some(13)),
        (&[9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2, 3, 3], None),
        (&[0; 16], None),
        (&[17; 16], None),
        (&[255; 16], None),
    ];
    for (last, expected) in paddings {
        let plain = [&[5; 16][..], last].concat();
        let sealed = encrypt(MechanismType::AES_CBC, &iv, &key, &plain, &[]).unwrap();
        for splits in [&[][..], &[16], &[31]] {
            let opened = decrypt(MechanismType::AES_CBC_PAD, &iv, &key, &sealed, splits);
            match expected {
                Some(len) => assert_eq!(opened.unwrap(), plain[..16 + len]),
                None => assert_eq!(opened.unwrap_err().code(), Code::EncryptedDataInvalid, "{last:?}"),
            }
        }
    }
}

#[test]
fn a_forged_message_gives_nothing() {
    let key = aes(&[1; 16]);
    for tag_bits in [8, 32, 96, 120, 128] {
        let params = gcm(&[3; 12], b"aad", tag_bits);
        let sealed = encrypt(MechanismType::AES_GCM, &params, &key, b"message", &[]).unwrap();
        for at in [0, 6, sealed.len() - 1] {
            let mut forged = sealed.clone();
            forged[at] ^= 0x80;
            for splits in [&[][..], &[4]] {
                let refused = decrypt(MechanismType::AES_GCM, &params, &key, &forged, splits).err();
                // One bit of eight is a forgery that a tag of eight bits lets through once in 256 times, not here.
                assert_eq!(refused.map(|error| error.code()), Some(Code::EncryptedDataInvalid), "{tag_bits} bits, byte {at}");
            }
        }
        let other = decrypt(MechanismType::AES_GCM, &gcm(&[3; 12], b"AAD", tag_bits), &key, &sealed, &[]);
        assert_eq!(other.unwrap_err().code(), Code::EncryptedDataInvalid);
    }
    let short = decrypt(MechanismType::AES_GCM, &gcm(&[3; 12], b"", 128), &key, &[0; 15], &[]);
    assert_eq!(short.unwrap_err().code(), Code::EncryptedDataLenRange);
    for params in [gcm(&[], b"", 128), gcm(&[1], b"", 0), gcm(&[1], b"", 127), gcm(&[1], b"", 136), Params::None] {
        let refused = encrypt(MechanismType::AES_GCM, &params, &key, b"", &[]);
        assert_eq!(refused.unwrap_err().code(), Code::MechanismParamInvalid);
    }
    let params = ccm(7, &[3; 13], b"aad", 8);
    let mut sealed = encrypt(MechanismType::AES_CCM, &params, &key, b"message", &[]).unwrap();
    encrypt(MechanismType::AES_CCM, &params, &key, b"messages", &[]).unwrap_err();
    encrypt(MechanismType::AES_CCM, &params, &key, b"messages", &[3]).unwrap_err();
    sealed[2] ^= 1;
    let refused = decrypt(MechanismType::AES_CCM, &params, &key, &sealed, &[]);
    assert_eq!(refused.unwrap_err().code(), Code::EncryptedDataInvalid);
}

#[test]
fn wrapping_by_encryption_comes_back_and_tells_nothing_else() {
    let mut dice = Dice::new(3);
    let key = aes(&dice.bytes(32));
    let forms = [
        (MechanismType::AES_ECB, Params::None, 16),
        (MechanismType::AES_CBC, Params::Iv(vec![1; 16]), 16),
        (MechanismType::AES_CBC_PAD, Params::Iv(vec![1; 16]), 1),
        (MechanismType::AES_GCM, gcm(&[1; 12], b"", 128), 1),
    ];
    for (kind, params, block) in forms {
        let mechanism = Mechanism { kind, params };
        for len in [1, 15, 16, 24, 33, 500] {
            let inner = dice.bytes(len);
            let mut wrapped = super::wrap(&mechanism, permitted(&key, kind), &Secret::copy_of(&inner)).unwrap();
            let unwrapped = super::unwrap(&mechanism, permitted(&key, kind), &wrapped).unwrap();
            assert_eq!(unwrapped.expose()[..len], inner);
            assert!(unwrapped.expose()[len..].iter().all(|byte| *byte == 0) && unwrapped.len() == len.next_multiple_of(block));
            wrapped.pop();
            let refused = super::unwrap(&mechanism, permitted(&key, kind), &wrapped).err().expect("shorter by one");
            assert!(matches!(refused.code(), Code::WrappedKeyLenRange | Code::WrappedKeyInvalid), "{refused:?}");
        }
    }
    let mechanism = Mechanism { kind: MechanismType::AES_CBC_PAD, params: Params::Iv(vec![1; 16]) };
    let codes: Vec<Code> = (0..64)
        .filter_map(|_| super::unwrap(&mechanism, permitted(&key, mechanism.kind), &dice.bytes(32)).err())
        .map(|error| error.code())
        .collect();
    assert!(codes.len() > 50 && codes.iter().all(|code| *code == Code::WrappedKeyInvalid));
}

#[test]
fn key_wrap_refuses_what_it_cannot_hold() {
    let key = aes(&[1; 16]);
    let check = |kind, params: Params, inner: usize| {
        let mechanism = Mechanism { kind, params };
        super::wrap::wrap(&mechanism, permitted(&key, kind), &Secret::zeroed(inner)).err().map(|error| error.code())
    };
    assert_eq!(check(MechanismType::AES_KEY_WRAP, Params::None, 8), Some(Code::KeySizeRange));
    // Zero bytes follow up to the next whole block.
    assert_eq!(check(MechanismType::AES_KEY_WRAP, Params::None, 20), None);
    assert_eq!(check(MechanismType::AES_KEY_WRAP, Params::Iv(vec![1; 8]), 16), None);
    assert_eq!(check(MechanismType::AES_KEY_WRAP_KWP, Params::None, 1), None);
    assert_eq!(check(MechanismType::AES_KEY_WRAP_KWP, Params::None, 0), Some(Code::KeySizeRange));
    assert_eq!(check(MechanismType::AES_KEY_WRAP_KWP, Params::Iv(vec![1; 4]), 16), Some(Code::MechanismParamInvalid));
    let unwrap = |kind, wrapped: &[u8]| {
        let mechanism = Mechanism { kind, params: Params::None };
        super::wrap::unwrap(&mechanism, permitted(&key, kind), wrapped).err().map(|error| error.code())
    };
    assert_eq!(unwrap(MechanismType::AES_KEY_WRAP, &[0; 16]), Some(Code::WrappedKeyLenRange));
    assert_eq!(unwrap(MechanismType::AES_KEY_WRAP, &[0; 25]), Some(Code::WrappedKeyLenRange));
    assert_eq!(unwrap(MechanismType::AES_KEY_WRAP, &[0; 24]), Some(Code::WrappedKeyInvalid));
    assert_eq!(unwrap(MechanismType::AES_KEY_WRAP_KWP, &[0; 8]), Some(Code::WrappedKeyLenRange));
    assert_eq!(unwrap(MechanismType::AES_KEY_WRAP_KWP, &[0; 16]), Some(Code::WrappedKeyInvalid));
}

#[test]
fn derivation_is_the_ciphertext_cut_to_length() {
    let key = aes(&hex("2b7e151628aed2a6abf7158809cf4f3c"));
    let wanted = |key_type, value_len| Wanted { key_type, value_len, other: None };
    let derive = |kind, params, wanted: Wanted<'_>| {
        super::derive(&Mechanism { kind, params }, permitted(&key, kind), &wanted).map(|value| value.expose().to_vec())
    };
    let data = hex(PLAIN)[..32].to_vec();
    let ecb = derive(MechanismType::AES_ECB_ENCRYPT_DATA, Params::Data(data.clone()), wanted(KeyType::AES, Some(24)));
    assert_eq!(ecb.unwrap(), hex("3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699d"));
    let params = Params::CbcEncryptData { iv: hex(IV), data: data.clone() };
    let cbc = derive(MechanismType::AES_CBC_ENCRYPT_DATA, params, wanted(KeyType::GENERIC_SECRET, None));
    assert_eq!(cbc.unwrap(), hex("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"));
    let short =
        derive(MechanismType::AES_ECB_ENCRYPT_DATA, Params::Data(data.clone()), wanted(KeyType::GENERIC_SECRET, Some(33)));
    assert_eq!(short.unwrap_err().code(), Code::KeySizeRange);
    let ragged = derive(MechanismType::AES_ECB_ENCRYPT_DATA, Params::Data(vec![0; 17]), wanted(KeyType::AES, Some(16)));
    assert_eq!(ragged.unwrap_err().code(), Code::MechanismParamInvalid);
}

#[test]
fn generation_makes_keys_of_the_wanted_length_only() {
    let mechanism = Mechanism { kind: MechanismType::AES_KEY_GEN, params: Params::None };
    let template = |len| [(AttributeType::VALUE_LEN, crate::object::Value::Ulong(len))].into_iter().collect();
    for len in [16, 24, 32] {
        let made = generate(&mechanism, &template(len)).unwrap();
        assert_eq!(made.exposed(AttributeType::VALUE).unwrap().len() as u64, len);
        assert_eq!(made.ulong(AttributeType::VALUE_LEN), Some(len));
    }
    assert_eq!(generate(&mechanism, &template(17)).unwrap_err().code(), Code::AttributeValueInvalid);
    assert_eq!(generate(&mechanism, &Template::new()).unwrap_err().code(), Code::TemplateIncomplete);
}
