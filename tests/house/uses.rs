//! Keys are used while nodes die under them: whole, in parts, with session objects.

use std::sync::atomic::Ordering;

use hsmpool::ck::{AttributeType, MechanismType};
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::object::{Template, Value};
use hsmpool::token::Role;

use crate::house::{House, SCOPE, aes, ec_pair, mechanism, pin};

#[test]
fn each_use_is_answered_whichever_node_is_dead() {
    let house = House::new(1);
    let (token, user) = house.token();
    let (public, private) = ec_pair(true);
    let (public, private) = token.generate_pair(&user, &mechanism(MechanismType::EC_KEY_PAIR_GEN), public, private).unwrap();
    for round in 0..30 {
        house.network.kill_only(round % 3);
        let message = format!("message {round}");
        let ecdsa = mechanism(MechanismType::ECDSA_SHA256);
        let mut signature = [0; 64];
        let signer = token.sign(&user, &ecdsa, private.id).unwrap().operation;
        assert_eq!(signer.single(message.as_bytes(), &mut signature).unwrap(), 64);
        let verifier = token.verify(&user, &ecdsa, public.id).unwrap().operation;
        verifier.single(message.as_bytes(), &signature).unwrap();
        let verifier = token.verify(&user, &ecdsa, public.id).unwrap().operation;
        assert!(verifier.single(b"another message", &signature).is_err());
    }
}

#[test]
fn an_operation_in_parts_survives_each_node_and_no_byte_differs() {
    let house = House::new(2);
    let (token, user) = house.token();
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
    let plaintext: Vec<u8> = (0..100_000_u32).map(|at| (at * 7) as u8).collect();
    for kind in [MechanismType::AES_CBC_PAD, MechanismType::AES_CTR, MechanismType::AES_GCM] {
        let params = match kind {
            MechanismType::AES_CBC_PAD => Params::Iv(vec![3; 16]),
            MechanismType::AES_CTR => Params::Ctr { counter_bits: 64, block: [4; 16] },
            _ => Params::Gcm { iv: vec![5; 12], aad: b"header".to_vec(), tag_bits: 128 },
        };
        let mechanism = Mechanism { kind, params };
        let mut whole = vec![0; plaintext.len() + 32];
        let len = token.encrypt(&user, &mechanism, key.id).unwrap().operation.single(&plaintext, &mut whole).unwrap();
        let mut parts = Vec::new();
        let mut cipher = token.encrypt(&user, &mechanism, key.id).unwrap().operation;
        for (at, part) in plaintext.chunks(9_973).enumerate() {
            house.network.kill_only(at % 3);
            let mut out = vec![0; cipher.update_len(part.len())];
            let len = cipher.update(part, &mut out).unwrap();
            assert_eq!(len, out.len(), "{kind}: the length that was told is the one that comes");
            parts.extend_from_slice(&out);
        }
        let mut out = vec![0; cipher.finish_len()];
        let end = cipher.finish(&mut out).unwrap();
        parts.extend_from_slice(&out[..end]);
        assert!(parts == whole[..len], "{kind}");
        house.network.kill_only(1);
        let mut back = vec![0; len + 16];
        let cipher = token.decrypt(&user, &mechanism, key.id).unwrap().operation;
        let len = cipher.single(&whole[..len], &mut back).unwrap();
        assert!(back[..len] == plaintext, "{kind}");
    }
}

#[test]
fn a_mac_in_parts_survives_and_equals_the_whole_one() {
    let house = House::new(3);
    let (token, user) = house.token();
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
    let cmac = mechanism(MechanismType::AES_CMAC);
    let (mut whole, mut parts) = ([0; 16], [0; 16]);
    token.sign(&user, &cmac, key.id).unwrap().operation.single(b"one two three", &mut whole).unwrap();
    let mut signer = token.sign(&user, &cmac, key.id).unwrap().operation;
    for (at, part) in [&b"one "[..], b"two ", b"three"].into_iter().enumerate() {
        house.network.kill_only(at);
        signer.update(part).unwrap();
    }
    house.network.kill_only(0);
    signer.finish(&mut parts).unwrap();
    assert_eq!(whole, parts);
}

#[test]
fn a_key_that_is_destroyed_or_forbidden_ends_its_operations_in_parts() {
    use hsmpool::error::Code;
    let house = House::new(8);
    let (token, user) = house.token();
    let cmac = mechanism(MechanismType::AES_CMAC);
    let begun = |key| {
        let mut signer = token.sign(&user, &cmac, key).unwrap().operation;
        signer.update(b"one ").unwrap();
        signer
    };
    for is_token in [true, false] {
        let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(is_token)).unwrap();
        let mut renamed = begun(key.id);
        let label = Template::from_iter([(AttributeType::LABEL, Value::Bytes(b"other".to_vec()))]);
        token.update(&user, key.id, label).unwrap();
        renamed.update(b"two").expect("a name is no matter of use");
        let mut forbidden = begun(key.id);
        token.update(&user, key.id, Template::from_iter([(AttributeType::SIGN, Value::Bool(false))])).unwrap();
        assert_eq!(forbidden.update(b"two").unwrap_err().code(), Code::KeyFunctionNotPermitted);
        token.update(&user, key.id, Template::from_iter([(AttributeType::SIGN, Value::Bool(true))])).unwrap();
        let destroyed = begun(key.id);
        token.destroy(&user, key.id).unwrap();
        assert_eq!(destroyed.finish(&mut [0; 16]).unwrap_err().code(), Code::KeyHandleInvalid, "token object: {is_token}");
    }
}

#[test]
fn what_an_application_s_calls_came_to_is_told_when_it_leaves() {
    let house = House::new(9);
    let (token, _) = house.token();
    let told = || house.servers.iter().map(|server| server.metrics().availability().module_calls).sum::<u64>();
    for _ in 0..20 {
        token.describe().unwrap();
    }
    let before = told();
    assert!(before < 20, "{before} of them were told at once");
    house.network.kill_only(0);
    token.leave(&SCOPE);
    let after = told();
    assert!(after >= 20, "{before}, then {after}");
    token.leave(&SCOPE);
    assert_eq!(told(), after, "once");
}

#[test]
fn session_objects_and_logins_come_along_and_die_with_the_logout() {
    let house = House::new(4);
    let (token, user) = house.token();
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(false)).unwrap();
    assert!(!key.token);
    let ecb = mechanism(MechanismType::AES_ECB);
    let encrypt = |block: &[u8; 16]| {
        let mut out = [0; 16];
        let cipher = token.encrypt(&user, &ecb, key.id).map(|started| started.operation);
        cipher.and_then(|cipher| cipher.single(block, &mut out)).map(|_| out)
    };
    let first = encrypt(&[1; 16]).unwrap();
    for node in [0, 1, 2, 0] {
        house.network.kill_only(node);
        assert_eq!(encrypt(&[1; 16]).unwrap(), first, "the same key at every partition");
        let label = Template::from_iter([(AttributeType::LABEL, Value::Bytes(vec![b'0' + node as u8]))]);
        token.update(&user, key.id, label.duplicate()).unwrap();
        house.network.kill_only((node + 1) % 3);
        assert_eq!(token.find(&user, &label).unwrap().len(), 1, "the newest version, at another partition");
    }
    token.logout(&user).unwrap();
    assert!(encrypt(&[1; 16]).is_err(), "nothing outlives the logout");
    let again = token.login(&SCOPE, Role::User, &pin("user-pin")).unwrap();
    assert!(token.find(&again, &Template::new()).unwrap().is_empty());
}

#[test]
fn a_destroyed_session_object_is_used_at_no_node_that_has_not_heard_of_it() {
    let house = House::new(6);
    let (token, user) = house.token();
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(false)).unwrap();
    let encrypt = || {
        let cipher = token.encrypt(&user, &mechanism(MechanismType::AES_ECB), key.id)?.operation;
        cipher.single(&[1; 16], &mut [0; 16])
    };
    for dead in [1, 0] {
        house.network.kill_only(dead);
        encrypt().unwrap();
    }
    house.network.kill_only(1);
    token.destroy(&user, key.id).unwrap();
    for dead in 0..3 {
        house.network.kill_only(dead);
        assert!(encrypt().is_err(), "while node {dead} is dead");
    }
}

#[test]
fn a_ticket_is_good_for_its_own_client_and_login_only() {
    use hsmpool::error::Code;
    use hsmpool::token::{Access, Admin, Scope};
    let house = House::new(5);
    let (token, user) = house.token();
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
    let thief = house.other("thief");
    let stolen = thief.tokens().unwrap().remove(0);
    let code = |access: &Access| stolen.read(access, key.id, &[AttributeType::LABEL]).err().map(|error| error.code());
    assert_eq!(code(&user), Some(Code::UserNotLoggedIn), "another client");
    let own = |access: &Access| token.read(access, key.id, &[AttributeType::LABEL]).err().map(|error| error.code());
    assert_eq!(own(&user), None);
    let other_scope = Access { scope: Scope([8; 16]), ..user.clone() };
    assert_eq!(own(&other_scope), Some(Code::UserNotLoggedIn), "another application");
    for at in [0, 5, 20, user.ticket.len() - 1] {
        let mut bent = user.ticket.to_vec();
        bent[at] ^= 1;
        // A login that no node remembers, with a bent ticket.
        let access = Access { ticket: bent.into(), login: Some(hsmpool::token::LoginId([9; 16])), ..user.clone() };
        assert_eq!(own(&access), Some(Code::UserNotLoggedIn), "byte {at}");
    }
    token.logout(&user).unwrap();
    assert_eq!(own(&user), Some(Code::UserNotLoggedIn), "after the logout, at every partition");
}

#[test]
fn every_use_succeeds_on_a_network_that_loses_a_third_of_everything() {
    for seed in 10..14 {
        let house = House::new(seed);
        let (token, user) = house.token();
        let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
        house.network.lose(20, 20);
        let ctr = Mechanism { kind: MechanismType::AES_CTR, params: Params::Ctr { counter_bits: 128, block: [1; 16] } };
        for _ in 0..20 {
            let mut cipher = token.encrypt(&user, &ctr, key.id).unwrap().operation;
            let mut out = Vec::new();
            for part in [&[1_u8; 100][..], &[2; 50], &[3; 7]] {
                let mut piece = vec![0; cipher.update_len(part.len())];
                cipher.update(part, &mut piece).unwrap();
                out.extend(piece);
            }
            cipher.finish(&mut []).unwrap();
            let mut back = vec![0; out.len()];
            token.decrypt(&user, &ctr, key.id).unwrap().operation.single(&out, &mut back).unwrap();
            assert_eq!(back, [&[1_u8; 100][..], &[2; 50], &[3; 7]].concat(), "seed {seed}");
        }
        assert!(house.network.carried.load(Ordering::Relaxed) > 100);
    }
}

#[test]
fn a_context_specific_login_is_good_for_one_use_at_each_node_and_its_repetitions() {
    use hsmpool::error::Code;
    let house = House::new(6);
    let (token, user) = house.token();
    let (public, mut private) = ec_pair(true);
    private.set(AttributeType::ALWAYS_AUTHENTICATE, Value::Bool(true));
    let (_, key) = token.generate_pair(&user, &mechanism(MechanismType::EC_KEY_PAIR_GEN), public, private).unwrap();
    let (ecdsa, mut signature) = (mechanism(MechanismType::ECDSA), [0; 64]);
    let without = token.sign(&user, &ecdsa, key.id).unwrap();
    assert!(without.authenticate.is_some());
    let refused = without.operation.single(&[1; 32], &mut signature).unwrap_err();
    assert_eq!(refused.code(), Code::UserNotLoggedIn, "the node itself asks for the permit");
    house.network.lose(10, 40);
    let proof = token.authenticate(&user, &pin("user-pin")).unwrap().proof().clone();
    let sign = |digest: &[u8; 32]| {
        let started = token.sign(&user, &ecdsa, key.id)?;
        started.authenticate.unwrap().give(hsmpool::token::Permit::proven_by(proof.clone()));
        started.operation.single(digest, &mut [0; 64])
    };
    sign(&[1; 32]).unwrap();
    // One node remembers what it was spent on.
    house.network.lose(0, 0);
    let others = (2..40_u8).filter(|byte| sign(&[*byte; 32]).is_ok()).count();
    assert!(others < 3, "each node lets it be spent once: {others}");
}
