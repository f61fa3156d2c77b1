//! The functions that came with 3.0 and 3.2: what `codes` asks of the older ones is asked of them, and signatures that are told beforehand.

use std::ptr::null_mut;

use cryptoki_sys::*;

use super::codes::{Answer, NO_MECHANISM};
use super::interface::supported;
use crate::case::{Case, Level, Outcome, Stop};
use crate::context::Context;
use crate::crypt::{Deed, must};
use crate::module::{Module, Rv};
use crate::run::step;
use crate::template::{Mechanism, Template};
use crate::{answers, check, ck_3_0, ck_3_2};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "codes/3.x-not-initialised",
        level: Level::Must,
        section: "3.2, 5.1.6 CKR_CRYPTOKI_NOT_INITIALIZED",
        says: "The functions of 3.0 and 3.2 answer CKR_CRYPTOKI_NOT_INITIALIZED before C_Initialize, as those of 2.40 do.",
        run: not_initialised,
    },
    Case {
        id: "codes/3.x-session-handle-invalid",
        level: Level::Must,
        section: "3.2, 5.1.2 CKR_SESSION_HANDLE_INVALID",
        says: "The functions of 3.0 and 3.2 answer CKR_SESSION_HANDLE_INVALID for a session that was closed.",
        run: session_handle_invalid,
    },
    Case {
        id: "codes/3.x-operation-not-initialised",
        level: Level::Must,
        section: "3.2, 5.1.6 CKR_OPERATION_NOT_INITIALIZED",
        says: "Each function of 3.0 and 3.2 that goes on with an operation answers CKR_OPERATION_NOT_INITIALIZED where none runs.",
        run: operation_not_initialised,
    },
    Case {
        id: "codes/3.x-mechanism-invalid",
        level: Level::Must,
        section: "3.2, 5.1.6 CKR_MECHANISM_INVALID",
        says: "A mechanism that does not exist is CKR_MECHANISM_INVALID for the functions of 3.0 and 3.2 too.",
        run: mechanism_invalid,
    },
    Case {
        id: "codes/3.x-key-handle-invalid",
        level: Level::Must,
        section: "3.2, 5.1.6 CKR_KEY_HANDLE_INVALID",
        says: "A handle that names no key is told as such by the functions of 3.0 and 3.2 that take one.",
        run: key_handle_invalid,
    },
    Case {
        id: "codes/3.x-async",
        level: Level::Must,
        section: "3.2, 5.21 asynchronous functions, CKR_SESSION_ASYNC_NOT_SUPPORTED",
        says: "In a session that was not opened for asynchronous calls there is none to ask for, to wait for or to join.",
        run: asynchronous,
    },
    Case {
        id: "security/null-3.x",
        level: Level::Security,
        section: "3.2, 5.1.6 CKR_ARGUMENTS_BAD",
        says: "As security/null-general, for the functions of 3.0 and 3.2.",
        run: null_arguments,
    },
    Case {
        id: "interface/verify-signature",
        level: Level::Must,
        section: "3.2, 5.15.7 C_VerifySignatureInit and its like",
        says: "A verification that is told the signature first says of each message what C_Verify says, in one part and in several, and ends.",
        run: verify_signature,
    },
];

/// A list of answers of one table's functions, each announced before it is called; empty where the module has no such table.
macro_rules! answers_of {
    ($call:ident, $module:expr; $($function:ident($($argument:expr),* $(,)?)),+ $(,)?) => {
        [$({
            step(stringify!($function));
            (stringify!($function), $call!($module, $function $(, $argument)*))
        }),+]
            .into_iter()
            .filter_map(|(name, answer)| Some((name, answer?)))
    };
}

/// Every function that goes on with an operation.
fn continuing(module: &Module, at: CK_SESSION_HANDLE) -> Vec<Answer> {
    let (mut bytes, mut n) = ([0; 64], 64);
    let (p, none) = (bytes.as_mut_ptr(), null_mut());
    let mut answers: Vec<Answer> = answers_of!(ck_3_0, module;
        C_EncryptMessage(at, none, 0, p, 0, p, 16, p, &mut n),
        C_EncryptMessageBegin(at, none, 0, p, 0),
        C_EncryptMessageNext(at, none, 0, p, 16, p, &mut n, 0),
        C_MessageEncryptFinal(at),
        C_DecryptMessage(at, none, 0, p, 0, p, 16, p, &mut n),
        C_DecryptMessageBegin(at, none, 0, p, 0),
        C_DecryptMessageNext(at, none, 0, p, 16, p, &mut n, 0),
        C_MessageDecryptFinal(at),
        C_SignMessage(at, none, 0, p, 16, p, &mut n),
        C_SignMessageBegin(at, none, 0),
        C_SignMessageNext(at, none, 0, p, 16, p, &mut n),
        C_MessageSignFinal(at),
        C_VerifyMessage(at, none, 0, p, 16, p, 16),
        C_VerifyMessageBegin(at, none, 0),
        C_VerifyMessageNext(at, none, 0, p, 16, p, 16),
        C_MessageVerifyFinal(at),
    )
    .collect();
    answers.extend(answers_of!(ck_3_2, module;
        C_VerifySignature(at, p, 16),
        C_VerifySignatureUpdate(at, p, 16),
        C_VerifySignatureFinal(at),
    ));
    answers
}

/// Every function that takes a mechanism and keys.
fn starting(module: &Module, at: CK_SESSION_HANDLE, kind: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE) -> Vec<Answer> {
    let (mut bytes, mut n, mut made) = ([0; 64], 64, 0);
    let (p, mut mechanism) = (bytes.as_mut_ptr(), Mechanism::new(kind).raw());
    let m = &mut mechanism;
    // A template that nothing can be said against.
    let mut template = Template::secret_key(CKK_GENERIC_SECRET, &[CKA_DERIVE]).ulong(CKA_VALUE_LEN, 32);
    let mut list = template.list();
    let (a, count) = (list.as_mut_ptr(), list.len() as CK_ULONG);
    let mut answers: Vec<Answer> = answers_of!(ck_3_0, module;
        C_MessageEncryptInit(at, m, key),
        C_MessageDecryptInit(at, m, key),
        C_MessageSignInit(at, m, key),
        C_MessageVerifyInit(at, m, key),
    )
    .collect();
    answers.extend(answers_of!(ck_3_2, module;
        C_EncapsulateKey(at, m, key, a, count, p, &mut n, &mut made),
        C_DecapsulateKey(at, m, key, a, count, p, 64, &mut made),
        C_VerifySignatureInit(at, m, key, p, 64),
        C_WrapKeyAuthenticated(at, m, key, key, p, 0, p, &mut n),
        C_UnwrapKeyAuthenticated(at, m, key, p, 32, a, count, p, 0, &mut made),
    ));
    answers
}

/// Every function on asynchronous calls.
fn async_functions(module: &Module, at: CK_SESSION_HANDLE) -> Vec<Answer> {
    let (mut bytes, mut n, mut name) = ([0; 64], 0, *b"C_Sign\0");
    let (p, name) = (bytes.as_mut_ptr(), name.as_mut_ptr());
    let mut data = CK_ASYNC_DATA { ulVersion: 0, pValue: p, ulValue: 64, hObject: 0, hAdditionalObject: 0 };
    answers_of!(ck_3_2, module;
        C_AsyncComplete(at, name, &mut data),
        C_AsyncGetID(at, name, &mut n),
        C_AsyncJoin(at, name, 1, p, 64),
    )
    .collect()
}

/// Every other function that takes a session.
fn others(module: &Module, at: CK_SESSION_HANDLE) -> Vec<Answer> {
    let (mut bytes, mut flags, user) = ([0; 64], 0, CKU_USER as CK_USER_TYPE);
    let p = bytes.as_mut_ptr();
    let mut answers: Vec<Answer> = answers_of!(ck_3_0, module;
        C_LoginUser(at, user, p, 8, p, 4),
        C_SessionCancel(at, CKF_ENCRYPT),
    )
    .collect();
    answers.extend(answers_of!(ck_3_2, module; C_GetSessionValidationFlags(at, CKS_LAST_VALIDATION_OK, &mut flags)));
    answers.extend(async_functions(module, at));
    answers
}

/// Every function of 3.x that starts an operation or goes on with one, in a session: which of them are supported at all.
pub(super) fn operations(module: &Module, at: CK_SESSION_HANDLE) -> Vec<Answer> {
    [starting(module, at, NO_MECHANISM, 0), continuing(module, at)].concat()
}

/// Fails with everything that gave none of the codes. A function that is not supported says so; where none is, there is nothing to hold.
fn all_give(answers: Vec<Answer>, codes: &[CK_RV]) -> Outcome {
    check_there(&answers)?;
    let all = answers.len();
    let offered: Vec<Answer> = answers.into_iter().filter(|(_, rv)| *rv != Rv(CKR_FUNCTION_NOT_SUPPORTED)).collect();
    if offered.is_empty() {
        return Err(Stop::Skip(format!("the module supports none of the functions ({all})")));
    }
    let wrong: Vec<Answer> = offered.into_iter().filter(|(_, rv)| !codes.contains(&rv.0)).collect();
    let expected: Vec<Rv> = codes.iter().map(|code| Rv(*code)).collect();
    check!(wrong.is_empty(), "expected {expected:?}, got: {wrong:?}");
    Ok(())
}

fn check_there(answers: &[Answer]) -> Outcome {
    if answers.is_empty() { Err(Stop::Skip("the module has no table with these functions".into())) } else { Ok(()) }
}

fn not_initialised(context: &Context) -> Outcome {
    let module = &context.module;
    let answers = [others(module, 1), starting(module, 1, CKM_SHA256, 1), continuing(module, 1)].concat();
    all_give(answers, &[CKR_CRYPTOKI_NOT_INITIALIZED])
}

fn session_handle_invalid(context: &Context) -> Outcome {
    let _open = context.session(true)?;
    let closed = context.session(true)?;
    let (module, at) = (&context.module, closed.handle);
    drop(closed);
    all_give(
        [others(module, at), starting(module, at, CKM_SHA256, 1), continuing(module, at)].concat(),
        &[CKR_SESSION_HANDLE_INVALID],
    )
}

fn operation_not_initialised(context: &Context) -> Outcome {
    let session = context.user_session()?;
    all_give(continuing(&context.module, session.handle), &[CKR_OPERATION_NOT_INITIALIZED])
}

fn mechanism_invalid(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = session.known_aes(&[1; 16], &[CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP])?;
    all_give(starting(&context.module, session.handle, NO_MECHANISM, key), &[CKR_MECHANISM_INVALID])
}

/// The mechanism by which each function can get as far as its key, and the flag that claims so.
const FOR_A_KEY: &[(&str, CK_MECHANISM_TYPE, CK_FLAGS)] = &[
    ("C_MessageEncryptInit", CKM_AES_GCM, CKF_MESSAGE_ENCRYPT),
    ("C_MessageDecryptInit", CKM_AES_GCM, CKF_MESSAGE_DECRYPT),
    ("C_MessageSignInit", CKM_SHA256_RSA_PKCS, CKF_MESSAGE_SIGN),
    ("C_MessageVerifyInit", CKM_SHA256_RSA_PKCS, CKF_MESSAGE_VERIFY),
    ("C_EncapsulateKey", CKM_ML_KEM, CKF_ENCAPSULATE),
    ("C_DecapsulateKey", CKM_ML_KEM, CKF_DECAPSULATE),
    ("C_VerifySignatureInit", CKM_RSA_PKCS, CKF_VERIFY),
];

fn key_handle_invalid(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let mut answers = Vec::new();
    for (function, kind, flag) in FOR_A_KEY {
        let claims = session.mechanism_info(*kind).is_ok_and(|info| info.flags & flag != 0);
        let asked = starting(&context.module, session.handle, *kind, 0xdead_beef);
        check_there(&asked)?;
        answers.extend(asked.into_iter().filter(|(name, _)| claims && name == function));
    }
    if answers.is_empty() {
        return Err(Stop::Skip("the token has no mechanism for these functions".into()));
    }
    all_give(answers, &[CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID])
}

fn asynchronous(context: &Context) -> Outcome {
    let session = context.session(true)?;
    all_give(async_functions(&context.module, session.handle), &[CKR_SESSION_ASYNC_NOT_SUPPORTED, CKR_OPERATION_NOT_INITIALIZED])
}

fn null_arguments(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let (module, at, none) = (&context.module, session.handle, null_mut());
    let (mut bytes, mut n, mut made) = ([0; 64], 64, 0);
    let p = bytes.as_mut_ptr();
    let mut mechanism = Mechanism::new(CKM_RSA_PKCS).raw();
    let mut answers: Vec<Answer> = answers_of!(ck_3_0, module;
        C_LoginUser(at, CKU_USER as CK_USER_TYPE, none, 8, p, 4),
        C_LoginUser(at, CKU_USER as CK_USER_TYPE, p, 8, none, 4),
        C_EncryptMessage(at, null_mut(), 48, none, 16, none, 16, none, null_mut()),
        C_DecryptMessage(at, null_mut(), 48, none, 16, none, 16, none, null_mut()),
        C_SignMessage(at, null_mut(), 48, none, 16, none, null_mut()),
        C_VerifyMessage(at, null_mut(), 48, none, 16, none, 16),
    )
    .collect();
    answers.extend(answers_of!(ck_3_2, module;
        C_EncapsulateKey(at, null_mut(), 1, null_mut(), 1, none, null_mut(), null_mut()),
        C_DecapsulateKey(at, null_mut(), 1, null_mut(), 1, none, 64, null_mut()),
        C_VerifySignatureInit(at, &mut mechanism, 1, none, 256),
        C_WrapKeyAuthenticated(at, null_mut(), 1, 1, none, 16, none, &mut n),
        C_UnwrapKeyAuthenticated(at, null_mut(), 1, none, 32, null_mut(), 1, none, 16, &mut made),
        C_GetSessionValidationFlags(at, CKS_LAST_VALIDATION_OK, null_mut()),
    ));
    check_there(&answers)?;
    if answers.iter().all(|(_, rv)| *rv == Rv(CKR_FUNCTION_NOT_SUPPORTED)) {
        return Err(Stop::Skip(format!("the module supports none of the functions ({})", answers.len())));
    }
    let granted: Vec<&str> = answers.iter().filter(|(_, rv)| *rv == Rv::OK).map(|(name, _)| *name).collect();
    check!(granted.is_empty(), "CKR_OK where an argument was missing: {}", granted.join(", "));
    Ok(())
}

fn verify_signature(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (module, at) = (&context.module, session.handle);
    session.need(CKM_SHA256_RSA_PKCS)?;
    let pair = session.known_rsa()?;
    let mut mechanism = Mechanism::new(CKM_SHA256_RSA_PKCS);
    let mut signature = must(session.whole(Deed::Sign, &mechanism, pair.private, b"message"), "C_Sign")?;
    let mut init = |signature: &mut Vec<u8>| {
        let (place, len, mut raw) = (signature.as_mut_ptr(), signature.len() as CK_ULONG, mechanism.raw());
        supported(ck_3_2!(module, C_VerifySignatureInit, at, &mut raw, pair.public, place, len), "C_VerifySignatureInit")
    };
    let whole = |data: &[u8]| {
        let mut data = data.to_vec();
        ck_3_2!(module, C_VerifySignature, at, data.as_mut_ptr(), data.len() as CK_ULONG).unwrap_or(Rv::OK)
    };
    answers!(init(&mut signature)?, [CKR_OK], "C_VerifySignatureInit");
    answers!(init(&mut signature)?, [CKR_OPERATION_ACTIVE], "C_VerifySignatureInit once more");
    answers!(whole(b"message"), [CKR_OK], "C_VerifySignature");
    answers!(whole(b"message"), [CKR_OPERATION_NOT_INITIALIZED], "C_VerifySignature once more");
    answers!(init(&mut signature)?, [CKR_OK], "C_VerifySignatureInit");
    answers!(whole(b"massage"), [CKR_SIGNATURE_INVALID], "C_VerifySignature of another message");
    answers!(init(&mut signature)?, [CKR_OK], "C_VerifySignatureInit");
    for piece in ["mess", "age"] {
        let mut piece = piece.as_bytes().to_vec();
        let rv = ck_3_2!(module, C_VerifySignatureUpdate, at, piece.as_mut_ptr(), piece.len() as CK_ULONG);
        answers!(rv.unwrap_or(Rv::OK), [CKR_OK], "C_VerifySignatureUpdate");
    }
    answers!(ck_3_2!(module, C_VerifySignatureFinal, at).unwrap_or(Rv::OK), [CKR_OK], "C_VerifySignatureFinal");
    signature.pop();
    match init(&mut signature)? {
        Rv(CKR_SIGNATURE_LEN_RANGE) => Ok(()),
        Rv::OK => {
            answers!(whole(b"message"), [CKR_SIGNATURE_LEN_RANGE, CKR_SIGNATURE_INVALID], "a signature without its last byte");
            Ok(())
        }
        rv => Err(Stop::Fail(format!("C_VerifySignatureInit with a signature without its last byte answered {rv}"))),
    }
}
