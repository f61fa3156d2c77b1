//! DSA through the rows, against the `openssl` program.

use super::*;
use crate::mechanism::encoding;
use crate::mechanism::params::Params;
use crate::mechanism::testing::{Dice, code, completed, generate_pair, openssl, sign, verify};

fn domain() -> Template {
    let mechanism = Mechanism { kind: MechanismType::DSA_PARAMETER_GEN, params: Params::None };
    generate_domain(&mechanism, &Template::from_iter([(AttributeType::PRIME_BITS, Value::Ulong(1024))])).unwrap()
}

fn pair(domain: &Template) -> (Arc<Key>, Arc<Key>) {
    generate_pair(MechanismType::DSA_KEY_PAIR_GEN, KeyType::DSA, domain.duplicate()).unwrap()
}

#[test]
fn every_mechanism_signs_and_verifies() {
    let (public, private) = pair(&domain());
    let mut dice = Dice::new(1);
    for row in ROWS.iter().filter(|row| row.verbs.sign.is_some()) {
        let data = dice.bytes(100);
        let mut signature = sign(row.kind, &Params::None, &private, &data, &dice.splits(100, 3)).unwrap();
        assert_eq!(signature.len(), 40);
        verify(row.kind, &Params::None, &public, &data, &[50], &signature).unwrap();
        let short = verify(row.kind, &Params::None, &public, &data, &[], &signature[2..]);
        assert_eq!(code(short), Some(Code::SignatureLenRange));
        signature[7] ^= 1;
        let wrong = verify(row.kind, &Params::None, &public, &data, &[], &signature);
        assert_eq!(code(wrong), Some(Code::SignatureInvalid), "{}", row.kind);
    }
}

#[test]
fn openssl_verifies_what_we_sign() {
    let (public, private) = pair(&domain());
    let directory = std::env::temp_dir().join(format!("dsa-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (key, file) = (directory.join("public.der"), directory.join("signature"));
    std::fs::write(&key, public.object().bytes(AttributeType::PUBLIC_KEY_INFO).unwrap()).unwrap();
    let signature = sign(MechanismType::DSA_SHA256, &Params::None, &private, b"data", &[]).unwrap();
    let (r, s) = signature.split_at(20);
    std::fs::write(&file, der::sequence(&[&der::unsigned(r), &der::unsigned(s)])).unwrap();
    let paths = ["-keyform", "DER", "-verify", key.to_str().unwrap(), "-signature", file.to_str().unwrap()];
    assert_eq!(openssl(&[&["dgst", "-sha256"][..], &paths].concat(), b"data"), b"Verified OK\n");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn domains_are_made_and_checked() {
    let mut domain = domain();
    domain.set(AttributeType::CLASS, Value::Ulong(ObjectClass::DOMAIN_PARAMETERS.0));
    domain.set(AttributeType::KEY_TYPE, Value::Ulong(KeyType::DSA.0));
    encoding::complete(&mut domain).unwrap();
    assert_eq!(domain.ulong(AttributeType::PRIME_BITS), Some(1024));
    for kind in DOMAIN {
        let mut wrong = domain.duplicate();
        let mut number = wrong.exposed(kind).unwrap().to_vec();
        *number.last_mut().unwrap() ^= 2;
        wrong.set(kind, Value::Bytes(number));
        assert_eq!(code(encoding::complete(&mut wrong)), Some(Code::DomainParamsInvalid), "{kind}");
        wrong.set(kind, Value::Bytes(vec![1]));
        let refused = code(encoding::complete(&mut wrong));
        assert!(matches!(refused, Some(Code::DomainParamsInvalid | Code::KeySizeRange)), "{kind}");
    }
    let mechanism = Mechanism { kind: MechanismType::DSA_PARAMETER_GEN, params: Params::None };
    for bits in [0, 511, 513, 4096] {
        let template = Template::from_iter([(AttributeType::PRIME_BITS, Value::Ulong(bits))]);
        assert_eq!(code(generate_domain(&mechanism, &template)), Some(Code::KeySizeRange), "{bits}");
    }
    assert_eq!(code(generate_domain(&mechanism, &Template::new())), Some(Code::TemplateIncomplete));
}

#[test]
fn a_domain_that_fits_but_has_no_primes_is_refused() {
    let mut domain = domain();
    // Modulo the square of the prime, the base's power by the prime is of the subprime's order: all fits, and nothing is prime.
    let number = |kind| Number::from_be(domain.exposed(kind).unwrap()).unwrap();
    let (prime, base) = (number(AttributeType::PRIME), number(AttributeType::BASE));
    let square = prime.times(&prime).unwrap();
    let base = base.power(&prime, &square).unwrap();
    domain.set(AttributeType::PRIME, Value::Bytes(square.to_be()));
    domain.set(AttributeType::BASE, Value::Bytes(base.to_be()));
    check_domain(&domain).unwrap();
    domain.set(AttributeType::CLASS, Value::Ulong(ObjectClass::DOMAIN_PARAMETERS.0));
    domain.set(AttributeType::KEY_TYPE, Value::Ulong(KeyType::DSA.0));
    assert_eq!(code(encoding::complete(&mut domain)), Some(Code::DomainParamsInvalid));
    let mechanism = Mechanism { kind: MechanismType::DSA_KEY_PAIR_GEN, params: Params::None };
    assert_eq!(code(super::generate_pair(&mechanism, &domain, &Template::new())), Some(Code::DomainParamsInvalid));
}

#[test]
fn keys_outside_the_domain_are_refused() {
    let (public, private) = pair(&domain());
    for (class, key) in [(ObjectClass::PUBLIC_KEY, public), (ObjectClass::PRIVATE_KEY, private)] {
        for value in [vec![0xff; 200], vec![0]] {
            let mut parts = key.object().attributes.duplicate();
            parts.set(AttributeType::VALUE, Value::Bytes(value));
            let refused = code(completed(class, KeyType::DSA, parts));
            assert!(matches!(refused, Some(Code::AttributeValueInvalid | Code::TemplateIncomplete)));
        }
    }
}
