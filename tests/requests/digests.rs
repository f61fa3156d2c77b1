//! A digest with a key in it (`C_DigestKey`): the application's own bytes here, the key's at whichever node is alive.

use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};

use hsmpool::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use hsmpool::object::{Template, Value};
use hsmpool::secret::Secret;

use crate::house::{House, mechanism};

const VALUE: &[u8] = b"a value of thirty-two bytes, 32.";

/// A key that may go into a digest.
pub fn digestible() -> Template {
    let flag = |kind, value| (kind, Value::Bool(value));
    Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
        (AttributeType::KEY_TYPE, Value::Ulong(KeyType::GENERIC_SECRET.0)),
        (AttributeType::VALUE, Value::Secret(Secret::copy_of(VALUE))),
        flag(AttributeType::TOKEN, true),
        flag(AttributeType::PRIVATE, true),
        flag(AttributeType::SENSITIVE, false),
        flag(AttributeType::EXTRACTABLE, true),
    ])
}

#[test]
fn a_digest_with_a_key_in_it_comes_out_right_whichever_nodes_die_meanwhile() {
    for seed in 120..123 {
        let house = House::new(seed);
        let (token, user) = house.token();
        let key = token.create(&user, digestible()).unwrap();
        house.network.lose(15, 15);
        for round in 0..6 {
            let kill = |dead: usize| (0..3).for_each(|node| house.network.dead[node].store(node == dead, Ordering::Relaxed));
            let mut digest = token.digest(&mechanism(MechanismType::SHA256)).unwrap();
            digest.update(b"before, ").unwrap();
            kill(round % 3);
            token.digest_key(&user, key.id, &mut *digest).unwrap();
            digest.update(b" between, ").unwrap();
            kill((round + 1) % 3);
            token.digest_key(&user, key.id, &mut *digest).unwrap();
            digest.update(b" after").unwrap();
            kill((round + 2) % 3);
            let mut out = [0; 32];
            digest.finish(&mut out).unwrap();
            let expected = Sha256::digest([b"before, ", VALUE, b" between, ", VALUE, b" after"].concat());
            assert_eq!(out, expected[..], "seed {seed}");
        }
    }
}
