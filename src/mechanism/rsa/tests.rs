//! RSA through the rows: vectors, the `openssl` program, every mechanism there and back.

use std::sync::Arc;

use super::*;
use crate::ck::ObjectClass;
use crate::mechanism::params::{Oaep, Params};
use crate::mechanism::testing::{
    Dice, code, completed, decrypt, encrypt, generate_pair, hex, openssl, sign, sign_recover, unwrap, verify, verify_recover,
    wrap,
};
use crate::mechanism::{Key, table};
use crate::sys::awslc::bignum::Number;

const RSA_PKCS: MechanismType = MechanismType::RSA_PKCS;

/// A key of 1024 bits, by its primes and exponent.
const PRIME_1: &str = "de63f97e095db64aaa7d77545531858c6c2f21cda4f5d27a24e20943d1214abb \
                       f1edfce77ecb9ed32d08883e7936d5011bc72f38dedc8cb059ea4170fc2aabdd";
const PRIME_2: &str = "d987609edb9a0d994e1d50faa340508457ce9acad75af1abbd9dc710868915ef \
                       ad310d3ba466fe7422672aa50374b07889a15d46074e23824ceb1aec6c6ee08b";
const EXPONENT: &str = "3989d9029012e74c52eaa82544e8f2c39502b901f6a725df6ddad3c8a549afe7 \
                        f05969b20329a7196d83c6e1f697dc3692438dbc18bdb7fde5b0a391621c5b74 \
                        73b50cf7587330c145762ba8bd7d766fa44347659c0d77da38158736027040351 \
                        bae001927e286f02bb8e1927b16e599da64494e5f8bc8a4b373ced380067449";

fn modulus() -> Vec<u8> {
    let prime = |digits| Number::from_be(&hex(digits)).unwrap();
    prime(PRIME_1).times(&prime(PRIME_2)).unwrap().to_be()
}

fn public_parts_of_1024() -> Template {
    Template::from_iter([
        (AttributeType::MODULUS, Value::Bytes(modulus())),
        (AttributeType::PUBLIC_EXPONENT, Value::Bytes(vec![1, 0, 1])),
    ])
}

fn private_parts_of_1024() -> Template {
    let mut parts = public_parts_of_1024();
    parts.set(AttributeType::PRIVATE_EXPONENT, Value::Secret(Secret::new(hex(EXPONENT))));
    parts
}

fn pair_of_1024() -> (Arc<Key>, Arc<Key>) {
    let public = completed(ObjectClass::PUBLIC_KEY, KeyType::RSA, public_parts_of_1024()).unwrap();
    (public, completed(ObjectClass::PRIVATE_KEY, KeyType::RSA, private_parts_of_1024()).unwrap())
}

fn generated(bits: u64) -> (Arc<Key>, Arc<Key>) {
    let template = Template::from_iter([(AttributeType::MODULUS_BITS, Value::Ulong(bits))]);
    generate_pair(MechanismType::RSA_PKCS_KEY_PAIR_GEN, KeyType::RSA, template).unwrap()
}

#[test]
fn a_key_without_crt_numbers_gets_them() {
    let (_, private) = pair_of_1024();
    let attributes = &private.object().attributes;
    assert_eq!(attributes.exposed(AttributeType::PRIME_1), Some(&hex(PRIME_1)[..]));
    assert_eq!(attributes.exposed(AttributeType::PRIME_2), Some(&hex(PRIME_2)[..]));
    for kind in [AttributeType::EXPONENT_1, AttributeType::EXPONENT_2, AttributeType::COEFFICIENT] {
        assert!(matches!(attributes.get(kind), Some(Value::Secret(secret)) if !secret.is_empty()), "{kind}");
    }
    for left_out in [AttributeType::PUBLIC_EXPONENT, AttributeType::PRIME_1, AttributeType::PRIME_2, AttributeType::EXPONENT_2] {
        let mut parts = attributes.duplicate();
        parts.remove(left_out);
        let again = completed(ObjectClass::PRIVATE_KEY, KeyType::RSA, parts).unwrap();
        assert!(again.object().attributes.same_as(attributes), "{left_out} is found again");
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let whole = pair_of_1024().1.object().attributes.duplicate();
    let change = |kind, number: Vec<u8>| {
        let mut parts = whole.duplicate();
        parts.remove(AttributeType::PUBLIC_KEY_INFO);
        parts.set(kind, Value::Bytes(number));
        code(completed(ObjectClass::PRIVATE_KEY, KeyType::RSA, parts))
    };
    let odd = |bytes: usize| vec![0xdd; bytes];
    assert_eq!(change(AttributeType::PRIME_1, odd(64)), Some(Code::AttributeValueInvalid));
    assert_eq!(change(AttributeType::EXPONENT_1, odd(64)), Some(Code::AttributeValueInvalid));
    assert_eq!(change(AttributeType::COEFFICIENT, odd(64)), Some(Code::AttributeValueInvalid));
    assert_eq!(change(AttributeType::PRIVATE_EXPONENT, odd(128)), Some(Code::AttributeValueInvalid));
    assert_eq!(change(AttributeType::MODULUS, odd(128)), Some(Code::AttributeValueInvalid));
    assert_eq!(change(AttributeType::MODULUS, vec![0xdc; 128]), Some(Code::AttributeValueInvalid), "even");
    assert_eq!(change(AttributeType::MODULUS, odd(63)), Some(Code::KeySizeRange));
    assert_eq!(change(AttributeType::MODULUS, odd(2049)), Some(Code::KeySizeRange));
    for exponent in [vec![1], vec![2], vec![1, 0, 0]] {
        assert_eq!(change(AttributeType::PUBLIC_EXPONENT, exponent), Some(Code::AttributeValueInvalid));
    }
    let mut wrong = private_parts_of_1024();
    wrong.set(AttributeType::PRIVATE_EXPONENT, Value::Bytes(vec![0x77; 128]));
    assert_eq!(code(completed(ObjectClass::PRIVATE_KEY, KeyType::RSA, wrong)), Some(Code::AttributeValueInvalid));
}

#[test]
fn a_public_exponent_may_be_long_but_is_below_the_modulus() {
    let import = |exponent: Vec<u8>| {
        let mut parts = public_parts_of_1024();
        parts.set(AttributeType::PUBLIC_EXPONENT, Value::Bytes(exponent));
        completed(ObjectClass::PUBLIC_KEY, KeyType::RSA, parts)
    };
    let long = import(vec![0x11; 100]).unwrap();
    // A signature of 1 is one for any exponent, as a bare number.
    let one = [&[0; 127][..], &[1]].concat();
    verify(MechanismType::RSA_X_509, &Params::None, &long, &[1], &[], &one).unwrap();
    let two = [&[0; 127][..], &[2]].concat();
    let other = verify(MechanismType::RSA_X_509, &Params::None, &long, &[2], &[], &two);
    assert_eq!(code(other), Some(Code::SignatureInvalid));
    assert_eq!(code(import(vec![0x11; 129])), Some(Code::AttributeValueInvalid));
    assert_eq!(code(import(modulus())), Some(Code::AttributeValueInvalid));
}

#[test]
fn moduli_of_the_flawed_generator_are_found() {
    // M is the product of the small primes; a flawed prime is k * M + 65537^a mod M.
    let primes = [
        3u64, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113,
        127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    let word = |word| Number::from_word(word).unwrap();
    let product = primes.iter().fold(word(2), |product, prime| product.times(&word(*prime)).unwrap());
    let flawed = |k: u64, a: u64| {
        let power = (0..a).fold(word(1), |power, _| power.times_modulo(&word(65537), &product).unwrap());
        product.times(&word(k)).unwrap().plus(&power).unwrap()
    };
    let modulus = flawed(1 << 40, 77).times(&flawed((1 << 41) + 3, 1234)).unwrap();
    assert!(factor::has_roca_fingerprint(&modulus));
    assert!(!factor::has_roca_fingerprint(&modulus.plus(&word(2)).unwrap()));
    let parts = Template::from_iter([
        (AttributeType::MODULUS, Value::Bytes(flawed(1 << 62, 5).times(&flawed(1 << 63, 6)).unwrap().to_be())),
        (AttributeType::PUBLIC_EXPONENT, Value::Bytes(vec![1, 0, 1])),
    ]);
    assert_eq!(code(completed(ObjectClass::PUBLIC_KEY, KeyType::RSA, parts)), Some(Code::AttributeValueInvalid));
}

#[test]
fn generation_honours_size_and_exponent_and_refuses_what_it_cannot_do() {
    let generate = |bits: u64, exponent: &[u8]| {
        let template = Template::from_iter([
            (AttributeType::MODULUS_BITS, Value::Ulong(bits)),
            (AttributeType::PUBLIC_EXPONENT, Value::Bytes(exponent.to_vec())),
        ]);
        generate_pair(MechanismType::RSA_PKCS_KEY_PAIR_GEN, KeyType::RSA, template)
    };
    let (public, private) = generate(640, &[0, 3]).unwrap();
    assert_eq!(public.object().ulong(AttributeType::MODULUS_BITS), Some(640));
    assert_eq!(public.object().bytes(AttributeType::PUBLIC_EXPONENT), Some(&[3][..]));
    assert_eq!(public.object().bytes(AttributeType::MODULUS), private.object().bytes(AttributeType::MODULUS));
    assert_eq!(public.object().bytes(AttributeType::PUBLIC_KEY_INFO), private.object().bytes(AttributeType::PUBLIC_KEY_INFO));
    for bits in [0, 384, 511, 16385, 16384 + 128, u64::MAX] {
        assert_eq!(code(generate(bits, &[1, 0, 1])), Some(Code::KeySizeRange), "{bits}");
    }
    for exponent in [&[1][..], &[2], &[1, 0, 0, 0, 0, 0, 0, 0, 1]] {
        assert_eq!(code(generate(1024, exponent)), Some(Code::AttributeValueInvalid), "{exponent:?}");
    }
    let none = generate_pair(MechanismType::RSA_PKCS_KEY_PAIR_GEN, KeyType::RSA, Template::new());
    assert_eq!(code(none), Some(Code::TemplateIncomplete));
}

/// GnuTLS asks for 1776 bits (`--sec-param legacy`), and SoftHSM makes keys of any length.
#[test]
fn keys_of_any_length_are_made_and_work() {
    for (bits, exponent) in
        [(512, &[3][..]), (513, &[1, 0, 1]), (1000, &[3]), (1025, &[1, 0, 1]), (1776, &[1, 0, 0, 0, 0, 0, 0, 15])]
    {
        let template = Template::from_iter([
            (AttributeType::MODULUS_BITS, Value::Ulong(bits)),
            (AttributeType::PUBLIC_EXPONENT, Value::Bytes(exponent.to_vec())),
        ]);
        let (public, private) = generate_pair(MechanismType::RSA_PKCS_KEY_PAIR_GEN, KeyType::RSA, template).unwrap();
        assert_eq!(public.object().ulong(AttributeType::MODULUS_BITS), Some(bits));
        assert_eq!(public.object().bytes(AttributeType::PUBLIC_EXPONENT), Some(exponent));
        let modulus = Number::from_be(public.object().bytes(AttributeType::MODULUS).unwrap()).unwrap();
        assert_eq!(modulus.bits() as u64, bits);
        let (kind, none) = (MechanismType::SHA1_RSA_PKCS, &Params::None);
        let signature = sign(kind, none, &private, b"data", &[]).unwrap();
        assert_eq!(signature.len() as u64, bits.div_ceil(8));
        verify(kind, none, &public, b"data", &[], &signature).unwrap();
    }
}

/// Mechanisms that sign, with a fitting parameter and an input.
fn signing() -> Vec<(MechanismType, Params, Vec<u8>)> {
    let data = Dice::new(1).bytes(1000);
    let rows = ROWS.iter().filter(|row| row.verbs.sign.is_some());
    rows.map(|row| match (row.input, row.params) {
        (Input::Hash, ParamKind::Pss) => {
            let hash = hash_of(row.kind).unwrap().mechanism();
            (row.kind, Params::Pss { hash, mgf: Mgf::MGF1_SHA1, salt_len: 7 }, data.clone())
        }
        (Input::Hash, _) => (row.kind, Params::None, data.clone()),
        (_, ParamKind::Pss) => {
            (row.kind, Params::Pss { hash: MechanismType::SHA256, mgf: Mgf::MGF1_SHA384, salt_len: 0 }, data[..32].to_vec())
        }
        _ => (row.kind, Params::None, data[..100].to_vec()),
    })
    .collect()
}

#[test]
fn every_signature_verifies_in_one_part_and_in_many_and_nothing_else_does() {
    let (public, private) = pair_of_1024();
    let mut dice = Dice::new(2);
    assert_eq!(signing().len(), 22);
    for (kind, params, data) in signing() {
        let mut signature = sign(kind, &params, &private, &data, &dice.splits(data.len(), 4)).unwrap();
        assert_eq!(signature.len(), 128);
        verify(kind, &params, &public, &data, &[], &signature).unwrap_or_else(|error| panic!("{kind}: {error}"));
        verify(kind, &params, &public, &data, &dice.splits(data.len(), 4), &signature).unwrap();
        let mut other = data.clone();
        other[3] ^= 1;
        assert_eq!(code(verify(kind, &params, &public, &other, &[], &signature)), Some(Code::SignatureInvalid), "{kind}");
        let short = verify(kind, &params, &public, &data, &[], &signature[1..]);
        assert_eq!(code(short), Some(Code::SignatureLenRange), "{kind}");
        signature[60] ^= 0x10;
        assert_eq!(code(verify(kind, &params, &public, &data, &[], &signature)), Some(Code::SignatureInvalid), "{kind}");
    }
}

#[test]
fn openssl_verifies_what_we_sign() {
    let (public, private) = generated(1024);
    let directory = std::env::temp_dir().join(format!("rsa-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (key, file) = (directory.join("public.der"), directory.join("signature"));
    std::fs::write(&key, public.object().bytes(AttributeType::PUBLIC_KEY_INFO).unwrap()).unwrap();
    let data = b"signed here, verified there";
    for (kind, params, arguments) in [
        (MechanismType::SHA256_RSA_PKCS, Params::None, vec!["-sha256"]),
        (MechanismType::SHA3_384_RSA_PKCS, Params::None, vec!["-sha3-384"]),
        (
            MechanismType::SHA384_RSA_PKCS_PSS,
            Params::Pss { hash: MechanismType::SHA384, mgf: Mgf::MGF1_SHA256, salt_len: 20 },
            vec!["-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20", "-sigopt", "rsa_mgf1_md:sha256"],
        ),
    ] {
        std::fs::write(&file, sign(kind, &params, &private, data, &[]).unwrap()).unwrap();
        let paths = ["-keyform", "DER", "-verify", key.to_str().unwrap(), "-signature", file.to_str().unwrap()];
        let said = openssl(&[&["dgst"][..], &arguments, &paths].concat(), data);
        assert_eq!(said, b"Verified OK\n", "{kind}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn pss_parameters_must_fit_key_and_mechanism() {
    let (public, private) = pair_of_1024();
    let pss = |hash, salt_len| Params::Pss { hash, mgf: Mgf::MGF1_SHA256, salt_len };
    let start = |kind, params: Params| code(sign(kind, &params, &private, &[5; 32], &[]));
    let (raw, hashed) = (MechanismType::RSA_PKCS_PSS, MechanismType::SHA256_RSA_PKCS_PSS);
    assert_eq!(start(raw, pss(MechanismType::SHA256, 94)), None, "the longest salt");
    assert_eq!(start(raw, pss(MechanismType::SHA256, 95)), Some(Code::MechanismParamInvalid));
    assert_eq!(start(raw, pss(MechanismType::SHA256, u64::MAX)), Some(Code::MechanismParamInvalid));
    assert_eq!(start(raw, pss(MechanismType::AES_CBC, 0)), Some(Code::MechanismParamInvalid));
    assert_eq!(start(raw, Params::None), Some(Code::MechanismParamInvalid));
    assert_eq!(start(hashed, pss(MechanismType::SHA384, 0)), Some(Code::MechanismParamInvalid), "another hash");
    assert_eq!(start(raw, pss(MechanismType::SHA_1, 0)), Some(Code::DataLenRange), "no SHA-1 digest");
    let signature = sign(raw, &pss(MechanismType::SHA256, 10), &private, &[5; 32], &[]).unwrap();
    let other = verify(raw, &pss(MechanismType::SHA256, 11), &public, &[5; 32], &[], &signature);
    assert_eq!(code(other), Some(Code::SignatureInvalid), "another salt length");
}

#[test]
fn short_inputs_are_bounded_by_the_modulus() {
    let (public, private) = pair_of_1024();
    let none = &Params::None;
    for data in [vec![1; 117], vec![0; 117], vec![]] {
        let signature = sign(RSA_PKCS, none, &private, &data, &[]).unwrap();
        verify(RSA_PKCS, none, &public, &data, &[], &signature).unwrap();
        assert_eq!(verify_recover(RSA_PKCS, &public, &signature).unwrap(), data);
        assert_eq!(sign_recover(RSA_PKCS, &private, &data).unwrap(), signature);
    }
    assert_eq!(code(sign(RSA_PKCS, none, &private, &[1; 118], &[])), Some(Code::DataLenRange));
    assert_eq!(code(sign(RSA_PKCS, none, &private, &[1; 118], &[100])), Some(Code::DataLenRange));
    assert_eq!(code(sign_recover(RSA_PKCS, &private, &[1; 118])), Some(Code::DataLenRange));
    assert_eq!(code(encrypt(RSA_PKCS, none, &public, &[1; 118], &[])), Some(Code::DataLenRange));
    assert_eq!(code(verify_recover(RSA_PKCS, &public, &[1; 128])), Some(Code::SignatureInvalid));
    assert_eq!(code(verify_recover(RSA_PKCS, &public, &[1; 127])), Some(Code::SignatureLenRange));
    let raw = MechanismType::RSA_X_509;
    let signature = sign(raw, none, &private, b"number", &[]).unwrap();
    verify(raw, none, &public, b"number", &[], &signature).unwrap();
    let recovered = verify_recover(raw, &public, &signature).unwrap();
    assert_eq!((recovered.len(), &recovered[122..]), (128, &b"number"[..]));
    assert_eq!(code(sign(raw, none, &private, &[0xff; 128], &[])), Some(Code::DataInvalid), "above the modulus");
    assert_eq!(code(sign(raw, none, &private, &[1; 129], &[])), Some(Code::DataLenRange));
    assert_eq!(code(encrypt(raw, none, &public, &[0xff; 128], &[])), Some(Code::DataInvalid));
}

#[test]
fn ciphertexts_come_back() {
    let (public, private) = pair_of_1024();
    let mut dice = Dice::new(3);
    for len in [0, 1, 16, 117] {
        let plain = dice.bytes(len);
        let sealed = encrypt(RSA_PKCS, &Params::None, &public, &plain, &dice.splits(len, 3)).unwrap();
        assert_eq!(decrypt(RSA_PKCS, &Params::None, &private, &sealed, &[]).unwrap(), plain);
        assert_eq!(decrypt(RSA_PKCS, &Params::None, &private, &sealed, &[5, 100]).unwrap(), plain);
    }
    let sealed = encrypt(MechanismType::RSA_X_509, &Params::None, &public, b"number", &[]).unwrap();
    let plain = decrypt(MechanismType::RSA_X_509, &Params::None, &private, &sealed, &[]).unwrap();
    assert_eq!((plain.len(), &plain[122..]), (128, &b"number"[..]));
    for kind in [RSA_PKCS, MechanismType::RSA_X_509] {
        let start = |data: &[u8]| code(decrypt(kind, &Params::None, &private, data, &[]));
        assert_eq!(start(&[1; 127]), Some(Code::EncryptedDataLenRange));
        assert_eq!(start(&[1; 129]), Some(Code::EncryptedDataLenRange));
        assert_eq!(start(&[0xff; 128]), Some(Code::EncryptedDataInvalid), "above the modulus");
    }
}

#[test]
fn oaep_comes_back_with_every_hash_mask_and_label() {
    let (public, private) = generated(2048);
    let masks = [Mgf::MGF1_SHA1, Mgf::MGF1_SHA224, Mgf::MGF1_SHA256, Mgf::MGF1_SHA384, Mgf::MGF1_SHA512, Mgf::MGF1_SHA3_256];
    for (at, hash) in Hash::ALL.iter().enumerate() {
        let oaep = |mgf, label: &[u8]| Params::Oaep(Oaep { hash: hash.mechanism(), mgf, label: label.to_vec() });
        let (params, kind) = (oaep(masks[at % masks.len()], b"label"), MechanismType::RSA_PKCS_OAEP);
        let longest = 256 - 2 - 2 * hash.output_len();
        let plain = vec![7; longest];
        let sealed = encrypt(kind, &params, &public, &plain, &[50]).unwrap();
        assert_eq!(decrypt(kind, &params, &private, &sealed, &[]).unwrap(), plain, "{hash:?}");
        assert_eq!(code(encrypt(kind, &params, &public, &vec![7; longest + 1], &[])), Some(Code::DataLenRange));
        let wrong = [oaep(masks[at % masks.len()], b""), oaep(masks[(at + 1) % masks.len()], b"label")];
        for params in &wrong {
            assert_eq!(code(decrypt(kind, params, &private, &sealed, &[])), Some(Code::EncryptedDataInvalid), "{hash:?}");
            assert_eq!(code(unwrap(kind, params, &private, &sealed)), Some(Code::WrappedKeyInvalid), "{hash:?}");
        }
        assert_eq!(unwrap(kind, &params, &private, &sealed).unwrap(), plain);
    }
    let unknown = Params::Oaep(Oaep { hash: MechanismType::MD2, mgf: Mgf::MGF1_SHA1, label: vec![] });
    let start = encrypt(MechanismType::RSA_PKCS_OAEP, &unknown, &public, b"x", &[]);
    assert_eq!(code(start), Some(Code::MechanismParamInvalid));
}

#[test]
fn keys_wrap_and_unwrap() {
    let (public, private) = generated(1024);
    let oaep = Oaep { hash: MechanismType::SHA_1, mgf: Mgf::MGF1_SHA1, label: vec![] };
    let value = Dice::new(4).bytes(32);
    for (kind, params) in [(RSA_PKCS, Params::None), (MechanismType::RSA_PKCS_OAEP, Params::Oaep(oaep.clone()))] {
        let wrapped = wrap(kind, &params, &public, &value).unwrap();
        assert_eq!(unwrap(kind, &params, &private, &wrapped).unwrap(), value, "{kind}");
        assert_eq!(code(unwrap(kind, &params, &private, &wrapped[1..])), Some(Code::WrappedKeyLenRange), "{kind}");
        assert_eq!(code(wrap(kind, &params, &public, &[1; 120])), Some(Code::KeySizeRange), "{kind}");
    }
    let wrapped = wrap(MechanismType::RSA_X_509, &Params::None, &public, &value).unwrap();
    assert!(unwrap(MechanismType::RSA_X_509, &Params::None, &private, &wrapped).unwrap().ends_with(&value));
    let long = Dice::new(5).bytes(1217);
    for aes_bits in [128, 192, 256] {
        let (kind, params) = (MechanismType::RSA_AES_KEY_WRAP, Params::RsaAesKeyWrap { aes_bits, oaep: oaep.clone() });
        let mut wrapped = wrap(kind, &params, &public, &long).unwrap();
        assert_eq!(wrapped.len(), 128 + 1224 + 8);
        assert_eq!(unwrap(kind, &params, &private, &wrapped).unwrap(), long);
        let other = Params::RsaAesKeyWrap { aes_bits: if aes_bits == 128 { 256 } else { 128 }, oaep: oaep.clone() };
        assert_eq!(code(unwrap(kind, &other, &private, &wrapped)), Some(Code::WrappedKeyInvalid));
        assert_eq!(code(unwrap(kind, &params, &private, &wrapped[..140])), Some(Code::WrappedKeyLenRange));
        wrapped[700] ^= 1;
        assert_eq!(code(unwrap(kind, &params, &private, &wrapped)), Some(Code::WrappedKeyInvalid));
    }
    let odd = Params::RsaAesKeyWrap { aes_bits: 100, oaep };
    assert_eq!(code(wrap(MechanismType::RSA_AES_KEY_WRAP, &odd, &public, &value)), Some(Code::MechanismParamInvalid));
}

/// Ciphertexts with a wrong padding, and what OpenSSL 4.0, which follows the same guidance, decrypts them to.
#[test]
fn implicit_rejection_agrees_with_openssl() {
    let (_, private) = pair_of_1024();
    for (number, plain) in [
        (2u64, "c4604de588b41f4520a7b958391a1a7e7d1d"),
        (
            3,
            "b9b67ecb71e3c11df475b3bb32ab1589c5e4e94bd4209ffa50299f3e18975b47cd09961f05d3e20edca9237c05126d86ff1dfcd942182b3d4e7e \
             99d97972676f70b4",
        ),
        (5, "587ec79ebf8c53cf3fe79102ddf9b7e8b4ca59dbce78fe4b67"),
        (6, "2e4f9e8dd7e6756cc36a6b5e73"),
        (9, "19c3afb555abd5e99b710349ae06b07d6b8ef8ff87115ab548bf929b840643431be52f86b8d615ae52"),
    ] {
        let mut ciphertext = vec![0; 120];
        ciphertext.extend((number * 7919 + 1).pow(3).to_be_bytes());
        assert_eq!(decrypt(RSA_PKCS, &Params::None, &private, &ciphertext, &[]).unwrap(), hex(plain), "{number}");
        assert_eq!(unwrap(RSA_PKCS, &Params::None, &private, &ciphertext).unwrap(), hex(plain), "{number}");
    }
}

#[test]
fn false_plaintexts_are_constant_and_of_all_lengths() {
    let (_, private) = pair_of_1024();
    let mut dice = Dice::new(6);
    let mut lengths = Vec::new();
    for _ in 0..300 {
        let mut ciphertext = dice.bytes(128);
        ciphertext[0] = 0;
        let plain = decrypt(RSA_PKCS, &Params::None, &private, &ciphertext, &[]).unwrap();
        assert_eq!(decrypt(RSA_PKCS, &Params::None, &private, &ciphertext, &[64]).unwrap(), plain);
        let key = unwrap(RSA_PKCS, &Params::None, &private, &ciphertext).unwrap();
        assert!(key == plain || (plain.is_empty() && key.len() == 1), "no key is empty");
        assert!(plain.len() <= 117);
        lengths.push(plain.len());
    }
    let short = lengths.iter().filter(|length| **length < 59).count();
    assert!((100..200).contains(&short), "{short} of 300 lengths are in the lower half");
}

#[test]
fn rows_advertise_what_they_do() {
    for row in ROWS {
        assert!(std::ptr::eq(table::find(row.kind).unwrap(), row) || table::find(row.kind).unwrap().flags() == row.flags());
        assert_eq!(row.keys, [KeyType::RSA]);
        assert_ne!(row.flags(), 0, "{}", row.kind);
    }
}
