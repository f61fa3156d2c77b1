//! Message digests (PKCS#11 3.1, 5.12).

use cryptoki_sys::{CK_BYTE_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::call;
use super::memory::{Asked, Given};
use super::shape::{begin, drain, feed, transform};
use crate::session::Library;

/// Starts a digest. NULL for the mechanism ends the running one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DigestInit(session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { begin("C_DigestInit", session, mechanism, Library::digest_init) }
}

/// Digests in one part and ends the operation, unless it answers with a length only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_Digest(
    session: CK_SESSION_HANDLE,
    data: CK_BYTE_PTR,
    data_len: CK_ULONG,
    digest: CK_BYTE_PTR,
    digest_len: CK_ULONG_PTR,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { transform("C_Digest", session, Given(data, data_len), Asked(digest, digest_len), Library::digest) }
}

/// Digests one more part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DigestUpdate(session: CK_SESSION_HANDLE, part: CK_BYTE_PTR, part_len: CK_ULONG) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { feed("C_DigestUpdate", session, Given(part, part_len), Library::digest_update) }
}

/// Digests the value of a secret key as one more part.
#[unsafe(no_mangle)]
pub extern "C" fn C_DigestKey(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CK_RV {
    call("C_DigestKey", |module| module.library.digest_key(session, key))
}

/// Ends a digest in parts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DigestFinal(session: CK_SESSION_HANDLE, digest: CK_BYTE_PTR, digest_len: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { drain("C_DigestFinal", session, 0, Asked(digest, digest_len), Library::digest_final) }
}
