//! Slots and tokens: lists, what a token says of itself, its making, and its PINs.

use std::ptr;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::must;
use crate::module::Rv;
use crate::template::Template;
use crate::{answers, check, ck};

const SO: CK_USER_TYPE = CKU_SO as CK_USER_TYPE;
const USER: CK_USER_TYPE = CKU_USER as CK_USER_TYPE;

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "token/slot-list-without-count",
        level: Level::Must,
        section: "3.1, 5.5.1 C_GetSlotList",
        says: "Without a place for the count C_GetSlotList answers CKR_ARGUMENTS_BAD.",
        run: slot_list_without_count,
    },
    Case {
        id: "token/slot-list-too-small",
        level: Level::Must,
        section: "3.1, 5.5.1 C_GetSlotList",
        says: "A list that is too small gets CKR_BUFFER_TOO_SMALL, is not written to, and the count says how many slots there are.",
        run: slot_list_too_small,
    },
    Case {
        id: "token/present-is-subset",
        level: Level::Must,
        section: "3.1, 5.5.1 C_GetSlotList",
        says: "Slots with a token present are among all slots, no number comes twice, and each says CKF_TOKEN_PRESENT of itself.",
        run: present_is_subset,
    },
    Case {
        id: "token/info-without-place",
        level: Level::Must,
        section: "3.1, 5.5.2 C_GetSlotInfo, 5.5.3 C_GetTokenInfo, 5.4.3 C_GetInfo",
        says: "A NULL place for an answer is CKR_ARGUMENTS_BAD.",
        run: info_without_place,
    },
    Case {
        id: "token/info-padding",
        level: Level::Must,
        section: "3.1, 3.1 CK_INFO, 3.2 CK_SLOT_INFO, CK_TOKEN_INFO",
        says: "Text fields are padded with blanks and hold no NUL: applications compare labels byte by byte.",
        run: info_padding,
    },
    Case {
        id: "token/info-flags",
        level: Level::Must,
        section: "3.1, 3.2 CK_TOKEN_INFO",
        says: "A token whose PINs were set says CKF_TOKEN_INITIALIZED and CKF_USER_PIN_INITIALIZED, and CKF_LOGIN_REQUIRED where \
               private objects wait for a login.",
        run: info_flags,
    },
    Case {
        id: "token/info-pin-lengths",
        level: Level::Must,
        section: "3.1, 3.2 CK_TOKEN_INFO",
        says: "The smallest PIN is not longer than the longest, and the PIN in use lies between them.",
        run: info_pin_lengths,
    },
    Case {
        id: "token/info-session-counts",
        level: Level::Must,
        section: "3.1, 3.2 CK_TOKEN_INFO",
        says: "The session counts follow this application's sessions, or are CK_UNAVAILABLE_INFORMATION.",
        run: info_session_counts,
    },
    Case {
        id: "token/pin-too-short",
        level: Level::Must,
        section: "3.1, 5.5.9 C_SetPIN",
        says: "A new PIN shorter than ulMinPinLen answers CKR_PIN_LEN_RANGE and the old one stays.",
        run: pin_too_short,
    },
    Case {
        id: "token/pin-too-long",
        level: Level::Must,
        section: "3.1, 5.5.9 C_SetPIN",
        says: "A new PIN longer than ulMaxPinLen answers CKR_PIN_LEN_RANGE and the old one stays.",
        run: pin_too_long,
    },
    Case {
        id: "token/init-pin-length",
        level: Level::Must,
        section: "3.1, 5.5.8 C_InitPIN",
        says: "C_InitPIN holds the user's PIN to the same lengths: CKR_PIN_LEN_RANGE.",
        run: init_pin_length,
    },
    Case {
        id: "token/set-pin-user",
        level: Level::Must,
        section: "3.1, 5.5.9 C_SetPIN",
        says: "The logged-in user changes the PIN; the new one logs in, the old one does not.",
        run: set_pin_user,
    },
    Case {
        id: "token/set-pin-so",
        level: Level::Must,
        section: "3.1, 5.5.9 C_SetPIN",
        says: "In an SO session C_SetPIN changes the SO's PIN, not the user's.",
        run: set_pin_so,
    },
    Case {
        id: "token/set-pin-public",
        level: Level::Must,
        section: "3.1, 5.5.9 C_SetPIN",
        says: "In a public read-write session C_SetPIN changes the user's PIN, given the old one.",
        run: set_pin_public,
    },
    Case {
        id: "token/set-pin-wrong-old",
        level: Level::Must,
        section: "3.1, 5.5.9 C_SetPIN",
        says: "A wrong old PIN answers CKR_PIN_INCORRECT and nothing changes.",
        run: set_pin_wrong_old,
    },
    Case {
        id: "token/set-pin-read-only",
        level: Level::Must,
        section: "3.1, 5.5.9 C_SetPIN",
        says: "A read-only session does not change PINs: CKR_SESSION_READ_ONLY.",
        run: set_pin_read_only,
    },
    Case {
        id: "token/init-sets-label",
        level: Level::Must,
        section: "3.1, 5.5.7 C_InitToken",
        says: "The label of C_InitToken is the token's label, all 32 bytes.",
        run: init_sets_label,
    },
    Case {
        id: "token/init-wrong-so-pin",
        level: Level::Must,
        section: "3.1, 5.5.7 C_InitToken",
        says: "An initialised token is initialised again only with its SO PIN: CKR_PIN_INCORRECT, and its objects stay.",
        run: init_wrong_so_pin,
    },
    Case {
        id: "token/init-destroys",
        level: Level::Security,
        section: "3.1, 5.5.7 C_InitToken",
        says: "Initialising again destroys every object and the user's PIN: a token passed on carries nothing over.",
        run: init_destroys,
    },
    Case {
        id: "token/init-bad-slot",
        level: Level::Must,
        section: "3.1, 5.5.7 C_InitToken",
        says: "A number that names no slot answers CKR_SLOT_ID_INVALID.",
        run: init_bad_slot,
    },
    Case {
        id: "token/login-before-init-pin",
        level: Level::Must,
        section: "3.1, 5.6.8 C_Login",
        says: "Before the SO set the user's PIN a login as user answers CKR_USER_PIN_NOT_INITIALIZED.",
        run: login_before_init_pin,
    },
    Case {
        id: "token/pin-count-flags",
        level: Level::Should,
        section: "3.1, 3.2 CK_TOKEN_INFO",
        says: "A wrong PIN sets CKF_USER_PIN_COUNT_LOW where the token counts tries; a right one clears it.",
        run: pin_count_flags,
    },
    Case {
        id: "token/slot-event",
        level: Level::Must,
        section: "3.1, 5.5.4 C_WaitForSlotEvent",
        says: "With CKF_DONT_BLOCK and nothing new C_WaitForSlotEvent answers CKR_NO_EVENT at once.",
        run: slot_event,
    },
    Case {
        id: "token/legacy-parallel",
        level: Level::Must,
        section: "3.1, 5.20 Parallel function management",
        says: "C_GetFunctionStatus and C_CancelFunction are relics that answer CKR_FUNCTION_NOT_PARALLEL.",
        run: legacy_parallel,
    },
];

fn started(context: &Context) -> Outcome {
    context.ok(context.initialize(), "C_Initialize")
}

pub(super) fn set_pin(session: &Session<'_>, old: &str, new: &str) -> Rv {
    let (mut old, mut new) = (old.as_bytes().to_vec(), new.as_bytes().to_vec());
    let (old_len, new_len) = (old.len() as CK_ULONG, new.len() as CK_ULONG);
    ck!(session.context.module, C_SetPIN, session.handle, old.as_mut_ptr(), old_len, new.as_mut_ptr(), new_len)
}

fn init_pin(session: &Session<'_>, pin: &str) -> Rv {
    let mut pin = pin.as_bytes().to_vec();
    let len = pin.len() as CK_ULONG;
    ck!(session.context.module, C_InitPIN, session.handle, pin.as_mut_ptr(), len)
}

fn init_token(context: &Context, slot: CK_SLOT_ID, so_pin: &str, label: &[u8; 32]) -> Rv {
    let (mut so_pin, mut label) = (so_pin.as_bytes().to_vec(), *label);
    let len = so_pin.len() as CK_ULONG;
    ck!(context.module, C_InitToken, slot, so_pin.as_mut_ptr(), len, label.as_mut_ptr())
}

fn slot_list_without_count(context: &Context) -> Outcome {
    started(context)?;
    let rv = ck!(context.module, C_GetSlotList, CK_TRUE, ptr::null_mut(), ptr::null_mut());
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_GetSlotList without a place for the count");
    Ok(())
}

fn slot_list_too_small(context: &Context) -> Outcome {
    started(context)?;
    let all = context.slots(false)?;
    let (mut list, mut count) = (vec![0x5a5a_5a5a; all.len()], all.len() as CK_ULONG - 1);
    let rv = ck!(context.module, C_GetSlotList, CK_FALSE, list.as_mut_ptr(), &mut count);
    answers!(rv, [CKR_BUFFER_TOO_SMALL], "C_GetSlotList with one place too few");
    check!(count as usize == all.len(), "C_GetSlotList told {count} slots of {}", all.len());
    check!(list.iter().all(|slot| *slot == 0x5a5a_5a5a), "C_GetSlotList wrote into a list that was too small");
    Ok(())
}

fn present_is_subset(context: &Context) -> Outcome {
    started(context)?;
    let (mut all, present) = (context.slots(false)?, context.slots(true)?);
    for slot in &present {
        check!(all.contains(slot), "slot {slot:#x} has a token but is not in the list of all slots");
        let mut info = CK_SLOT_INFO::default();
        context.ok(ck!(context.module, C_GetSlotInfo, *slot, &mut info), "C_GetSlotInfo")?;
        check!(info.flags & CKF_TOKEN_PRESENT as CK_FLAGS != 0, "slot {slot:#x} has a token but not CKF_TOKEN_PRESENT");
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    check!(all.len() == count, "the list of slots names a slot twice");
    Ok(())
}

fn info_without_place(context: &Context) -> Outcome {
    started(context)?;
    let slot = context.slot()?;
    answers!(ck!(context.module, C_GetInfo, ptr::null_mut()), [CKR_ARGUMENTS_BAD], "C_GetInfo(NULL)");
    answers!(ck!(context.module, C_GetSlotInfo, slot, ptr::null_mut()), [CKR_ARGUMENTS_BAD], "C_GetSlotInfo(NULL)");
    answers!(ck!(context.module, C_GetTokenInfo, slot, ptr::null_mut()), [CKR_ARGUMENTS_BAD], "C_GetTokenInfo(NULL)");
    Ok(())
}

fn info_padding(context: &Context) -> Outcome {
    started(context)?;
    let slot = context.slot()?;
    let (mut general, mut place) = (CK_INFO::default(), CK_SLOT_INFO::default());
    context.ok(ck!(context.module, C_GetInfo, &mut general), "C_GetInfo")?;
    context.ok(ck!(context.module, C_GetSlotInfo, slot, &mut place), "C_GetSlotInfo")?;
    let token = context.token_info(slot)?;
    let fields: [(&str, &[u8]); 8] = [
        ("CK_INFO.manufacturerID", &general.manufacturerID),
        ("CK_INFO.libraryDescription", &general.libraryDescription),
        ("CK_SLOT_INFO.slotDescription", &place.slotDescription),
        ("CK_SLOT_INFO.manufacturerID", &place.manufacturerID),
        ("CK_TOKEN_INFO.label", &token.label),
        ("CK_TOKEN_INFO.manufacturerID", &token.manufacturerID),
        ("CK_TOKEN_INFO.model", &token.model),
        ("CK_TOKEN_INFO.serialNumber", &token.serialNumber),
    ];
    for (name, field) in fields {
        check!(!field.contains(&0), "{name} holds a NUL: {:?}", String::from_utf8_lossy(field));
        check!(std::str::from_utf8(field).is_ok(), "{name} is not UTF-8");
    }
    check!(general.flags == 0, "CK_INFO.flags is {:#x}, it must be 0", general.flags);
    Ok(())
}

fn info_flags(context: &Context) -> Outcome {
    started(context)?;
    let info = context.token_info(context.slot()?)?;
    for (flag, name) in [
        (CKF_TOKEN_INITIALIZED, "CKF_TOKEN_INITIALIZED"),
        (CKF_USER_PIN_INITIALIZED, "CKF_USER_PIN_INITIALIZED"),
        (CKF_LOGIN_REQUIRED, "CKF_LOGIN_REQUIRED"),
    ] {
        check!(info.flags & flag as CK_FLAGS != 0, "the token's flags {:#x} lack {name}", info.flags);
    }
    Ok(())
}

fn info_pin_lengths(context: &Context) -> Outcome {
    started(context)?;
    let info = context.token_info(context.slot()?)?;
    let (least, most, used) = (info.ulMinPinLen, info.ulMaxPinLen, context.settings.pin.len() as CK_ULONG);
    check!(least <= most, "ulMinPinLen {least} is above ulMaxPinLen {most}");
    check!(least <= used && used <= most, "a PIN of {used} bytes is in use, the token says {least} to {most}");
    Ok(())
}

fn info_session_counts(context: &Context) -> Outcome {
    let _read_write = context.session(true)?;
    let _read_only = context.session(false)?;
    let info = context.token_info(context.slot()?)?;
    let unknown = CK_UNAVAILABLE_INFORMATION;
    check!([2, unknown].contains(&info.ulSessionCount), "two sessions are open, ulSessionCount is {}", info.ulSessionCount);
    check!(
        [1, unknown].contains(&info.ulRwSessionCount),
        "one read-write session is open, ulRwSessionCount is {}",
        info.ulRwSessionCount
    );
    Ok(())
}

/// Tries a PIN of a length that the token does not take, then shows that the old one still works.
fn refused_pin(context: &Context, len: CK_ULONG) -> Outcome {
    let slot = context.own_token("pin-length")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login");
    let rv = set_pin(&session, &context.settings.pin, &"7".repeat(len as usize));
    answers!(rv, [CKR_PIN_LEN_RANGE], "C_SetPIN with a new PIN of {len} bytes");
    answers!(session.logout(), [CKR_OK], "C_Logout");
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login with the old PIN");
    Ok(())
}

fn pin_limits(context: &Context) -> Result<(CK_ULONG, CK_ULONG), Stop> {
    started(context)?;
    let info = context.token_info(context.slot()?)?;
    Ok((info.ulMinPinLen, info.ulMaxPinLen))
}

fn pin_too_short(context: &Context) -> Outcome {
    let (least, _) = pin_limits(context)?;
    if least == 0 {
        return Err(Stop::Skip("the token takes PINs of any length from 0".into()));
    }
    refused_pin(context, least - 1)
}

fn pin_too_long(context: &Context) -> Outcome {
    let (_, most) = pin_limits(context)?;
    if most > 1 << 20 {
        return Err(Stop::Skip(format!("the token takes PINs up to {most} bytes")));
    }
    refused_pin(context, most + 1)
}

fn init_pin_length(context: &Context) -> Outcome {
    let (least, most) = pin_limits(context)?;
    let slot = context.own_token("init-pin")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(SO, &context.settings.so_pin), [CKR_OK], "C_Login as SO");
    if least > 0 {
        let rv = init_pin(&session, &"7".repeat(least as usize - 1));
        answers!(rv, [CKR_PIN_LEN_RANGE], "C_InitPIN with a PIN of {} bytes", least - 1);
    }
    if most < 1 << 20 {
        let rv = init_pin(&session, &"7".repeat(most as usize + 1));
        answers!(rv, [CKR_PIN_LEN_RANGE], "C_InitPIN with a PIN of {} bytes", most + 1);
    }
    Ok(())
}

fn set_pin_user(context: &Context) -> Outcome {
    let slot = context.own_token("set-pin-user")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login");
    answers!(set_pin(&session, &context.settings.pin, "new-pin-456"), [CKR_OK], "C_SetPIN");
    answers!(session.logout(), [CKR_OK], "C_Logout");
    answers!(session.login(USER, &context.settings.pin), [CKR_PIN_INCORRECT], "C_Login with the old PIN");
    answers!(session.login(USER, "new-pin-456"), [CKR_OK], "C_Login with the new PIN");
    Ok(())
}

fn set_pin_so(context: &Context) -> Outcome {
    let slot = context.own_token("set-pin-so")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(SO, &context.settings.so_pin), [CKR_OK], "C_Login as SO");
    answers!(set_pin(&session, &context.settings.so_pin, "new-pin-456"), [CKR_OK], "C_SetPIN");
    answers!(session.logout(), [CKR_OK], "C_Logout");
    answers!(session.login(SO, &context.settings.so_pin), [CKR_PIN_INCORRECT], "C_Login with the SO's old PIN");
    answers!(session.login(SO, "new-pin-456"), [CKR_OK], "C_Login with the SO's new PIN");
    answers!(session.logout(), [CKR_OK], "C_Logout");
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login with the user's PIN");
    Ok(())
}

fn set_pin_public(context: &Context) -> Outcome {
    let slot = context.own_token("set-pin-public")?;
    let session = context.session_on(slot, true)?;
    answers!(set_pin(&session, &context.settings.pin, "new-pin-456"), [CKR_OK], "C_SetPIN in a public session");
    answers!(session.login(USER, "new-pin-456"), [CKR_OK], "C_Login with the new PIN");
    Ok(())
}

fn set_pin_wrong_old(context: &Context) -> Outcome {
    let slot = context.own_token("set-pin-wrong")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login");
    let rv = set_pin(&session, "not-the-pin", "new-pin-456");
    answers!(rv, [CKR_PIN_INCORRECT], "C_SetPIN with a wrong old PIN");
    answers!(session.logout(), [CKR_OK], "C_Logout");
    answers!(session.login(USER, "new-pin-456"), [CKR_PIN_INCORRECT], "C_Login with the PIN that was refused");
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login with the old PIN");
    Ok(())
}

fn set_pin_read_only(context: &Context) -> Outcome {
    let session = context.session(false)?;
    let rv = set_pin(&session, &context.settings.pin, &context.settings.pin);
    answers!(rv, [CKR_SESSION_READ_ONLY], "C_SetPIN in a read-only session");
    Ok(())
}

fn init_sets_label(context: &Context) -> Outcome {
    started(context)?;
    let spare = context.spare_slot()?;
    let mut label = [b'~'; 32];
    let own = format!("label-{}-", std::process::id());
    label[..own.len()].copy_from_slice(own.as_bytes());
    answers!(init_token(context, spare, &context.settings.so_pin, &label), [CKR_OK], "C_InitToken");
    for slot in context.slots(true)? {
        if context.token_info(slot)?.label == label {
            return Ok(());
        }
    }
    Err(Stop::Fail("no token carries the label of 32 bytes that C_InitToken was given".into()))
}

fn token_object(session: &Session<'_>) -> Result<CK_OBJECT_HANDLE, Stop> {
    let template = Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, true).bytes(CKA_LABEL, "kept");
    must(session.create(template), "C_CreateObject of a token object")
}

fn count(session: &Session<'_>, label: &str) -> Result<CK_ULONG, Stop> {
    let (context, handle) = (session.context, session.handle);
    let mut template = Template::new().bytes(CKA_LABEL, label);
    let mut list = template.list();
    context.ok(ck!(context.module, C_FindObjectsInit, handle, list.as_mut_ptr(), 1), "C_FindObjectsInit")?;
    let (mut found, mut count) = ([0; 8], 0);
    context.ok(ck!(context.module, C_FindObjects, handle, found.as_mut_ptr(), 8, &mut count), "C_FindObjects")?;
    context.ok(ck!(context.module, C_FindObjectsFinal, handle), "C_FindObjectsFinal")?;
    Ok(count)
}

fn init_wrong_so_pin(context: &Context) -> Outcome {
    let slot = context.own_token("init-wrong")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login");
    token_object(&session)?;
    drop(session);
    let rv = init_token(context, slot, "not-the-so-pin", &[b'x'; 32]);
    answers!(rv, [CKR_PIN_INCORRECT], "C_InitToken with a wrong SO PIN");
    let session = context.session_on(slot, true)?;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login after the refusal");
    check!(count(&session, "kept")? == 1, "the token's object is gone after a C_InitToken that was refused");
    Ok(())
}

fn init_destroys(context: &Context) -> Outcome {
    let slot = context.own_token("init-again")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login");
    token_object(&session)?;
    drop(session);
    let mut label = [b' '; 32];
    let own = format!("again-{}", std::process::id());
    label[..own.len()].copy_from_slice(own.as_bytes());
    answers!(init_token(context, slot, &context.settings.so_pin, &label), [CKR_OK], "C_InitToken once more");
    let slot = context.slot_labelled(&own)?.ok_or_else(|| Stop::Fail("the new label does not show".into()))?;
    let session = context.session_on(slot, true)?;
    let rv = session.login(USER, &context.settings.pin);
    answers!(rv, [CKR_USER_PIN_NOT_INITIALIZED], "C_Login as user after C_InitToken");
    check!(count(&session, "kept")? == 0, "an object outlived C_InitToken");
    Ok(())
}

fn init_bad_slot(context: &Context) -> Outcome {
    started(context)?;
    let rv = init_token(context, 0x7fff_1234, &context.settings.so_pin, &[b' '; 32]);
    answers!(rv, [CKR_SLOT_ID_INVALID], "C_InitToken of a slot that does not exist");
    Ok(())
}

fn login_before_init_pin(context: &Context) -> Outcome {
    started(context)?;
    let spare = context.spare_slot()?;
    let mut label = [b' '; 32];
    let own = format!("no-pin-{}", std::process::id());
    label[..own.len()].copy_from_slice(own.as_bytes());
    answers!(init_token(context, spare, &context.settings.so_pin, &label), [CKR_OK], "C_InitToken");
    let slot = context.slot_labelled(&own)?.ok_or_else(|| Stop::Fail("the new label does not show".into()))?;
    let flags = context.token_info(slot)?.flags;
    check!(flags & CKF_USER_PIN_INITIALIZED as CK_FLAGS == 0, "a new token says CKF_USER_PIN_INITIALIZED");
    let session = context.session_on(slot, true)?;
    let rv = session.login(USER, &context.settings.pin);
    answers!(rv, [CKR_USER_PIN_NOT_INITIALIZED], "C_Login as user of a new token");
    Ok(())
}

fn pin_count_flags(context: &Context) -> Outcome {
    let slot = context.own_token("pin-count")?;
    let session = context.session_on(slot, true)?;
    let low = CKF_USER_PIN_COUNT_LOW as CK_FLAGS;
    answers!(session.login(USER, "not-the-pin"), [CKR_PIN_INCORRECT], "C_Login with a wrong PIN");
    let after_wrong = context.token_info(slot)?.flags & low != 0;
    answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login with the right PIN");
    check!(context.token_info(slot)?.flags & low == 0, "CKF_USER_PIN_COUNT_LOW is still set after a good login");
    if after_wrong { Ok(()) } else { Err(Stop::Deviation("the token does not tell that PINs were wrong".into())) }
}

fn slot_event(context: &Context) -> Outcome {
    started(context)?;
    let mut slot = 0;
    for _ in 0..64 {
        match ck!(context.module, C_WaitForSlotEvent, CKF_DONT_BLOCK as CK_FLAGS, &mut slot, ptr::null_mut()) {
            Rv(CKR_NO_EVENT) => return Ok(()),
            Rv::OK => {}
            Rv(CKR_FUNCTION_NOT_SUPPORTED) => {
                return Err(Stop::Deviation("the module has no slot events and says so".into()));
            }
            rv => return Err(Stop::Fail(format!("C_WaitForSlotEvent(CKF_DONT_BLOCK) answered {rv}"))),
        }
    }
    Err(Stop::Fail("C_WaitForSlotEvent tells of ever new events where nothing happens".into()))
}

fn legacy_parallel(context: &Context) -> Outcome {
    let session = context.session(false)?;
    let rv = ck!(context.module, C_GetFunctionStatus, session.handle);
    answers!(rv, [CKR_FUNCTION_NOT_PARALLEL], "C_GetFunctionStatus");
    answers!(ck!(context.module, C_CancelFunction, session.handle), [CKR_FUNCTION_NOT_PARALLEL], "C_CancelFunction");
    Ok(())
}
