//! Keys as bytes: the `openssl` program's keys come in and go out unchanged; what is wrong is refused.

use super::*;
use crate::mechanism::testing::{code, hex, openssl};
use crate::object::ObjectId;

/// `genpkey` arguments and the key type that comes of them.
const KINDS: &[(&[&str], KeyType)] = &[
    (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], KeyType::RSA),
    (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"], KeyType::EC),
    (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], KeyType::EC),
    (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], KeyType::EC),
    (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], KeyType::EC),
    (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP320r1"], KeyType::EC),
    (&["-algorithm", "ED25519"], KeyType::EC_EDWARDS),
    (&["-algorithm", "X25519"], KeyType::EC_MONTGOMERY),
    (&["-algorithm", "ED448"], KeyType::EC_EDWARDS),
    (&["-algorithm", "X448"], KeyType::EC_MONTGOMERY),
];

fn pkcs8(pem: &[u8]) -> Vec<u8> {
    openssl(&["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"], pem)
}

fn keys() -> Vec<(Vec<u8>, KeyType)> {
    let mut keys: Vec<_> =
        KINDS.iter().map(|(arguments, kind)| (openssl(&[&["genpkey"], *arguments].concat(), b""), *kind)).collect();
    let parameters = openssl(&["dsaparam", "-genkey", "1024"], b"");
    keys.push((parameters, KeyType::DSA));
    let group = &["genpkey", "-algorithm", "DH", "-pkeyopt", "group:modp_2048"];
    keys.push((openssl(group, b""), KeyType::DH));
    keys.into_iter().map(|(pem, kind)| (pkcs8(&pem), kind)).collect()
}

/// A private key of each kind, for tests that alter it.
pub fn pkcs8_samples() -> Vec<Vec<u8>> {
    keys().into_iter().map(|(der, _)| der).collect()
}

fn object(attributes: Template) -> Object {
    Object { id: ObjectId([1; 16]), version: 1, attributes }
}

#[test]
fn keys_of_openssl_come_in_and_go_out_unchanged() {
    for (der, kind) in keys() {
        let (public, private) = private_from_pkcs8(&der).unwrap();
        assert_eq!(private.ulong(AttributeType::KEY_TYPE), Some(kind.0));
        assert_eq!(public.ulong(AttributeType::CLASS), Some(ObjectClass::PUBLIC_KEY.0));
        assert_eq!(private_to_pkcs8(&private).unwrap().expose(), der, "{kind}");
        let info = openssl(&["pkey", "-inform", "DER", "-pubout", "-outform", "DER"], &der);
        assert_eq!(public.exposed(AttributeType::PUBLIC_KEY_INFO), Some(&info[..]), "{kind}");
        assert_eq!(private.exposed(AttributeType::PUBLIC_KEY_INFO), Some(&info[..]), "{kind}");
        assert!(private.iter().all(|(kind, value)| is_public(kind) == !matches!(value, Value::Secret(_))));
        assert!(public.iter().all(|(_, value)| !matches!(value, Value::Secret(_))));

        let inner = inner_encoding(&object(private.duplicate())).unwrap();
        let components = from_inner(ObjectClass::PRIVATE_KEY, kind, &inner).unwrap();
        assert!(components.iter().all(|(kind, value)| private.get(kind).is_some_and(|known| known.same_as(value))));
    }
}

fn is_public(kind: AttributeType) -> bool {
    const SECRET: [AttributeType; 7] = [
        AttributeType::VALUE,
        AttributeType::PRIVATE_EXPONENT,
        AttributeType::PRIME_1,
        AttributeType::PRIME_2,
        AttributeType::EXPONENT_1,
        AttributeType::EXPONENT_2,
        AttributeType::COEFFICIENT,
    ];
    !SECRET.contains(&kind)
}

#[test]
fn damaged_keys_are_refused_with_one_code() {
    for (der, kind) in keys() {
        let wrong = |bytes: &[u8], kind| {
            let result = from_inner(ObjectClass::PRIVATE_KEY, kind, &Secret::copy_of(bytes));
            assert_eq!(code(result), Some(Code::WrappedKeyInvalid));
        };
        wrong(&der, if kind == KeyType::RSA { KeyType::EC } else { KeyType::RSA });
        // Zero bytes that fill the last block are the wrapping's; anything else, or more, is damage.
        assert!(from_inner(ObjectClass::PRIVATE_KEY, kind, &Secret::copy_of(&[&der[..], &[0; 15]].concat())).is_ok());
        wrong(&[&der[..], &[0; 16]].concat(), kind);
        wrong(&[&der[..], &[1]].concat(), kind);
        wrong(&[], kind);
        for len in 0..der.len().min(200) {
            wrong(&der[..len], kind);
        }
        assert_eq!(code(private_from_pkcs8(&der[..der.len() - 1])), Some(Code::DataInvalid));
        // Any change of a byte is noticed, or changes the key; it never gets further than that.
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 0x41;
            if let Err(error) = from_inner(ObjectClass::PRIVATE_KEY, kind, &Secret::new(changed)) {
                assert_eq!(error.code(), Code::WrappedKeyInvalid);
            }
        }
    }
}

fn secret_key(kind: KeyType, value: &[u8]) -> Template {
    Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
        (AttributeType::KEY_TYPE, Value::Ulong(kind.0)),
        (AttributeType::VALUE, Value::Bytes(value.to_vec())),
    ])
}

#[test]
fn secret_keys_get_length_and_check_value() {
    // SP 800-38A has the AES-128 value as its first step with a zero key; the others are those of payment terminals' manuals.
    for (kind, value, expected) in [
        (KeyType::AES, &[0; 16][..], "66e94b"),
        (KeyType::AES, &[0; 32], "dc95c0"),
        (KeyType::DES, &[0; 8], "8ca64d"),
        (KeyType::DES3, &[0; 24], "8ca64d"),
        (KeyType::GENERIC_SECRET, b"abc", "a9993e"),
    ] {
        let mut attributes = secret_key(kind, value);
        complete(&mut attributes).unwrap();
        assert_eq!(attributes.ulong(AttributeType::VALUE_LEN), Some(value.len() as u64));
        assert_eq!(attributes.exposed(AttributeType::CHECK_VALUE), Some(&hex(expected)[..]), "{kind}");
        assert!(matches!(attributes.get(AttributeType::VALUE), Some(Value::Secret(_))));
        complete(&mut attributes).unwrap();

        attributes.set(AttributeType::CHECK_VALUE, Value::Bytes(vec![1, 2, 3]));
        assert_eq!(code(complete(&mut attributes)), Some(Code::AttributeValueInvalid));
        attributes.set(AttributeType::CHECK_VALUE, Value::Bytes(vec![]));
        complete(&mut attributes).unwrap();
        assert_eq!(attributes.exposed(AttributeType::CHECK_VALUE), Some(&[][..]), "asked to have none");
        attributes.set(AttributeType::VALUE_LEN, Value::Ulong(99));
        assert_eq!(code(complete(&mut attributes)), Some(Code::TemplateInconsistent));
    }
}

#[test]
fn secret_keys_of_other_lengths_are_refused() {
    for (kind, len) in [(KeyType::AES, 15), (KeyType::AES, 33), (KeyType::DES, 7), (KeyType::DES2, 8), (KeyType::DES3, 16)] {
        assert_eq!(code(complete(&mut secret_key(kind, &vec![1; len]))), Some(Code::AttributeValueInvalid), "{kind} {len}");
        let unwrapped = from_inner(ObjectClass::SECRET_KEY, kind, &Secret::new(vec![1; len]));
        assert_eq!(code(unwrapped), Some(Code::WrappedKeyInvalid), "{kind} {len}");
    }
    assert_eq!(code(complete(&mut secret_key(KeyType::GENERIC_SECRET, &[]))), Some(Code::AttributeValueInvalid));
    let mut none = secret_key(KeyType::AES, &[]);
    none.remove(AttributeType::VALUE);
    assert_eq!(code(complete(&mut none)), Some(Code::TemplateIncomplete));
}

#[test]
fn certificates_get_key_and_check_value() {
    let key = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], b"");
    let request = ["req", "-x509", "-new", "-key", "/dev/stdin", "-subj", "/CN=test", "-outform", "DER"];
    let certificate = openssl(&request, &key);
    let mut attributes = Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::CERTIFICATE.0)),
        (AttributeType::VALUE, Value::Bytes(certificate.clone())),
    ]);
    complete(&mut attributes).unwrap();
    let info = openssl(&["pkey", "-pubout", "-outform", "DER"], &key);
    assert_eq!(attributes.exposed(AttributeType::PUBLIC_KEY_INFO), Some(&info[..]));
    let digest = openssl(&["dgst", "-sha1", "-binary"], &certificate);
    assert_eq!(attributes.exposed(AttributeType::CHECK_VALUE), Some(&digest[..3]));

    // What is no certificate is stored as it is: applications keep their own forms.
    let mut other = Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::CERTIFICATE.0)),
        (AttributeType::VALUE, Value::Bytes(b"not DER".to_vec())),
    ]);
    complete(&mut other).unwrap();
    assert!(!other.has(AttributeType::PUBLIC_KEY_INFO));
}

#[test]
fn a_public_key_info_that_is_not_the_keys_is_refused() {
    let (der, _) = keys().swap_remove(2);
    let (mut public, _) = private_from_pkcs8(&der).unwrap();
    public.set(AttributeType::PUBLIC_KEY_INFO, Value::Bytes(vec![]));
    complete(&mut public).unwrap();
    let mut info = public.exposed(AttributeType::PUBLIC_KEY_INFO).unwrap().to_vec();
    *info.last_mut().unwrap() ^= 1;
    public.set(AttributeType::PUBLIC_KEY_INFO, Value::Bytes(info));
    assert_eq!(code(complete(&mut public)), Some(Code::AttributeValueInvalid));
}

#[test]
fn other_classes_pass_and_a_missing_class_does_not() {
    let mut data = Template::from_iter([(AttributeType::CLASS, Value::Ulong(ObjectClass::DATA.0))]);
    complete(&mut data).unwrap();
    assert_eq!(data.len(), 1);
    assert_eq!(code(complete(&mut Template::new())), Some(Code::TemplateIncomplete));
    assert_eq!(code(inner_encoding(&object(data))), Some(Code::KeyNotWrappable));
}
