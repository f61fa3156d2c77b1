//! EdDSA and X25519 through the rows, against the RFCs' vectors.

use super::*;
use crate::ck::{Kdf, ObjectClass};
use crate::mechanism::testing::{Dice, code, completed, derive, generate_pair, hex, openssl, sign, verify};
use crate::object::Value;

const EDDSA: MechanismType = MechanismType::EDDSA;
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const ED448: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x71];
const X25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x6e];
const X448: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x6f];

fn private(kind: KeyType, params: &[u8], value: &str) -> Arc<Key> {
    let parts = Template::from_iter([
        (AttributeType::EC_PARAMS, Value::Bytes(params.to_vec())),
        (AttributeType::VALUE, Value::Bytes(hex(value))),
    ]);
    completed(ObjectClass::PRIVATE_KEY, kind, parts).unwrap()
}

fn public(kind: KeyType, params: &[u8], point: &[u8]) -> Result<Arc<Key>> {
    let parts = Template::from_iter([
        (AttributeType::EC_PARAMS, Value::Bytes(params.to_vec())),
        (AttributeType::EC_POINT, Value::Bytes(point.to_vec())),
    ]);
    completed(ObjectClass::PUBLIC_KEY, kind, parts)
}

fn ed25519(seed: &str, point: &str) -> (Arc<Key>, Arc<Key>) {
    (public(KeyType::EC_EDWARDS, ED25519, &hex(point)).unwrap(), private(KeyType::EC_EDWARDS, ED25519, seed))
}

fn check_vector(params: &Params, seed: &str, point: &str, message: &str, signature: &str) {
    let (public, private) = ed25519(seed, point);
    assert_eq!(public.object().bytes(AttributeType::PUBLIC_KEY_INFO), private.object().bytes(AttributeType::PUBLIC_KEY_INFO));
    let (message, signature) = (hex(message), hex(signature));
    assert_eq!(sign(EDDSA, params, &private, &message, &[]).unwrap(), signature);
    assert_eq!(sign(EDDSA, params, &private, &message, &[1]).unwrap(), signature);
    verify(EDDSA, params, &public, &message, &[], &signature).unwrap();
    verify(EDDSA, params, &public, &message, &[1], &signature).unwrap();
}

#[test]
fn vectors_of_rfc_8032() {
    // 7.1, test 3.
    check_vector(
        &Params::None,
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027bece\
         ea1ec40a",
    );
    // 7.2, "foo".
    check_vector(
        &Params::Eddsa { prehash: false, context: b"foo".to_vec() },
        "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6",
        "dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292",
        "f726936d19c800494e3fdaff20b276a8",
        "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e\
         4e7edb0d",
    );
    // 7.3, "abc".
    check_vector(
        &Params::Eddsa { prehash: true, context: vec![] },
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "616263",
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a\
         26083406",
    );
}

#[test]
fn variants_contexts_and_damage_are_told_apart() {
    for (params, len) in [(ED25519, 64), (ED448, 114)] {
        let params = Template::from_iter([(AttributeType::EC_PARAMS, bytes(params))]);
        let (public, private) = generate_pair(MechanismType::EC_EDWARDS_KEY_PAIR_GEN, KeyType::EC_EDWARDS, params).unwrap();
        check_variants(&public, &private, len);
    }
}

fn check_variants(public: &Arc<Key>, private: &Arc<Key>, len: usize) {
    let eddsa = |prehash, context: &[u8]| Params::Eddsa { prehash, context: context.to_vec() };
    let all = [Params::None, eddsa(false, b"1"), eddsa(false, b"2"), eddsa(true, b""), eddsa(true, b"1")];
    let data = Dice::new(1).bytes(300);
    for (at, params) in all.iter().enumerate() {
        let mut signature = sign(EDDSA, params, private, &data, &[10, 200]).unwrap();
        assert_eq!(signature.len(), len);
        for (other, params) in all.iter().enumerate() {
            let expected = (at != other).then_some(Code::SignatureInvalid);
            assert_eq!(code(verify(EDDSA, params, public, &data, &[], &signature)), expected);
        }
        assert_eq!(code(verify(EDDSA, params, public, &data, &[], &signature[1..])), Some(Code::SignatureLenRange));
        signature[9] ^= 1;
        assert_eq!(code(verify(EDDSA, params, public, &data, &[], &signature)), Some(Code::SignatureInvalid));
        assert_eq!(code(verify(EDDSA, params, public, &data, &[], &vec![0xff; len])), Some(Code::SignatureInvalid));
    }
    // Neither flag nor context: no variant.
    let signature = sign(EDDSA, &eddsa(false, b""), private, &data, &[]).unwrap();
    verify(EDDSA, &Params::None, public, &data, &[], &signature).unwrap();
    let long = sign(EDDSA, &eddsa(true, &[1; 256]), private, &data, &[]);
    assert_eq!(code(long), Some(Code::MechanismParamInvalid));
    sign(EDDSA, &eddsa(true, &[1; 255]), private, &data, &[]).unwrap();
}

fn ecdh(peer: &[u8]) -> Params {
    Params::Ecdh1 { kdf: Kdf::NULL, shared_data: vec![], public_data: peer.to_vec() }
}

#[test]
fn x25519_of_rfc_7748() {
    // 6.1. A key of type CKK_EC_EDWARDS may be on curve25519, as with SoftHSM.
    let value = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
    let alice = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    let expected = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    for kind in [KeyType::EC_MONTGOMERY, KeyType::EC_EDWARDS] {
        let bob = private(kind, X25519, value);
        for peer in [alice.clone(), der::octets(&alice).to_vec()] {
            let shared = derive(MechanismType::ECDH1_DERIVE, &ecdh(&peer), &bob, None).unwrap();
            assert_eq!(shared, expected);
            let short = derive(MechanismType::ECDH1_DERIVE, &ecdh(&peer), &bob, Some(16)).unwrap();
            assert_eq!(short, expected[16..]);
        }
        for peer in [&[0; 32][..], &[1; 31], &[1; 33], b""] {
            let refused = derive(MechanismType::ECDH1_DERIVE, &ecdh(peer), &bob, None);
            assert_eq!(code(refused), Some(Code::MechanismParamInvalid));
        }
    }
}

#[test]
fn both_sides_agree_on_both_curves() {
    for name in [X25519, X448] {
        let params = || Template::from_iter([(AttributeType::EC_PARAMS, bytes(name))]);
        let generate = || generate_pair(MechanismType::EC_MONTGOMERY_KEY_PAIR_GEN, KeyType::EC_MONTGOMERY, params()).unwrap();
        let ((public_1, private_1), (public_2, private_2)) = (generate(), generate());
        let point = |key: &Arc<Key>| key.object().bytes(AttributeType::EC_POINT).unwrap().to_vec();
        let one = derive(MechanismType::ECDH1_DERIVE, &ecdh(&point(&public_2)), &private_1, None).unwrap();
        let two = derive(MechanismType::ECDH1_DERIVE, &ecdh(&point(&public_1)[2..]), &private_2, None).unwrap();
        assert_eq!(one, two);
        let small = vec![0; one.len()];
        let refused = derive(MechanismType::ECDH1_DERIVE, &ecdh(&small), &private_1, None);
        assert_eq!(code(refused), Some(Code::MechanismParamInvalid));
    }
}

#[test]
fn openssl_verifies_ed448() {
    let params = Template::from_iter([(AttributeType::EC_PARAMS, bytes(ED448))]);
    let (public, private) = generate_pair(MechanismType::EC_EDWARDS_KEY_PAIR_GEN, KeyType::EC_EDWARDS, params).unwrap();
    let directory = std::env::temp_dir().join(format!("ed448-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("public.der"), public.object().bytes(AttributeType::PUBLIC_KEY_INFO).unwrap()).unwrap();
    std::fs::write(path("data"), b"data").unwrap();
    std::fs::write(path("signature"), sign(EDDSA, &Params::None, &private, b"data", &[]).unwrap()).unwrap();
    let (key, data, signature) = (path("public.der"), path("data"), path("signature"));
    let arguments =
        ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", &key, "-rawin", "-in", &data, "-sigfile", &signature];
    assert_eq!(openssl(&arguments, b""), b"Signature Verified Successfully\n");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn keys_keep_to_their_curves() {
    let generate = |kind, key_type, params: &[u8]| {
        generate_pair(kind, key_type, Template::from_iter([(AttributeType::EC_PARAMS, bytes(params))]))
    };
    let (edwards, montgomery) = (MechanismType::EC_EDWARDS_KEY_PAIR_GEN, MechanismType::EC_MONTGOMERY_KEY_PAIR_GEN);
    let name = |name: &str| der::element(der::tag::PRINTABLE_STRING, &[name.as_bytes()]).to_vec();
    generate(edwards, KeyType::EC_EDWARDS, &name("edwards25519")).unwrap();
    generate(montgomery, KeyType::EC_MONTGOMERY, &name("curve25519")).unwrap();
    let (misspelt, _) = generate(montgomery, KeyType::EC_MONTGOMERY, b"\x13\x0bcurve25519").unwrap();
    assert_eq!(misspelt.object().bytes(AttributeType::EC_PARAMS), Some(&name("curve25519")[..]));
    let wrong = generate(montgomery, KeyType::EC_MONTGOMERY, ED25519);
    assert_eq!(code(wrong), Some(Code::CurveNotSupported));
    let p256 = hex("06082a8648ce3d030107");
    assert_eq!(code(generate(edwards, KeyType::EC_EDWARDS, &p256)), Some(Code::CurveNotSupported));
    assert_eq!(code(generate(edwards, KeyType::EC_EDWARDS, &name("edwards521"))), Some(Code::CurveNotSupported));
    assert_eq!(code(generate(montgomery, KeyType::EC_MONTGOMERY, &name("edwards448"))), Some(Code::CurveNotSupported));
    assert_eq!(code(generate(edwards, KeyType::EC_EDWARDS, &[4, 0])), Some(Code::DomainParamsInvalid));

    // A key on curve25519 agrees but does not sign; one on edwards25519 the other way round.
    let (_, agreeing) = generate(edwards, KeyType::EC_EDWARDS, X25519).unwrap();
    assert_eq!(code(sign(EDDSA, &Params::None, &agreeing, b"data", &[])), Some(Code::KeyTypeInconsistent));
    let (_, signing) = generate(edwards, KeyType::EC_EDWARDS, ED25519).unwrap();
    let derived = derive(MechanismType::ECDH1_DERIVE, &ecdh(&[9; 32]), &signing, None);
    assert_eq!(code(derived), Some(Code::KeyTypeInconsistent));
}

#[test]
fn unsound_points_are_refused() {
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let wrapped = der::octets(&base).to_vec();
    for form in [base.to_vec(), wrapped.clone(), der::bits(&base).to_vec()] {
        let key = public(KeyType::EC_EDWARDS, ED25519, &form).unwrap();
        assert_eq!(key.object().bytes(AttributeType::EC_POINT), Some(&wrapped[..]));
    }
    for (params, point) in [(ED25519, &[0; 32][..]), (ED25519, &[0xff; 32]), (X25519, &[0; 32]), (ED25519, &[1; 31])] {
        let refused = public(KeyType::EC_EDWARDS, params, point);
        assert_eq!(code(refused), Some(Code::AttributeValueInvalid));
    }
    let parts =
        Template::from_iter([(AttributeType::EC_PARAMS, bytes(ED25519)), (AttributeType::VALUE, Value::Bytes(vec![1; 31]))]);
    let short = completed(ObjectClass::PRIVATE_KEY, KeyType::EC_EDWARDS, parts);
    assert_eq!(code(short), Some(Code::AttributeValueInvalid));
}
