//! Sessions and logins, against the standard's tables (PKCS#11 3.1, 5.6).

use super::*;

/// One call. Sessions are named by the order in which they were opened, from 0.
#[derive(Clone, Copy, Debug)]
enum Do {
    OpenRo,
    OpenRw,
    Close(usize),
    CloseAll,
    Login(usize, u64, &'static [u8]),
    Logout(usize),
    InitPin(usize, &'static [u8]),
    SetPin(usize, &'static [u8], &'static [u8]),
    InitToken(&'static [u8]),
    /// `CKS_*` of all sessions that were opened; `GONE` for a closed one.
    States(&'static [u64]),
}
use Do::*;

const GONE: u64 = u64::MAX;
const RO_PUBLIC: u64 = 0;
const RO_USER: u64 = 1;
const RW_PUBLIC: u64 = 2;
const RW_USER: u64 = 3;
const RW_SO: u64 = 4;

fn run(house: &House, sessions: &mut Vec<u64>, step: Do) -> Option<Code> {
    let library = &house.library;
    match step {
        OpenRo | OpenRw => {
            let flags = if matches!(step, OpenRw) { READ_WRITE } else { READ_ONLY };
            code(library.open_session(house.slot, flags).map(|session| sessions.push(session)))
        }
        Close(at) => code(library.close_session(sessions[at])),
        CloseAll => code(library.close_all_sessions(house.slot)),
        Login(at, user, typed) => code(library.login(sessions[at], user, &pin(typed))),
        Logout(at) => code(library.logout(sessions[at])),
        InitPin(at, new) => code(library.init_pin(sessions[at], &pin(new))),
        SetPin(at, old, new) => code(library.set_pin(sessions[at], &pin(old), &pin(new))),
        InitToken(so_pin) => code(library.init_token(house.slot, &pin(so_pin), [b'x'; 32])),
        States(expected) => {
            let state = |session: &u64| library.session_info(*session).map_or(GONE, |info| info.state);
            assert_eq!(sessions.iter().map(state).collect::<Vec<_>>(), expected);
            None
        }
    }
}

#[track_caller]
fn play(script: &[(Do, Option<Code>)]) {
    let (house, mut sessions) = (House::new(), Vec::new());
    for (at, (step, expected)) in script.iter().enumerate() {
        assert_eq!(run(&house, &mut sessions, *step), *expected, "step {at}: {step:?}");
    }
}

#[test]
fn all_sessions_change_together() {
    play(&[
        (OpenRo, None),
        (OpenRw, None),
        (States(&[RO_PUBLIC, RW_PUBLIC]), None),
        (Login(0, USER, USER_PIN), None),
        (States(&[RO_USER, RW_USER]), None),
        (OpenRo, None),
        (States(&[RO_USER, RW_USER, RO_USER]), None),
        (Logout(2), None),
        (States(&[RO_PUBLIC, RW_PUBLIC, RO_PUBLIC]), None),
        (Close(0), None),
        (Close(2), None),
        (Login(1, SO, SO_PIN), None),
        (OpenRw, None),
        (States(&[GONE, RW_SO, GONE, RW_SO]), None),
    ]);
}

#[test]
fn the_so_and_read_only_sessions_exclude_one_another() {
    play(&[
        (OpenRw, None),
        (OpenRo, None),
        (Login(0, SO, SO_PIN), Some(Code::SessionReadOnlyExists)),
        (Login(1, SO, SO_PIN), Some(Code::SessionReadOnlyExists)),
        (Login(0, USER, USER_PIN), None),
        (Login(0, SO, SO_PIN), Some(Code::SessionReadOnlyExists)),
        (Logout(0), None),
        (Close(1), None),
        (Login(0, SO, SO_PIN), None),
        (OpenRo, Some(Code::SessionReadWriteSoExists)),
        (Logout(0), None),
        (OpenRo, None),
        (States(&[RW_PUBLIC, GONE, RO_PUBLIC]), None),
    ]);
}

#[test]
fn a_second_login_names_who_is_in_the_way() {
    play(&[
        (OpenRw, None),
        (OpenRw, None),
        (Login(0, USER, USER_PIN), None),
        (Login(1, USER, USER_PIN), Some(Code::UserAlreadyLoggedIn)),
        (Login(1, USER, b"wrong"), Some(Code::UserAlreadyLoggedIn)),
        (Login(1, SO, SO_PIN), Some(Code::UserAnotherAlreadyLoggedIn)),
        (Logout(1), None),
        (Login(1, SO, SO_PIN), None),
        (Login(0, SO, SO_PIN), Some(Code::UserAlreadyLoggedIn)),
        (Login(0, USER, USER_PIN), Some(Code::UserAnotherAlreadyLoggedIn)),
        (States(&[RW_SO, RW_SO]), None),
    ]);
}

#[test]
fn wrong_logins_leave_the_session_public() {
    play(&[
        (OpenRw, None),
        (Login(0, USER, b"wrong"), Some(Code::PinIncorrect)),
        (Login(0, SO, b"wrong"), Some(Code::PinIncorrect)),
        (Login(0, 3, USER_PIN), Some(Code::UserTypeInvalid)),
        (Login(0, u64::MAX, USER_PIN), Some(Code::UserTypeInvalid)),
        (Login(0, CONTEXT_SPECIFIC, USER_PIN), Some(Code::OperationNotInitialized)),
        (Logout(0), Some(Code::UserNotLoggedIn)),
        (States(&[RW_PUBLIC]), None),
        (Login(0, USER, b"wrong"), Some(Code::PinIncorrect)),
        (Login(0, USER, b"wrong"), Some(Code::PinIncorrect)),
        (Login(0, USER, USER_PIN), Some(Code::PinLocked)),
        (States(&[RW_PUBLIC]), None),
    ]);
}

#[test]
fn the_last_session_logs_out() {
    play(&[
        (OpenRw, None),
        (OpenRo, None),
        (Login(0, USER, USER_PIN), None),
        (Close(0), None),
        (States(&[GONE, RO_USER]), None),
        (Close(1), None),
        (Close(1), Some(Code::SessionHandleInvalid)),
        (OpenRw, None),
        (States(&[GONE, GONE, RW_PUBLIC]), None),
        (Login(2, SO, SO_PIN), None),
        (CloseAll, None),
        (States(&[GONE, GONE, GONE]), None),
        (OpenRo, None),
        (States(&[GONE, GONE, GONE, RO_PUBLIC]), None),
        (Logout(0), Some(Code::SessionHandleInvalid)),
        (Login(0, USER, USER_PIN), Some(Code::SessionHandleInvalid)),
    ]);
}

#[test]
fn pins_are_set_by_whom_they_may() {
    play(&[
        (OpenRw, None),
        (OpenRo, None),
        (InitPin(0, b"other"), Some(Code::UserNotLoggedIn)),
        (SetPin(1, USER_PIN, b"other"), Some(Code::SessionReadOnly)),
        (SetPin(0, b"wrong", b"other"), Some(Code::PinIncorrect)),
        (SetPin(0, USER_PIN, b"abc"), Some(Code::PinLenRange)),
        (SetPin(0, USER_PIN, b"other"), None),
        (Login(0, USER, USER_PIN), Some(Code::PinIncorrect)),
        (Login(0, USER, b"other"), None),
        (InitPin(0, b"third"), Some(Code::UserNotLoggedIn)),
        (SetPin(1, b"other", USER_PIN), Some(Code::SessionReadOnly)),
        (SetPin(0, b"other", b"third"), None),
        (Logout(0), None),
        (Close(1), None),
        (Login(0, SO, SO_PIN), None),
        (InitPin(0, b"abc"), Some(Code::PinLenRange)),
        (InitPin(0, b"fourth"), None),
        (SetPin(0, SO_PIN, b"so-pin-2"), None),
        (Logout(0), None),
        (Login(0, SO, SO_PIN), Some(Code::PinIncorrect)),
        (Login(0, USER, b"fourth"), None),
    ]);
}

#[test]
fn a_token_is_initialised_without_sessions_only() {
    play(&[
        (OpenRo, None),
        (InitToken(SO_PIN), Some(Code::SessionExists)),
        (Close(0), None),
        (InitToken(b"wrong"), Some(Code::PinIncorrect)),
        (InitToken(b"abc"), Some(Code::PinIncorrect)),
        (InitToken(SO_PIN), None),
        (OpenRw, None),
        (Login(1, USER, USER_PIN), Some(Code::UserPinNotInitialized)),
        (Login(1, SO, SO_PIN), None),
    ]);
}

#[test]
fn sessions_are_opened_on_initialised_tokens_and_serial() {
    let House { library, slot, .. } = House::new();
    let spare = library.slot_list(false, false).unwrap()[1];
    let table = [
        (slot, READ_WRITE, None),
        (slot, READ_ONLY, None),
        (slot, 0, Some(Code::SessionParallelNotSupported)),
        (slot, info::RW_SESSION, Some(Code::SessionParallelNotSupported)),
        (77, 0, Some(Code::SessionParallelNotSupported)),
        (77, READ_ONLY, Some(Code::SlotIdInvalid)),
        (spare, READ_ONLY, Some(Code::TokenNotRecognized)),
    ];
    for (slot, flags, expected) in table {
        assert_eq!(code(library.open_session(slot, flags)), expected, "slot {slot}, flags {flags}");
    }
    assert_eq!(library.open_session(slot, READ_ONLY).unwrap(), 3, "a session that was not opened draws no handle");
    assert_eq!(code(library.close_all_sessions(77)), Some(Code::SlotIdInvalid));
    library.close_all_sessions(spare).unwrap();
}

#[test]
fn session_info_tells_slot_and_flags() {
    let house = House::new();
    for flags in [READ_ONLY, READ_WRITE] {
        let info = house.library.session_info(house.open(flags)).unwrap();
        assert_eq!((info.slot, info.flags), (house.slot, flags));
    }
}

#[test]
fn a_named_user_is_refused_and_an_empty_name_is_a_plain_login() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    let named = house.library.login_user(session, USER, &pin(USER_PIN), b"alice");
    assert_eq!(code(named), Some(Code::FunctionNotSupported));
    assert_eq!(code(house.library.login_user(99, USER, &pin(USER_PIN), b"alice")), Some(Code::SessionHandleInvalid));
    house.library.login_user(session, USER, &pin(USER_PIN), b"").unwrap();
    assert_eq!(house.library.session_info(session).unwrap().state, RW_USER);
}

#[test]
fn softhsm_takes_a_second_logout_for_done() {
    let house = House::with(Settings { softhsm_codes: true, ..Settings::default() });
    let session = house.user();
    house.library.logout(session).unwrap();
    house.library.logout(session).unwrap();
    assert_eq!(code(house.library.logout(99)), Some(Code::SessionHandleInvalid));
}

#[test]
fn a_session_closed_during_the_login_is_not_logged_in() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    let other = house.open(READ_WRITE);
    let library = house.library.clone();
    house.token.let_happen(move || library.close_session(session).unwrap());
    assert_eq!(code(house.library.login(session, USER, &pin(USER_PIN))), Some(Code::SessionHandleInvalid));
    assert_eq!(house.library.session_info(other).unwrap().state, RW_PUBLIC);
    assert_eq!(house.token.login_count(), 0, "the login that came too late is taken back");
}

#[test]
fn a_read_only_session_opened_during_the_so_s_login_refuses_it() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    let (library, slot) = (house.library.clone(), house.slot);
    house.token.let_happen(move || assert!(library.open_session(slot, READ_ONLY).is_ok()));
    assert_eq!(code(house.library.login(session, SO, &pin(SO_PIN))), Some(Code::SessionReadOnlyExists));
    assert_eq!(house.library.session_info(session).unwrap().state, RW_PUBLIC);
    assert_eq!(house.token.login_count(), 0);
}

#[test]
fn no_session_is_opened_while_the_token_is_initialised() {
    let house = House::new();
    let (library, slot) = (house.library.clone(), house.slot);
    let opened = Arc::new(parking_lot::Mutex::new(None));
    let answer = opened.clone();
    house.admin.let_happen(move || *answer.lock() = code(library.open_session(slot, READ_WRITE)));
    house.library.init_token(house.slot, &pin(SO_PIN), [b'y'; 32]).unwrap();
    assert_eq!(*opened.lock(), Some(Code::TokenNotRecognized));
    house.open(READ_WRITE);
}

#[test]
fn finalize_leaves_nothing_at_the_token() {
    let house = House::new();
    let session = house.user();
    house.object(session, &[AttributeType::PRIVATE]);
    house.object(session, &[AttributeType::TOKEN]);
    house.library.close();
    assert_eq!((house.token.login_count(), house.token.object_count()), (0, 1));
    assert_eq!(code(house.library.check_session(session)), Some(Code::SessionHandleInvalid));
}
