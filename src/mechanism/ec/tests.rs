//! ECDSA and ECDH through the rows, against vectors and the `openssl` program.

use std::sync::Arc;

use super::*;
use crate::ck::{Kdf, ObjectClass};
use crate::mechanism::params::Params;
use crate::mechanism::testing::{Dice, code, completed, derive, generate_pair, hex, openssl, sign, verify};
use crate::mechanism::{Key, encoding};
use crate::object::Value;
use crate::sys::awslc::ec::{Curve, Point};

const ECDSA: MechanismType = MechanismType::ECDSA;
const ECDH: MechanismType = MechanismType::ECDH1_DERIVE;

fn generated(curve: Curve) -> (Arc<Key>, Arc<Key>) {
    let params = Template::from_iter([(AttributeType::EC_PARAMS, Value::Bytes(curve::oid(curve)))]);
    generate_pair(MechanismType::EC_KEY_PAIR_GEN, KeyType::EC, params).unwrap()
}

fn private(curve: Curve, scalar: &str) -> Arc<Key> {
    let parts = Template::from_iter([
        (AttributeType::EC_PARAMS, Value::Bytes(curve::oid(curve))),
        (AttributeType::VALUE, Value::Bytes(hex(scalar))),
    ]);
    completed(ObjectClass::PRIVATE_KEY, KeyType::EC, parts).unwrap()
}

fn public(params: Vec<u8>, point: Vec<u8>) -> crate::error::Result<Arc<Key>> {
    let parts =
        Template::from_iter([(AttributeType::EC_PARAMS, Value::Bytes(params)), (AttributeType::EC_POINT, Value::Bytes(point))]);
    completed(ObjectClass::PUBLIC_KEY, KeyType::EC, parts)
}

fn raw_point(key: &Arc<Key>) -> Vec<u8> {
    let mut point = der::Reader::new(key.object().bytes(AttributeType::EC_POINT).unwrap());
    point.element(der::tag::OCTET_STRING).unwrap().to_vec()
}

#[test]
fn every_curve_signs_and_verifies_with_every_mechanism() {
    let mut dice = Dice::new(1);
    for curve in Curve::ALL {
        let (public, private) = generated(*curve);
        for row in ROWS.iter().filter(|row| row.verbs.sign.is_some()) {
            let data = dice.bytes(100);
            let mut signature = sign(row.kind, &Params::None, &private, &data, &dice.splits(100, 3)).unwrap();
            assert_eq!(signature.len(), 2 * curve.bytes());
            verify(row.kind, &Params::None, &public, &data, &[], &signature).unwrap();
            verify(row.kind, &Params::None, &public, &data, &dice.splits(100, 3), &signature).unwrap();
            let mut other = data.clone();
            other[1] ^= 1;
            let wrong = verify(row.kind, &Params::None, &public, &other, &[], &signature);
            assert_eq!(code(wrong), Some(Code::SignatureInvalid), "{curve:?} {}", row.kind);
            let short = verify(row.kind, &Params::None, &public, &data, &[], &signature[2..]);
            assert_eq!(code(short), Some(Code::SignatureLenRange));
            signature[5] ^= 1;
            let wrong = verify(row.kind, &Params::None, &public, &data, &[], &signature);
            assert_eq!(code(wrong), Some(Code::SignatureInvalid), "{curve:?} {}", row.kind);
            let zero = verify(row.kind, &Params::None, &public, &data, &[], &vec![0; signature.len()]);
            assert_eq!(code(zero), Some(Code::SignatureInvalid));
        }
    }
}

#[test]
fn a_digest_counts_up_to_the_length_of_the_order() {
    for curve in Curve::ALL {
        let (public, private) = generated(*curve);
        let digest = Dice::new(2).bytes(100);
        for len in [0, 1, 20, 28, 32, 48, 64, 100] {
            let signature = sign(ECDSA, &Params::None, &private, &digest[..len], &[]).unwrap();
            verify(ECDSA, &Params::None, &public, &digest[..len], &[], &signature).unwrap();
            let cut = len.min(curve.bytes());
            verify(ECDSA, &Params::None, &public, &digest[..cut], &[], &signature).unwrap();
            let padded = [&vec![0; curve.bytes().saturating_sub(len)][..], &digest[..cut]].concat();
            if curve.bits() % 8 == 0 {
                verify(ECDSA, &Params::None, &public, &padded, &[], &signature).unwrap();
            }
        }
    }
}

#[test]
fn a_known_signature_verifies_and_its_mirror_too() {
    // RFC 6979, A.2.5: P-256, SHA-256, "sample".
    let point = "04 60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6 \
                 7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299";
    let key = public(curve::oid(Curve::P256), hex(point)).unwrap();
    let signature = hex("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716 \
                         F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8");
    verify(MechanismType::ECDSA_SHA256, &Params::None, &key, b"sample", &[], &signature).unwrap();
    // The same key's private half makes the same point.
    let private = private(Curve::P256, "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721");
    assert_eq!(private.object().bytes(AttributeType::PUBLIC_KEY_INFO), key.object().bytes(AttributeType::PUBLIC_KEY_INFO));

    // secp256k1: s and order - s are both right; blockchains refuse the larger one, PKCS#11 does not.
    let (public, signer) = generated(Curve::Secp256k1);
    let low = sign(ECDSA, &Params::None, &signer, &[7; 32], &[]).unwrap();
    let number = |bytes: &[u8]| crate::sys::awslc::bignum::Number::from_be(bytes).unwrap();
    let order = number(&hex("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141"));
    let minus_one = order.minus_word(1).unwrap();
    let mirrored = number(&low[32..]).times(&minus_one).unwrap().divided_by(&order).unwrap().1;
    let mut high = low.clone();
    assert!(mirrored.write_be(&mut high[32..]));
    verify(ECDSA, &Params::None, &public, &[7; 32], &[], &high).unwrap();
}

#[test]
fn openssl_verifies_what_we_sign() {
    let directory = std::env::temp_dir().join(format!("ec-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (key, file) = (directory.join("public.der"), directory.join("signature"));
    for curve in Curve::ALL {
        let (public, private) = generated(*curve);
        std::fs::write(&key, public.object().bytes(AttributeType::PUBLIC_KEY_INFO).unwrap()).unwrap();
        let signature = sign(MechanismType::ECDSA_SHA384, &Params::None, &private, b"data", &[]).unwrap();
        let (r, s) = signature.split_at(signature.len() / 2);
        std::fs::write(&file, der::sequence(&[&der::unsigned(r), &der::unsigned(s)])).unwrap();
        let paths = ["-keyform", "DER", "-verify", key.to_str().unwrap(), "-signature", file.to_str().unwrap()];
        let said = openssl(&[&["dgst", "-sha384"][..], &paths].concat(), b"data");
        assert_eq!(said, b"Verified OK\n", "{curve:?}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

fn ecdh(kdf: Kdf, shared_data: &[u8], public_data: &[u8]) -> Params {
    Params::Ecdh1 { kdf, shared_data: shared_data.to_vec(), public_data: public_data.to_vec() }
}

#[test]
fn both_sides_agree_on_every_curve() {
    for curve in Curve::ALL {
        let ((public_1, private_1), (public_2, private_2)) = (generated(*curve), generated(*curve));
        let wrapped = public_2.object().bytes(AttributeType::EC_POINT).unwrap();
        let one = derive(ECDH, &ecdh(Kdf::NULL, b"", wrapped), &private_1, None).unwrap();
        let two = derive(ECDH, &ecdh(Kdf::NULL, b"", &raw_point(&public_1)), &private_2, None).unwrap();
        assert_eq!((one.len(), &one), (curve.bytes(), &two), "{curve:?}");
        let cofactor = MechanismType::ECDH1_COFACTOR_DERIVE;
        assert_eq!(derive(cofactor, &ecdh(Kdf::NULL, b"", wrapped), &private_1, None).unwrap(), one);
        let short = derive(ECDH, &ecdh(Kdf::NULL, b"", wrapped), &private_1, Some(16)).unwrap();
        assert_eq!(short, one[curve.bytes() - 16..]);
        let long = derive(ECDH, &ecdh(Kdf::NULL, b"", wrapped), &private_1, Some(curve.bytes() + 1));
        assert_eq!(code(long), Some(Code::KeySizeRange));
        let kdf = ecdh(Kdf::SHA256_KDF, b"info", wrapped);
        let derived = derive(ECDH, &kdf, &private_1, Some(100)).unwrap();
        let first = Hash::Sha256.digest(&[&one, &[0, 0, 0, 1], b"info"]);
        let last = Hash::Sha256.digest(&[&one, &[0, 0, 0, 4], b"info"]);
        assert_eq!((&derived[..32], &derived[96..]), (&first[..], &last[..4]));
    }
}

#[test]
fn a_known_agreement() {
    // RFC 5903, 8.1: the 256-bit random ECP group.
    let own = private(Curve::P256, "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433");
    let peer = hex("04 D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63 \
                    56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB");
    let shared = derive(ECDH, &ecdh(Kdf::NULL, b"", &peer), &own, None).unwrap();
    assert_eq!(shared, hex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE"));
}

#[test]
fn wrong_peers_and_parameters_are_refused() {
    let refused = Some(Code::MechanismParamInvalid);
    for curve in [Curve::P256, Curve::Secp256k1] {
        let (public, private) = generated(curve);
        let point = raw_point(&public);
        let mut off = point.clone();
        *off.last_mut().unwrap() ^= 1;
        for peer in [&off[..], &point[1..], &point[..40], b"", &[0], &[4; 65]] {
            assert_eq!(code(derive(ECDH, &ecdh(Kdf::NULL, b"", peer), &private, None)), refused, "{peer:?}");
        }
        assert_eq!(code(derive(ECDH, &ecdh(Kdf::NULL, b"data", &point), &private, None)), refused, "shared data");
        assert_eq!(code(derive(ECDH, &ecdh(Kdf::CPDIVERSIFY_KDF, b"", &point), &private, None)), refused);
        assert_eq!(code(derive(ECDH, &Params::None, &private, None)), refused);
        let none = derive(ECDH, &ecdh(Kdf::SHA1_KDF, b"", &point), &private, Some(0));
        assert_eq!(code(none), Some(Code::KeySizeRange));
    }
}

#[test]
fn points_come_in_every_form_and_leave_in_one() {
    for curve in Curve::ALL {
        let (key, _) = generated(*curve);
        let (oid, point) = (curve::oid(*curve), raw_point(&key));
        let compressed = [&[2 | point.last().unwrap() & 1][..], &point[1..1 + curve.bytes()]].concat();
        let forms = [point.clone(), der::octets(&point).to_vec(), der::bits(&point).to_vec(), compressed];
        for form in forms {
            let again = public(oid.clone(), form).unwrap();
            assert!(again.object().attributes.same_as(&key.object().attributes), "{curve:?}");
        }
        let mut off = point.clone();
        *off.last_mut().unwrap() ^= 1;
        for wrong in [off, point[1..].to_vec(), [&point[..], &[0]].concat(), vec![0], vec![4]] {
            assert_eq!(code(public(oid.clone(), wrong)), Some(Code::AttributeValueInvalid), "{curve:?}");
        }
    }
    assert_eq!(code(public(curve::oid(Curve::P256), vec![])), Some(Code::TemplateIncomplete));
}

#[test]
fn curves_are_known_by_identifier_name_and_parameters() {
    let point = raw_point(&generated(Curve::P256).0);
    for name in ["prime256v1", "secp256r1", "P-256"] {
        let params = der::element(der::tag::PRINTABLE_STRING, &[name.as_bytes()]).to_vec();
        let key = public(params.clone(), point.clone()).unwrap();
        assert_eq!(key.object().bytes(AttributeType::EC_PARAMS), Some(&params[..]), "a name stays");
    }
    for (name, curve) in [("prime256v1", Curve::P256), ("secp521r1", Curve::P521), ("secp256k1", Curve::Secp256k1)] {
        let explicit = openssl(&["ecparam", "-name", name, "-param_enc", "explicit", "-outform", "DER"], b"");
        let key = public(explicit.clone(), raw_point(&generated(curve).0)).unwrap();
        assert_eq!(key.object().bytes(AttributeType::EC_PARAMS), Some(&curve::oid(curve)[..]), "parameters become a name");
        let params = Template::from_iter([(AttributeType::EC_PARAMS, Value::Bytes(explicit.clone()))]);
        let (key, _) = generate_pair(MechanismType::EC_KEY_PAIR_GEN, KeyType::EC, params).unwrap();
        assert_eq!(key.object().bytes(AttributeType::EC_PARAMS), Some(&curve::oid(curve)[..]));
        // Another generator on the same curve (CVE-2020-0601) is another curve.
        let at = explicit.len() - 60;
        let mut other = explicit;
        other[at] ^= 1;
        assert_eq!(code(public(other, point.clone())), Some(Code::CurveNotSupported));
    }
    for (params, expected) in [
        (hex("06 08 2a8648ce3d030101"), Code::CurveNotSupported),
        (hex("0500"), Code::CurveNotSupported),
        (hex("3000"), Code::CurveNotSupported),
        (hex("13 03 786a6b"), Code::CurveNotSupported),
        (hex("0401 00"), Code::DomainParamsInvalid),
        (hex("06 08 2a8648"), Code::DomainParamsInvalid),
        (hex("06 08 2a8648ce3d030107 00"), Code::DomainParamsInvalid),
    ] {
        assert_eq!(code(public(params.clone(), point.clone())), Some(expected), "{params:x?}");
        let template = Template::from_iter([(AttributeType::EC_PARAMS, Value::Bytes(params))]);
        assert_eq!(code(generate_pair(MechanismType::EC_KEY_PAIR_GEN, KeyType::EC, template)), Some(expected));
    }
}

#[test]
fn private_keys_outside_the_order_are_refused() {
    for curve in Curve::ALL {
        for scalar in [vec![0], vec![0xff; curve.bytes()], vec![1; curve.bytes() + 1]] {
            let parts = Template::from_iter([
                (AttributeType::EC_PARAMS, Value::Bytes(curve::oid(*curve))),
                (AttributeType::VALUE, Value::Bytes(scalar)),
            ]);
            let refused = code(completed(ObjectClass::PRIVATE_KEY, KeyType::EC, parts));
            assert!(matches!(refused, Some(Code::AttributeValueInvalid | Code::TemplateIncomplete)), "{curve:?}");
        }
        let (public, private) = generated(*curve);
        let mut parts = private.object().attributes.duplicate();
        parts.set(AttributeType::EC_POINT, Value::Bytes(raw_point(&public)));
        encoding::complete(&mut parts).unwrap();
        parts.set(AttributeType::EC_POINT, Value::Bytes(raw_point(&generated(*curve).0)));
        assert_eq!(code(encoding::complete(&mut parts)), Some(Code::AttributeValueInvalid), "another key's point");
    }
}

#[test]
fn the_point_at_infinity_is_no_public_key() {
    assert!(Point::parse(Curve::P256, &[0]).is_err());
}
