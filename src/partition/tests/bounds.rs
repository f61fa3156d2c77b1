//! What others can have of a partition's memory is bounded.

use super::super::origin;
use super::*;
use crate::limits::{NONCES_LOOKED_THROUGH_FROM, TOKENS_MAX};
use crate::object::ObjectId;

fn origin(sequence: Option<u64>) -> Origin {
    Origin { scope: SCOPE, sequence, since: None, use_number: None, client: Arc::from("app"), held: Vec::new() }
}

fn made_up(number: usize) -> [u8; 16] {
    std::array::from_fn(|at| number.to_be_bytes().get(at).copied().unwrap_or(1))
}

fn kept_states(admin: &LocalAdmin) -> Vec<TokenId> {
    admin.0.states.read().keys().copied().collect()
}

#[test]
fn ids_that_somebody_makes_up_and_deleted_tokens_leave_no_state_behind() {
    let home = Home::new("made-up");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let real = token.describe().unwrap().id;
    for number in 0..10_000 {
        let token = admin.0.token_on_behalf(TokenId(made_up(number)), origin(None));
        match number % 4 {
            0 => assert_eq!(code(token.describe()), Some(Code::TokenNotPresent)),
            1 => token.leave(&SCOPE),
            2 => token.forget(&SCOPE, &[ObjectId([1; 16])]),
            _ => {
                let refused = token.login(&SCOPE, Role::SecurityOfficer, &pin("so-pin"));
                assert_eq!(code(refused), Some(Code::TokenNotPresent));
            }
        }
    }
    assert_eq!(kept_states(&admin), [real]);
    home.open(Policy::Default).delete_token(real).unwrap();
    assert_eq!(code(token.describe()), Some(Code::TokenNotPresent));
    assert_eq!(kept_states(&admin), []);
}

#[test]
fn states_of_tokens_that_others_deleted_make_room() {
    let home = Home::new("room");
    let admin = home.open(Policy::Default);
    let id = ready_token(&admin).describe().unwrap().id;
    for number in kept_states(&admin).len()..TOKENS_MAX {
        admin.0.keep_state(TokenState::new(TokenId(made_up(number))));
    }
    assert_eq!(kept_states(&admin).len(), TOKENS_MAX);
    let one_more = ready_token(&admin).describe().unwrap().id;
    let mut left = kept_states(&admin);
    left.sort();
    let mut both = [id, one_more];
    both.sort();
    assert_eq!(left, both);
}

#[test]
fn a_token_that_comes_while_two_look_for_it_has_one_state() {
    let home = Home::new("comes");
    let (first, second) = (home.open(Policy::Default), home.open(Policy::Default));
    let maker = origin(Some(7));
    let id = TokenId(first.0.new_id(Some(&maker), origin::Place::Alone(0)).unwrap());
    let early = [first.0.token(id), first.0.token(id)];
    for token in &early {
        assert_eq!(code(token.describe()), Some(Code::TokenNotPresent));
    }
    second.0.init_token_for(&maker, None, &pin("so-pin"), [b' '; 32]).unwrap();
    let so = early[0].login(&SCOPE, Role::SecurityOfficer, &pin("so-pin")).unwrap();
    assert_eq!(code(early[1].describe()), Some(Code::DeviceError), "its module asks again");
    first.0.token(id).init_pin(&so, &pin("user-pin")).unwrap();
    assert_eq!(kept_states(&first), [id]);
}

#[test]
fn keys_that_are_gone_take_the_nonces_with_them_and_others_keep_theirs() {
    let home = Home::new("nonces");
    let (admin, other) = (home.open(Policy::Strict), home.open(Policy::Strict));
    let token = ready_token(&admin);
    let theirs = other.tokens().unwrap().remove(0);
    let (access, their_access) = (user(&*token), user(&*theirs));
    let gcm = Mechanism {
        kind: MechanismType::AES_GCM,
        params: Params::Gcm { iv: b"nonce-nonce-".to_vec(), aad: Vec::new(), tag_bits: 128 },
    };
    let generate = |is_token: bool| {
        let template = Template::from_iter([
            (A::TOKEN, Value::Bool(is_token)),
            (A::VALUE_LEN, Value::Ulong(32)),
            (A::ENCRYPT, Value::Bool(true)),
        ]);
        let mechanism = Mechanism { kind: MechanismType::AES_KEY_GEN, params: Params::None };
        token.generate(&access, &mechanism, template).unwrap().id
    };
    let encrypt = |key: ObjectId| token.encrypt(&access, &gcm, key).map(drop);
    let [kept, kept_too, destroyed, destroyed_there, last] = [true, false, false, true, false].map(generate);
    for key in [kept, kept_too, destroyed, destroyed_there] {
        encrypt(key).unwrap();
    }
    token.destroy(&access, destroyed).unwrap();
    theirs.destroy(&their_access, destroyed_there).unwrap();
    let state = admin.0.state(admin.0.token_ids().unwrap()[0]);
    for number in 4..NONCES_LOOKED_THROUGH_FROM - 1 {
        state.nonces.spend(ObjectId(made_up(number)), || number % 64 != 0, &gcm, None).unwrap();
    }
    assert_eq!(state.nonces.total(), NONCES_LOOKED_THROUGH_FROM - 1);
    encrypt(last).unwrap();
    assert_eq!(state.nonces.total(), 3, "of those that are there");
    for key in [kept, kept_too, last] {
        assert_eq!(code(encrypt(key)), Some(Code::MechanismParamInvalid));
    }
}
