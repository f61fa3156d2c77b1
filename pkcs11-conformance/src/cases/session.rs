//! Sessions and logins: states, transitions, and who may do what in which state.

use std::ptr;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::module::Rv;
use crate::{answers, check, ck};

const SO: CK_USER_TYPE = CKU_SO as CK_USER_TYPE;
const USER: CK_USER_TYPE = CKU_USER as CK_USER_TYPE;
const CONTEXT_SPECIFIC: CK_USER_TYPE = CKU_CONTEXT_SPECIFIC as CK_USER_TYPE;

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "session/parallel",
        level: Level::Must,
        section: "3.1, 5.6.1 C_OpenSession",
        says: "CKF_SERIAL_SESSION must be set, for historical reasons; without it C_OpenSession answers CKR_SESSION_PARALLEL_NOT_SUPPORTED.",
        run: parallel,
    },
    Case {
        id: "session/bad-slot",
        level: Level::Must,
        section: "3.1, 5.6.1 C_OpenSession",
        says: "A number that names no slot answers CKR_SLOT_ID_INVALID.",
        run: bad_slot,
    },
    Case {
        id: "session/null-handle-pointer",
        level: Level::Must,
        section: "3.1, 5.6.1 C_OpenSession",
        says: "A NULL place for the handle answers CKR_ARGUMENTS_BAD instead of writing through it.",
        run: null_handle_pointer,
    },
    Case {
        id: "session/closed-handle",
        level: Level::Must,
        section: "3.1, 5.6.2 C_CloseSession",
        says: "A session that was closed is no longer known: CKR_SESSION_HANDLE_INVALID from every function.",
        run: closed_handle,
    },
    Case {
        id: "session/handle-zero",
        level: Level::Must,
        section: "3.1, 3.3 CK_SESSION_HANDLE",
        says: "CK_INVALID_HANDLE (0) is never a session.",
        run: handle_zero,
    },
    Case {
        id: "session/states",
        level: Level::Must,
        section: "3.1, 5.6.4 C_GetSessionInfo and table of session states",
        says: "Public, user and SO states of read-only and read-write sessions are reported as the standard's table has them, \
               and all sessions of an application change together.",
        run: states,
    },
    Case {
        id: "session/so-beside-read-only",
        level: Level::Must,
        section: "3.1, 5.6.8 C_Login",
        says: "The SO cannot log in while a read-only session is open (CKR_SESSION_READ_ONLY_EXISTS), and no read-only session opens \
               while the SO is logged in (CKR_SESSION_READ_WRITE_SO_EXISTS).",
        run: so_beside_read_only,
    },
    Case {
        id: "session/login-twice",
        level: Level::Must,
        section: "3.1, 5.6.8 C_Login",
        says: "A second login of the same user answers CKR_USER_ALREADY_LOGGED_IN, of another one CKR_USER_ANOTHER_ALREADY_LOGGED_IN.",
        run: login_twice,
    },
    Case {
        id: "session/login-wrong-type",
        level: Level::Must,
        section: "3.1, 5.6.8 C_Login",
        says: "A user type that does not exist answers CKR_USER_TYPE_INVALID.",
        run: login_wrong_type,
    },
    Case {
        id: "session/login-wrong-pin",
        level: Level::Must,
        section: "3.1, 5.6.8 C_Login",
        says: "A wrong PIN answers CKR_PIN_INCORRECT and leaves the session public; a right one afterwards works.",
        run: login_wrong_pin,
    },
    Case {
        id: "session/logout-without-login",
        level: Level::Must,
        section: "3.1, 5.6.10 C_Logout",
        says: "C_Logout without a login answers CKR_USER_NOT_LOGGED_IN.",
        run: logout_without_login,
    },
    Case {
        id: "session/context-specific-without-operation",
        level: Level::Must,
        section: "3.1, 5.6.8 C_Login",
        says: "A context-specific login without an operation that waits for it answers CKR_OPERATION_NOT_INITIALIZED.",
        run: context_specific_without_operation,
    },
    Case {
        id: "session/last-close-logs-out",
        level: Level::Must,
        section: "3.1, 5.6.2 C_CloseSession",
        says: "Closing an application's last session on a token logs it out.",
        run: last_close_logs_out,
    },
    Case {
        id: "session/close-all",
        level: Level::Must,
        section: "3.1, 5.6.3 C_CloseAllSessions",
        says: "C_CloseAllSessions closes every session of the slot and logs out.",
        run: close_all,
    },
    Case {
        id: "session/init-pin-needs-so",
        level: Level::Must,
        section: "3.1, 5.5.8 C_InitPIN",
        says: "Only the logged-in SO sets the user's PIN; everybody else gets CKR_USER_NOT_LOGGED_IN.",
        run: init_pin_needs_so,
    },
    Case {
        id: "session/init-token-with-sessions",
        level: Level::Must,
        section: "3.1, 5.5.7 C_InitToken",
        says: "A token with an open session is not initialised again: CKR_SESSION_EXISTS.",
        run: init_token_with_sessions,
    },
];

fn parallel(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let mut handle = 0;
    let slot = context.slot()?;
    let rv = ck!(context.module, C_OpenSession, slot, CKF_RW_SESSION as CK_FLAGS, ptr::null_mut(), None, &mut handle);
    answers!(rv, [CKR_SESSION_PARALLEL_NOT_SUPPORTED], "C_OpenSession without CKF_SERIAL_SESSION");
    Ok(())
}

fn bad_slot(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let slots = context.slots(false)?;
    let unused = (0..).map(|at| 0x7fff_0000 + at).find(|slot| !slots.contains(slot)).unwrap_or_default();
    let mut handle = 0;
    let rv = ck!(context.module, C_OpenSession, unused, CKF_SERIAL_SESSION as CK_FLAGS, ptr::null_mut(), None, &mut handle);
    answers!(rv, [CKR_SLOT_ID_INVALID], "C_OpenSession on slot {unused:#x}");
    let mut info = CK_SLOT_INFO::default();
    answers!(ck!(context.module, C_GetSlotInfo, unused, &mut info), [CKR_SLOT_ID_INVALID], "C_GetSlotInfo of slot {unused:#x}");
    let mut info = CK_TOKEN_INFO::default();
    answers!(ck!(context.module, C_GetTokenInfo, unused, &mut info), [CKR_SLOT_ID_INVALID], "C_GetTokenInfo of slot {unused:#x}");
    Ok(())
}

fn null_handle_pointer(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let slot = context.slot()?;
    let rv = ck!(context.module, C_OpenSession, slot, CKF_SERIAL_SESSION as CK_FLAGS, ptr::null_mut(), None, ptr::null_mut());
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_OpenSession without a place for the handle");
    Ok(())
}

fn closed_handle(context: &Context) -> Outcome {
    let session = context.session(false)?;
    answers!(ck!(context.module, C_CloseSession, session.handle), [CKR_OK], "C_CloseSession");
    answers!(ck!(context.module, C_CloseSession, session.handle), [CKR_SESSION_HANDLE_INVALID], "C_CloseSession once more");
    let mut info = CK_SESSION_INFO::default();
    answers!(ck!(context.module, C_GetSessionInfo, session.handle, &mut info), [CKR_SESSION_HANDLE_INVALID], "C_GetSessionInfo");
    answers!(
        ck!(context.module, C_FindObjectsInit, session.handle, ptr::null_mut(), 0),
        [CKR_SESSION_HANDLE_INVALID],
        "C_FindObjectsInit"
    );
    let mut byte = 0;
    answers!(
        ck!(context.module, C_GenerateRandom, session.handle, &mut byte, 1),
        [CKR_SESSION_HANDLE_INVALID],
        "C_GenerateRandom"
    );
    Ok(())
}

fn handle_zero(context: &Context) -> Outcome {
    let _session = context.session(false)?;
    let mut info = CK_SESSION_INFO::default();
    answers!(ck!(context.module, C_GetSessionInfo, 0, &mut info), [CKR_SESSION_HANDLE_INVALID], "C_GetSessionInfo of session 0");
    Ok(())
}

pub(super) fn state(session: &Session<'_>) -> Result<CK_STATE, Stop> {
    let mut info = CK_SESSION_INFO::default();
    session.context.ok(ck!(session.context.module, C_GetSessionInfo, session.handle, &mut info), "C_GetSessionInfo")?;
    Ok(info.state)
}

fn expect_states(sessions: &[(&Session<'_>, u64)], when: &str) -> Outcome {
    for (session, expected) in sessions {
        let state = state(session)?;
        check!(state == *expected as CK_STATE, "{when}: session {} is in state {state}, expected {expected}", session.handle);
    }
    Ok(())
}

fn states(context: &Context) -> Outcome {
    let read_only = context.session(false)?;
    let read_write = context.session(true)?;
    let public = [(&read_only, CKS_RO_PUBLIC_SESSION), (&read_write, CKS_RW_PUBLIC_SESSION)];
    expect_states(&public, "before login")?;
    answers!(read_only.login(USER, &context.settings.pin), [CKR_OK], "C_Login as user");
    let user = [(&read_only, CKS_RO_USER_FUNCTIONS), (&read_write, CKS_RW_USER_FUNCTIONS)];
    expect_states(&user, "after the user's login")?;
    answers!(read_write.logout(), [CKR_OK], "C_Logout through the other session");
    expect_states(&public, "after logout")?;
    drop(read_only);
    answers!(read_write.login(SO, &context.settings.so_pin), [CKR_OK], "C_Login as SO");
    expect_states(&[(&read_write, CKS_RW_SO_FUNCTIONS)], "after the SO's login")
}

fn so_beside_read_only(context: &Context) -> Outcome {
    let read_write = context.session(true)?;
    let read_only = context.session(false)?;
    answers!(
        read_write.login(SO, &context.settings.so_pin),
        [CKR_SESSION_READ_ONLY_EXISTS],
        "C_Login as SO beside a read-only session"
    );
    drop(read_only);
    answers!(read_write.login(SO, &context.settings.so_pin), [CKR_OK], "C_Login as SO");
    let mut handle = 0;
    let slot = context.slot()?;
    let rv = ck!(context.module, C_OpenSession, slot, CKF_SERIAL_SESSION as CK_FLAGS, ptr::null_mut(), None, &mut handle);
    answers!(rv, [CKR_SESSION_READ_WRITE_SO_EXISTS], "C_OpenSession read-only beside the SO");
    Ok(())
}

fn login_twice(context: &Context) -> Outcome {
    let session = context.session(true)?;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login as user");
    answers!(session.login(USER, &context.settings.pin), [CKR_USER_ALREADY_LOGGED_IN], "C_Login as user once more");
    let rv = session.login(SO, &context.settings.so_pin);
    answers!(rv, [CKR_USER_ANOTHER_ALREADY_LOGGED_IN], "C_Login as SO beside the user");
    Ok(())
}

fn login_wrong_type(context: &Context) -> Outcome {
    let session = context.session(true)?;
    answers!(session.login(77, &context.settings.pin), [CKR_USER_TYPE_INVALID], "C_Login with user type 77");
    Ok(())
}

fn login_wrong_pin(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let wrong = format!("{}x", context.settings.pin);
    answers!(session.login(USER, &wrong), [CKR_PIN_INCORRECT], "C_Login with a wrong PIN");
    let state = state(&session)?;
    check!(state == CKS_RW_PUBLIC_SESSION as CK_STATE, "the session is in state {state} after a wrong PIN");
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login with the right PIN");
    Ok(())
}

fn logout_without_login(context: &Context) -> Outcome {
    let session = context.session(true)?;
    answers!(session.logout(), [CKR_USER_NOT_LOGGED_IN], "C_Logout without a login");
    Ok(())
}

fn context_specific_without_operation(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let rv = session.login(CONTEXT_SPECIFIC, &context.settings.pin);
    answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "C_Login(CKU_CONTEXT_SPECIFIC) without an operation");
    Ok(())
}

fn last_close_logs_out(context: &Context) -> Outcome {
    let session = context.user_session()?;
    drop(session);
    let session = context.session(true)?;
    let state = state(&session)?;
    check!(state == CKS_RW_PUBLIC_SESSION as CK_STATE, "a new session is in state {state} after the last one was closed");
    Ok(())
}

fn close_all(context: &Context) -> Outcome {
    let first = context.user_session()?;
    let second = context.session(false)?;
    let slot = context.slot()?;
    answers!(ck!(context.module, C_CloseAllSessions, slot), [CKR_OK], "C_CloseAllSessions");
    for session in [&first, &second] {
        let mut info = CK_SESSION_INFO::default();
        answers!(
            ck!(context.module, C_GetSessionInfo, session.handle, &mut info),
            [CKR_SESSION_HANDLE_INVALID],
            "C_GetSessionInfo"
        );
    }
    let session = context.session(true)?;
    let state = state(&session)?;
    check!(state == CKS_RW_PUBLIC_SESSION as CK_STATE, "a new session is in state {state} after C_CloseAllSessions");
    Ok(())
}

fn init_pin_needs_so(context: &Context) -> Outcome {
    let init_pin = |session: &Session<'_>| {
        let mut pin = context.settings.pin.clone().into_bytes();
        ck!(context.module, C_InitPIN, session.handle, pin.as_mut_ptr(), pin.len() as CK_ULONG)
    };
    let session = context.session(true)?;
    answers!(init_pin(&session), [CKR_USER_NOT_LOGGED_IN], "C_InitPIN in a public session");
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login as user");
    answers!(init_pin(&session), [CKR_USER_NOT_LOGGED_IN], "C_InitPIN as user");
    Ok(())
}

fn init_token_with_sessions(context: &Context) -> Outcome {
    if !context.settings.may_init {
        // A module that breaks the rule would empty the token that it was trusted with.
        return Err(Stop::Skip("tokens may not be made on this module".into()));
    }
    let _session = context.session(false)?;
    let slot = context.slot()?;
    let mut so_pin = context.settings.so_pin.clone().into_bytes();
    let mut label = [b' '; 32];
    let rv: Rv = ck!(context.module, C_InitToken, slot, so_pin.as_mut_ptr(), so_pin.len() as CK_ULONG, label.as_mut_ptr());
    answers!(rv, [CKR_SESSION_EXISTS], "C_InitToken with an open session");
    Ok(())
}
