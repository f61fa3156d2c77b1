//! Signatures and MACs, with and without message recovery (PKCS#11 3.1, 5.13 and 5.15).

use cryptoki_sys::{CK_BYTE_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::call;
use super::memory::{self, Asked, Given};
use super::shape::{begin, drain, feed, transform};
use crate::session::Library;

/// Starts a signature with a key. NULL for the mechanism ends the running one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SignInit(session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { begin("C_SignInit", session, mechanism, |library, session, how| library.sign_init(session, how, key)) }
}

/// Signs in one part and ends the operation, unless it answers with a length only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: CK_BYTE_PTR,
    data_len: CK_ULONG,
    signature: CK_BYTE_PTR,
    signature_len: CK_ULONG_PTR,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { transform("C_Sign", session, Given(data, data_len), Asked(signature, signature_len), Library::sign) }
}

/// Signs one more part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SignUpdate(session: CK_SESSION_HANDLE, part: CK_BYTE_PTR, part_len: CK_ULONG) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { feed("C_SignUpdate", session, Given(part, part_len), Library::sign_update) }
}

/// Ends a signature in parts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SignFinal(session: CK_SESSION_HANDLE, signature: CK_BYTE_PTR, signature_len: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { drain("C_SignFinal", session, 0, Asked(signature, signature_len), Library::sign_final) }
}

/// Starts a signature from which the data can be recovered. NULL for the mechanism ends the running one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SignRecoverInit(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe {
        begin("C_SignRecoverInit", session, mechanism, |library, session, how| library.sign_recover_init(session, how, key))
    }
}

/// Signs in one part and ends the operation, unless it answers with a length only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SignRecover(
    session: CK_SESSION_HANDLE,
    data: CK_BYTE_PTR,
    data_len: CK_ULONG,
    signature: CK_BYTE_PTR,
    signature_len: CK_ULONG_PTR,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { transform("C_SignRecover", session, Given(data, data_len), Asked(signature, signature_len), Library::sign_recover) }
}

/// Starts a verification with a key. NULL for the mechanism ends the running one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_VerifyInit(session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { begin("C_VerifyInit", session, mechanism, |library, session, how| library.verify_init(session, how, key)) }
}

/// Verifies in one part and ends the operation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_Verify(
    session: CK_SESSION_HANDLE,
    data: CK_BYTE_PTR,
    data_len: CK_ULONG,
    signature: CK_BYTE_PTR,
    signature_len: CK_ULONG,
) -> CK_RV {
    call("C_Verify", |module| {
        // SAFETY: the caller's promise.
        let data = unsafe { memory::bytes(Given(data, data_len), "pData") }?;
        // SAFETY: the caller's promise.
        let signature = unsafe { memory::bytes(Given(signature, signature_len), "pSignature") }?;
        module.library.verify(session, data, signature)
    })
}

/// Verifies one more part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_VerifyUpdate(session: CK_SESSION_HANDLE, part: CK_BYTE_PTR, part_len: CK_ULONG) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { feed("C_VerifyUpdate", session, Given(part, part_len), Library::verify_update) }
}

/// Ends a verification in parts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_VerifyFinal(session: CK_SESSION_HANDLE, signature: CK_BYTE_PTR, signature_len: CK_ULONG) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { feed("C_VerifyFinal", session, Given(signature, signature_len), Library::verify_final) }
}

/// Starts a verification that gives the data back. NULL for the mechanism ends the running one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_VerifyRecoverInit(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe {
        begin("C_VerifyRecoverInit", session, mechanism, |library, session, how| library.verify_recover_init(session, how, key))
    }
}

/// Verifies in one part, gives the data back and ends the operation, unless it answers with a length only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_VerifyRecover(
    session: CK_SESSION_HANDLE,
    signature: CK_BYTE_PTR,
    signature_len: CK_ULONG,
    data: CK_BYTE_PTR,
    data_len: CK_ULONG_PTR,
) -> CK_RV {
    let (given, asked) = (Given(signature, signature_len), Asked(data, data_len));
    // SAFETY: the caller's promise.
    unsafe { transform("C_VerifyRecover", session, given, asked, Library::verify_recover) }
}
