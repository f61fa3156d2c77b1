//! Operations: which calls start, continue and end them, and which leave them alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::session::fake::toys::{ciphertext, signature};

/// A call of a session with a key's handle, and one with input; both give room enough for what comes out.
type WithKey = fn(&Library, u64, u64) -> Result<()>;
type WithInput = fn(&Library, u64, &[u8]) -> Result<()>;

/// The functions of one kind of operation. Inputs are chosen so that every call on a started operation succeeds.
struct Kind {
    name: &'static str,
    init: WithKey,
    cancel: fn(&Library, u64) -> Result<()>,
    flag: u64,
    single: WithInput,
    update: Option<WithInput>,
    finish: Option<fn(&Library, u64) -> Result<()>>,
}

const STREAM: Option<Mechanism> = Some(Mechanism { kind: MechanismType::AES_CTR, params: Params::None });
const CMAC: Option<Mechanism> = Some(Mechanism { kind: MechanismType::AES_CMAC, params: Params::None });
const SHA256: Option<Mechanism> = Some(Mechanism { kind: MechanismType::SHA256, params: Params::None });

/// Runs a call with 64 bytes of room.
fn with_room(call: impl FnOnce(Output<'_>) -> Result<Filled>) -> Result<()> {
    match call(Output::Buffer(&mut [0; 64]))? {
        Filled::Length(_) => Ok(()),
        Filled::TooSmall(len) => panic!("64 bytes are too few, it wants {len}"),
    }
}

const KINDS: [Kind; 7] = [
    Kind {
        name: "digest",
        init: |library, session, _| library.digest_init(session, SHA256),
        cancel: |library, session| library.digest_init(session, None),
        flag: crate::ck::flags::DIGEST,
        single: |library, session, data| with_room(|out| library.digest(session, data, out)),
        update: Some(|library, session, data| library.digest_update(session, data)),
        finish: Some(|library, session| with_room(|out| library.digest_final(session, out))),
    },
    Kind {
        name: "sign",
        init: |library, session, key| library.sign_init(session, CMAC, key),
        cancel: |library, session| library.sign_init(session, None, 0),
        flag: crate::ck::flags::SIGN,
        single: |library, session, data| with_room(|out| library.sign(session, data, out)),
        update: Some(|library, session, data| library.sign_update(session, data)),
        finish: Some(|library, session| with_room(|out| library.sign_final(session, out))),
    },
    Kind {
        name: "verify",
        init: |library, session, key| library.verify_init(session, CMAC, key),
        cancel: |library, session| library.verify_init(session, None, 0),
        flag: crate::ck::flags::VERIFY,
        single: |library, session, data| library.verify(session, data, &signature(data)),
        update: Some(|library, session, data| library.verify_update(session, data)),
        finish: Some(|library, session| library.verify_final(session, &signature(b""))),
    },
    Kind {
        name: "sign with recovery",
        init: |library, session, key| library.sign_recover_init(session, CMAC, key),
        cancel: |library, session| library.sign_recover_init(session, None, 0),
        flag: crate::ck::flags::SIGN_RECOVER,
        single: |library, session, data| with_room(|out| library.sign_recover(session, data, out)),
        update: None,
        finish: None,
    },
    Kind {
        name: "verify with recovery",
        init: |library, session, key| library.verify_recover_init(session, CMAC, key),
        cancel: |library, session| library.verify_recover_init(session, None, 0),
        flag: crate::ck::flags::VERIFY_RECOVER,
        single: |library, session, data| with_room(|out| library.verify_recover(session, data, out)),
        update: None,
        finish: None,
    },
    Kind {
        name: "encrypt",
        init: |library, session, key| library.encrypt_init(session, STREAM, key),
        cancel: |library, session| library.encrypt_init(session, None, 0),
        flag: crate::ck::flags::ENCRYPT,
        single: |library, session, data| with_room(|out| library.encrypt(session, data, out)),
        update: Some(|library, session, data| with_room(|out| library.encrypt_update(session, data, out))),
        finish: Some(|library, session| with_room(|out| library.encrypt_final(session, out))),
    },
    Kind {
        name: "decrypt",
        init: |library, session, key| library.decrypt_init(session, STREAM, key),
        cancel: |library, session| library.decrypt_init(session, None, 0),
        flag: crate::ck::flags::DECRYPT,
        single: |library, session, data| with_room(|out| library.decrypt(session, data, out)),
        update: Some(|library, session, data| with_room(|out| library.decrypt_update(session, data, out))),
        finish: Some(|library, session| with_room(|out| library.decrypt_final(session, out))),
    },
];

/// A session with a key, for each kind.
fn for_each_kind(check: impl Fn(&Kind, &House, u64, u64)) {
    for kind in &KINDS {
        let house = House::new();
        let session = house.user();
        let key = house.object(session, &[]);
        check(kind, &house, session, key);
    }
}

const IDLE: Option<Code> = Some(Code::OperationNotInitialized);

#[test]
fn nothing_goes_on_that_was_not_started() {
    for_each_kind(|kind, House { library, .. }, session, _| {
        assert_eq!(code((kind.single)(library, session, b"")), IDLE, "{}", kind.name);
        assert_eq!(kind.update.and_then(|update| code(update(library, session, b""))), kind.update.and(IDLE), "{}", kind.name);
        assert_eq!(kind.finish.and_then(|finish| code(finish(library, session))), kind.finish.and(IDLE), "{}", kind.name);
        assert_eq!(code((kind.cancel)(library, session)), Some(Code::ArgumentsBad), "{}", kind.name);
    });
}

#[test]
fn one_operation_of_a_kind_runs_until_it_is_ended() {
    for_each_kind(|kind, House { library, .. }, session, key| {
        let start = || code((kind.init)(library, session, key));
        assert_eq!((start(), start()), (None, Some(Code::OperationActive)), "{}", kind.name);
        (kind.single)(library, session, b"").unwrap();
        assert_eq!(start(), None, "{}: single ends it", kind.name);
        (kind.cancel)(library, session).unwrap();
        assert_eq!(start(), None, "{}: init without a mechanism ends it", kind.name);
        library.session_cancel(session, !kind.flag).unwrap();
        assert_eq!(start(), Some(Code::OperationActive), "{}: C_SessionCancel of the others leaves it", kind.name);
        library.session_cancel(session, kind.flag).unwrap();
        library.session_cancel(session, kind.flag).unwrap();
        assert_eq!(code((kind.single)(library, session, b"")), IDLE, "{}: C_SessionCancel ends it", kind.name);
        let (Some(update), Some(finish)) = (kind.update, kind.finish) else { return };
        assert_eq!(start(), None);
        update(library, session, b"").unwrap();
        finish(library, session).unwrap();
        assert_eq!(code(finish(library, session)), IDLE, "{}: final ends it", kind.name);
        assert_eq!(start(), None);
        finish(library, session).unwrap();
        assert_eq!(start(), None, "{}: final right after init is the message of no bytes", kind.name);
    });
}

#[test]
fn a_single_call_after_an_update_ends_the_operation() {
    for_each_kind(|kind, House { library, .. }, session, key| {
        let (Some(update), Some(finish)) = (kind.update, kind.finish) else { return };
        (kind.init)(library, session, key).unwrap();
        update(library, session, b"").unwrap();
        assert_eq!(code((kind.single)(library, session, b"")), IDLE, "{}", kind.name);
        assert_eq!(code(finish(library, session)), IDLE, "{}", kind.name);
    });
}

#[test]
fn an_error_and_a_panic_end_the_operation() {
    for_each_kind(|kind, House { library, .. }, session, key| {
        let calls = [Some(kind.single), kind.update];
        // A digest takes any input.
        for call in calls.into_iter().flatten().filter(|_| kind.name != "digest") {
            (kind.init)(library, session, key).unwrap();
            assert_eq!(code(call(library, session, b"fail")), Some(Code::DataInvalid), "{}", kind.name);
            assert_eq!(code(call(library, session, b"")), IDLE, "{}", kind.name);
            (kind.init)(library, session, key).unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| call(library, session, b"boom"))).is_err(), "{}", kind.name);
            assert_eq!(code(call(library, session, b"")), IDLE, "{}", kind.name);
        }
    });
}

#[test]
fn a_failed_init_starts_nothing() {
    for_each_kind(|kind, House { library, .. }, session, _| {
        if kind.name != "digest" {
            assert_eq!(code((kind.init)(library, session, 999)), Some(Code::KeyHandleInvalid), "{}", kind.name);
        }
        assert_eq!(code((kind.single)(library, session, b"")), IDLE, "{}", kind.name);
    });
}

#[test]
fn operations_belong_to_their_session() {
    for_each_kind(|kind, house, session, key| {
        let other = house.open(READ_ONLY);
        (kind.init)(&house.library, session, key).unwrap();
        assert_eq!(code((kind.single)(&house.library, other, b"")), IDLE, "{}", kind.name);
        house.library.close_session(session).unwrap();
        let gone = Some(Code::SessionHandleInvalid);
        assert_eq!(code((kind.single)(&house.library, session, b"")), gone, "{}", kind.name);
        assert_eq!(code((kind.init)(&house.library, session, key)), gone, "{}", kind.name);
    });
}

#[test]
fn operations_with_keys_end_at_logout() {
    for_each_kind(|kind, house, session, key| {
        let other = house.open(READ_ONLY);
        (kind.init)(&house.library, session, key).unwrap();
        house.library.logout(other).unwrap();
        let expected = if kind.name == "digest" { None } else { IDLE };
        assert_eq!(code((kind.single)(&house.library, session, b"")), expected, "{}", kind.name);
    });
    let house = House::new();
    let session = house.user();
    let key = house.object(session, &[]);
    house.library.digest_init(session, SHA256).unwrap();
    house.library.digest_key(session, key).unwrap();
    house.library.find_objects_init(session, Template::new()).unwrap();
    house.library.logout(session).unwrap();
    assert_eq!(code(house.library.find_objects(session, 1)), IDLE);
    let mut out = [0; 32];
    assert_eq!(code(house.library.digest_final(session, Output::Buffer(&mut out))), IDLE, "a digest of a key ends too");
}

#[test]
fn every_kind_runs_beside_the_others() {
    let house = House::new();
    let session = house.user();
    let key = house.object(session, &[]);
    KINDS.iter().for_each(|kind| (kind.init)(&house.library, session, key).unwrap());
    house.library.find_objects_init(session, Template::new()).unwrap();
    house.library.find_objects_final(session).unwrap();
    KINDS.iter().rev().for_each(|kind| (kind.single)(&house.library, session, b"").unwrap());
}

#[test]
fn lengths_are_told_without_ending_anything() {
    for_each_kind(|kind, House { library, .. }, session, key| {
        let single = |out: Output<'_>| match kind.name {
            "digest" => library.digest(session, b"abc", out),
            "sign" => library.sign(session, b"abc", out),
            "sign with recovery" => library.sign_recover(session, b"abc", out),
            "verify with recovery" => library.verify_recover(session, b"abc", out),
            "encrypt" => library.encrypt(session, b"abcd", out),
            _ => library.decrypt(session, b"abcd", out),
        };
        if kind.name == "verify" {
            return;
        }
        (kind.init)(library, session, key).unwrap();
        let Filled::Length(len) = single(Output::Query).unwrap() else { panic!("{}: a query is never too small", kind.name) };
        let mut buffer = vec![0xa5; len - 1];
        assert_eq!(single(Output::Buffer(&mut buffer)).unwrap(), Filled::TooSmall(len), "{}", kind.name);
        assert_eq!(single(Output::Buffer(&mut [])).unwrap(), Filled::TooSmall(len), "{}", kind.name);
        assert!(buffer.iter().all(|byte| *byte == 0xa5), "{}: nothing was written", kind.name);
        let mut buffer = vec![0; len + 3];
        assert_eq!(single(Output::Buffer(&mut buffer)).unwrap(), Filled::Length(len), "{}", kind.name);
        assert_eq!(code(single(Output::Buffer(&mut buffer))), IDLE, "{}", kind.name);
    });
}

#[test]
fn a_query_in_update_and_final_leaves_the_way_open() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    library.encrypt_init(session, STREAM, key).unwrap();
    assert_eq!(library.encrypt_update(session, b"abcd", Output::Query).unwrap(), Filled::Length(4));
    assert_eq!(library.encrypt_final(session, Output::Query).unwrap(), Filled::Length(0));
    with_room(|out| library.encrypt(session, b"abcd", out)).unwrap();
    library.sign_init(session, CMAC, key).unwrap();
    library.sign_update(session, b"abc").unwrap();
    assert_eq!(library.sign_final(session, Output::Query).unwrap(), Filled::Length(8));
    assert_eq!(library.sign_final(session, Output::Buffer(&mut [0; 7])).unwrap(), Filled::TooSmall(8));
    library.sign_update(session, b"def").unwrap();
    let mut made = [0; 8];
    library.sign_final(session, Output::Buffer(&mut made)).unwrap();
    assert_eq!(made, signature(b"abcdef"));
}

#[test]
fn input_that_cannot_be_taken_ends_the_operation_even_if_only_the_length_is_asked_for() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    for out in [Output::Query, Output::Buffer(&mut []), Output::Buffer(&mut [0; 8])] {
        library.encrypt_init(session, STREAM, key).unwrap();
        assert_eq!(code(library.encrypt(session, b"abcde", out)), Some(Code::DataLenRange));
        assert_eq!(code(library.encrypt(session, b"abcd", Output::Query)), IDLE);
    }
}

#[test]
fn verify_always_ends() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    let right = signature(b"abc");
    let wrong = signature(b"abd");
    let table: [(&[u8], Option<Code>); 5] = [
        (&right, None),
        (&wrong, Some(Code::SignatureInvalid)),
        (&right[..7], Some(Code::SignatureLenRange)),
        (&[0; 9], Some(Code::SignatureLenRange)),
        (&[], Some(Code::SignatureLenRange)),
    ];
    for (signature, expected) in table {
        library.verify_init(session, CMAC, key).unwrap();
        assert_eq!(code(library.verify(session, b"abc", signature)), expected);
        assert_eq!(code(library.verify(session, b"abc", signature)), IDLE);
        library.verify_init(session, CMAC, key).unwrap();
        library.verify_update(session, b"abc").unwrap();
        assert_eq!(code(library.verify_final(session, signature)), expected);
        assert_eq!(code(library.verify_final(session, signature)), IDLE);
    }
}

const PADDED: Option<Mechanism> = Some(Mechanism { kind: MechanismType::AES_CBC_PAD, params: Params::None });

#[test]
fn a_buffer_of_the_plaintext_s_length_is_enough_to_decrypt() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    for plaintext in [&b""[..], b"a", b"abc", b"abcd", b"abcdefg"] {
        let encrypted = ciphertext(plaintext);
        let mut out = vec![0; plaintext.len()];
        library.decrypt_init(session, PADDED, key).unwrap();
        assert_eq!(library.decrypt(session, &encrypted, Output::Query).unwrap(), Filled::Length(encrypted.len()));
        assert_eq!(library.decrypt(session, &encrypted, Output::Buffer(&mut out)).unwrap(), Filled::Length(plaintext.len()));
        assert_eq!(out, plaintext);
        assert_eq!(code(library.decrypt(session, &encrypted, Output::Buffer(&mut out))), IDLE);
    }
}

#[test]
fn a_result_that_does_not_fit_waits_for_the_same_call() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    let (encrypted, other) = (ciphertext(b"abcdef"), ciphertext(b"ABCDEF"));
    let held = || {
        library.decrypt_init(session, PADDED, key).unwrap();
        let mut short = [0xa5; 5];
        assert_eq!(library.decrypt(session, &encrypted, Output::Buffer(&mut short)).unwrap(), Filled::TooSmall(6));
        assert_eq!(short, [0xa5; 5]);
    };
    held();
    assert_eq!(library.decrypt(session, &encrypted, Output::Query).unwrap(), Filled::Length(6), "now the length is exact");
    assert_eq!(library.decrypt(session, &encrypted, Output::Buffer(&mut [])).unwrap(), Filled::TooSmall(6));
    assert_eq!(code(library.decrypt_init(session, PADDED, key)), Some(Code::OperationActive));
    let mut out = [0; 6];
    assert_eq!(library.decrypt(session, &encrypted, Output::Buffer(&mut out)).unwrap(), Filled::Length(6));
    assert_eq!(&out, b"abcdef");
    let others: [WithInput; 3] = [
        |library, session, other| with_room(|out| library.decrypt(session, other, out)),
        |library, session, other| with_room(|out| library.decrypt_update(session, other, out)),
        |library, session, _| with_room(|out| library.decrypt_final(session, out)),
    ];
    for call in others {
        held();
        assert_eq!(code(call(library, session, &other)), IDLE);
        assert_eq!(code(with_room(|out| library.decrypt(session, &encrypted, out))), IDLE);
    }
}

#[test]
fn the_last_part_of_a_decryption_waits_too() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    let encrypted = ciphertext(b"abcdef");
    library.decrypt_init(session, PADDED, key).unwrap();
    let mut out = [0; 6];
    assert_eq!(library.decrypt_update(session, &encrypted, Output::Buffer(&mut out)).unwrap(), Filled::Length(4));
    assert_eq!(library.decrypt_final(session, Output::Query).unwrap(), Filled::Length(4));
    assert_eq!(library.decrypt_final(session, Output::Buffer(&mut out[4..5])).unwrap(), Filled::TooSmall(2));
    assert_eq!(library.decrypt_final(session, Output::Buffer(&mut out[4..])).unwrap(), Filled::Length(2));
    assert_eq!(&out, b"abcdef");
    assert_eq!(code(library.decrypt_final(session, Output::Buffer(&mut out))), IDLE);
}

#[test]
fn two_operations_share_their_parts() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    let mut buffer = [0; 8];
    library.encrypt_init(session, PADDED, key).unwrap();
    assert_eq!(code(library.sign_encrypt_update(session, b"abcdef", Output::Query)), IDLE);
    library.sign_init(session, CMAC, key).unwrap();
    assert_eq!(library.sign_encrypt_update(session, b"abcdef", Output::Query).unwrap(), Filled::Length(4));
    assert_eq!(library.sign_encrypt_update(session, b"abcdef", Output::Buffer(&mut [0; 3])).unwrap(), Filled::TooSmall(4));
    assert_eq!(library.sign_encrypt_update(session, b"abcdef", Output::Buffer(&mut buffer)).unwrap(), Filled::Length(4));
    assert_eq!(library.encrypt_final(session, Output::Buffer(&mut buffer[4..])).unwrap(), Filled::Length(4));
    assert_eq!(buffer[..], ciphertext(b"abcdef"));
    let mut made = [0; 8];
    library.sign_final(session, Output::Buffer(&mut made)).unwrap();
    assert_eq!(made, signature(b"abcdef"), "questions for lengths were not signed");

    library.decrypt_init(session, STREAM, key).unwrap();
    library.verify_init(session, CMAC, key).unwrap();
    library.digest_init(session, SHA256).unwrap();
    let turned = fake::toys::turned(b"abcdefgh");
    with_room(|out| library.decrypt_verify_update(session, &turned[..4], out)).unwrap();
    with_room(|out| library.decrypt_digest_update(session, &turned[4..], out)).unwrap();
    library.verify_final(session, &signature(b"abcd")).unwrap();
    library.decrypt_init(session, None, 0).unwrap();
    library.encrypt_init(session, STREAM, key).unwrap();
    with_room(|out| library.digest_encrypt_update(session, b"ijkl", out)).unwrap();
    let (mut digest, mut expected) = ([0; 32], [0; 32]);
    library.digest_final(session, Output::Buffer(&mut digest)).unwrap();
    library.digest_init(session, SHA256).unwrap();
    library.digest(session, b"efghijkl", Output::Buffer(&mut expected)).unwrap();
    assert_eq!(digest, expected);
}

#[test]
fn an_error_of_one_of_two_operations_ends_both() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    let start = || {
        library.encrypt_init(session, STREAM, key).unwrap();
        library.sign_init(session, CMAC, key).unwrap();
    };
    for round in 0..2 {
        start();
        assert_eq!(code(with_room(|out| library.sign_encrypt_update(session, b"fail", out))), Some(Code::DataInvalid), "{round}");
        assert_eq!(code(with_room(|out| library.encrypt(session, b"", out))), IDLE);
        assert_eq!(code(with_room(|out| library.sign(session, b"", out))), IDLE);
    }
    // The cipher is content, the signature is not.
    library.decrypt_init(session, STREAM, key).unwrap();
    library.verify_init(session, CMAC, key).unwrap();
    let turned = fake::toys::turned(b"fail");
    assert_eq!(code(with_room(|out| library.decrypt_verify_update(session, &turned, out))), Some(Code::DataInvalid));
    assert_eq!(code(with_room(|out| library.decrypt(session, b"", out))), IDLE);
    assert_eq!(code(library.verify(session, b"", &signature(b""))), IDLE);
}

#[test]
fn a_key_is_digested_and_a_wrong_handle_leaves_the_digest_alone() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    assert_eq!(code(library.digest_key(session, key)), IDLE);
    library.digest_init(session, SHA256).unwrap();
    assert_eq!(code(library.digest_key(session, 999)), Some(Code::KeyHandleInvalid));
    library.digest_key(session, key).unwrap();
    let (mut digest, mut expected) = ([0; 32], [0; 32]);
    library.digest_final(session, Output::Buffer(&mut digest)).unwrap();
    library.digest_init(session, SHA256).unwrap();
    library.digest(session, b"value", Output::Buffer(&mut expected)).unwrap();
    assert_eq!(digest, expected);
}
