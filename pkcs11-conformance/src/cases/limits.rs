//! Where a token ends: tries of a PIN, sessions, slots without a token, and what two tokens of one module have to do with each other.

use std::ptr::null_mut;

use cryptoki_sys::*;

use super::session::state;
use super::token::set_pin;
use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{code, must};
use crate::module::Rv;
use crate::template::Template;
use crate::{answers, check, ck};

/// The cases about limits.
pub const CASES: &[Case] = &[
    Case {
        id: "token/pin-locks",
        level: Level::Security,
        section: "3.1, 3.2 CKF_USER_PIN_LOCKED, 5.5.9 C_SetPIN, 5.6.8 C_Login, CKR_PIN_LOCKED",
        says: "A token that locks a PIN after wrong tries says so in its flags, refuses the right PIN too, to C_Login and to C_SetPIN, and is \
               opened again by the SO.",
        run: pin_locks,
    },
    Case {
        id: "token/slot-without-token",
        level: Level::Must,
        section: "3.1, 5.1.3 CKR_TOKEN_NOT_PRESENT",
        says: "What asks for the token of a slot that has none answers CKR_TOKEN_NOT_PRESENT.",
        run: slot_without_token,
    },
    Case {
        id: "token/init-without-label",
        level: Level::Security,
        section: "3.1, 5.5.7 C_InitToken, CKR_ARGUMENTS_BAD",
        says: "C_InitToken without a label, or without a PIN that it tells the length of, is CKR_ARGUMENTS_BAD, and the token stays as it was.",
        run: init_without_label,
    },
    Case {
        id: "token/wait-without-place",
        level: Level::Must,
        section: "3.1, 5.5.4 C_WaitForSlotEvent, CKR_ARGUMENTS_BAD",
        says: "C_WaitForSlotEvent without a place for the slot, or with something in pReserved, is CKR_ARGUMENTS_BAD.",
        run: wait_without_place,
    },
    Case {
        id: "session/too-many",
        level: Level::Must,
        section: "3.1, 3.2 ulMaxSessionCount, 5.6.1 C_OpenSession, CKR_SESSION_COUNT",
        says: "A token that tells how many sessions it bears opens so many, and answers CKR_SESSION_COUNT to the next one.",
        run: too_many,
    },
    Case {
        id: "session/two-tokens",
        level: Level::Security,
        section: "3.1, 5.6.8 C_Login, 5.6.3 C_CloseAllSessions; 2.40 Usage Guide, 2.7",
        says: "A login to one token is none to another; objects and handles of one are not there in the other's sessions; closing all sessions \
               of one leaves the other's open.",
        run: two_tokens,
    },
];

const USER: CK_USER_TYPE = CKU_USER as CK_USER_TYPE;
/// Wrong PINs that are tried on a token before it is taken for one that never locks.
const TRIES_MAX: usize = 16;
/// Sessions that are opened to find the end of them.
const SESSIONS_MAX: CK_ULONG = 4096;

fn pin_locks(context: &Context) -> Outcome {
    let slot = context.own_token("pin-locks")?;
    let session = context.session_on(slot, true)?;
    let flags = || context.token_info(slot).map(|info| info.flags & (CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED) as CK_FLAGS);
    let (mut locked, mut before) = (false, 0);
    for _ in 0..TRIES_MAX {
        before = flags()?;
        let rv = session.login(USER, "not-the-pin");
        answers!(rv, [CKR_PIN_INCORRECT, CKR_PIN_LOCKED], "C_Login with a wrong PIN");
        locked = flags()? & CKF_USER_PIN_LOCKED as CK_FLAGS != 0;
        if locked || rv == Rv(CKR_PIN_LOCKED) {
            break;
        }
    }
    let rv = session.login(USER, &context.settings.pin);
    if !locked && rv == Rv::OK {
        return Err(Stop::Skip(format!("the token locks no PIN in {TRIES_MAX} tries")));
    }
    check!(locked, "the PIN is locked ({rv}), and CKF_USER_PIN_LOCKED is not set");
    check!(before & CKF_USER_PIN_FINAL_TRY as CK_FLAGS != 0, "CKF_USER_PIN_FINAL_TRY was not set before the try that locked");
    answers!(rv, [CKR_PIN_LOCKED], "C_Login with the right PIN that is locked");
    answers!(set_pin(&session, &context.settings.pin, "new-pin-456"), [CKR_PIN_LOCKED], "C_SetPIN of a PIN that is locked");
    answers!(session.login(CKU_SO as CK_USER_TYPE, &context.settings.so_pin), [CKR_OK], "C_Login as SO beside a locked PIN");
    let mut fresh = *b"fresh-pin-789";
    let rv = ck!(context.module, C_InitPIN, session.handle, fresh.as_mut_ptr(), fresh.len() as CK_ULONG);
    answers!(rv, [CKR_OK], "C_InitPIN of a PIN that is locked");
    answers!(session.logout(), [CKR_OK], "C_Logout");
    answers!(session.login(USER, "fresh-pin-789"), [CKR_OK], "C_Login with the PIN that the SO set");
    check!(flags()? == 0, "the flags of a locked PIN are still set after the SO set another");
    Ok(())
}

fn slot_without_token(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let (module, present) = (&context.module, context.slots(true)?);
    let empty = context.slots(false)?.into_iter().find(|slot| !present.contains(slot));
    let slot = empty.ok_or_else(|| Stop::Skip("every slot has a token".into()))?;
    let (mut token, mut info, mut count, mut session) = (CK_TOKEN_INFO::default(), CK_MECHANISM_INFO::default(), 0, 0);
    let flags = CKF_SERIAL_SESSION as CK_FLAGS;
    for (name, rv) in [
        ("C_GetTokenInfo", ck!(module, C_GetTokenInfo, slot, &mut token)),
        ("C_GetMechanismList", ck!(module, C_GetMechanismList, slot, null_mut(), &mut count)),
        ("C_GetMechanismInfo", ck!(module, C_GetMechanismInfo, slot, CKM_SHA256, &mut info)),
        ("C_OpenSession", ck!(module, C_OpenSession, slot, flags, null_mut(), None, &mut session)),
    ] {
        answers!(rv, [CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED], "{name} of a slot without a token");
    }
    Ok(())
}

fn init_without_label(context: &Context) -> Outcome {
    let slot = context.own_token("no-label")?;
    let (module, mut pin) = (&context.module, context.settings.so_pin.clone().into_bytes());
    let mut label = [b'x'; 32];
    let (pin, len, label) = (pin.as_mut_ptr(), pin.len() as CK_ULONG, label.as_mut_ptr());
    answers!(ck!(module, C_InitToken, slot, pin, len, null_mut()), [CKR_ARGUMENTS_BAD], "C_InitToken without a label");
    let rv = ck!(module, C_InitToken, slot, null_mut(), len, label);
    answers!(rv, [CKR_ARGUMENTS_BAD, CKR_PIN_INCORRECT], "C_InitToken without a PIN");
    let session = context.session_on(slot, true)?;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login after two refusals of C_InitToken");
    Ok(())
}

fn wait_without_place(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let (module, mut slot, flags) = (&context.module, 0, CKF_DONT_BLOCK as CK_FLAGS);
    let reserved = std::ptr::from_mut(&mut slot).cast();
    let rv = ck!(module, C_WaitForSlotEvent, flags, &mut 0, reserved);
    if rv == Rv(CKR_FUNCTION_NOT_SUPPORTED) {
        return Err(Stop::Skip("the module has no slot events".into()));
    }
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_WaitForSlotEvent with something in pReserved");
    let rv = ck!(module, C_WaitForSlotEvent, flags, null_mut(), null_mut());
    if rv == Rv(CKR_NO_EVENT) {
        return Err(Stop::Deviation("the place for the slot is looked at when there is an event to put there".into()));
    }
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_WaitForSlotEvent without a place for the slot");
    Ok(())
}

fn too_many(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let slot = context.slot()?;
    let most = context.token_info(slot)?.ulMaxSessionCount;
    if most == CK_EFFECTIVELY_INFINITE || most > SESSIONS_MAX {
        return Err(Stop::Skip(format!("the token tells no greatest number of sessions up to {SESSIONS_MAX}")));
    }
    let open: Vec<Session<'_>> = (0..most).map(|_| context.session_on(slot, false)).collect::<Result<_, _>>()?;
    let one_more = context.session_on(slot, false);
    check!(one_more.is_err(), "{} sessions are open where ulMaxSessionCount is {most}", open.len() + 1);
    let mut handle = 0;
    let rv = ck!(context.module, C_OpenSession, slot, CKF_SERIAL_SESSION as CK_FLAGS, null_mut(), None, &mut handle);
    answers!(rv, [CKR_SESSION_COUNT], "C_OpenSession beyond ulMaxSessionCount");
    drop(open);
    context.session_on(slot, false).map(drop)
}

fn two_tokens(context: &Context) -> Outcome {
    let other = context.session_on(context.own_token("other")?, true)?;
    let session = context.user_session()?;
    let seen = state(&other)?;
    check!(seen == CKS_RW_PUBLIC_SESSION as CK_STATE, "a login to one token puts the other's session into state {seen}");
    let label = format!("apart-{}", std::process::id());
    let data = |private| {
        let template = Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, false).flag(CKA_PRIVATE, private);
        template.bytes(CKA_LABEL, label.as_str())
    };
    answers!(code(other.create(data(true))), [CKR_USER_NOT_LOGGED_IN], "C_CreateObject of a private object on the other token");
    must(session.create(data(true)), "C_CreateObject of a private object")?;
    let open = must(session.create(data(false)), "C_CreateObject of a public object")?;
    let found = other.found(&Template::new().bytes(CKA_LABEL, label.as_str()))?;
    check!(found.is_empty(), "{} objects of one token are found in the other's session", found.len());
    let rv = code(other.attribute(open, CKA_LABEL));
    answers!(rv, [CKR_OBJECT_HANDLE_INVALID], "C_GetAttributeValue of one token's object in the other's session");
    let slot = context.slot()?;
    answers!(ck!(context.module, C_CloseAllSessions, slot), [CKR_OK], "C_CloseAllSessions");
    state(&other).map(drop)
}
