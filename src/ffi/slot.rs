//! Slots and tokens (PKCS#11 3.1, 5.5).

use cryptoki_sys::{
    CK_BBOOL, CK_FLAGS, CK_MECHANISM_INFO, CK_MECHANISM_INFO_PTR, CK_MECHANISM_TYPE, CK_MECHANISM_TYPE_PTR, CK_RV, CK_SLOT_ID,
    CK_SLOT_ID_PTR, CK_SLOT_INFO, CK_SLOT_INFO_PTR, CK_TOKEN_INFO, CK_TOKEN_INFO_PTR, CK_ULONG, CK_ULONG_PTR, CK_UTF8CHAR_PTR,
    CK_VERSION, CK_VOID_PTR, CKF_DONT_BLOCK,
};

use super::call;
use super::memory::{self, Place};
use crate::ck::MechanismType;
use crate::error::{Code, refuse};
use crate::limits::TOKEN_LABEL_BYTES;

/// Lists the slots. A call that asks for the number only looks for tokens that other processes have made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetSlotList(token_present: CK_BBOOL, slots: CK_SLOT_ID_PTR, count: CK_ULONG_PTR) -> CK_RV {
    call("C_GetSlotList", |module| {
        if count.is_null() {
            return Err(refuse(Code::ArgumentsBad, "pulCount is NULL"));
        }
        let found = module.library.slot_list(token_present != 0, slots.is_null())?;
        // SAFETY: the caller's promise.
        unsafe { memory::put_list(&found, slots, count) }
    })
}

/// Describes a slot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: CK_SLOT_INFO_PTR) -> CK_RV {
    call("C_GetSlotInfo", |module| {
        // SAFETY: the caller's promise.
        let place = unsafe { Place::at(info, "pInfo") }?;
        let info = module.library.slot_info(slot)?;
        place.put(CK_SLOT_INFO {
            slotDescription: info.description,
            manufacturerID: info.manufacturer,
            flags: info.flags,
            hardwareVersion: version(info.hardware),
            firmwareVersion: version(info.firmware),
        });
        Ok(())
    })
}

/// Describes the token in a slot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) -> CK_RV {
    call("C_GetTokenInfo", |module| {
        // SAFETY: the caller's promise.
        let place = unsafe { Place::at(info, "pInfo") }?;
        let info = module.library.token_info(slot)?;
        place.put(CK_TOKEN_INFO {
            label: info.label,
            manufacturerID: info.manufacturer,
            model: info.model,
            serialNumber: info.serial,
            flags: info.flags,
            ulMaxSessionCount: info.session_count_max,
            ulSessionCount: info.session_count,
            ulMaxRwSessionCount: info.rw_session_count_max,
            ulRwSessionCount: info.rw_session_count,
            ulMaxPinLen: info.pin_len_max,
            ulMinPinLen: info.pin_len_min,
            ulTotalPublicMemory: info.memory,
            ulFreePublicMemory: info.memory,
            ulTotalPrivateMemory: info.memory,
            ulFreePrivateMemory: info.memory,
            hardwareVersion: version(info.hardware),
            firmwareVersion: version(info.firmware),
            utcTime: info.utc_time,
        });
        Ok(())
    })
}

/// Lists the mechanisms of the token in a slot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetMechanismList(slot: CK_SLOT_ID, mechanisms: CK_MECHANISM_TYPE_PTR, count: CK_ULONG_PTR) -> CK_RV {
    call("C_GetMechanismList", |module| {
        if count.is_null() {
            return Err(refuse(Code::ArgumentsBad, "pulCount is NULL"));
        }
        let found: Vec<_> = module.library.mechanism_list(slot)?.into_iter().map(|kind| kind.0).collect();
        // SAFETY: the caller's promise.
        unsafe { memory::put_list(&found, mechanisms, count) }
    })
}

/// Describes one mechanism of the token in a slot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: CK_MECHANISM_INFO_PTR) -> CK_RV {
    call("C_GetMechanismInfo", |module| {
        // SAFETY: the caller's promise.
        let place = unsafe { Place::at(info, "pInfo") }?;
        let info = module.library.mechanism_info(slot, MechanismType(kind))?;
        place.put(CK_MECHANISM_INFO { ulMinKeySize: info.key_size_min, ulMaxKeySize: info.key_size_max, flags: info.flags });
        Ok(())
    })
}

/// Makes a token in a slot, or empties the one that is there. The label is 32 bytes, padded with blanks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_InitToken(slot: CK_SLOT_ID, pin: CK_UTF8CHAR_PTR, pin_len: CK_ULONG, label: CK_UTF8CHAR_PTR) -> CK_RV {
    call("C_InitToken", |module| {
        // SAFETY: the caller's promise.
        let pin = unsafe { memory::pin(pin, pin_len, "pPin") }?;
        // SAFETY: the caller's promise: the label has no length of its own (PKCS#11 3.1, 5.5.7).
        let label = unsafe { memory::read::<[u8; TOKEN_LABEL_BYTES]>(label.cast(), "pLabel") }?;
        module.library.init_token(slot, &pin, label)
    })
}

/// Waits until a token comes or goes, or tells that none has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_WaitForSlotEvent(flags: CK_FLAGS, slot: CK_SLOT_ID_PTR, reserved: CK_VOID_PTR) -> CK_RV {
    call("C_WaitForSlotEvent", |module| {
        if !reserved.is_null() {
            return Err(refuse(Code::ArgumentsBad, "pReserved is not NULL"));
        }
        // The place is looked at when there is something to put there: SoftHSM's clients ask with NULL whether there are events.
        let event = module.library.wait_for_slot_event(flags & CKF_DONT_BLOCK == 0)?;
        // SAFETY: the caller's promise.
        unsafe { Place::at(slot, "pSlot") }?.put(event);
        Ok(())
    })
}

fn version((major, minor): (u8, u8)) -> CK_VERSION {
    CK_VERSION { major, minor }
}
