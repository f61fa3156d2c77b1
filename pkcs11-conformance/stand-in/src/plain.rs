//! The rest: a slot without a token, a greatest number of sessions, saved states of ciphers, profile objects, what 3.0 and 3.2 brought.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::beneath::{ask, bytes, give, session};
use crate::fault::on;
use crate::kem;
use crate::message::functions;
use crate::state::{FIRST, state};
use crate::{Done, code};

/// The slot without a token.
const EMPTY: CK_SLOT_ID = 0x00ab_5e17;
/// Sessions at once; more than any case opens by the way.
const SESSIONS_MAX: CK_ULONG = 600;
/// What the state of a cipher begins with.
const SAVED: &[u8] = b"stand-in's encryption";

/// What is told of a slot without a token.
fn there(slot: CK_SLOT_ID) -> Done<()> {
    if slot == EMPTY && !on("empty-slot-has-token") { Err(CKR_TOKEN_NOT_PRESENT) } else { Ok(()) }
}

pub unsafe extern "C" fn C_GetSlotList(present: CK_BBOOL, list: CK_SLOT_ID_PTR, count: CK_ULONG_PTR) -> CK_RV {
    if present == CK_TRUE || count.is_null() {
        return code(ask!(C_GetSlotList, present, list, count));
    }
    code((|| {
        let mut all: Vec<CK_SLOT_ID> = vec![0; 4096];
        let mut found = all.len() as CK_ULONG;
        ask!(C_GetSlotList, present, all.as_mut_ptr(), &mut found)?;
        all.truncate(found as usize);
        all.push(EMPTY);
        // SAFETY: not NULL, and the caller promises a count.
        let room = std::mem::replace(unsafe { &mut *count }, all.len() as CK_ULONG) as usize;
        if list.is_null() {
            return Ok(());
        }
        if room < all.len() {
            return Err(CKR_BUFFER_TOO_SMALL);
        }
        // SAFETY: the caller promises `room` places, which are enough.
        unsafe { list.copy_from_nonoverlapping(all.as_ptr(), all.len()) };
        Ok(())
    })())
}

pub unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: CK_SLOT_INFO_PTR) -> CK_RV {
    if slot != EMPTY {
        return code(ask!(C_GetSlotInfo, slot, info));
    }
    // SAFETY: the caller promises a place or NULL.
    let Some(info) = (unsafe { info.as_mut() }) else { return CKR_ARGUMENTS_BAD };
    *info = CK_SLOT_INFO { slotDescription: [b' '; 64], manufacturerID: [b' '; 32], ..Default::default() };
    info.slotDescription[..5].copy_from_slice(b"empty");
    info.manufacturerID[..8].copy_from_slice(b"stand-in");
    info.flags = CKF_REMOVABLE_DEVICE;
    CKR_OK
}

pub unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) -> CK_RV {
    code((|| {
        if there(slot).is_ok() && slot == EMPTY {
            return Ok(());
        }
        there(slot)?;
        ask!(C_GetTokenInfo, slot, info)?;
        // SAFETY: the module beneath wrote to it.
        unsafe { (*info).ulMaxSessionCount = SESSIONS_MAX };
        Ok(())
    })())
}

/// Mechanisms that the stand-in adds, and flags that it adds to those of the module beneath.
const ADDED: [(CK_MECHANISM_TYPE, CK_FLAGS); 2] =
    [(CKM_ML_KEM, CKF_ENCAPSULATE | CKF_DECAPSULATE), (CKM_ML_KEM_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR)];
const FLAGS: [(CK_MECHANISM_TYPE, CK_FLAGS); 4] = [
    (CKM_AES_GCM, CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT),
    (CKM_AES_CCM, CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT),
    (CKM_SHA256_RSA_PKCS, CKF_MESSAGE_SIGN | CKF_MESSAGE_VERIFY),
    (CKM_SHA256_HMAC, CKF_MESSAGE_SIGN | CKF_MESSAGE_VERIFY),
];

pub unsafe extern "C" fn C_GetMechanismList(slot: CK_SLOT_ID, list: CK_MECHANISM_TYPE_PTR, count: CK_ULONG_PTR) -> CK_RV {
    code((|| {
        there(slot)?;
        let mut all: Vec<CK_MECHANISM_TYPE> = vec![0; 4096];
        let mut found = all.len() as CK_ULONG;
        if count.is_null() {
            return ask!(C_GetMechanismList, slot, list, count);
        }
        ask!(C_GetMechanismList, slot, all.as_mut_ptr(), &mut found)?;
        all.truncate(found as usize);
        all.extend(ADDED.map(|(kind, _)| kind));
        // SAFETY: not NULL, and the caller promises a count.
        let room = std::mem::replace(unsafe { &mut *count }, all.len() as CK_ULONG) as usize;
        if list.is_null() {
            return Ok(());
        }
        if room < all.len() {
            return Err(CKR_BUFFER_TOO_SMALL);
        }
        // SAFETY: the caller promises `room` places, which are enough.
        unsafe { list.copy_from_nonoverlapping(all.as_ptr(), all.len()) };
        Ok(())
    })())
}

pub unsafe extern "C" fn C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: CK_MECHANISM_INFO_PTR) -> CK_RV {
    code((|| {
        there(slot)?;
        // SAFETY: the caller promises a place or NULL.
        if let (Some((_, flags)), Some(info)) = (ADDED.iter().find(|(known, _)| *known == kind), unsafe { info.as_mut() }) {
            // The slot is asked of all the same.
            ask!(C_GetMechanismInfo, slot, CKM_SHA256, info)?;
            let greatest = if on("kem-tells-too-little") { 1184 } else { 1568 };
            *info = CK_MECHANISM_INFO { ulMinKeySize: 800, ulMaxKeySize: greatest, flags: *flags };
            return Ok(());
        }
        ask!(C_GetMechanismInfo, slot, kind, info)?;
        if let Some((_, flags)) = FLAGS.iter().find(|(known, _)| *known == kind).filter(|_| !on("message-unclaimed")) {
            // SAFETY: the module beneath wrote to it.
            unsafe { (*info).flags |= flags };
        }
        Ok(())
    })())
}

pub unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: CK_VOID_PTR,
    notify: CK_NOTIFY,
    made: CK_SESSION_HANDLE_PTR,
) -> CK_RV {
    code((|| {
        there(slot)?;
        let open = state().open.values().filter(|of| **of == slot).count() as CK_ULONG;
        if open >= SESSIONS_MAX && !on("sessions-without-number") {
            return Err(CKR_SESSION_COUNT);
        }
        ask!(C_OpenSession, slot, flags, application, notify, made)?;
        // SAFETY: the module beneath wrote to it.
        state().open.insert(unsafe { *made }, slot);
        Ok(())
    })())
}

/// Forgets what belongs to sessions that are gone.
fn forget(gone: impl Fn(CK_SESSION_HANDLE, CK_SLOT_ID) -> bool) {
    let mut state = state();
    let closed: Vec<_> = state.open.iter().filter(|(at, slot)| gone(**at, **slot)).map(|(at, _)| *at).collect();
    for at in closed {
        state.open.remove(&at);
        state.sessions.remove(&at);
    }
}

pub unsafe extern "C" fn C_CloseSession(at: CK_SESSION_HANDLE) -> CK_RV {
    let done = ask!(C_CloseSession, at);
    if done.is_ok() {
        forget(|known, _| known == at);
    }
    code(done)
}

pub unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    let done = ask!(C_CloseAllSessions, slot);
    if done.is_ok() {
        forget(|_, of| of == slot);
    }
    code(done)
}

pub unsafe extern "C" fn C_Finalize(reserved: CK_VOID_PTR) -> CK_RV {
    let done = ask!(C_Finalize, reserved);
    if done.is_ok() {
        forget(|_, _| true);
    }
    code(done)
}

pub unsafe extern "C" fn C_Logout(at: CK_SESSION_HANDLE) -> CK_RV {
    let done = ask!(C_Logout, at);
    if done.is_ok() && !on("message-outlives-login") {
        state().sessions.clear();
    }
    code(done)
}

pub unsafe extern "C" fn C_DestroyObject(at: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    if object < FIRST {
        return code(ask!(C_DestroyObject, at, object));
    }
    let mut state = state();
    let profile = state.objects.get(&object).is_some_and(|known| known.contains_key(&CKA_PROFILE_ID));
    if profile && !on("profile-is-destroyed") {
        return CKR_ACTION_PROHIBITED;
    }
    state.objects.remove(&object).map_or(CKR_OBJECT_HANDLE_INVALID, |_| CKR_OK)
}

pub unsafe extern "C" fn C_SetAttributeValue(
    at: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    list: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    if object < FIRST { code(ask!(C_SetAttributeValue, at, object, list, count)) } else { CKR_ACTION_PROHIBITED }
}

pub unsafe extern "C" fn C_FindObjectsInit(at: CK_SESSION_HANDLE, list: CK_ATTRIBUTE_PTR, count: CK_ULONG) -> CK_RV {
    let asked = kem::template(list, count).ok();
    let profiles = asked.is_some_and(|asked| asked.get(&CKA_CLASS).is_some_and(|class| class == &CKO_PROFILE.to_ne_bytes()));
    let done = ask!(C_FindObjectsInit, at, list, count);
    if profiles && done.is_ok() {
        let mut state = state();
        let found = state.profiles();
        state.at(at).search = Some(found);
    }
    code(done)
}

pub unsafe extern "C" fn C_FindObjects(
    at: CK_SESSION_HANDLE,
    list: CK_OBJECT_HANDLE_PTR,
    most: CK_ULONG,
    count: CK_ULONG_PTR,
) -> CK_RV {
    let left = state().at(at).search.take().unwrap_or_default();
    if left.is_empty() || list.is_null() || count.is_null() {
        return code(ask!(C_FindObjects, at, list, most, count));
    }
    let (now, later) = left.split_at(left.len().min(most as usize));
    // SAFETY: the caller promises `most` places, and one for the count.
    unsafe {
        list.copy_from_nonoverlapping(now.as_ptr(), now.len());
        *count = now.len() as CK_ULONG;
    }
    state().at(at).search = Some(later.to_vec());
    CKR_OK
}

functions! {
    C_EncryptInit(at, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) {
        ask!(C_EncryptInit, at, mechanism, key)?;
        // SAFETY: the module beneath took it.
        let cbc = unsafe { mechanism.as_ref() }.filter(|known| known.mechanism == CKM_AES_CBC);
        let iv = cbc.map(|known| bytes(known.pParameter.cast(), known.ulParameterLen)).transpose()?;
        state().at(at).cipher = iv.map(|iv| (iv, key, Vec::new()));
        Ok(())
    }
    C_EncryptUpdate(at, data: CK_BYTE_PTR, d: CK_ULONG, out: CK_BYTE_PTR, o: CK_ULONG_PTR) {
        let before = bytes(data, if data.is_null() { 0 } else { d })?;
        ask!(C_EncryptUpdate, at, data, d, out, o)?;
        if let Some((.., all)) = state().at(at).cipher.as_mut().filter(|_| !out.is_null()) {
            all.extend(before);
        }
        Ok(())
    }
    C_EncryptFinal(at, out: CK_BYTE_PTR, o: CK_ULONG_PTR) {
        ask!(C_EncryptFinal, at, out, o)?;
        if !out.is_null() {
            state().at(at).cipher = None;
        }
        Ok(())
    }
    C_GetOperationState(at, out: CK_BYTE_PTR, o: CK_ULONG_PTR) {
        let saved = state().at(at).cipher.clone();
        let Some((iv, key, data)) = saved else { return ask!(C_GetOperationState, at, out, o) };
        let data = if on("state-forgets-data") { Vec::new() } else { data };
        give(&[SAVED, &iv, &key.to_ne_bytes(), &data].concat(), out, o).map(|_| ())
    }
    C_SetOperationState(at, saved: CK_BYTE_PTR, s: CK_ULONG, key: CK_OBJECT_HANDLE, other: CK_OBJECT_HANDLE) {
        let blob = bytes(saved, s)?;
        let Some(rest) = blob.strip_prefix(SAVED).filter(|rest| rest.len() >= 24) else {
            return ask!(C_SetOperationState, at, saved, s, key, other);
        };
        session(at)?;
        let (mut iv, was) = (rest[..16].to_vec(), CK_ULONG::from_ne_bytes(rest[16..24].try_into().map_err(|_| CKR_SAVED_STATE_INVALID)?));
        if key == 0 {
            return Err(CKR_KEY_NEEDED);
        }
        if key != was && !on("state-takes-any-key") {
            return Err(CKR_KEY_CHANGED);
        }
        let mut mechanism = CK_MECHANISM { mechanism: CKM_AES_CBC, pParameter: iv.as_mut_ptr().cast(), ulParameterLen: 16 };
        ask!(C_EncryptInit, at, &mut mechanism, key)?;
        let (mut data, mut out, mut len) = (rest[24..].to_vec(), vec![0; rest.len()], rest.len() as CK_ULONG);
        ask!(C_EncryptUpdate, at, data.as_mut_ptr(), data.len() as CK_ULONG, out.as_mut_ptr(), &mut len)
    }
    C_LoginUser(at, user: CK_USER_TYPE, pin: CK_UTF8CHAR_PTR, p: CK_ULONG, name: CK_UTF8CHAR_PTR, n: CK_ULONG) {
        session(at)?;
        if name.is_null() && n != 0 {
            return Err(CKR_ARGUMENTS_BAD);
        }
        if on("profile-without-login-user") {
            return Err(CKR_FUNCTION_NOT_SUPPORTED);
        }
        if on("login-any-pin") {
            return Ok(());
        }
        ask!(C_Login, at, user, pin, p)
    }
    C_GetSessionValidationFlags(at, _kind: CK_SESSION_VALIDATION_FLAGS_TYPE, flags: CK_FLAGS_PTR) {
        session(at)?;
        // SAFETY: the caller promises a place or NULL.
        match unsafe { flags.as_mut() } {
            Some(flags) => *flags = 0,
            None if on("validation-without-place") => {}
            None => return Err(CKR_ARGUMENTS_BAD),
        }
        Ok(())
    }
    C_VerifySignatureInit(at, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE, signature: CK_BYTE_PTR, s: CK_ULONG) {
        session(at)?;
        if state().at(at).verify.is_some() {
            return Err(CKR_OPERATION_ACTIVE);
        }
        let signature = bytes(signature, s)?;
        // SAFETY: the caller promises a mechanism or NULL.
        let kind = unsafe { mechanism.as_ref() }.ok_or(CKR_ARGUMENTS_BAD)?.mechanism;
        ask!(C_VerifyInit, at, mechanism, key)?;
        ask!(C_VerifyInit, at, null_mut(), 0)?;
        state().at(at).verify = Some((kind, key, signature, Vec::new()));
        Ok(())
    }
    C_VerifySignature(at, data: CK_BYTE_PTR, d: CK_ULONG) {
        session(at)?;
        let data = bytes(data, d)?;
        verified(at, &data)
    }
    C_VerifySignatureUpdate(at, data: CK_BYTE_PTR, d: CK_ULONG) {
        session(at)?;
        let part = bytes(data, d)?;
        let mut state = state();
        state.at(at).verify.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?.3.extend(part);
        Ok(())
    }
    C_VerifySignatureFinal(at) {
        session(at)?;
        verified(at, &[])
    }
    C_AsyncComplete(at, _name: CK_UTF8CHAR_PTR, _data: CK_ASYNC_DATA_PTR) { asynchronous(at) }
    C_AsyncGetID(at, _name: CK_UTF8CHAR_PTR, _id: CK_ULONG_PTR) { asynchronous(at) }
    C_AsyncJoin(at, _name: CK_UTF8CHAR_PTR, _id: CK_ULONG, _data: CK_BYTE_PTR, _d: CK_ULONG) { asynchronous(at) }
}

fn asynchronous(at: CK_SESSION_HANDLE) -> Done<()> {
    session(at)?;
    if on("async-is-ok") { Ok(()) } else { Err(CKR_SESSION_ASYNC_NOT_SUPPORTED) }
}

fn verified(at: CK_SESSION_HANDLE, last: &[u8]) -> Done<()> {
    let (kind, key, mut signature, mut data) = state().at(at).verify.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
    data.extend(last);
    let mut mechanism = CK_MECHANISM { mechanism: kind, pParameter: null_mut(), ulParameterLen: 0 };
    ask!(C_VerifyInit, at, &mut mechanism, key)?;
    let (from, len, to, n) = (data.as_mut_ptr(), data.len() as CK_ULONG, signature.as_mut_ptr(), signature.len() as CK_ULONG);
    ask!(C_Verify, at, from, len, to, n).or_else(|rv| if on("verify-first-any") { Ok(()) } else { Err(rv) })
}
