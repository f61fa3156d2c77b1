//! Signatures of messages: many under one Init, in one part and in several.

use cryptoki_sys::*;

use super::{case, finish, need};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, must};
use crate::module::Rv;
use crate::newer_calls::Way;
use crate::sample_keys::Pair;
use crate::template::Mechanism;

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "sign-rsa",
        Must,
        "5.14.2 C_SignMessage, 5.16.2 C_VerifyMessage",
        "Many messages are signed under one Init and verified under another; each signature is its own message's.",
        |context| signs(context, CKM_SHA256_RSA_PKCS)
    ),
    case!(
        "sign-mac",
        Must,
        "5.14.2 C_SignMessage, 5.16.2 C_VerifyMessage",
        "As message/sign-rsa, by a MAC, which is that of C_Sign.",
        |context| signs(context, CKM_SHA256_HMAC)
    ),
    case!(
        "sign-parts",
        Must,
        "5.14.3 C_SignMessageBegin, 5.14.4 C_SignMessageNext, 5.16.3, 5.16.4",
        "A message in parts has the signature that it has in one call, and verifies in parts.",
        parts
    ),
    case!(
        "sign-states",
        Must,
        "5.14.1 C_MessageSignInit, 5.14.5 C_MessageSignFinal; CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED",
        "One Init until Final; without Init there is nothing to sign with and nothing to end.",
        states
    ),
];

/// The key pair for signing messages by this mechanism; a skip where the token does not claim both sides.
fn keys(session: &Session<'_>, kind: CK_MECHANISM_TYPE) -> Result<Pair, Stop> {
    need(session, kind, CKF_MESSAGE_SIGN, "CKF_MESSAGE_SIGN")?;
    need(session, kind, CKF_MESSAGE_VERIFY, "CKF_MESSAGE_VERIFY")?;
    if kind == CKM_SHA256_HMAC {
        let key = session.secret(&[9; 32], &[CKA_SIGN, CKA_VERIFY])?;
        return Ok(Pair { public: key, private: key });
    }
    session.known_rsa()
}

fn begin(session: &Session<'_>, kind: CK_MECHANISM_TYPE, keys: Pair) -> Outcome {
    for (way, key) in [(Way::Sign, keys.private), (Way::Verify, keys.public)] {
        let rv = session.message_init(way, &Mechanism::new(kind), key);
        check!(rv == Rv::OK, "C_Message{way:?}Init answered {rv}");
    }
    Ok(())
}

fn signs(context: &Context, kind: CK_MECHANISM_TYPE) -> Outcome {
    let session = context.user_session()?;
    let keys = keys(&session, kind)?;
    begin(&session, kind, keys)?;
    let messages: [&[u8]; 4] = [b"first", b"second", b"", b"a third one"];
    let mut signatures = Vec::new();
    for message in messages {
        signatures.push(must(session.sign_message(message), "C_SignMessage")?);
    }
    for (at, message) in messages.iter().enumerate() {
        for (other, signature) in signatures.iter().enumerate() {
            let rv = session.verify_message(message, signature);
            let good = if at == other { rv == Rv::OK } else { rv == Rv(CKR_SIGNATURE_INVALID) };
            check!(good, "C_VerifyMessage of message {at} with the signature of message {other} answered {rv}");
        }
        let rv = session.verify_message(message, &signatures[at][1..]);
        check!([CKR_SIGNATURE_LEN_RANGE, CKR_SIGNATURE_INVALID].contains(&rv.0), "a signature cut short: {rv}");
    }
    finish(&session, Way::Sign)?;
    finish(&session, Way::Verify)?;
    let single = must(session.whole(Deed::Sign, &Mechanism::new(kind), keys.private, messages[0]), "C_Sign")?;
    check!(single == signatures[0], "C_SignMessage and C_Sign give different signatures");
    Ok(())
}

fn parts(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let kind = CKM_SHA256_RSA_PKCS;
    let keys = keys(&session, kind)?;
    begin(&session, kind, keys)?;
    let single = must(session.sign_message(b"in several parts"), "C_SignMessage")?;
    for cut in [&[&b"in several parts"[..]][..], &[b"in ", b"several", b" parts"], &[b"", b"in several parts"]] {
        let signature = match session.sign_message_pieces(cut) {
            Err(Rv(CKR_FUNCTION_NOT_SUPPORTED)) => return Err(Stop::Skip("C_SignMessageBegin is not supported".into())),
            other => must(other, "C_SignMessageNext")?,
        };
        check!(signature == single, "the signature of a message in {} parts differs from the one in one call", cut.len());
        let rv = session.verify_message_pieces(cut, &single);
        check!(rv == Rv::OK, "C_VerifyMessageNext of {} parts answered {rv}", cut.len());
        let mut bent = single.clone();
        bent[0] ^= 1;
        let rv = session.verify_message_pieces(cut, &bent);
        check!(rv == Rv(CKR_SIGNATURE_INVALID), "C_VerifyMessageNext of a changed signature answered {rv}");
    }
    finish(&session, Way::Sign)?;
    finish(&session, Way::Verify)
}

fn states(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let kind = CKM_SHA256_RSA_PKCS;
    let keys = keys(&session, kind)?;
    begin(&session, kind, keys)?;
    for (way, key) in [(Way::Sign, keys.private), (Way::Verify, keys.public)] {
        let rv = session.message_init(way, &Mechanism::new(kind), key);
        check!(rv == Rv(CKR_OPERATION_ACTIVE), "C_Message{way:?}Init once more answered {rv}");
        finish(&session, way)?;
        let rv = session.message_final(way);
        check!(rv == Rv(CKR_OPERATION_NOT_INITIALIZED), "C_Message{way:?}Final once more answered {rv}");
    }
    let rv = code(session.sign_message(b"late"));
    check!(rv == Rv(CKR_OPERATION_NOT_INITIALIZED), "C_SignMessage after Final answered {rv}");
    let rv = session.verify_message(b"late", &[0; 256]);
    check!(rv == Rv(CKR_OPERATION_NOT_INITIALIZED), "C_VerifyMessage after Final answered {rv}");
    Ok(())
}
