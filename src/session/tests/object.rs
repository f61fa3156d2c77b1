//! Objects, handles, searches, keys.

use super::*;
use crate::token::Reading;

fn value(house: &House, session: u64, object: u64) -> Option<Vec<u8>> {
    match house.library.read_attributes(session, object, &[AttributeType::VALUE]).unwrap().pop() {
        Some(Reading::Value(Value::Bytes(bytes))) => Some(bytes),
        _ => None,
    }
}

#[test]
fn sessions_and_objects_count_together_and_numbers_are_never_used_twice() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    assert_eq!(session, 1);
    assert_eq!(house.object(session, &[]), 2);
    assert_eq!(house.open(READ_ONLY), 3);
    assert_eq!(house.object(session, &[AttributeType::TOKEN]), 4);
    house.library.destroy_object(session, 4).unwrap();
    house.library.close_session(3).unwrap();
    assert_eq!(house.object(session, &[]), 5);
    assert_eq!(house.open(READ_ONLY), 6);
}

#[test]
fn the_same_object_has_the_same_handle_in_all_sessions() {
    let house = House::new();
    let (first, second) = (house.open(READ_WRITE), house.open(READ_ONLY));
    let mut made = [house.object(first, &[AttributeType::TOKEN]), house.object(first, &[]), house.object(second, &[])];
    made.sort_unstable();
    for session in [first, second, first] {
        let mut found = all_objects(&house.library, session);
        found.sort_unstable();
        assert_eq!(found, made);
    }
}

#[test]
fn a_destroyed_object_is_gone_in_every_session() {
    let house = House::new();
    let (first, second) = (house.open(READ_WRITE), house.open(READ_WRITE));
    let object = house.object(first, &[AttributeType::TOKEN]);
    assert_eq!(value(&house, second, object).unwrap(), b"value");
    house.library.sign_init(second, Some(plain(MechanismType::AES_CMAC)), object).unwrap();
    house.library.sign(second, b"a", Output::Buffer(&mut [0; 8])).unwrap();
    house.library.destroy_object(first, object).unwrap();
    let library = &house.library;
    for session in [first, second] {
        let mechanism = || plain(MechanismType::AES_CMAC);
        let answers = [
            (Code::ObjectHandleInvalid, code(library.destroy_object(session, object))),
            (Code::ObjectHandleInvalid, code(library.read_attributes(session, object, &[]))),
            (Code::ObjectHandleInvalid, code(library.set_attributes(session, object, template(&[])))),
            (Code::ObjectHandleInvalid, code(library.copy_object(session, object, template(&[])))),
            (Code::ObjectHandleInvalid, code(library.object_size(session, object))),
            (Code::KeyHandleInvalid, code(library.sign_init(session, Some(mechanism()), object))),
            (Code::KeyHandleInvalid, code(library.verify_init(session, Some(mechanism()), object))),
            (Code::KeyHandleInvalid, code(library.encrypt_init(session, Some(mechanism()), object))),
            (Code::KeyHandleInvalid, code(library.decrypt_init(session, Some(mechanism()), object))),
            (Code::KeyHandleInvalid, code(library.derive_key(session, mechanism(), object, template(&[])))),
            (Code::UnwrappingKeyHandleInvalid, code(library.unwrap_key(session, mechanism(), object, b"", template(&[])))),
            (Code::WrappingKeyHandleInvalid, code(library.wrap_key(session, mechanism(), object, object, Output::Query))),
        ];
        for (at, (expected, answer)) in answers.into_iter().enumerate() {
            assert_eq!(answer, Some(expected), "call {at} of session {session}");
        }
    }
}

#[test]
fn an_object_that_another_process_destroyed_has_a_dead_handle() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    let object = house.object(session, &[AttributeType::TOKEN]);
    house.token.destroy_all();
    assert_eq!(
        code(house.library.sign_init(session, Some(plain(MechanismType::AES_CMAC)), object)),
        Some(Code::KeyHandleInvalid)
    );
    assert_eq!(code(house.library.object_size(session, object)), Some(Code::ObjectHandleInvalid));
    assert_eq!(code(house.library.destroy_object(session, object)), Some(Code::ObjectHandleInvalid));
}

#[test]
fn session_objects_die_with_the_session_that_made_them() {
    let house = House::new();
    let (maker, other) = (house.open(READ_WRITE), house.open(READ_ONLY));
    let kept = house.object(maker, &[AttributeType::TOKEN]);
    let theirs = house.object(other, &[]);
    let mine = [house.object(maker, &[]), house.object(maker, &[])];
    house.library.destroy_object(other, mine[0]).unwrap();
    assert_eq!(all_objects(&house.library, other).len(), 3);
    house.library.close_session(maker).unwrap();
    assert_eq!(code(house.library.object_size(other, mine[1])), Some(Code::ObjectHandleInvalid));
    assert_eq!(house.token.object_count(), 2);
    let mut left = all_objects(&house.library, other);
    left.sort_unstable();
    assert_eq!(left, [kept, theirs]);
    house.library.close_all_sessions(house.slot).unwrap();
    assert_eq!(house.token.object_count(), 1);
}

#[test]
fn a_session_object_made_while_its_session_is_closed_is_not_left_behind() {
    for (flags, expected) in [(&[][..], Some(Code::SessionClosed)), (&[AttributeType::TOKEN], None)] {
        let house = House::new();
        let (session, _other) = (house.open(READ_WRITE), house.open(READ_WRITE));
        let library = house.library.clone();
        house.token.let_happen(move || library.close_session(session).unwrap());
        assert_eq!(code(house.library.create_object(session, template(flags))), expected);
        assert_eq!(house.token.object_count(), flags.len());
    }
}

#[test]
fn logout_takes_private_objects_away() {
    let house = House::new();
    let session = house.user();
    let private = house.object(session, &[AttributeType::PRIVATE]);
    let kept = house.object(session, &[AttributeType::PRIVATE, AttributeType::TOKEN]);
    let public = house.object(session, &[]);
    house.library.logout(session).unwrap();
    assert_eq!(all_objects(&house.library, session), [public]);
    for gone in [private, kept] {
        assert_eq!(code(house.library.object_size(session, gone)), Some(Code::ObjectHandleInvalid));
        assert_eq!(
            code(house.library.sign_init(session, Some(plain(MechanismType::AES_CMAC)), gone)),
            Some(Code::KeyHandleInvalid)
        );
    }
    assert_eq!(code(house.library.create_object(session, template(&[AttributeType::PRIVATE]))), Some(Code::UserNotLoggedIn));
    house.login(session);
    let found = all_objects(&house.library, session);
    assert_eq!(found.len(), 2);
    assert!(!found.contains(&kept), "an object that was lost at logout comes back under a new handle");
}

#[test]
fn token_objects_are_written_in_read_write_sessions_only() {
    let house = House::new();
    let (writer, reader) = (house.user(), house.open(READ_ONLY));
    let object = house.object(writer, &[AttributeType::TOKEN]);
    let library = &house.library;
    let answers = [
        code(library.create_object(reader, template(&[AttributeType::TOKEN]))),
        code(library.copy_object(reader, object, template(&[]))),
        code(library.set_attributes(reader, object, template(&[]))),
        code(library.destroy_object(reader, object)),
        code(library.generate_key(reader, plain(MechanismType::AES_KEY_GEN), template(&[AttributeType::TOKEN]))),
    ];
    assert_eq!(answers, [Some(Code::SessionReadOnly); 5]);
    house.object(reader, &[AttributeType::PRIVATE]);
    library
        .set_attributes(writer, object, [(AttributeType::VALUE, Value::Bytes(b"new".to_vec()))].into_iter().collect())
        .unwrap();
    assert_eq!(value(&house, reader, object).unwrap(), b"new");
}

#[test]
fn objects_of_one_slot_are_unknown_in_another() {
    let house = House::new();
    house.admin.add(FakeToken::new(*b"0000000000000200", SO_PIN));
    house.library.slot_list(true, true).unwrap();
    let (here, there) = (house.open(READ_WRITE), house.library.open_session(0x200, READ_WRITE).unwrap());
    let object = house.object(here, &[AttributeType::TOKEN]);
    assert_eq!(code(house.library.object_size(there, object)), Some(Code::ObjectHandleInvalid));
    assert_eq!(code(house.library.object_size(here, there)), Some(Code::ObjectHandleInvalid), "a session is no object");
    assert_eq!(code(house.library.session_info(object).map(drop)), Some(Code::SessionHandleInvalid), "an object is no session");
    house.login(here);
    assert_eq!(house.library.session_info(there).unwrap().state, 2, "a login is for one token");
}

#[test]
fn initialising_a_token_kills_its_handles() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    let object = house.object(session, &[AttributeType::TOKEN]);
    house.library.close_session(session).unwrap();
    house.library.init_token(house.slot, &pin(SO_PIN), [b'x'; 32]).unwrap();
    let session = house.open(READ_WRITE);
    assert_eq!(code(house.library.object_size(session, object)), Some(Code::ObjectHandleInvalid));
}

#[test]
fn searches_give_what_was_there_when_they_began() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    let library = &house.library;
    assert_eq!(code(library.find_objects(session, 1)), Some(Code::OperationNotInitialized));
    assert_eq!(code(library.find_objects_final(session)), Some(Code::OperationNotInitialized));
    let made: Vec<u64> = (0..5).map(|_| house.object(session, &[])).collect();
    library.find_objects_init(session, Template::new()).unwrap();
    assert_eq!(code(library.find_objects_init(session, Template::new())), Some(Code::OperationActive));
    house.object(session, &[]);
    let mut found = Vec::new();
    for at_most in [0, 2, 1, 9, 9] {
        let some = library.find_objects(session, at_most).unwrap();
        assert!(some.len() <= at_most);
        found.extend(some);
    }
    assert_eq!(found, made);
    library.find_objects_final(session).unwrap();
    assert_eq!(code(library.find_objects_final(session)), Some(Code::OperationNotInitialized));
    let wanted = [(AttributeType::LABEL, Value::Bytes(b"none".to_vec()))].into_iter().collect();
    library.find_objects_init(session, wanted).unwrap();
    assert_eq!(library.find_objects(session, 9).unwrap(), Vec::<u64>::new());
    library.session_cancel(session, FIND_OBJECTS).unwrap();
    assert_eq!(code(library.find_objects(session, 1)), Some(Code::OperationNotInitialized));
}

#[test]
fn keys_are_made_wrapped_and_derived() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    let library = &house.library;
    let key = library.generate_key(session, plain(MechanismType::AES_KEY_GEN), template(&[])).unwrap();
    let pair =
        library.generate_key_pair(session, plain(MechanismType::RSA_PKCS_KEY_PAIR_GEN), template(&[]), template(&[])).unwrap();
    assert_eq!(pair.1, pair.0 + 1);
    let wrap = |out: Output<'_>| library.wrap_key(session, plain(MechanismType::AES_KEY_WRAP), key, pair.1, out).unwrap();
    let mut wrapped = [0; 8];
    assert_eq!(wrap(Output::Query), Filled::Length(5));
    assert_eq!(wrap(Output::Buffer(&mut wrapped[..4])), Filled::TooSmall(5));
    assert_eq!(wrapped, [0; 8]);
    assert_eq!(wrap(Output::Buffer(&mut wrapped)), Filled::Length(5));
    let unwrapped = library.unwrap_key(session, plain(MechanismType::AES_KEY_WRAP), key, &wrapped[..5], template(&[])).unwrap();
    assert_eq!(value(&house, session, unwrapped).unwrap(), b"value");
    let both = Mechanism { kind: MechanismType::CONCATENATE_BASE_AND_KEY, params: Params::OtherHandle(unwrapped) };
    let derived = library.derive_key(session, both, key, template(&[])).unwrap();
    assert_eq!(value(&house, session, derived).unwrap(), b"valuevalue");
    let unknown = Mechanism { kind: MechanismType::CONCATENATE_BASE_AND_KEY, params: Params::OtherHandle(999) };
    assert_eq!(code(library.derive_key(session, unknown, key, template(&[]))), Some(Code::KeyHandleInvalid));
    let wrong = library.wrap_key(session, plain(MechanismType::AES_KEY_WRAP), key, 999, Output::Query);
    assert_eq!(code(wrong), Some(Code::KeyHandleInvalid));
}

#[test]
fn random_numbers_come_from_the_token_and_seeds_are_accepted() {
    let house = House::new();
    let session = house.open(READ_ONLY);
    let mut random = [0; 5];
    house.library.generate_random(session, &mut random).unwrap();
    assert_eq!(random, [4; 5]);
    house.library.seed_random(session, b"seed").unwrap();
    assert_eq!(code(house.library.seed_random(99, b"seed")), Some(Code::SessionHandleInvalid));
    assert_eq!(code(house.library.generate_random(99, &mut random)), Some(Code::SessionHandleInvalid));
}

#[test]
fn the_table_of_handles_does_not_grow_with_objects_that_are_gone() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    for _ in 0..1000 {
        let object = house.object(session, &[]);
        house.library.destroy_object(session, object).unwrap();
    }
    assert_eq!(house.library.objects.len(), 0);
}

#[test]
fn threads_on_their_own_sessions_share_a_token() {
    let house = House::new();
    let shared = house.object(house.open(READ_WRITE), &[AttributeType::TOKEN]);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let house = &house;
            scope.spawn(move || {
                for round in 0..200_u8 {
                    let session = house.open(READ_WRITE);
                    let own = house.object(session, &[]);
                    for key in [shared, own] {
                        let message = [thread, round];
                        let mut signature = [0; 8];
                        house.library.sign_init(session, Some(plain(MechanismType::AES_CMAC)), key).unwrap();
                        house.library.sign(session, &message, Output::Buffer(&mut signature)).unwrap();
                        assert_eq!(signature, fake::toys::signature(&message));
                    }
                    house.library.close_session(session).unwrap();
                }
            });
        }
    });
    assert_eq!(house.token.object_count(), 1);
    assert_eq!(house.library.objects.len(), 1);
}
