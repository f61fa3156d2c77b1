//! How messages begin and end: Init, Begin, Next, Final, and what may come between them.

use cryptoki_sys::*;

use super::{GCM, anew, begin, case, finish, key_for, need, seal};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{code, must};
use crate::known_keys::{data_of, key_bytes};
use crate::module::Rv;
use crate::newer_calls::{MessageParameter, Way};
use crate::sample_keys::known_secret;
use crate::template::Mechanism;

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "init-twice",
        Must,
        "5.9.1 C_MessageEncryptInit, CKR_OPERATION_ACTIVE",
        "While messages are encrypted no second Init begins; after Final one does.",
        init_twice
    ),
    case!(
        "cancel",
        Must,
        "5.9.1 C_MessageEncryptInit with a NULL mechanism",
        "A NULL mechanism ends the encryption of messages, or is answered with CKR_OPERATION_CANCEL_FAILED.",
        cancel
    ),
    case!(
        "whole-amid-parts",
        Must,
        "5.9.2 C_EncryptMessage: not in the middle of a message in parts, CKR_OPERATION_ACTIVE",
        "Between Begin and the last Next there is no message in one call, no other Begin and no Final; the message goes on.",
        whole_amid_parts
    ),
    case!(
        "next-without-begin",
        Must,
        "5.9.4 C_EncryptMessageNext, CKR_OPERATION_NOT_INITIALIZED",
        "Without Begin, and after the part that ended the message, there is no Next.",
        next_without_begin
    ),
    case!(
        "key-use",
        Must,
        "5.9.1 CKA_ENCRYPT, 5.11.1 CKA_DECRYPT; CKR_KEY_FUNCTION_NOT_PERMITTED",
        "A key that may not encrypt encrypts no messages, and one that may not decrypt decrypts none.",
        key_use
    ),
    case!(
        "logout-ends",
        Must,
        "5.6.10 C_Logout; 5.9 message-based encryption",
        "Messages under a private key end with the login.",
        logout_ends
    ),
];

fn given() -> MessageParameter {
    MessageParameter::given(CKM_AES_GCM, &[7; 12], 32)
}

/// Skips where messages in parts are not supported.
fn in_parts(session: &Session<'_>, parameter: &mut MessageParameter) -> Outcome {
    match session.message_begin(Way::Encrypt, parameter, b"") {
        Rv::OK => Ok(()),
        Rv(CKR_FUNCTION_NOT_SUPPORTED) => Err(Stop::Skip("C_EncryptMessageBegin is not supported".into())),
        rv => Err(Stop::Fail(format!("C_EncryptMessageBegin answered {rv}"))),
    }
}

fn init_twice(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    for way in [Way::Encrypt, Way::Decrypt] {
        begin(&session, way, GCM, key)?;
        let rv = session.message_init(way, &Mechanism::new(CKM_AES_GCM), key);
        check!(rv == Rv(CKR_OPERATION_ACTIVE), "C_Message{way:?}Init once more answered {rv}");
        finish(&session, way)?;
        let rv = session.message_final(way);
        check!(rv == Rv(CKR_OPERATION_NOT_INITIALIZED), "C_Message{way:?}Final once more answered {rv}");
        begin(&session, way, GCM, key)?;
        finish(&session, way)?;
    }
    Ok(())
}

fn cancel(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    match session.message_cancel(Way::Encrypt) {
        Rv::OK => {}
        Rv(CKR_OPERATION_CANCEL_FAILED) => return Ok(()),
        rv => return Err(Stop::Fail(format!("C_MessageEncryptInit with a NULL mechanism answered {rv}"))),
    }
    let rv = code(session.message(Way::Encrypt, &mut given(), b"", &data_of(32)));
    check!(rv == Rv(CKR_OPERATION_NOT_INITIALIZED), "C_EncryptMessage after the cancellation answered {rv}");
    begin(&session, Way::Encrypt, GCM, key)?;
    finish(&session, Way::Encrypt)
}

fn whole_amid_parts(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    let (data, mut parameter) = (data_of(32), given());
    let single = seal(&session, GCM, 7, b"", &data)?;
    in_parts(&session, &mut parameter)?;
    let mut all = must(session.message_next(Way::Encrypt, &mut parameter, &data[..16], false), "C_EncryptMessageNext")?;
    let whole = code(session.message(Way::Encrypt, &mut given(), b"", &data));
    let answers = [
        ("C_EncryptMessage", whole),
        ("C_EncryptMessageBegin", session.message_begin(Way::Encrypt, &mut given(), b"")),
        ("C_MessageEncryptFinal", session.message_final(Way::Encrypt)),
    ];
    for (name, rv) in answers {
        check!(rv == Rv(CKR_OPERATION_ACTIVE), "{name} in the middle of a message in parts answered {rv}");
    }
    all.extend(must(session.message_next(Way::Encrypt, &mut parameter, &data[16..], true), "C_EncryptMessageNext at the end")?);
    check!(
        all == single.data && parameter.tag == single.parameter.tag,
        "the message in parts was spoilt by calls that were refused"
    );
    finish(&session, Way::Encrypt)
}

fn next_without_begin(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    let mut parameter = given();
    let rv = code(session.message_next(Way::Encrypt, &mut parameter, &data_of(16), true));
    if rv == Rv(CKR_FUNCTION_NOT_SUPPORTED) {
        return Err(Stop::Skip("C_EncryptMessageNext is not supported".into()));
    }
    check!(rv == Rv(CKR_OPERATION_NOT_INITIALIZED), "C_EncryptMessageNext without Begin answered {rv}");
    anew(&session, Way::Encrypt, GCM, key)?;
    in_parts(&session, &mut parameter)?;
    must(session.message_next(Way::Encrypt, &mut parameter, &data_of(16), true), "C_EncryptMessageNext at the end")?;
    let rv = code(session.message_next(Way::Encrypt, &mut parameter, &data_of(16), true));
    check!(rv == Rv(CKR_OPERATION_NOT_INITIALIZED), "C_EncryptMessageNext after the end answered {rv}");
    anew(&session, Way::Encrypt, GCM, key)?;
    seal(&session, GCM, 9, b"", &data_of(16))?;
    finish(&session, Way::Encrypt)
}

fn key_use(context: &Context) -> Outcome {
    let session = context.user_session()?;
    key_for(&session, GCM)?;
    for (way, other) in [(Way::Encrypt, CKA_DECRYPT), (Way::Decrypt, CKA_ENCRYPT)] {
        let own = if way == Way::Encrypt { CKA_ENCRYPT } else { CKA_DECRYPT };
        let template = known_secret(CKK_AES, &key_bytes(32), &[other]).flag(own, false);
        let barred = must(session.create(template), "C_CreateObject of an AES key")?;
        let rv = session.message_init(way, &Mechanism::new(CKM_AES_GCM), barred);
        check!(rv == Rv(CKR_KEY_FUNCTION_NOT_PERMITTED), "C_Message{way:?}Init with a key that may not answered {rv}");
    }
    Ok(())
}

fn logout_ends(context: &Context) -> Outcome {
    let session = context.user_session()?;
    need(&session, CKM_AES_GCM, CKF_MESSAGE_ENCRYPT, "CKF_MESSAGE_ENCRYPT")?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    context.ok(session.logout(), "C_Logout")?;
    let rv = code(session.message(Way::Encrypt, &mut given(), b"", &data_of(32)));
    let ended = [CKR_OPERATION_NOT_INITIALIZED, CKR_USER_NOT_LOGGED_IN].contains(&rv.0);
    check!(ended, "C_EncryptMessage by a private key after C_Logout answered {rv}");
    Ok(())
}
