//! Encryption and decryption, alone and together with a second operation (PKCS#11 3.1, 5.8, 5.10 and 5.16).

use cryptoki_sys::{CK_BYTE_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::memory::{Asked, Given};
use super::shape::{begin, begin_opening, drain, transform};
use crate::ck::flags;
use crate::session::Library;

/// Starts an encryption with a key. NULL for the mechanism ends the running one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_EncryptInit(session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { begin("C_EncryptInit", session, mechanism, |library, session, how| library.encrypt_init(session, how, key)) }
}

/// Encrypts in one part and ends the operation, unless it answers with a length only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_Encrypt(
    session: CK_SESSION_HANDLE,
    data: CK_BYTE_PTR,
    data_len: CK_ULONG,
    encrypted: CK_BYTE_PTR,
    encrypted_len: CK_ULONG_PTR,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { transform("C_Encrypt", session, Given(data, data_len), Asked(encrypted, encrypted_len), Library::encrypt) }
}

/// Encrypts one more part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_EncryptUpdate(
    session: CK_SESSION_HANDLE,
    part: CK_BYTE_PTR,
    part_len: CK_ULONG,
    encrypted: CK_BYTE_PTR,
    encrypted_len: CK_ULONG_PTR,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe {
        transform("C_EncryptUpdate", session, Given(part, part_len), Asked(encrypted, encrypted_len), Library::encrypt_update)
    }
}

/// Ends an encryption in parts and gives what is left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_EncryptFinal(session: CK_SESSION_HANDLE, last: CK_BYTE_PTR, last_len: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { drain("C_EncryptFinal", session, flags::ENCRYPT, Asked(last, last_len), Library::encrypt_final) }
}

/// Starts a decryption with a key. NULL for the mechanism ends the running one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DecryptInit(session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { begin_opening("C_DecryptInit", session, mechanism, |library, session, how| library.decrypt_init(session, how, key)) }
}

/// Decrypts in one part and ends the operation, unless it answers with a length only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_Decrypt(
    session: CK_SESSION_HANDLE,
    encrypted: CK_BYTE_PTR,
    encrypted_len: CK_ULONG,
    data: CK_BYTE_PTR,
    data_len: CK_ULONG_PTR,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { transform("C_Decrypt", session, Given(encrypted, encrypted_len), Asked(data, data_len), Library::decrypt) }
}

/// Decrypts one more part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DecryptUpdate(
    session: CK_SESSION_HANDLE,
    encrypted: CK_BYTE_PTR,
    encrypted_len: CK_ULONG,
    part: CK_BYTE_PTR,
    part_len: CK_ULONG_PTR,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe {
        transform("C_DecryptUpdate", session, Given(encrypted, encrypted_len), Asked(part, part_len), Library::decrypt_update)
    }
}

/// Ends a decryption in parts and gives what is left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DecryptFinal(session: CK_SESSION_HANDLE, last: CK_BYTE_PTR, last_len: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { drain("C_DecryptFinal", session, flags::DECRYPT, Asked(last, last_len), Library::decrypt_final) }
}

/// Digests one more part and encrypts it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DigestEncryptUpdate(
    session: CK_SESSION_HANDLE,
    part: CK_BYTE_PTR,
    part_len: CK_ULONG,
    encrypted: CK_BYTE_PTR,
    encrypted_len: CK_ULONG_PTR,
) -> CK_RV {
    let (given, asked) = (Given(part, part_len), Asked(encrypted, encrypted_len));
    // SAFETY: the caller's promise.
    unsafe { transform("C_DigestEncryptUpdate", session, given, asked, Library::digest_encrypt_update) }
}

/// Decrypts one more part and digests what comes out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DecryptDigestUpdate(
    session: CK_SESSION_HANDLE,
    encrypted: CK_BYTE_PTR,
    encrypted_len: CK_ULONG,
    part: CK_BYTE_PTR,
    part_len: CK_ULONG_PTR,
) -> CK_RV {
    let (given, asked) = (Given(encrypted, encrypted_len), Asked(part, part_len));
    // SAFETY: the caller's promise.
    unsafe { transform("C_DecryptDigestUpdate", session, given, asked, Library::decrypt_digest_update) }
}

/// Signs one more part and encrypts it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SignEncryptUpdate(
    session: CK_SESSION_HANDLE,
    part: CK_BYTE_PTR,
    part_len: CK_ULONG,
    encrypted: CK_BYTE_PTR,
    encrypted_len: CK_ULONG_PTR,
) -> CK_RV {
    let (given, asked) = (Given(part, part_len), Asked(encrypted, encrypted_len));
    // SAFETY: the caller's promise.
    unsafe { transform("C_SignEncryptUpdate", session, given, asked, Library::sign_encrypt_update) }
}

/// Decrypts one more part and verifies what comes out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DecryptVerifyUpdate(
    session: CK_SESSION_HANDLE,
    encrypted: CK_BYTE_PTR,
    encrypted_len: CK_ULONG,
    part: CK_BYTE_PTR,
    part_len: CK_ULONG_PTR,
) -> CK_RV {
    let (given, asked) = (Given(encrypted, encrypted_len), Asked(part, part_len));
    // SAFETY: the caller's promise.
    unsafe { transform("C_DecryptVerifyUpdate", session, given, asked, Library::decrypt_verify_update) }
}
