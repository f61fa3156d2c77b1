//! Return values that every function shares: no C_Initialize, no such session, no such operation, mechanism or key.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome};
use crate::check;
use crate::ck;
use crate::context::Context;
use crate::module::{Module, Rv};
use crate::template::Mechanism;

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "codes/not-initialised",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_CRYPTOKI_NOT_INITIALIZED",
        says: "Before C_Initialize every function but C_Initialize and those that give tables answers CKR_CRYPTOKI_NOT_INITIALIZED. \
               (C_GetFunctionStatus and C_CancelFunction may answer CKR_FUNCTION_NOT_PARALLEL.)",
        run: not_initialised,
    },
    Case {
        id: "codes/session-handle-invalid",
        level: Level::Must,
        section: "3.1, 5.1.2 CKR_SESSION_HANDLE_INVALID",
        says: "Every function that takes a session answers CKR_SESSION_HANDLE_INVALID for one that was closed.",
        run: session_handle_invalid,
    },
    Case {
        id: "codes/operation-not-initialised",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_OPERATION_NOT_INITIALIZED",
        says: "Every function that goes on with an operation answers CKR_OPERATION_NOT_INITIALIZED where none runs, in a session that is \
               otherwise in order.",
        run: operation_not_initialised,
    },
    Case {
        id: "codes/mechanism-invalid",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_MECHANISM_INVALID",
        says: "A mechanism that does not exist is CKR_MECHANISM_INVALID for every function that takes one.",
        run: mechanism_invalid,
    },
    Case {
        id: "codes/key-handle-invalid",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_KEY_HANDLE_INVALID, CKR_WRAPPING_KEY_HANDLE_INVALID, CKR_UNWRAPPING_KEY_HANDLE_INVALID",
        says: "A handle that names no key has a code of its own for each role. (CKR_OBJECT_HANDLE_INVALID says the same.)",
        run: key_handle_invalid,
    },
];

/// What became of one function.
pub(super) type Answer = (&'static str, Rv);

/// A list of answers: `answers_of!(module: C_Sign(h, place, 16, place, &mut len), …)`.
macro_rules! answers_of {
    ($module:expr; $($function:ident($($argument:expr),* $(,)?)),+ $(,)?) => {
        vec![$((stringify!($function), ck!($module, $function $(, $argument)*))),+]
    };
}

/// Room for whatever functions are asked to write.
struct Room {
    bytes: [u8; 256],
    len: CK_ULONG,
    number: CK_ULONG,
    other: CK_ULONG,
    mechanism: CK_MECHANISM,
    attribute: CK_ATTRIBUTE,
    session: CK_SESSION_INFO,
}

impl Room {
    fn new(mechanism: CK_MECHANISM_TYPE) -> Self {
        Self {
            bytes: [0; 256],
            len: 256,
            number: 0,
            other: 0,
            mechanism: Mechanism::new(mechanism).raw(),
            attribute: CK_ATTRIBUTE { type_: CKA_LABEL, pValue: null_mut(), ulValueLen: 0 },
            session: CK_SESSION_INFO::default(),
        }
    }
}

/// Every function that goes on with an operation.
fn continuing(module: &Module, at: CK_SESSION_HANDLE) -> Vec<Answer> {
    let mut room = Room::new(CKM_SHA256);
    let (p, mut n) = (room.bytes.as_mut_ptr(), room.len);
    answers_of!(module;
        C_FindObjects(at, &mut room.number, 1, &mut room.other),
        C_FindObjectsFinal(at),
        C_Encrypt(at, p, 16, p, &mut n),
        C_EncryptUpdate(at, p, 16, p, &mut n),
        C_EncryptFinal(at, p, &mut n),
        C_Decrypt(at, p, 16, p, &mut n),
        C_DecryptUpdate(at, p, 16, p, &mut n),
        C_DecryptFinal(at, p, &mut n),
        C_Digest(at, p, 16, p, &mut n),
        C_DigestUpdate(at, p, 16),
        C_DigestFinal(at, p, &mut n),
        C_Sign(at, p, 16, p, &mut n),
        C_SignUpdate(at, p, 16),
        C_SignFinal(at, p, &mut n),
        C_SignRecover(at, p, 16, p, &mut n),
        C_Verify(at, p, 16, p, 16),
        C_VerifyUpdate(at, p, 16),
        C_VerifyFinal(at, p, 16),
        C_VerifyRecover(at, p, 16, p, &mut n),
        C_DigestEncryptUpdate(at, p, 16, p, &mut n),
        C_DecryptDigestUpdate(at, p, 16, p, &mut n),
        C_SignEncryptUpdate(at, p, 16, p, &mut n),
        C_DecryptVerifyUpdate(at, p, 16, p, &mut n),
    )
}

/// Every function that takes a mechanism and keys, with handles that are told for each role.
fn starting(module: &Module, at: CK_SESSION_HANDLE, kind: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE) -> Vec<Answer> {
    let mut room = Room::new(kind);
    let (p, mut n, m) = (room.bytes.as_mut_ptr(), room.len, &mut room.mechanism);
    let (a, first, second) = (&mut room.attribute, &mut room.number, &mut room.other);
    answers_of!(module;
        C_EncryptInit(at, m, key),
        C_DecryptInit(at, m, key),
        C_SignInit(at, m, key),
        C_SignRecoverInit(at, m, key),
        C_VerifyInit(at, m, key),
        C_VerifyRecoverInit(at, m, key),
        C_WrapKey(at, m, key, key, p, &mut n),
        C_UnwrapKey(at, m, key, p, 32, a, 1, first),
        C_DeriveKey(at, m, key, a, 1, first),
        C_DigestInit(at, m),
        C_GenerateKey(at, m, a, 1, first),
        C_GenerateKeyPair(at, m, a, 1, a, 1, first, second),
    )
}

/// Every other function that takes a session.
fn others(module: &Module, at: CK_SESSION_HANDLE) -> Vec<Answer> {
    let mut room = Room::new(CKM_SHA256);
    let (p, mut n, a) = (room.bytes.as_mut_ptr(), room.len, &mut room.attribute);
    answers_of!(module;
        C_CloseSession(at),
        C_GetSessionInfo(at, &mut room.session),
        C_GetOperationState(at, p, &mut n),
        C_SetOperationState(at, p, 16, 0, 0),
        C_InitPIN(at, p, 8),
        C_SetPIN(at, p, 8, p, 8),
        C_Login(at, CKU_USER, p, 8),
        C_Logout(at),
        C_CreateObject(at, a, 1, &mut room.number),
        C_CopyObject(at, 1, a, 1, &mut room.number),
        C_DestroyObject(at, 1),
        C_GetObjectSize(at, 1, &mut n),
        C_GetAttributeValue(at, 1, a, 1),
        C_SetAttributeValue(at, 1, a, 1),
        C_FindObjectsInit(at, a, 1),
        C_DigestKey(at, 1),
        C_SeedRandom(at, p, 16),
        C_GenerateRandom(at, p, 16),
    )
}

/// Every function that takes no session.
fn without_session(module: &Module) -> Vec<Answer> {
    let (mut n, mut bytes) = (8, [0; 64]);
    let (mut info, mut slot, mut token) = (CK_INFO::default(), CK_SLOT_INFO::default(), CK_TOKEN_INFO::default());
    let (mut mechanism, mut handle, mut slots) = (CK_MECHANISM_INFO::default(), 0, [0; 8]);
    let p = bytes.as_mut_ptr();
    answers_of!(module;
        C_GetInfo(&mut info),
        C_GetSlotList(CK_FALSE, slots.as_mut_ptr(), &mut n),
        C_GetSlotInfo(0, &mut slot),
        C_GetTokenInfo(0, &mut token),
        C_GetMechanismList(0, null_mut(), &mut n),
        C_GetMechanismInfo(0, CKM_SHA256, &mut mechanism),
        C_InitToken(0, p, 8, p),
        C_OpenSession(0, CKF_SERIAL_SESSION, null_mut(), None, &mut handle),
        C_CloseAllSessions(0),
        C_WaitForSlotEvent(CKF_DONT_BLOCK, &mut n, null_mut()),
        C_Finalize(null_mut()),
    )
}

/// Every function that starts an operation or goes on with one, in a session: which of them are supported at all.
pub(super) fn operations(module: &Module, at: CK_SESSION_HANDLE) -> Vec<Answer> {
    [starting(module, at, NO_MECHANISM, 0), continuing(module, at)].concat()
}

/// Fails with everything that gave none of the codes; functions that are not supported say so whatever the state.
fn all_give(answers: Vec<Answer>, codes: &[CK_RV]) -> Outcome {
    let allowed = |rv: Rv| codes.contains(&rv.0) || rv == Rv(CKR_FUNCTION_NOT_SUPPORTED);
    let wrong: Vec<String> =
        answers.into_iter().filter(|(_, rv)| !allowed(*rv)).map(|(name, rv)| format!("{name} {rv}")).collect();
    let expected: Vec<Rv> = codes.iter().map(|code| Rv(*code)).collect();
    check!(wrong.is_empty(), "expected {expected:?}, got: {}", wrong.join(", "));
    Ok(())
}

fn not_initialised(context: &Context) -> Outcome {
    let module = &context.module;
    let mut answers = without_session(module);
    answers.extend(others(module, 1));
    answers.extend(starting(module, 1, CKM_SHA256, 1));
    answers.extend(continuing(module, 1));
    all_give(answers, &[CKR_CRYPTOKI_NOT_INITIALIZED])
}

fn session_handle_invalid(context: &Context) -> Outcome {
    let _open = context.session(true)?;
    let closed = context.session(true)?;
    let handle = closed.handle;
    drop(closed);
    let module = &context.module;
    let mut answers = others(module, handle);
    answers.extend(starting(module, handle, CKM_SHA256, 1));
    answers.extend(continuing(module, handle));
    all_give(answers, &[CKR_SESSION_HANDLE_INVALID])
}

fn operation_not_initialised(context: &Context) -> Outcome {
    let session = context.user_session()?;
    all_give(continuing(&context.module, session.handle), &[CKR_OPERATION_NOT_INITIALIZED])
}

/// Vendor-defined, and in nobody's list.
pub(super) const NO_MECHANISM: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | 0x7fff_fff0;

fn mechanism_invalid(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let uses = [CKA_ENCRYPT, CKA_DECRYPT];
    let key = session.known_aes(&[1; 16], &uses)?;
    let answers = starting(&context.module, session.handle, NO_MECHANISM, key);
    all_give(answers, &[CKR_MECHANISM_INVALID])?;
    let mut info = CK_MECHANISM_INFO::default();
    let rv = ck!(context.module, C_GetMechanismInfo, context.slot()?, NO_MECHANISM, &mut info);
    check!(rv == Rv(CKR_MECHANISM_INVALID), "C_GetMechanismInfo of no mechanism answered {rv}");
    Ok(())
}

fn key_handle_invalid(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_ECB)?;
    session.need(CKM_AES_CMAC)?;
    let (module, at, none) = (&context.module, session.handle, 0xdead_beef);
    let keyed = |kind, names: &[&str]| {
        let answers = starting(module, at, kind, none);
        answers.into_iter().filter(|(name, _)| names.contains(name)).collect::<Vec<_>>()
    };
    let mut answers = keyed(CKM_AES_ECB, &["C_EncryptInit", "C_DecryptInit"]);
    answers.extend(keyed(CKM_AES_CMAC, &["C_SignInit", "C_VerifyInit"]));
    all_give(answers, &[CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID])?;
    let mut info = CK_MECHANISM_INFO::default();
    let rv = ck!(module, C_GetMechanismInfo, context.slot()?, CKM_AES_KEY_WRAP, &mut info);
    if rv == Rv::OK && info.flags & CKF_WRAP != 0 {
        let wrapping = [CKR_WRAPPING_KEY_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID];
        all_give(keyed(CKM_AES_KEY_WRAP, &["C_WrapKey"]), &wrapping)?;
        let unwrapping = [CKR_UNWRAPPING_KEY_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID];
        all_give(keyed(CKM_AES_KEY_WRAP, &["C_UnwrapKey"]), &unwrapping)?;
    }
    Ok(())
}
