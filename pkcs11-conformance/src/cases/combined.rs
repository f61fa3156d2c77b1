//! Two operations over the same data, and operations that are put aside and taken up again.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, must};
use crate::module::Rv;
use crate::template::Mechanism;
use crate::use_keys::Transform;
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "operation/digest-encrypt",
        level: Level::Must,
        section: "3.1, 5.17.1 C_DigestEncryptUpdate, 5.17.2 C_DecryptDigestUpdate",
        says: "One call that digests and encrypts gives what two calls give; so does the way back, whose digest is that of the plaintext.",
        run: digest_encrypt,
    },
    Case {
        id: "operation/sign-encrypt",
        level: Level::Must,
        section: "3.1, 5.17.3 C_SignEncryptUpdate, 5.17.4 C_DecryptVerifyUpdate",
        says: "One call that signs and encrypts gives what two calls give, and the way back verifies the plaintext.",
        run: sign_encrypt,
    },
    Case {
        id: "operation/two-need-both",
        level: Level::Must,
        section: "3.1, 5.17",
        says: "A function for two operations needs both: with one of them it answers CKR_OPERATION_NOT_INITIALIZED.",
        run: two_need_both,
    },
    Case {
        id: "operation/state-goes-on",
        level: Level::Must,
        section: "3.1, 5.6.6 C_GetOperationState, 5.6.7 C_SetOperationState",
        says: "A digest that was saved half-way goes on in another session to the same result. A token may be unable to save.",
        run: state_goes_on,
    },
    Case {
        id: "operation/state-refused",
        level: Level::Security,
        section: "3.1, 5.6.7 C_SetOperationState, CKR_SAVED_STATE_INVALID",
        says: "A saved state that was changed or cut is CKR_SAVED_STATE_INVALID: what is restored must be what was saved.",
        run: state_refused,
    },
    Case {
        id: "operation/state-of-nothing",
        level: Level::Must,
        section: "3.1, 5.6.6 C_GetOperationState, CKR_OPERATION_NOT_INITIALIZED",
        says: "Where no operation runs there is no state to save.",
        run: state_of_nothing,
    },
    Case {
        id: "operation/state-of-a-cipher",
        level: Level::Security,
        section: "3.1, 5.6.7 C_SetOperationState, CKR_KEY_NEEDED, CKR_KEY_CHANGED",
        says: "A saved encryption goes on with its key and with no other, and not without one. A token may be unable to save it.",
        run: state_of_a_cipher,
    },
    Case {
        id: "operation/two-without-length",
        level: Level::Must,
        section: "3.1, 5.2, 5.17",
        says: "The functions for two operations answer CKR_ARGUMENTS_BAD where there is no place for the length.",
        run: two_without_length,
    },
];

const DATA: [u8; 32] = *b"thirty-two bytes are two blocks.";

fn sha256() -> Mechanism {
    Mechanism::new(CKM_SHA256)
}

fn cbc() -> Mechanism {
    Mechanism::with(CKM_AES_CBC, &[7; 16])
}

/// Skips where the module has no such functions: asked while nothing runs, since a token without them may run one operation a session.
fn need(session: &Session<'_>, functions: [(Option<Transform>, &str); 2]) -> Outcome {
    for (function, name) in functions {
        let (rv, _, _) = session.transform(function, &DATA, Some(64));
        if rv == Rv(CKR_FUNCTION_NOT_SUPPORTED) {
            return Err(Stop::Skip(format!("{name} is not supported")));
        }
        answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "{name} while nothing runs");
    }
    Ok(())
}

/// One call of a function for two operations, by the length protocol.
fn both(session: &Session<'_>, function: Option<Transform>, data: &[u8], name: &str) -> Result<Vec<u8>, Stop> {
    let (rv, told, _) = session.transform(function, data, None);
    answers!(rv, [CKR_OK], "{name} with a NULL buffer");
    check!(told >= data.len(), "{name} of {} bytes told {told}", data.len());
    let (rv, _, out) = session.transform(function, data, Some(1));
    answers!(rv, [CKR_BUFFER_TOO_SMALL], "{name} with a buffer of 1 byte");
    check!(out == [0xa5], "{name} wrote into a buffer that was too small");
    let (rv, len, mut out) = session.transform(function, data, Some(told));
    answers!(rv, [CKR_OK], "{name}");
    out.truncate(len);
    Ok(out)
}

fn started(session: &Session<'_>, deed: Deed, mechanism: &Mechanism, key: CK_OBJECT_HANDLE) -> Outcome {
    session.context.ok(session.init(deed, mechanism, key), &format!("the Init of {deed:?}"))
}

fn cipher_key(session: &Session<'_>) -> Result<CK_OBJECT_HANDLE, Stop> {
    session.need(CKM_AES_CBC)?;
    session.known_aes(&[5; 16], &[CKA_ENCRYPT, CKA_DECRYPT])
}

fn digest_encrypt(context: &Context) -> Outcome {
    let (session, functions) = (context.user_session()?, context.module.functions());
    need(
        &session,
        [(functions.C_DigestEncryptUpdate, "C_DigestEncryptUpdate"), (functions.C_DecryptDigestUpdate, "C_DecryptDigestUpdate")],
    )?;
    session.need(CKM_SHA256)?;
    let key = cipher_key(&session)?;
    let sealed = must(session.whole(Deed::Encrypt, &cbc(), key, &DATA), "C_Encrypt")?;
    let digest = must(session.whole(Deed::Digest, &sha256(), 0, &DATA), "C_Digest")?;
    for (deed, function, from, to, name) in [
        (Deed::Encrypt, functions.C_DigestEncryptUpdate, DATA.as_slice(), sealed.as_slice(), "C_DigestEncryptUpdate"),
        (Deed::Decrypt, functions.C_DecryptDigestUpdate, &sealed, &DATA, "C_DecryptDigestUpdate"),
    ] {
        started(&session, Deed::Digest, &sha256(), 0)?;
        started(&session, deed, &cbc(), key)?;
        let out = both(&session, function, from, name)?;
        check!(out == to, "{name} gave other bytes than the cipher alone");
        check!(must(session.end(deed), "the cipher's Final")?.is_empty(), "bytes were left after {name}");
        check!(must(session.end(Deed::Digest), "C_DigestFinal")? == digest, "{name} digested something else than the plaintext");
    }
    Ok(())
}

fn sign_encrypt(context: &Context) -> Outcome {
    let (session, functions) = (context.user_session()?, context.module.functions());
    need(
        &session,
        [(functions.C_SignEncryptUpdate, "C_SignEncryptUpdate"), (functions.C_DecryptVerifyUpdate, "C_DecryptVerifyUpdate")],
    )?;
    session.need(CKM_SHA256_HMAC)?;
    let key = cipher_key(&session)?;
    let signing = session.secret(&[9; 32], &[CKA_SIGN, CKA_VERIFY])?;
    let hmac = Mechanism::new(CKM_SHA256_HMAC);
    let sealed = must(session.whole(Deed::Encrypt, &cbc(), key, &DATA), "C_Encrypt")?;
    let mut mac = must(session.whole(Deed::Sign, &hmac, signing, &DATA), "C_Sign")?;
    started(&session, Deed::Sign, &hmac, signing)?;
    started(&session, Deed::Encrypt, &cbc(), key)?;
    let out = both(&session, functions.C_SignEncryptUpdate, &DATA, "C_SignEncryptUpdate")?;
    check!(out == sealed, "C_SignEncryptUpdate gave other bytes than the cipher alone");
    must(session.end(Deed::Encrypt), "C_EncryptFinal")?;
    check!(must(session.end(Deed::Sign), "C_SignFinal")? == mac, "C_SignEncryptUpdate signed something else than the plaintext");
    context.ok(session.verify_init(&hmac, signing), "C_VerifyInit")?;
    started(&session, Deed::Decrypt, &cbc(), key)?;
    let out = both(&session, functions.C_DecryptVerifyUpdate, &sealed, "C_DecryptVerifyUpdate")?;
    check!(out == DATA, "C_DecryptVerifyUpdate gave other bytes than the cipher alone");
    must(session.end(Deed::Decrypt), "C_DecryptFinal")?;
    let rv = ck!(context.module, C_VerifyFinal, session.handle, mac.as_mut_ptr(), mac.len() as CK_ULONG);
    answers!(rv, [CKR_OK], "C_VerifyFinal after C_DecryptVerifyUpdate");
    Ok(())
}

fn two_need_both(context: &Context) -> Outcome {
    let (session, functions) = (context.user_session()?, context.module.functions());
    session.need(CKM_SHA256)?;
    session.need(CKM_SHA256_HMAC)?;
    let key = cipher_key(&session)?;
    let signing = session.secret(&[9; 32], &[CKA_SIGN, CKA_VERIFY])?;
    let hmac = Mechanism::new(CKM_SHA256_HMAC);
    let alone = [
        (functions.C_DigestEncryptUpdate, Deed::Encrypt, cbc(), key, "C_DigestEncryptUpdate without a digest"),
        (functions.C_DigestEncryptUpdate, Deed::Digest, sha256(), 0, "C_DigestEncryptUpdate without an encryption"),
        (functions.C_DecryptDigestUpdate, Deed::Decrypt, cbc(), key, "C_DecryptDigestUpdate without a digest"),
        (functions.C_SignEncryptUpdate, Deed::Encrypt, cbc(), key, "C_SignEncryptUpdate without a signature"),
        (functions.C_SignEncryptUpdate, Deed::Sign, hmac, signing, "C_SignEncryptUpdate without an encryption"),
        (functions.C_DecryptVerifyUpdate, Deed::Decrypt, cbc(), key, "C_DecryptVerifyUpdate without a verification"),
    ];
    for (function, deed, mechanism, key, what) in alone {
        // A session for each: what was started goes with it.
        let session = context.session(false)?;
        started(&session, deed, &mechanism, key)?;
        let (rv, _, _) = session.transform(function, &DATA, Some(64));
        if rv == Rv(CKR_FUNCTION_NOT_SUPPORTED) {
            return Err(Stop::Skip(format!("the function is not supported: {what}")));
        }
        answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "{what}");
    }
    Ok(())
}

/// The state of a digest that has taken "ab"; a skip where the token cannot save it.
fn saved(session: &Session<'_>) -> Result<Vec<u8>, Stop> {
    session.need(CKM_SHA256)?;
    started(session, Deed::Digest, &sha256(), 0)?;
    must(session.update(Deed::Digest, b"ab"), "C_DigestUpdate")?;
    let (module, mut len) = (&session.context.module, 0);
    match ck!(module, C_GetOperationState, session.handle, null_mut(), &mut len) {
        Rv::OK => {}
        Rv(CKR_STATE_UNSAVEABLE | CKR_FUNCTION_NOT_SUPPORTED) => {
            return Err(Stop::Skip("the token does not save the state of a digest".into()));
        }
        rv => return Err(Stop::Fail(format!("C_GetOperationState with a NULL buffer answered {rv}"))),
    }
    let mut state = vec![0; len as usize];
    let mut short = 1;
    let rv = ck!(module, C_GetOperationState, session.handle, state.as_mut_ptr(), &mut short);
    answers!(rv, [CKR_BUFFER_TOO_SMALL], "C_GetOperationState with a buffer of 1 byte");
    let rv = ck!(module, C_GetOperationState, session.handle, state.as_mut_ptr(), &mut len);
    answers!(rv, [CKR_OK], "C_GetOperationState");
    state.truncate(len as usize);
    Ok(state)
}

fn restore(session: &Session<'_>, state: &[u8], key: CK_OBJECT_HANDLE) -> Rv {
    let mut state = state.to_vec();
    ck!(session.context.module, C_SetOperationState, session.handle, state.as_mut_ptr(), state.len() as CK_ULONG, 0, key)
}

fn state_goes_on(context: &Context) -> Outcome {
    let first = context.user_session()?;
    let state = saved(&first)?;
    let second = context.session(true)?;
    let key = second.secret(&[1; 16], &[CKA_SIGN])?;
    answers!(restore(&second, &state, key), [CKR_KEY_NOT_NEEDED, CKR_OK], "C_SetOperationState of a digest with a key");
    answers!(restore(&second, &state, 0), [CKR_OK], "C_SetOperationState");
    let expected = must(context.session(false)?.whole(Deed::Digest, &sha256(), 0, b"abc"), "C_Digest")?;
    for session in [&first, &second] {
        must(session.update(Deed::Digest, b"c"), "C_DigestUpdate")?;
        check!(must(session.end(Deed::Digest), "C_DigestFinal")? == expected, "the digest of \"ab\", saved, then \"c\" is wrong");
    }
    Ok(())
}

fn state_refused(context: &Context) -> Outcome {
    let first = context.user_session()?;
    let state = saved(&first)?;
    let session = context.session(true)?;
    let mut changed = state.clone();
    if let Some(byte) = changed.first_mut() {
        *byte ^= 0xff;
    }
    let cut = &state[..state.len() / 2];
    for (bytes, what) in [(changed.as_slice(), "a changed state"), (cut, "half a state"), (&[0x5a; 64], "no state at all")] {
        answers!(restore(&session, bytes, 0), [CKR_SAVED_STATE_INVALID], "C_SetOperationState of {what}");
    }
    Ok(())
}

fn state_of_nothing(context: &Context) -> Outcome {
    let (session, mut len) = (context.user_session()?, 0);
    let rv = ck!(context.module, C_GetOperationState, session.handle, null_mut(), &mut len);
    if rv == Rv(CKR_FUNCTION_NOT_SUPPORTED) {
        return Err(Stop::Skip("C_GetOperationState is not supported".into()));
    }
    answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "C_GetOperationState while nothing runs");
    Ok(())
}

fn state_of_a_cipher(context: &Context) -> Outcome {
    let (session, module) = (context.user_session()?, &context.module);
    let (key, other) = (cipher_key(&session)?, session.known_aes(&[0x77; 16], &[CKA_ENCRYPT])?);
    started(&session, Deed::Encrypt, &cbc(), key)?;
    let first = must(session.update(Deed::Encrypt, &DATA[..16]), "C_EncryptUpdate")?;
    let (mut state, mut len) = (vec![0; 1 << 12], 1 << 12);
    match ck!(module, C_GetOperationState, session.handle, state.as_mut_ptr(), &mut len) {
        Rv::OK => state.truncate(len as usize),
        Rv(CKR_STATE_UNSAVEABLE | CKR_FUNCTION_NOT_SUPPORTED) => {
            return Err(Stop::Skip("the token does not save the state of an encryption".into()));
        }
        rv => return Err(Stop::Fail(format!("C_GetOperationState of an encryption answered {rv}"))),
    }
    let again = context.session(true)?;
    let mut with = |key| ck!(module, C_SetOperationState, again.handle, state.as_mut_ptr(), state.len() as CK_ULONG, key, 0);
    answers!(with(0), [CKR_KEY_NEEDED], "C_SetOperationState of an encryption without its key");
    answers!(with(other), [CKR_KEY_CHANGED], "C_SetOperationState of an encryption with another key");
    answers!(with(key), [CKR_OK], "C_SetOperationState of an encryption");
    let rest = must(again.update(Deed::Encrypt, &DATA[16..]), "C_EncryptUpdate after C_SetOperationState")?;
    let whole = must(context.session(false)?.whole(Deed::Encrypt, &cbc(), key, &DATA), "C_Encrypt")?;
    check!([first, rest].concat() == whole, "an encryption that was saved half-way gives another ciphertext");
    Ok(())
}

fn two_without_length(context: &Context) -> Outcome {
    let (first, module) = (context.user_session()?, &context.module);
    first.need(CKM_SHA256)?;
    first.need(CKM_SHA256_HMAC)?;
    let (key, signing) = (cipher_key(&first)?, first.secret(&[9; 32], &[CKA_SIGN, CKA_VERIFY])?);
    let (mut data, mut out, hmac) = (DATA, [0; 64], Mechanism::new(CKM_SHA256_HMAC));
    let (from, to, none) = (data.as_mut_ptr(), out.as_mut_ptr(), null_mut());
    let digest = |session: &Session<'_>| started(session, Deed::Digest, &sha256(), 0);
    let sign = |session: &Session<'_>| started(session, Deed::Sign, &hmac, signing);
    let verify = |session: &Session<'_>| context.ok(session.verify_init(&hmac, signing), "C_VerifyInit");
    type Begins<'a> = &'a dyn Fn(&Session<'_>) -> Outcome;
    type Calls<'a> = &'a dyn Fn(CK_SESSION_HANDLE) -> Rv;
    let trials: [(&str, Deed, Begins<'_>, Calls<'_>); 4] = [
        ("C_DigestEncryptUpdate", Deed::Encrypt, &digest, &|at| ck!(module, C_DigestEncryptUpdate, at, from, 32, to, none)),
        ("C_DecryptDigestUpdate", Deed::Decrypt, &digest, &|at| ck!(module, C_DecryptDigestUpdate, at, from, 32, to, none)),
        ("C_SignEncryptUpdate", Deed::Encrypt, &sign, &|at| ck!(module, C_SignEncryptUpdate, at, from, 32, to, none)),
        ("C_DecryptVerifyUpdate", Deed::Decrypt, &verify, &|at| ck!(module, C_DecryptVerifyUpdate, at, from, 32, to, none)),
    ];
    for (name, deed, begins, calls) in trials {
        let session = context.session(false)?;
        if calls(session.handle) == Rv(CKR_FUNCTION_NOT_SUPPORTED) {
            return Err(Stop::Skip(format!("{name} is not supported")));
        }
        started(&session, deed, &cbc(), key)?;
        begins(&session)?;
        answers!(calls(session.handle), [CKR_ARGUMENTS_BAD], "{name} without a place for the length");
    }
    Ok(())
}
