//! Diffie–Hellman through the rows.

use super::*;
use crate::mechanism::encoding;
use crate::mechanism::testing::{code, completed, derive, generate_pair};

const DERIVE: MechanismType = MechanismType::DH_PKCS_DERIVE;

fn domain(bits: u64) -> Result<Template> {
    let mechanism = Mechanism { kind: MechanismType::DH_PKCS_PARAMETER_GEN, params: Params::None };
    generate_domain(&mechanism, &Template::from_iter([(AttributeType::PRIME_BITS, Value::Ulong(bits))]))
}

fn pair(domain: &Template) -> (Arc<Key>, Arc<Key>) {
    generate_pair(MechanismType::DH_PKCS_KEY_PAIR_GEN, KeyType::DH, domain.duplicate()).unwrap()
}

fn value(key: &Key) -> Vec<u8> {
    key.object().bytes(AttributeType::VALUE).unwrap().to_vec()
}

#[test]
fn both_sides_agree() {
    let domain = domain(1536).unwrap();
    let ((public_1, private_1), (public_2, private_2)) = (pair(&domain), pair(&domain));
    let one = derive(DERIVE, &Params::Data(value(&public_2)), &private_1, None).unwrap();
    let two = derive(DERIVE, &Params::Data([&[0, 0][..], &value(&public_1)].concat()), &private_2, None).unwrap();
    assert_eq!((one.len(), &one), (192, &two));
    assert_eq!(derive(DERIVE, &Params::Data(value(&public_2)), &private_1, Some(32)).unwrap(), one[160..]);
    // The same by plain arithmetic.
    let number = |bytes: &[u8]| Number::from_be(bytes).unwrap();
    let exponent = number(private_1.object().secret(AttributeType::VALUE).unwrap().expose());
    let prime = number(domain.exposed(AttributeType::PRIME).unwrap());
    let mut expected = vec![0; 192];
    assert!(number(&value(&public_2)).power(&exponent, &prime).unwrap().write_be(&mut expected));
    assert_eq!(one, expected);
    let long = derive(DERIVE, &Params::Data(value(&public_2)), &private_1, Some(193));
    assert_eq!(code(long), Some(Code::KeySizeRange));
}

#[test]
fn peers_at_the_border_are_refused() {
    let domain = domain(1536).unwrap();
    let (_, private) = pair(&domain);
    let prime = Number::from_be(domain.exposed(AttributeType::PRIME).unwrap()).unwrap();
    let last = prime.minus_word(1).unwrap().to_be();
    for peer in [vec![], vec![0], vec![1], last.clone(), prime.to_be(), vec![0xff; 200]] {
        let refused = derive(DERIVE, &Params::Data(peer), &private, None);
        assert_eq!(code(refused), Some(Code::MechanismParamInvalid));
    }
    for (class, number) in
        [(ObjectClass::PUBLIC_KEY, vec![1]), (ObjectClass::PUBLIC_KEY, last), (ObjectClass::PRIVATE_KEY, prime.to_be())]
    {
        let mut parts = domain.duplicate();
        parts.set(AttributeType::VALUE, Value::Bytes(number));
        assert_eq!(code(completed(class, KeyType::DH, parts)), Some(Code::AttributeValueInvalid));
    }
}

#[test]
fn parameters_are_made_and_checked() {
    for bits in [512, 1536, 8192] {
        let mut parameters = domain(bits).unwrap();
        parameters.set(AttributeType::CLASS, Value::Ulong(ObjectClass::DOMAIN_PARAMETERS.0));
        parameters.set(AttributeType::KEY_TYPE, Value::Ulong(KeyType::DH.0));
        encoding::complete(&mut parameters).unwrap();
        assert_eq!(parameters.ulong(AttributeType::PRIME_BITS), Some(bits));
        let prime = Number::from_be(parameters.exposed(AttributeType::PRIME).unwrap()).unwrap();
        if bits == 512 {
            assert!(prime.is_prime().unwrap() && prime.shifted_right(1).unwrap().is_prime().unwrap(), "a safe prime");
        }
        parameters.set(AttributeType::BASE, Value::Bytes(vec![1]));
        assert_eq!(code(encoding::complete(&mut parameters)), Some(Code::DomainParamsInvalid));
        parameters.set(AttributeType::BASE, Value::Bytes(vec![2]));
        // 2^bits - 1 is odd and divisible by 3.
        parameters.set(AttributeType::PRIME, Value::Bytes(vec![0xff; bits as usize / 8]));
        assert_eq!(code(encoding::complete(&mut parameters)), Some(Code::DomainParamsInvalid));
    }
    for bits in [0, 511, 5000, 16384, u64::MAX] {
        assert_eq!(code(domain(bits)), Some(Code::KeySizeRange), "{bits}");
    }
}

#[test]
fn the_private_number_is_as_short_as_asked() {
    let domain = domain(2048).unwrap();
    let wanted = Template::from_iter([(AttributeType::VALUE_BITS, Value::Ulong(160))]);
    let mechanism = Mechanism { kind: MechanismType::DH_PKCS_KEY_PAIR_GEN, params: Params::None };
    let pair = super::generate_pair(&mechanism, &domain, &wanted).unwrap();
    let private = completed(ObjectClass::PRIVATE_KEY, KeyType::DH, pair.private).unwrap();
    assert!(private.object().ulong(AttributeType::VALUE_BITS).unwrap() <= 160);
}
