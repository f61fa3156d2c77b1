//! Keys that ask for a login of their own before each use (PKCS#11 3.1, 4.9, `CKA_ALWAYS_AUTHENTICATE`).

use super::*;
use crate::session::fake::ATTEMPTS_MAX;
use crate::session::fake::toys::signature;

const CMAC: Option<Mechanism> = Some(Mechanism { kind: MechanismType::AES_CMAC, params: Params::None });
const STREAM: Option<Mechanism> = Some(Mechanism { kind: MechanismType::AES_CTR, params: Params::None });

const ASKING: &[AttributeType] = &[AttributeType::ALWAYS_AUTHENTICATE, AttributeType::PRIVATE];

struct Guarded {
    house: House,
    session: u64,
    key: u64,
}

fn guarded() -> Guarded {
    let house = House::new();
    let session = house.user();
    let key = house.object(session, ASKING);
    Guarded { house, session, key }
}

impl Guarded {
    fn sign(&self) -> Option<Code> {
        code(self.house.library.sign(self.session, b"abc", Output::Buffer(&mut [0; 8])))
    }

    fn decrypt(&self) -> Option<Code> {
        code(self.house.library.decrypt(self.session, b"abcd", Output::Buffer(&mut [0; 4])))
    }

    fn authenticate(&self, typed: &[u8]) -> Option<Code> {
        code(self.house.library.login(self.session, CONTEXT_SPECIFIC, &pin(typed)))
    }
}

#[test]
fn each_use_needs_a_login_of_its_own() {
    let it = guarded();
    let library = &it.house.library;
    for _ in 0..2 {
        library.sign_init(it.session, CMAC, it.key).unwrap();
        assert_eq!(it.sign(), Some(Code::UserNotLoggedIn));
        assert_eq!(it.sign(), Some(Code::OperationNotInitialized), "the attempt has ended the operation");
        library.sign_init(it.session, CMAC, it.key).unwrap();
        assert_eq!(it.authenticate(USER_PIN), None);
        assert_eq!(it.authenticate(USER_PIN), Some(Code::OperationNotInitialized), "nothing waits any more");
        assert_eq!(library.sign(it.session, b"abc", Output::Query).unwrap(), Filled::Length(8));
        assert_eq!(it.sign(), None);
        assert_eq!(it.sign(), Some(Code::OperationNotInitialized));
    }
}

#[test]
fn one_login_is_good_for_all_parts_of_one_operation() {
    let it = guarded();
    let library = &it.house.library;
    library.sign_init(it.session, CMAC, it.key).unwrap();
    assert_eq!(it.authenticate(USER_PIN), None);
    library.sign_update(it.session, b"abc").unwrap();
    library.sign_update(it.session, b"def").unwrap();
    let mut made = [0; 8];
    library.sign_final(it.session, Output::Buffer(&mut made)).unwrap();
    assert_eq!(made, signature(b"abcdef"));
    library.sign_init(it.session, CMAC, it.key).unwrap();
    assert_eq!(code(library.sign_update(it.session, b"abc")), Some(Code::UserNotLoggedIn));
}

#[test]
fn a_wrong_pin_is_as_no_login() {
    let it = guarded();
    it.house.library.sign_init(it.session, CMAC, it.key).unwrap();
    assert_eq!(it.authenticate(b"wrong"), Some(Code::PinIncorrect));
    assert_eq!(it.authenticate(USER_PIN), None, "the operation still waits");
    assert_eq!(it.sign(), None);
    it.house.library.sign_init(it.session, CMAC, it.key).unwrap();
    assert_eq!(it.authenticate(b"wrong"), Some(Code::PinIncorrect));
    assert_eq!(it.sign(), Some(Code::UserNotLoggedIn));
    assert_eq!(it.house.library.session_info(it.session).unwrap().state, 3, "the user is still logged in");
}

#[test]
fn a_locked_pin_logs_the_user_out() {
    let it = guarded();
    it.house.library.sign_init(it.session, CMAC, it.key).unwrap();
    for _ in 0..ATTEMPTS_MAX {
        assert_eq!(it.authenticate(b"wrong"), Some(Code::PinIncorrect));
    }
    assert_eq!(it.authenticate(USER_PIN), Some(Code::PinLocked));
    assert_eq!(it.house.library.session_info(it.session).unwrap().state, 2);
    assert_eq!(it.sign(), Some(Code::OperationNotInitialized));
    assert_eq!(it.house.token.login_count(), 0);
    assert_eq!(code(it.house.library.sign_init(it.session, CMAC, it.key)), Some(Code::KeyHandleInvalid));
}

#[test]
fn the_login_is_for_the_operation_that_was_started_last() {
    let it = guarded();
    let library = &it.house.library;
    library.sign_init(it.session, CMAC, it.key).unwrap();
    library.decrypt_init(it.session, STREAM, it.key).unwrap();
    assert_eq!(it.authenticate(USER_PIN), None);
    assert_eq!((it.decrypt(), it.sign()), (None, Some(Code::UserNotLoggedIn)));
    library.decrypt_init(it.session, STREAM, it.key).unwrap();
    library.sign_init(it.session, CMAC, it.key).unwrap();
    assert_eq!(it.authenticate(USER_PIN), None);
    assert_eq!((it.sign(), it.decrypt()), (None, Some(Code::UserNotLoggedIn)));
    library.decrypt_init(it.session, STREAM, it.key).unwrap();
    library.sign_init(it.session, CMAC, it.key).unwrap();
    assert_eq!((it.authenticate(USER_PIN), it.authenticate(USER_PIN)), (None, None), "one login for each");
    assert_eq!((it.decrypt(), it.sign()), (None, None));
}

#[test]
fn an_operation_that_needs_no_login_is_not_touched_by_one() {
    let it = guarded();
    let plain_key = it.house.object(it.session, &[AttributeType::PRIVATE]);
    it.house.library.sign_init(it.session, CMAC, plain_key).unwrap();
    assert_eq!(it.authenticate(USER_PIN), Some(Code::OperationNotInitialized));
    assert_eq!(it.sign(), None);
}

#[test]
fn a_login_in_one_session_is_no_permit_for_another() {
    let it = guarded();
    let other = it.house.open(READ_ONLY);
    it.house.library.sign_init(it.session, CMAC, it.key).unwrap();
    let answer = it.house.library.login(other, CONTEXT_SPECIFIC, &pin(USER_PIN));
    assert_eq!(code(answer), Some(Code::OperationNotInitialized));
    assert_eq!(it.sign(), Some(Code::UserNotLoggedIn));
}
