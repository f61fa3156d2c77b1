//! What PKCS#11 3.0 and 3.2 added and this module does not offer yet: messages, encapsulation, authenticated wrapping, detached
//! verification, asynchronous calls. Each answers as a function of the standard does, up to `CKR_FUNCTION_NOT_SUPPORTED`.

use cryptoki_sys::{
    CK_ASYNC_DATA_PTR, CK_ATTRIBUTE_PTR, CK_BYTE_PTR, CK_FLAGS, CK_FLAGS_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE,
    CK_OBJECT_HANDLE_PTR, CK_RV, CK_SESSION_HANDLE, CK_SESSION_VALIDATION_FLAGS_TYPE, CK_ULONG, CK_ULONG_PTR, CK_UTF8CHAR_PTR,
    CK_VOID_PTR,
};

use super::call;
use crate::error::{Code, refuse};

/// Defines functions that look at the session only.
macro_rules! not_supported {
    ($($name:ident($($Type:ty),*);)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`: `CKR_FUNCTION_NOT_SUPPORTED`.")]
            #[unsafe(no_mangle)]
            pub extern "C" fn $name(session: CK_SESSION_HANDLE $(, _: $Type)*) -> CK_RV {
                call(stringify!($name), |module| {
                    module.library.check_session(session)?;
                    Err(refuse(Code::FunctionNotSupported, "this module does not offer it"))
                })
            }
        )*
    };
}

not_supported! {
    C_MessageEncryptInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_EncryptMessage(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_EncryptMessageBegin(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_EncryptMessageNext(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR, CK_FLAGS);
    C_MessageEncryptFinal();
    C_MessageDecryptInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_DecryptMessage(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_DecryptMessageBegin(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_DecryptMessageNext(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR, CK_FLAGS);
    C_MessageDecryptFinal();
    C_MessageSignInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_SignMessage(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_SignMessageBegin(CK_VOID_PTR, CK_ULONG);
    C_SignMessageNext(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR);
    C_MessageSignFinal();
    C_MessageVerifyInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE);
    C_VerifyMessage(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_VerifyMessageBegin(CK_VOID_PTR, CK_ULONG);
    C_VerifyMessageNext(CK_VOID_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_MessageVerifyFinal();
    C_EncapsulateKey(
        CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_ATTRIBUTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR, CK_OBJECT_HANDLE_PTR
    );
    C_DecapsulateKey(CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_ATTRIBUTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_OBJECT_HANDLE_PTR);
    C_VerifySignatureInit(CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_BYTE_PTR, CK_ULONG);
    C_VerifySignature(CK_BYTE_PTR, CK_ULONG);
    C_VerifySignatureUpdate(CK_BYTE_PTR, CK_ULONG);
    C_VerifySignatureFinal();
    C_GetSessionValidationFlags(CK_SESSION_VALIDATION_FLAGS_TYPE, CK_FLAGS_PTR);
    C_AsyncComplete(CK_UTF8CHAR_PTR, CK_ASYNC_DATA_PTR);
    C_AsyncGetID(CK_UTF8CHAR_PTR, CK_ULONG_PTR);
    C_AsyncJoin(CK_UTF8CHAR_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG);
    C_WrapKeyAuthenticated(
        CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR
    );
    C_UnwrapKeyAuthenticated(
        CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_BYTE_PTR, CK_ULONG, CK_ATTRIBUTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG, CK_OBJECT_HANDLE_PTR
    );
}
