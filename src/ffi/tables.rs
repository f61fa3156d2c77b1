//! The C functions as rows, the function lists and interfaces made of them, and the gate: the process's only statics.

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::fmt::{self, Display};
use std::mem::offset_of;
use std::sync::Once;

use cryptoki_sys::{
    CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_FUNCTION_LIST_PTR, CK_INTERFACE, CK_INTERFACE_PTR,
    CK_RV, CK_VERSION,
};

use super::gate::Gate;
use super::module::Module;
use crate::assemble;
use crate::error::{Error, Level};
use crate::sys::process::at_fork;

/// What C_Initialize made, if it has been called in this process.
pub static GATE: Gate<Module> = Gate::new();

/// From now on a fork waits for the calls that are inside.
pub fn watch_forks() {
    extern "C" fn before() {
        GATE.before_fork();
    }
    extern "C" fn after() {
        GATE.after_fork();
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| at_fork(before, after));
}

/// PKCS#11 2.40.
pub const VERSION_2_40: CK_VERSION = CK_VERSION { major: 2, minor: 40 };
/// PKCS#11 3.0; 3.1 has the same functions.
pub const VERSION_3_0: CK_VERSION = CK_VERSION { major: 3, minor: 0 };
/// PKCS#11 3.2. Also what `C_GetInfo` says: the newest interface that we have. Clients that know 2.40 only ask for
/// the major version to be at least 2.
pub const VERSION_3_2: CK_VERSION = CK_VERSION { major: 3, minor: 2 };

/// Which version of the standard brought a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    /// 2.40 or before.
    V2_40,
    /// 3.0.
    V3_0,
    /// 3.2.
    V3_2,
}

/// One C function.
pub struct Function {
    /// `C_*`.
    pub name: &'static str,
    /// In which function lists it is.
    pub since: Since,
    /// Types and names of its parameters.
    pub parameters: &'static [(&'static str, &'static str)],
}

macro_rules! functions {
    ($($since:ident $module:ident::$name:ident($($Type:ident $parameter:ident),*);)*) => {
        /// Every C function, in the order of the function lists.
        pub const FUNCTIONS: &[Function] = &[$(Function {
            name: stringify!($name),
            since: Since::$since,
            parameters: &[$((stringify!($Type), stringify!($parameter))),*],
        }),*];

        /// All functions under one version. The lists of older versions are beginnings of this one.
        const fn list(version: CK_VERSION) -> CK_FUNCTION_LIST_3_2 {
            CK_FUNCTION_LIST_3_2 { version, $($name: Some(super::$module::$name)),* }
        }

        /// Calls every function, in the same order, with arguments that a test draws.
        #[cfg(test)]
        pub const CALLS: &[fn(&mut super::tests::Arguments) -> CK_RV] = &[$(|arguments| {
            let function: unsafe extern "C" fn($(cryptoki_sys::$Type),*) -> CK_RV = super::$module::$name;
            // SAFETY: what is drawn keeps the caller's promise.
            unsafe { function($(<cryptoki_sys::$Type as super::tests::Argument>::draw(arguments)),*) }
        }),*];

        // The rows, of which the C header is made, say what the functions take.
        const _: () = {
            $(let _: unsafe extern "C" fn($(cryptoki_sys::$Type),*) -> CK_RV = super::$module::$name;)*
        };
    };
}

functions! {
    V2_40 general::C_Initialize(CK_VOID_PTR arguments);
    V2_40 general::C_Finalize(CK_VOID_PTR reserved);
    V2_40 general::C_GetInfo(CK_INFO_PTR info);
    V2_40 general::C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list);
    V2_40 slot::C_GetSlotList(CK_BBOOL token_present, CK_SLOT_ID_PTR slots, CK_ULONG_PTR count);
    V2_40 slot::C_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO_PTR info);
    V2_40 slot::C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info);
    V2_40 slot::C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE_PTR mechanisms, CK_ULONG_PTR count);
    V2_40 slot::C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE kind, CK_MECHANISM_INFO_PTR info);
    V2_40 slot::C_InitToken(CK_SLOT_ID slot, CK_UTF8CHAR_PTR pin, CK_ULONG pin_len, CK_UTF8CHAR_PTR label);
    V2_40 session::C_InitPIN(CK_SESSION_HANDLE session, CK_UTF8CHAR_PTR pin, CK_ULONG pin_len);
    V2_40 session::C_SetPIN(
        CK_SESSION_HANDLE session, CK_UTF8CHAR_PTR old_pin, CK_ULONG old_len, CK_UTF8CHAR_PTR new_pin, CK_ULONG new_len
    );
    V2_40 session::C_OpenSession(
        CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application, CK_NOTIFY notify, CK_SESSION_HANDLE_PTR session
    );
    V2_40 session::C_CloseSession(CK_SESSION_HANDLE session);
    V2_40 session::C_CloseAllSessions(CK_SLOT_ID slot);
    V2_40 session::C_GetSessionInfo(CK_SESSION_HANDLE session, CK_SESSION_INFO_PTR info);
    V2_40 session::C_GetOperationState(CK_SESSION_HANDLE session, CK_BYTE_PTR state, CK_ULONG_PTR state_len);
    V2_40 session::C_SetOperationState(
        CK_SESSION_HANDLE session, CK_BYTE_PTR state, CK_ULONG state_len, CK_OBJECT_HANDLE encryption_key,
        CK_OBJECT_HANDLE authentication_key
    );
    V2_40 session::C_Login(CK_SESSION_HANDLE session, CK_USER_TYPE user_type, CK_UTF8CHAR_PTR pin, CK_ULONG pin_len);
    V2_40 session::C_Logout(CK_SESSION_HANDLE session);
    V2_40 object::C_CreateObject(
        CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR attributes, CK_ULONG count, CK_OBJECT_HANDLE_PTR object
    );
    V2_40 object::C_CopyObject(
        CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR attributes, CK_ULONG count,
        CK_OBJECT_HANDLE_PTR copy
    );
    V2_40 object::C_DestroyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object);
    V2_40 object::C_GetObjectSize(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG_PTR size);
    V2_40 object::C_GetAttributeValue(
        CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR attributes, CK_ULONG count
    );
    V2_40 object::C_SetAttributeValue(
        CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR attributes, CK_ULONG count
    );
    V2_40 object::C_FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR attributes, CK_ULONG count);
    V2_40 object::C_FindObjects(
        CK_SESSION_HANDLE session, CK_OBJECT_HANDLE_PTR objects, CK_ULONG objects_max, CK_ULONG_PTR count
    );
    V2_40 object::C_FindObjectsFinal(CK_SESSION_HANDLE session);
    V2_40 cipher::C_EncryptInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V2_40 cipher::C_Encrypt(
        CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR encrypted, CK_ULONG_PTR encrypted_len
    );
    V2_40 cipher::C_EncryptUpdate(
        CK_SESSION_HANDLE session, CK_BYTE_PTR part, CK_ULONG part_len, CK_BYTE_PTR encrypted, CK_ULONG_PTR encrypted_len
    );
    V2_40 cipher::C_EncryptFinal(CK_SESSION_HANDLE session, CK_BYTE_PTR last, CK_ULONG_PTR last_len);
    V2_40 cipher::C_DecryptInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V2_40 cipher::C_Decrypt(
        CK_SESSION_HANDLE session, CK_BYTE_PTR encrypted, CK_ULONG encrypted_len, CK_BYTE_PTR data, CK_ULONG_PTR data_len
    );
    V2_40 cipher::C_DecryptUpdate(
        CK_SESSION_HANDLE session, CK_BYTE_PTR encrypted, CK_ULONG encrypted_len, CK_BYTE_PTR part, CK_ULONG_PTR part_len
    );
    V2_40 cipher::C_DecryptFinal(CK_SESSION_HANDLE session, CK_BYTE_PTR last, CK_ULONG_PTR last_len);
    V2_40 digest::C_DigestInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism);
    V2_40 digest::C_Digest(
        CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR digest, CK_ULONG_PTR digest_len
    );
    V2_40 digest::C_DigestUpdate(CK_SESSION_HANDLE session, CK_BYTE_PTR part, CK_ULONG part_len);
    V2_40 digest::C_DigestKey(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key);
    V2_40 digest::C_DigestFinal(CK_SESSION_HANDLE session, CK_BYTE_PTR digest, CK_ULONG_PTR digest_len);
    V2_40 sign::C_SignInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V2_40 sign::C_Sign(
        CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR signature, CK_ULONG_PTR signature_len
    );
    V2_40 sign::C_SignUpdate(CK_SESSION_HANDLE session, CK_BYTE_PTR part, CK_ULONG part_len);
    V2_40 sign::C_SignFinal(CK_SESSION_HANDLE session, CK_BYTE_PTR signature, CK_ULONG_PTR signature_len);
    V2_40 sign::C_SignRecoverInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V2_40 sign::C_SignRecover(
        CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR signature, CK_ULONG_PTR signature_len
    );
    V2_40 sign::C_VerifyInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V2_40 sign::C_Verify(
        CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR signature, CK_ULONG signature_len
    );
    V2_40 sign::C_VerifyUpdate(CK_SESSION_HANDLE session, CK_BYTE_PTR part, CK_ULONG part_len);
    V2_40 sign::C_VerifyFinal(CK_SESSION_HANDLE session, CK_BYTE_PTR signature, CK_ULONG signature_len);
    V2_40 sign::C_VerifyRecoverInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V2_40 sign::C_VerifyRecover(
        CK_SESSION_HANDLE session, CK_BYTE_PTR signature, CK_ULONG signature_len, CK_BYTE_PTR data, CK_ULONG_PTR data_len
    );
    V2_40 cipher::C_DigestEncryptUpdate(
        CK_SESSION_HANDLE session, CK_BYTE_PTR part, CK_ULONG part_len, CK_BYTE_PTR encrypted, CK_ULONG_PTR encrypted_len
    );
    V2_40 cipher::C_DecryptDigestUpdate(
        CK_SESSION_HANDLE session, CK_BYTE_PTR encrypted, CK_ULONG encrypted_len, CK_BYTE_PTR part, CK_ULONG_PTR part_len
    );
    V2_40 cipher::C_SignEncryptUpdate(
        CK_SESSION_HANDLE session, CK_BYTE_PTR part, CK_ULONG part_len, CK_BYTE_PTR encrypted, CK_ULONG_PTR encrypted_len
    );
    V2_40 cipher::C_DecryptVerifyUpdate(
        CK_SESSION_HANDLE session, CK_BYTE_PTR encrypted, CK_ULONG encrypted_len, CK_BYTE_PTR part, CK_ULONG_PTR part_len
    );
    V2_40 key::C_GenerateKey(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_ATTRIBUTE_PTR attributes, CK_ULONG count,
        CK_OBJECT_HANDLE_PTR key
    );
    V2_40 key::C_GenerateKeyPair(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_ATTRIBUTE_PTR public_attributes, CK_ULONG public_count,
        CK_ATTRIBUTE_PTR private_attributes, CK_ULONG private_count, CK_OBJECT_HANDLE_PTR public_key,
        CK_OBJECT_HANDLE_PTR private_key
    );
    V2_40 key::C_WrapKey(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE wrapping_key, CK_OBJECT_HANDLE key,
        CK_BYTE_PTR wrapped, CK_ULONG_PTR wrapped_len
    );
    V2_40 key::C_UnwrapKey(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE unwrapping_key, CK_BYTE_PTR wrapped,
        CK_ULONG wrapped_len, CK_ATTRIBUTE_PTR attributes, CK_ULONG count, CK_OBJECT_HANDLE_PTR key
    );
    V2_40 key::C_DeriveKey(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE base_key, CK_ATTRIBUTE_PTR attributes,
        CK_ULONG count, CK_OBJECT_HANDLE_PTR key
    );
    V2_40 random::C_SeedRandom(CK_SESSION_HANDLE session, CK_BYTE_PTR seed, CK_ULONG seed_len);
    V2_40 random::C_GenerateRandom(CK_SESSION_HANDLE session, CK_BYTE_PTR random, CK_ULONG random_len);
    V2_40 random::C_GetFunctionStatus(CK_SESSION_HANDLE session);
    V2_40 random::C_CancelFunction(CK_SESSION_HANDLE session);
    V2_40 slot::C_WaitForSlotEvent(CK_FLAGS flags, CK_SLOT_ID_PTR slot, CK_VOID_PTR reserved);
    V3_0 general::C_GetInterfaceList(CK_INTERFACE_PTR interfaces, CK_ULONG_PTR count);
    V3_0 general::C_GetInterface(CK_UTF8CHAR_PTR name, CK_VERSION_PTR version, CK_INTERFACE_PTR_PTR interface, CK_FLAGS flags);
    V3_0 session::C_LoginUser(
        CK_SESSION_HANDLE session, CK_USER_TYPE user_type, CK_UTF8CHAR_PTR pin, CK_ULONG pin_len, CK_UTF8CHAR_PTR username,
        CK_ULONG username_len
    );
    V3_0 session::C_SessionCancel(CK_SESSION_HANDLE session, CK_FLAGS flags);
    V3_0 message::C_MessageEncryptInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V3_0 message::C_EncryptMessage(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR associated,
        CK_ULONG associated_len, CK_BYTE_PTR plaintext, CK_ULONG plaintext_len, CK_BYTE_PTR ciphertext,
        CK_ULONG_PTR ciphertext_len
    );
    V3_0 message::C_EncryptMessageBegin(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR associated,
        CK_ULONG associated_len
    );
    V3_0 message::C_EncryptMessageNext(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR plaintext, CK_ULONG plaintext_len,
        CK_BYTE_PTR ciphertext, CK_ULONG_PTR ciphertext_len, CK_FLAGS flags
    );
    V3_0 message::C_MessageEncryptFinal(CK_SESSION_HANDLE session);
    V3_0 message::C_MessageDecryptInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V3_0 message::C_DecryptMessage(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR associated,
        CK_ULONG associated_len, CK_BYTE_PTR ciphertext, CK_ULONG ciphertext_len, CK_BYTE_PTR plaintext,
        CK_ULONG_PTR plaintext_len
    );
    V3_0 message::C_DecryptMessageBegin(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR associated,
        CK_ULONG associated_len
    );
    V3_0 message::C_DecryptMessageNext(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR ciphertext,
        CK_ULONG ciphertext_len, CK_BYTE_PTR plaintext, CK_ULONG_PTR plaintext_len, CK_FLAGS flags
    );
    V3_0 message::C_MessageDecryptFinal(CK_SESSION_HANDLE session);
    V3_0 message::C_MessageSignInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V3_0 message::C_SignMessage(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR data, CK_ULONG data_len,
        CK_BYTE_PTR signature, CK_ULONG_PTR signature_len
    );
    V3_0 message::C_SignMessageBegin(CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len);
    V3_0 message::C_SignMessageNext(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR data, CK_ULONG data_len,
        CK_BYTE_PTR signature, CK_ULONG_PTR signature_len
    );
    V3_0 message::C_MessageSignFinal(CK_SESSION_HANDLE session);
    V3_0 message::C_MessageVerifyInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
    V3_0 message::C_VerifyMessage(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR data, CK_ULONG data_len,
        CK_BYTE_PTR signature, CK_ULONG signature_len
    );
    V3_0 message::C_VerifyMessageBegin(CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len);
    V3_0 message::C_VerifyMessageNext(
        CK_SESSION_HANDLE session, CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE_PTR data, CK_ULONG data_len,
        CK_BYTE_PTR signature, CK_ULONG signature_len
    );
    V3_0 message::C_MessageVerifyFinal(CK_SESSION_HANDLE session);
    V3_2 message::C_EncapsulateKey(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE public_key, CK_ATTRIBUTE_PTR attributes,
        CK_ULONG count, CK_BYTE_PTR ciphertext, CK_ULONG_PTR ciphertext_len, CK_OBJECT_HANDLE_PTR key
    );
    V3_2 message::C_DecapsulateKey(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE private_key, CK_ATTRIBUTE_PTR attributes,
        CK_ULONG count, CK_BYTE_PTR ciphertext, CK_ULONG ciphertext_len, CK_OBJECT_HANDLE_PTR key
    );
    V3_2 message::C_VerifySignatureInit(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key, CK_BYTE_PTR signature,
        CK_ULONG signature_len
    );
    V3_2 message::C_VerifySignature(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_len);
    V3_2 message::C_VerifySignatureUpdate(CK_SESSION_HANDLE session, CK_BYTE_PTR part, CK_ULONG part_len);
    V3_2 message::C_VerifySignatureFinal(CK_SESSION_HANDLE session);
    V3_2 message::C_GetSessionValidationFlags(
        CK_SESSION_HANDLE session, CK_SESSION_VALIDATION_FLAGS_TYPE kind, CK_FLAGS_PTR flags
    );
    V3_2 message::C_AsyncComplete(CK_SESSION_HANDLE session, CK_UTF8CHAR_PTR function, CK_ASYNC_DATA_PTR result);
    V3_2 message::C_AsyncGetID(CK_SESSION_HANDLE session, CK_UTF8CHAR_PTR function, CK_ULONG_PTR id);
    V3_2 message::C_AsyncJoin(
        CK_SESSION_HANDLE session, CK_UTF8CHAR_PTR function, CK_ULONG id, CK_BYTE_PTR data, CK_ULONG data_len
    );
    V3_2 message::C_WrapKeyAuthenticated(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE wrapping_key, CK_OBJECT_HANDLE key,
        CK_BYTE_PTR associated, CK_ULONG associated_len, CK_BYTE_PTR wrapped, CK_ULONG_PTR wrapped_len
    );
    V3_2 message::C_UnwrapKeyAuthenticated(
        CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE unwrapping_key, CK_BYTE_PTR wrapped,
        CK_ULONG wrapped_len, CK_ATTRIBUTE_PTR attributes, CK_ULONG count, CK_BYTE_PTR associated, CK_ULONG associated_len,
        CK_OBJECT_HANDLE_PTR key
    );
}

const _: () = {
    assert!(offset_of!(CK_FUNCTION_LIST, C_WaitForSlotEvent) == offset_of!(CK_FUNCTION_LIST_3_2, C_WaitForSlotEvent));
    assert!(offset_of!(CK_FUNCTION_LIST_3_0, C_MessageVerifyFinal) == offset_of!(CK_FUNCTION_LIST_3_2, C_MessageVerifyFinal));
};

// Each list goes on with the functions of later versions, so that a client that takes the version of C_GetInfo for the list's, as
// some do, finds functions there and no chance bytes.
static LIST_2_40: CK_FUNCTION_LIST_3_2 = list(VERSION_2_40);
static LIST_3_0: CK_FUNCTION_LIST_3_2 = list(VERSION_3_0);
static LIST_3_2: CK_FUNCTION_LIST_3_2 = list(VERSION_3_2);

/// The name of all our interfaces.
pub const INTERFACE_NAME: &CStr = c"PKCS 11";

struct Interfaces([CK_INTERFACE; 3]);

// SAFETY: pointers to constants, which nobody writes.
unsafe impl Sync for Interfaces {}

/// The default one is what those get who name no version, so it is the one that most know: to OpenSC's pkcs11-spy (0.26) any other 3.x is NULL.
const ALL: [CK_INTERFACE; 3] = [interface_of(&LIST_3_0), interface_of(&LIST_3_2), interface_of(&LIST_2_40)];
static INTERFACES: Interfaces = Interfaces(ALL);

/// What `C_GetInterface` points to. It is the client's to write: OpenSC's pkcs11-spy puts a function list of its own there.
struct HandedOut(UnsafeCell<[CK_INTERFACE; 3]>);

// SAFETY: only its address is taken here; what clients do to it is between them.
unsafe impl Sync for HandedOut {}

static HANDED_OUT: HandedOut = HandedOut(UnsafeCell::new(ALL));

/// None of them promises `CKF_INTERFACE_FORK_SAFE`: whether a child keeps its parent's sessions is a matter of configuration, and a
/// client asks for interfaces before there is one.
const fn interface_of(list: &'static CK_FUNCTION_LIST_3_2) -> CK_INTERFACE {
    CK_INTERFACE {
        pInterfaceName: INTERFACE_NAME.as_ptr().cast_mut().cast(),
        pFunctionList: std::ptr::from_ref(list).cast_mut().cast(),
        flags: 0,
    }
}

/// The functions of 2.40.
pub fn function_list() -> CK_FUNCTION_LIST_PTR {
    std::ptr::from_ref(&LIST_2_40).cast_mut().cast()
}

/// All interfaces, the default one first.
pub fn interfaces() -> &'static [CK_INTERFACE] {
    &INTERFACES.0
}

/// The first interface of a version (any, if `None`) that has all the flags.
pub fn interface(version: Option<(u8, u8)>, flags: CK_FLAGS) -> Option<CK_INTERFACE_PTR> {
    const VERSIONS: [CK_VERSION; 3] = [VERSION_3_0, VERSION_3_2, VERSION_2_40];
    let mut all = interfaces().iter().zip(VERSIONS);
    let found =
        all.position(|(it, its)| version.is_none_or(|asked| asked == (its.major, its.minor)) && it.flags & flags == flags);
    found.map(|place| HANDED_OUT.0.get().cast::<CK_INTERFACE>().wrapping_add(place))
}

/// One line for the log about a failed call, as loud as its code deserves.
pub fn tell(name: &'static str, error: &Error) {
    let line = Failed { name, error };
    let level = error.code().level();
    let told = GATE.with(|module| (module.log)(level, &line));
    // Without a library there is no log; but why there is none, and what is our own mistake, must be known.
    if told.is_none() && (name == "C_Initialize" || level == Level::Error) {
        assemble::fallback_log()(level, &line);
    }
}

/// Name, explanation, code: `C_Login: the PIN is wrong (CKR_PIN_INCORRECT)`.
struct Failed<'a> {
    name: &'static str,
    error: &'a Error,
}

impl Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.name, self.error, self.error.code())
    }
}
