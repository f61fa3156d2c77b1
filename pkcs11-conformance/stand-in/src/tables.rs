//! The tables that the stand-in shows: those of the module beneath, with its own functions in them.

use std::sync::LazyLock;

use cryptoki_sys::*;

use crate::beneath::BENEATH;
use crate::{kem, message, plain};

struct Shown {
    old: CK_FUNCTION_LIST,
    new: CK_FUNCTION_LIST_3_2,
}

/// Puts functions into a table under their own names.
macro_rules! with {
    ($table:expr; $($room:ident: $($name:ident),*;)*) => {{
        let mut table = $table;
        $($(table.$name = Some($room::$name);)*)*
        table
    }};
}

static SHOWN: LazyLock<Shown> = LazyLock::new(|| Shown {
    old: with!(BENEATH.old;
        kem: C_GenerateKeyPair, C_CreateObject, C_GetAttributeValue;
        plain: C_GetSlotList, C_GetSlotInfo, C_GetTokenInfo, C_GetMechanismList, C_GetMechanismInfo, C_OpenSession, C_CloseSession,
            C_CloseAllSessions, C_Finalize, C_Logout, C_DestroyObject, C_SetAttributeValue, C_FindObjectsInit, C_FindObjects,
            C_EncryptInit, C_EncryptUpdate, C_EncryptFinal, C_GetOperationState, C_SetOperationState;
    ),
    new: with!(BENEATH.new;
        kem: C_GenerateKeyPair, C_CreateObject, C_GetAttributeValue, C_EncapsulateKey, C_DecapsulateKey;
        plain: C_GetSlotList, C_GetSlotInfo, C_GetTokenInfo, C_GetMechanismList, C_GetMechanismInfo, C_OpenSession, C_CloseSession,
            C_CloseAllSessions, C_Finalize, C_Logout, C_DestroyObject, C_SetAttributeValue, C_FindObjectsInit, C_FindObjects,
            C_EncryptInit, C_EncryptUpdate, C_EncryptFinal, C_GetOperationState, C_SetOperationState, C_LoginUser,
            C_GetSessionValidationFlags, C_VerifySignatureInit, C_VerifySignature, C_VerifySignatureUpdate, C_VerifySignatureFinal,
            C_AsyncComplete, C_AsyncGetID, C_AsyncJoin;
        message: C_MessageEncryptInit, C_MessageDecryptInit, C_MessageSignInit, C_MessageVerifyInit, C_MessageEncryptFinal,
            C_MessageDecryptFinal, C_MessageSignFinal, C_MessageVerifyFinal, C_EncryptMessage, C_DecryptMessage, C_EncryptMessageBegin,
            C_DecryptMessageBegin, C_EncryptMessageNext, C_DecryptMessageNext, C_SignMessage, C_SignMessageBegin, C_SignMessageNext,
            C_VerifyMessage, C_VerifyMessageBegin, C_VerifyMessageNext;
    ),
});

/// The interfaces, newest first.
struct Interfaces([CK_INTERFACE; 2]);

// SAFETY: pointers to tables and names that are never written to.
unsafe impl Sync for Interfaces {}
// SAFETY: as above.
unsafe impl Send for Interfaces {}

static NAME: [u8; 8] = *b"PKCS 11\0";
static INTERFACES: LazyLock<Interfaces> = LazyLock::new(|| {
    let named = |table: *const std::ffi::c_void| CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast_mut(),
        pFunctionList: table.cast_mut(),
        flags: 0,
    };
    Interfaces([named((&raw const SHOWN.new).cast()), named((&raw const SHOWN.old).cast())])
});

/// The table of 2.40.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut CK_FUNCTION_LIST_PTR) -> CK_RV {
    // SAFETY: the caller promises a place or NULL.
    let Some(list) = (unsafe { list.as_mut() }) else { return CKR_ARGUMENTS_BAD };
    *list = (&raw const SHOWN.old).cast_mut();
    CKR_OK
}

/// Both interfaces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterfaceList(list: CK_INTERFACE_PTR, count: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: the caller promises a place or NULL.
    let Some(told) = (unsafe { count.as_mut() }) else { return CKR_ARGUMENTS_BAD };
    let room = std::mem::replace(told, 2);
    if !list.is_null() && room < 2 {
        return CKR_BUFFER_TOO_SMALL;
    }
    if !list.is_null() {
        // SAFETY: the caller promises `room` places, which are enough.
        unsafe { list.copy_from_nonoverlapping(INTERFACES.0.as_ptr(), 2) };
    }
    CKR_OK
}

/// One of them by name and version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterface(
    name: CK_UTF8CHAR_PTR,
    version: CK_VERSION_PTR,
    interface: *mut CK_INTERFACE_PTR,
    flags: CK_FLAGS,
) -> CK_RV {
    // SAFETY: the caller promises a name that ends with NUL, or NULL.
    let named = name.is_null() || unsafe { std::ffi::CStr::from_ptr(name.cast()) }.to_bytes() == b"PKCS 11";
    // SAFETY: the caller promises a version or NULL.
    let version = unsafe { version.as_ref() };
    let at = INTERFACES.0.iter().position(|known| {
        // SAFETY: every table starts with its version.
        let own = unsafe { *known.pFunctionList.cast::<CK_VERSION>() };
        version.is_none_or(|asked| (asked.major, asked.minor) == (own.major, own.minor))
    });
    // SAFETY: the caller promises a place or NULL.
    match (at.filter(|_| named && flags == 0), unsafe { interface.as_mut() }) {
        (Some(at), Some(place)) => *place = (&raw const INTERFACES.0[at]).cast_mut(),
        _ => return CKR_FUNCTION_FAILED,
    }
    CKR_OK
}
