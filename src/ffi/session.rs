//! Sessions and logins (PKCS#11 3.1, 5.6).

use cryptoki_sys::{
    CK_BYTE_PTR, CK_FLAGS, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_HANDLE_PTR, CK_SESSION_INFO,
    CK_SESSION_INFO_PTR, CK_SLOT_ID, CK_ULONG, CK_ULONG_PTR, CK_USER_TYPE, CK_UTF8CHAR_PTR, CK_VOID_PTR,
};

use super::call;
use super::memory::{self, Asked, Given, Place};
use super::module::Dialect;
use super::shape::drain;
use crate::error::Code;
use crate::session::Library;

/// Opens a session with the token in a slot. There are no notifications, so the callback is never called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: CK_VOID_PTR,
    _notify: CK_NOTIFY,
    session: CK_SESSION_HANDLE_PTR,
) -> CK_RV {
    call("C_OpenSession", |module| {
        // SAFETY: the caller's promise.
        let session = unsafe { Place::at(session, "phSession") }?;
        session.put(module.library.open_session(slot, flags)?);
        Ok(())
    })
}

/// Closes a session, and destroys the session objects that it made.
#[unsafe(no_mangle)]
pub extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    call("C_CloseSession", |module| module.library.close_session(session))
}

/// Closes every session with the token in a slot.
#[unsafe(no_mangle)]
pub extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    call("C_CloseAllSessions", |module| module.library.close_all_sessions(slot))
}

/// Tells what a session is and who is logged in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: CK_SESSION_INFO_PTR) -> CK_RV {
    call("C_GetSessionInfo", |module| {
        // SAFETY: the caller's promise.
        let place = unsafe { Place::at(info, "pInfo") }?;
        let info = module.library.session_info(session)?;
        place.put(CK_SESSION_INFO { slotID: info.slot, state: info.state, flags: info.flags, ulDeviceError: 0 });
        Ok(())
    })
}

/// Saves the state of the running operations.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetOperationState(session: CK_SESSION_HANDLE, state: CK_BYTE_PTR, state_len: CK_ULONG_PTR) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { drain("C_GetOperationState", session, 0, Asked(state, state_len), Library::operation_state) }
}

/// Takes up operations where a saved state left them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SetOperationState(
    session: CK_SESSION_HANDLE,
    state: CK_BYTE_PTR,
    state_len: CK_ULONG,
    encryption_key: CK_OBJECT_HANDLE,
    authentication_key: CK_OBJECT_HANDLE,
) -> CK_RV {
    call("C_SetOperationState", |module| {
        // SAFETY: the caller's promise.
        let state = unsafe { memory::bytes(Given(state, state_len), "pOperationState") }?;
        module.library.set_operation_state(session, state, encryption_key, authentication_key)
    })
}

/// Logs a user in: the application, in all its sessions with the token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user_type: CK_USER_TYPE,
    pin: CK_UTF8CHAR_PTR,
    pin_len: CK_ULONG,
) -> CK_RV {
    call("C_Login", |module| {
        // SAFETY: the caller's promise.
        let pin = unsafe { memory::pin(pin, pin_len, "pPin") }?;
        module.library.login(session, user_type, &pin)
    })
}

/// Logs a user in by name; without a name, as [`C_Login`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_LoginUser(
    session: CK_SESSION_HANDLE,
    user_type: CK_USER_TYPE,
    pin: CK_UTF8CHAR_PTR,
    pin_len: CK_ULONG,
    username: CK_UTF8CHAR_PTR,
    username_len: CK_ULONG,
) -> CK_RV {
    call("C_LoginUser", |module| {
        // SAFETY: the caller's promise.
        let pin = unsafe { memory::pin(pin, pin_len, "pPin") }?;
        // SAFETY: the caller's promise.
        let username = unsafe { memory::bytes(Given(username, username_len), "pUsername") }?;
        module.library.login_user(session, user_type, &pin, username)
    })
}

/// Logs the user out, in all sessions of the application with the token.
#[unsafe(no_mangle)]
pub extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    call("C_Logout", |module| match module.library.logout(session) {
        // SoftHSM has nothing against logging out twice.
        Err(error) if error.code() == Code::UserNotLoggedIn && module.dialect == Dialect::SoftHsm => Ok(()),
        answer => answer,
    })
}

/// Ends the running operations that the flags name.
#[unsafe(no_mangle)]
pub extern "C" fn C_SessionCancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) -> CK_RV {
    call("C_SessionCancel", |module| module.library.session_cancel(session, flags))
}

/// The security officer sets the user's PIN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_InitPIN(session: CK_SESSION_HANDLE, pin: CK_UTF8CHAR_PTR, pin_len: CK_ULONG) -> CK_RV {
    call("C_InitPIN", |module| {
        // SAFETY: the caller's promise.
        let pin = unsafe { memory::pin(pin, pin_len, "pPin") }?;
        module.library.init_pin(session, &pin)
    })
}

/// Changes the PIN of who is logged in, or the user's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SetPIN(
    session: CK_SESSION_HANDLE,
    old: CK_UTF8CHAR_PTR,
    old_len: CK_ULONG,
    new: CK_UTF8CHAR_PTR,
    new_len: CK_ULONG,
) -> CK_RV {
    call("C_SetPIN", |module| {
        // SAFETY: the caller's promise.
        let (old, new) = unsafe { (memory::pin(old, old_len, "pOldPin")?, memory::pin(new, new_len, "pNewPin")?) };
        module.library.set_pin(session, &old, &new)
    })
}
