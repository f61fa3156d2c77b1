//! Slots, tokens, mechanisms: what they say, how they come and go.

use super::*;
use crate::token::{Admin, Token};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

fn empty() -> (Arc<FakeAdmin>, Library) {
    let admin = Arc::new(FakeAdmin::default());
    let library = Library::new(admin.clone(), Arc::new(Real), Settings::default()).unwrap();
    (admin, library)
}

#[test]
fn an_empty_store_has_one_spare_slot() {
    let (_, library) = empty();
    assert_eq!(library.slot_list(true, true).unwrap(), [0]);
    assert_eq!(library.slot_list(false, false).unwrap(), [0]);
    let token = library.token_info(0).unwrap();
    assert_eq!(token.flags, 0x1 | 0x4 | 0x20 | 0x40_0000 | 0x80_0000);
    assert_eq!((token.label, token.serial), ([b' '; 32], [b' '; 16]));
}

#[test]
fn a_new_token_keeps_the_spare_slot_until_the_library_is_initialised_again() {
    let (admin, library) = empty();
    library.init_token(0, &pin(b"so-pin"), *b"first                           ").unwrap();
    assert_eq!(library.slot_list(true, false).unwrap(), [0], "a new spare slot comes with the next look only");
    assert_eq!(library.slot_list(true, true).unwrap(), [0, 1]);
    let token = library.token_info(0).unwrap();
    assert_eq!((text(&token.label), text(&token.serial), token.flags), ("first".into(), "00000000000000f0".into(), 0x425));
    library.init_token(1, &pin(b"so-pin"), *b"second                          ").unwrap();
    assert_eq!(library.slot_list(true, true).unwrap(), [0, 1, 2]);
    let again = Library::new(admin, Arc::new(Real), Settings::default()).unwrap();
    assert_eq!(again.slot_list(true, false).unwrap(), [0xf0, 0xf1, 2]);
}

#[test]
fn tokens_of_other_processes_come_and_go_and_the_spare_slot_stays() {
    let house = House::new();
    assert_eq!(house.library.slot_list(true, true).unwrap(), [0x100, 1]);
    let other = FakeToken::new(*b"0000000000000200", SO_PIN);
    house.admin.add(other.clone());
    assert_eq!(house.library.slot_list(true, false).unwrap(), [0x100, 1]);
    assert_eq!(house.library.slot_list(true, true).unwrap(), [0x100, 0x200, 1], "who has seen the spare slot may initialise it");
    let session = house.library.open_session(0x200, READ_WRITE).unwrap();
    house.admin.delete_token(other.describe().unwrap().id).unwrap();
    assert_eq!(house.library.slot_list(true, true).unwrap(), [0x100, 1]);
    house.library.close_session(session).unwrap();
    assert_eq!(code(house.library.token_info(0x200)), Some(Code::SlotIdInvalid));
}

#[test]
fn numbers_that_are_taken_are_passed_over() {
    let (admin, _) = empty();
    for serial in [b"0000000000000002", b"a000000000000002", b"b000000080000002"] {
        admin.add(FakeToken::new(*serial, SO_PIN));
    }
    let library = Library::new(admin, Arc::new(Real), Settings::default()).unwrap();
    assert_eq!(library.slot_list(true, true).unwrap(), [2, 3, 4, 5], "the spare slot would have been number 3");
}

#[test]
fn a_look_at_the_slots_during_an_initialisation_makes_no_second_slot() {
    let (admin, library) = empty();
    let library = Arc::new(library);
    let looking = library.clone();
    admin.let_happen(move || assert_eq!(looking.slot_list(true, true).unwrap(), [0]));
    library.init_token(0, &pin(b"so-pin"), [b'x'; 32]).unwrap();
    assert_eq!(library.slot_list(true, true).unwrap(), [0, 1]);
}

#[test]
fn an_initialisation_that_fails_leaves_the_slot_as_it_was() {
    let (admin, library) = empty();
    assert_eq!(code(library.init_token(0, &pin(b"abc"), [b'x'; 32])), Some(Code::PinIncorrect));
    admin.let_happen(|| panic!("the token was told to panic"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| library.init_token(0, &pin(b"so-pin"), [b'x'; 32])));
    assert!(panicked.is_err());
    library.init_token(0, &pin(b"so-pin"), [b'x'; 32]).unwrap();
    library.open_session(0, READ_WRITE).unwrap();
}

#[test]
fn identities_show_their_strings() {
    let softhsm = House::with(Settings { identity: Identity::SoftHsm, removable: true, ..Settings::default() }).library;
    let (general, slot, token) = (softhsm.info(), softhsm.slot_info(0x100).unwrap(), softhsm.token_info(0x100).unwrap());
    assert_eq!(text(&general.manufacturer), "SoftHSM");
    assert_eq!(text(&general.description), "Implementation of PKCS11");
    assert_eq!(text(&slot.description), "SoftHSM slot ID 0x100");
    assert_eq!(text(&slot.manufacturer), "SoftHSM project");
    assert_eq!((text(&token.manufacturer), text(&token.model)), ("SoftHSM project".into(), "SoftHSM v2".into()));
    assert_eq!(slot.flags, 0x3, "present and removable");
    assert_eq!(general.version, slot.firmware);
    let ours = House::new().library;
    let (general, slot, token) = (ours.info(), ours.slot_info(0x100).unwrap(), ours.token_info(0x100).unwrap());
    assert_eq!((text(&general.manufacturer), text(&token.model)), ("hsmpool".into(), "hsmpool".into()));
    assert_eq!(format!("{}.{}", general.version.0, general.version.1), env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0);
    assert_eq!(slot.flags, 0x1);
    assert!(token.utc_time.iter().all(u8::is_ascii_digit));
    assert_eq!((token.pin_len_min, token.pin_len_max), (4, 255));
}

#[test]
fn token_flags_tell_about_the_pins() {
    let house = House::new();
    let session = house.open(READ_WRITE);
    let flags = || house.library.token_info(house.slot).unwrap().flags;
    assert_eq!(flags(), 0x42d, "initialised, with a user PIN");
    for expected in [0x42d | 0x1_0000, 0x42d | 0x3_0000, 0x42d | 0x4_0000] {
        assert_eq!(code(house.library.login(session, USER, &pin(b"wrong"))), Some(Code::PinIncorrect));
        assert_eq!(flags(), expected);
    }
}

#[test]
fn mechanisms_are_listed_by_name_and_filtered_everywhere() {
    let house = House::with(Settings {
        mechanisms: MechanismFilter::Only(vec![MechanismType::SHA256, MechanismType::AES_CBC_PAD, MechanismType(0xdead)]),
        ..Settings::default()
    });
    let library = &house.library;
    assert_eq!(library.mechanism_list(house.slot).unwrap(), [MechanismType::SHA256, MechanismType::AES_CBC_PAD], "as configured");
    assert!(library.mechanism_info(house.slot, MechanismType::SHA256).is_ok());
    let refused = [MechanismType::SHA512, MechanismType(0xdead)];
    let session = house.user();
    let key = house.object(session, &[]);
    for kind in refused {
        assert_eq!(code(library.mechanism_info(house.slot, kind)), Some(Code::MechanismInvalid));
        assert_eq!(code(library.digest_init(session, Some(plain(kind)))), Some(Code::MechanismInvalid));
        assert_eq!(code(library.sign_init(session, Some(plain(kind)), key)), Some(Code::MechanismInvalid));
        assert_eq!(code(library.generate_key(session, plain(kind), template(&[]))), Some(Code::MechanismInvalid));
        assert_eq!(code(library.derive_key(session, plain(kind), key, template(&[]))), Some(Code::MechanismInvalid));
    }
    let except =
        House::with(Settings { mechanisms: MechanismFilter::Except(vec![MechanismType::SHA256]), ..Settings::default() });
    let names: Vec<_> = except.library.mechanism_list(0x100).unwrap().iter().map(|kind| kind.name().unwrap()).collect();
    assert!(names.is_sorted() && !names.contains(&"CKM_SHA256") && names.contains(&"CKM_SHA512"), "{names:?}");
    assert_eq!(code(except.library.mechanism_list(77)), Some(Code::SlotIdInvalid));
}

#[test]
fn slot_events_never_come() {
    let (_, library) = empty();
    assert_eq!(code(library.wait_for_slot_event(false)), Some(Code::NoEvent));
    assert_eq!(code(library.wait_for_slot_event(true)), Some(Code::FunctionNotSupported));
}
