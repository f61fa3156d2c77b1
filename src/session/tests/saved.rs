//! Saved states of operations.

use super::*;
use crate::session::fake::toys::signature;

fn start(house: &House, session: u64, kind: MechanismType) {
    house.library.digest_init(session, Some(plain(kind))).unwrap();
}

fn save(house: &House, session: u64) -> Vec<u8> {
    let Filled::Length(len) = house.library.operation_state(session, Output::Query).unwrap() else { panic!("a query") };
    let mut state = vec![0; len];
    assert_eq!(house.library.operation_state(session, Output::Buffer(&mut state[..len - 1])).unwrap(), Filled::TooSmall(len));
    assert_eq!(house.library.operation_state(session, Output::Buffer(&mut state)).unwrap(), Filled::Length(len));
    state
}

fn finish(house: &House, session: u64) -> Vec<u8> {
    let mut out = [0; 64];
    match house.library.digest_final(session, Output::Buffer(&mut out)).unwrap() {
        Filled::Length(len) => out[..len].to_vec(),
        Filled::TooSmall(len) => panic!("it wants {len} bytes"),
    }
}

#[test]
fn a_digest_goes_on_where_it_was_saved() {
    let kinds = [MechanismType::MD5, MechanismType::SHA_1, MechanismType::SHA224, MechanismType::SHA256, MechanismType::SHA512];
    for kind in kinds {
        let house = House::new();
        let (first, second) = (house.open(READ_ONLY), house.open(READ_ONLY));
        for split in [0, 1, 63, 64, 200] {
            let message = [7; 300];
            start(&house, first, kind);
            house.library.digest_update(first, &message[..split]).unwrap();
            let state = save(&house, first);
            house.library.digest_update(first, &message[split..]).unwrap();
            // Whatever runs there is replaced.
            start(&house, second, MechanismType::SHA384);
            house.library.set_operation_state(second, &state, 0, 0).unwrap();
            house.library.digest_update(second, &message[split..]).unwrap();
            assert_eq!(finish(&house, first), finish(&house, second), "{kind}, saved after {split} bytes");
        }
    }
}

#[test]
fn only_digests_of_the_caller_s_own_data_are_saved() {
    let house = House::new();
    let session = house.user();
    let key = house.object(session, &[]);
    let library = &house.library;
    assert_eq!(code(library.operation_state(session, Output::Query)), Some(Code::OperationNotInitialized));
    start(&house, session, MechanismType::SHA3_256);
    assert_eq!(code(library.operation_state(session, Output::Query)), Some(Code::StateUnsaveable));
    library.digest_init(session, None).unwrap();
    start(&house, session, MechanismType::SHA256);
    library.sign_recover_init(session, Some(plain(MechanismType::AES_CMAC)), key).unwrap();
    assert_eq!(code(library.operation_state(session, Output::Query)), Some(Code::StateUnsaveable));
    library.sign_recover_init(session, None, 0).unwrap();
    library.operation_state(session, Output::Query).unwrap();
    library.digest_key(session, key).unwrap();
    assert_eq!(code(library.operation_state(session, Output::Query)), Some(Code::StateUnsaveable), "it would show the key");
    library.digest_init(session, None).unwrap();
    library.sign_init(session, Some(plain(MechanismType::AES_CMAC)), key).unwrap();
    assert_eq!(code(library.operation_state(session, Output::Query)), Some(Code::StateUnsaveable));
    let mut made = [0; 8];
    library.sign(session, b"abc", Output::Buffer(&mut made)).unwrap();
    assert_eq!(made, signature(b"abc"), "asking has ended nothing");
}

#[test]
fn damaged_states_are_refused() {
    let house = House::new();
    let session = house.open(READ_ONLY);
    start(&house, session, MechanismType::SHA256);
    house.library.digest_update(session, b"some message").unwrap();
    let state = save(&house, session);
    let restore = |state: &[u8]| code(house.library.set_operation_state(session, state, 0, 0));
    for at in 0..state.len() {
        let mut bent = state.clone();
        bent[at] ^= 1;
        assert_eq!(restore(&bent), Some(Code::SavedStateInvalid), "byte {at}");
        assert_eq!(restore(&state[..at]), Some(Code::SavedStateInvalid), "{at} bytes");
    }
    assert_eq!(restore(&[state.clone(), vec![0]].concat()), Some(Code::SavedStateInvalid));
    assert_eq!(code(house.library.set_operation_state(session, &state, 5, 0)), Some(Code::KeyNotNeeded));
    assert_eq!(code(house.library.set_operation_state(session, &state, 0, 5)), Some(Code::KeyNotNeeded));
    assert_eq!(code(house.library.set_operation_state(99, &state, 0, 0)), Some(Code::SessionHandleInvalid));
    assert_eq!(finish(&house, session).len(), 32, "the digest that ran goes on");
    assert_eq!(restore(&state), None);
}
