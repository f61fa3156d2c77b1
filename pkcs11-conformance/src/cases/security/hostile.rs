//! Hostile arguments: NULL, lengths and counts beyond all memory, misaligned and overlapping buffers.
//!
//! Each try is announced by [`step`], so that a crash tells which one it was.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::Deed;
use crate::module::Rv;
use crate::run::step;
use crate::template::{Mechanism, Template};
use crate::{check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "security/null-general",
        level: Level::Security,
        section: "3.1, 5.1.6 CKR_ARGUMENTS_BAD, 5.4 to 5.6",
        says: "NULL in place of what a function needs is CKR_ARGUMENTS_BAD (or an error that goes before it), not a crash and not a \
               success: general, slot, token and session functions.",
        run: null_general,
    },
    Case {
        id: "security/null-object",
        level: Level::Security,
        section: "3.1, 5.1.6 CKR_ARGUMENTS_BAD, 5.7",
        says: "As security/null-general, for the functions on objects.",
        run: null_object,
    },
    Case {
        id: "security/null-init",
        level: Level::Security,
        section: "3.1, 5.1.6 CKR_ARGUMENTS_BAD, 5.8 to 5.18",
        says: "As security/null-general, for the functions that take a mechanism. (3.0 lets a NULL mechanism cancel a running operation.)",
        run: null_init,
    },
    Case {
        id: "security/null-data",
        level: Level::Security,
        section: "3.1, 5.1.6 CKR_ARGUMENTS_BAD, 5.8 to 5.16",
        says: "NULL data with a length, on a running operation, is an error and not a read through NULL.",
        run: null_data,
    },
    Case {
        id: "security/null-inside",
        level: Level::Security,
        section: "3.1, 5.1.6 CKR_ARGUMENTS_BAD; 6: mechanism parameters",
        says: "NULL with a length inside a mechanism's parameter or a template is an error and not a crash.",
        run: null_inside,
    },
    Case {
        id: "security/huge-counts",
        level: Level::Security,
        section: "3.1, 5.1.6 CKR_ARGUMENTS_BAD, 5.7",
        says: "Counts and lengths beyond all memory are refused before anything is multiplied, allocated or read.",
        run: huge_counts,
    },
    Case {
        id: "security/misaligned",
        level: Level::Should,
        section: "3.1, 3.4 CK_ATTRIBUTE, 3.5 CK_MECHANISM; C11, 6.3.2.3",
        says: "Mechanisms, templates and lengths at odd addresses, as packed structures have them, work or are refused; they are no crash.",
        run: misaligned,
    },
    Case {
        id: "security/in-place",
        level: Level::Should,
        section: "3.1, 5.2, 5.8.2 C_Encrypt",
        says: "Plaintext and ciphertext can be in the same place: applications encrypt in place. Of buffers that overlap in part the standard \
               does not speak; an error is better than a wrong ciphertext.",
        run: in_place,
    },
    Case {
        id: "security/wild-handles",
        level: Level::Security,
        section: "3.1, 5.1.2 CKR_SESSION_HANDLE_INVALID, 5.1.6 CKR_OBJECT_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID",
        says: "Handles that nobody gave out are refused as such; they are not addresses.",
        run: wild_handles,
    },
];

/// Refuses a success where an argument was missing.
fn refused(what: &str, call: impl FnOnce() -> Rv) -> Outcome {
    step(what);
    let rv = call();
    check!(rv != Rv::OK, "{what} answered CKR_OK");
    Ok(())
}

fn null_general(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let (module, handle, slot) = (&context.module, session.handle, context.slot()?);
    refused("C_GetFunctionList without a place", || ck!(module, C_GetFunctionList, null_mut()))?;
    refused("C_GetInfo without a place", || ck!(module, C_GetInfo, null_mut()))?;
    refused("C_GetSlotList without a count", || ck!(module, C_GetSlotList, CK_TRUE, null_mut(), null_mut()))?;
    refused("C_GetSlotInfo without a place", || ck!(module, C_GetSlotInfo, slot, null_mut()))?;
    refused("C_GetTokenInfo without a place", || ck!(module, C_GetTokenInfo, slot, null_mut()))?;
    refused("C_GetMechanismList without a count", || ck!(module, C_GetMechanismList, slot, null_mut(), null_mut()))?;
    refused("C_GetMechanismInfo without a place", || ck!(module, C_GetMechanismInfo, slot, CKM_AES_CBC, null_mut()))?;
    refused("C_OpenSession without a place", || {
        ck!(module, C_OpenSession, slot, CKF_SERIAL_SESSION, null_mut(), None, null_mut())
    })?;
    refused("C_GetSessionInfo without a place", || ck!(module, C_GetSessionInfo, handle, null_mut()))?;
    refused("C_GetOperationState without a count", || ck!(module, C_GetOperationState, handle, null_mut(), null_mut()))?;
    refused("C_SetOperationState from NULL", || ck!(module, C_SetOperationState, handle, null_mut(), 64, 0, 0))?;
    refused("C_Login with a NULL PIN of 8 bytes", || ck!(module, C_Login, handle, CKU_USER, null_mut(), 8))?;
    refused("C_InitPIN with a NULL PIN of 8 bytes", || ck!(module, C_InitPIN, handle, null_mut(), 8))?;
    refused("C_SetPIN with NULL PINs", || ck!(module, C_SetPIN, handle, null_mut(), 8, null_mut(), 8))?;
    refused("C_SeedRandom from NULL", || ck!(module, C_SeedRandom, handle, null_mut(), 16))?;
    refused("C_GenerateRandom to NULL", || ck!(module, C_GenerateRandom, handle, null_mut(), 16))?;
    let reserved = std::ptr::without_provenance_mut(1);
    refused("C_Finalize with a reserved argument", || ck!(module, C_Finalize, reserved))
}

fn null_object(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (module, handle) = (&context.module, session.handle);
    let object = session.secret(&[1; 16], &[CKA_SIGN])?;
    let mut made = 0;
    refused("C_CreateObject from a NULL template of 3", || ck!(module, C_CreateObject, handle, null_mut(), 3, &mut made))?;
    let mut template = crate::sample_keys::known_secret(CKK_GENERIC_SECRET, &[1; 16], &[]);
    let mut list = template.list();
    let (first, count) = (list.as_mut_ptr(), list.len() as CK_ULONG);
    refused("C_CreateObject without a place", || ck!(module, C_CreateObject, handle, first, count, null_mut()))?;
    refused("C_CopyObject without a place", || ck!(module, C_CopyObject, handle, object, null_mut(), 0, null_mut()))?;
    refused("C_CopyObject from a NULL template of 2", || ck!(module, C_CopyObject, handle, object, null_mut(), 2, &mut made))?;
    refused("C_GetObjectSize without a place", || ck!(module, C_GetObjectSize, handle, object, null_mut()))?;
    refused("C_GetAttributeValue of a NULL template of 2", || ck!(module, C_GetAttributeValue, handle, object, null_mut(), 2))?;
    refused("C_SetAttributeValue of a NULL template of 2", || ck!(module, C_SetAttributeValue, handle, object, null_mut(), 2))?;
    refused("C_FindObjectsInit of a NULL template of 2", || ck!(module, C_FindObjectsInit, handle, null_mut(), 2))?;
    context.ok(ck!(module, C_FindObjectsInit, handle, null_mut(), 0), "C_FindObjectsInit of an empty template")?;
    let mut count = 0;
    refused("C_FindObjects without a list", || ck!(module, C_FindObjects, handle, null_mut(), 4, &mut count))?;
    let mut list = [0; 4];
    refused("C_FindObjects without a count", || ck!(module, C_FindObjects, handle, list.as_mut_ptr(), 4, null_mut()))
}

fn null_init(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (module, handle) = (&context.module, session.handle);
    let key = session.aes_key(&[CKA_ENCRYPT, CKA_DECRYPT])?;
    refused("C_DigestInit without a mechanism", || ck!(module, C_DigestInit, handle, null_mut()))?;
    refused("C_EncryptInit without a mechanism", || ck!(module, C_EncryptInit, handle, null_mut(), key))?;
    refused("C_DecryptInit without a mechanism", || ck!(module, C_DecryptInit, handle, null_mut(), key))?;
    refused("C_SignInit without a mechanism", || ck!(module, C_SignInit, handle, null_mut(), key))?;
    refused("C_VerifyInit without a mechanism", || ck!(module, C_VerifyInit, handle, null_mut(), key))?;
    refused("C_SignRecoverInit without a mechanism", || ck!(module, C_SignRecoverInit, handle, null_mut(), key))?;
    refused("C_VerifyRecoverInit without a mechanism", || ck!(module, C_VerifyRecoverInit, handle, null_mut(), key))?;
    let (mut made, mut length) = (0, 0);
    refused("C_GenerateKey without a mechanism", || ck!(module, C_GenerateKey, handle, null_mut(), null_mut(), 0, &mut made))?;
    refused("C_GenerateKeyPair of nothing", || {
        ck!(module, C_GenerateKeyPair, handle, null_mut(), null_mut(), 0, null_mut(), 0, null_mut(), null_mut())
    })?;
    refused("C_WrapKey without a mechanism", || ck!(module, C_WrapKey, handle, null_mut(), key, key, null_mut(), &mut length))?;
    refused("C_UnwrapKey of nothing", || {
        ck!(module, C_UnwrapKey, handle, null_mut(), key, null_mut(), 40, null_mut(), 0, &mut made)
    })?;
    refused("C_DeriveKey of nothing", || ck!(module, C_DeriveKey, handle, null_mut(), key, null_mut(), 0, &mut made))?;
    let mut generate = Mechanism::new(CKM_AES_KEY_GEN);
    let mut template = Template::secret_key(CKK_AES, &[CKA_ENCRYPT]).ulong(CKA_VALUE_LEN, 16);
    let mut list = template.list();
    let count = list.len() as CK_ULONG;
    refused("C_GenerateKey without a place", || {
        ck!(module, C_GenerateKey, handle, &mut generate.raw(), list.as_mut_ptr(), count, null_mut())
    })
}

/// One function on a running operation, in a session of its own: what the last one left running is no matter here.
fn on_running(
    context: &Context,
    what: &str,
    start: impl FnOnce(&Session<'_>, CK_OBJECT_HANDLE) -> Rv,
    call: impl FnOnce(CK_SESSION_HANDLE) -> Rv,
) -> Outcome {
    let session = context.user_session()?;
    let key = session.aes_key(&[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY])?;
    context.ok(start(&session, key), "the Init function")?;
    refused(what, || call(session.handle))
}

fn null_data(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for kind in [CKM_AES_CBC_PAD, CKM_AES_CMAC, CKM_SHA256] {
        session.need(kind)?;
    }
    let module = &context.module;
    let (cipher, mac, hash) =
        (Mechanism::with(CKM_AES_CBC_PAD, &[7; 16]), Mechanism::new(CKM_AES_CMAC), Mechanism::new(CKM_SHA256));
    let mut out = [0; 64];
    let place = out.as_mut_ptr();
    let null = null_mut();
    let encrypt = |session: &Session<'_>, key| session.init(Deed::Encrypt, &cipher, key);
    let decrypt = |session: &Session<'_>, key| session.init(Deed::Decrypt, &cipher, key);
    let sign = |session: &Session<'_>, key| session.init(Deed::Sign, &mac, key);
    let verify = |session: &Session<'_>, key| session.verify_init(&mac, key);
    let digest = |session: &Session<'_>, key| session.init(Deed::Digest, &hash, key);
    on_running(context, "C_EncryptUpdate of NULL", encrypt, |at| ck!(module, C_EncryptUpdate, at, null, 32, place, &mut 64))?;
    on_running(context, "C_DecryptUpdate of NULL", decrypt, |at| ck!(module, C_DecryptUpdate, at, null, 32, place, &mut 64))?;
    on_running(context, "C_SignUpdate of NULL", sign, |at| ck!(module, C_SignUpdate, at, null, 32))?;
    on_running(context, "C_VerifyUpdate of NULL", verify, |at| ck!(module, C_VerifyUpdate, at, null, 32))?;
    on_running(context, "C_DigestUpdate of NULL", digest, |at| ck!(module, C_DigestUpdate, at, null, 32))?;
    on_running(context, "C_Encrypt of NULL", encrypt, |at| ck!(module, C_Encrypt, at, null, 32, place, &mut 64))?;
    on_running(context, "C_Decrypt of NULL", decrypt, |at| ck!(module, C_Decrypt, at, null, 32, place, &mut 64))?;
    on_running(context, "C_Sign of NULL", sign, |at| ck!(module, C_Sign, at, null, 32, place, &mut 64))?;
    on_running(context, "C_Digest of NULL", digest, |at| ck!(module, C_Digest, at, null, 32, place, &mut 64))?;
    on_running(context, "C_Verify of NULL", verify, |at| ck!(module, C_Verify, at, null, 32, place, 16))?;
    on_running(context, "C_Verify against NULL", verify, |at| ck!(module, C_Verify, at, place, 32, null, 16))
}

fn null_inside(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (module, handle) = (&context.module, session.handle);
    let key = session.aes_key(&[CKA_ENCRYPT, CKA_DERIVE])?;
    for (kind, len, name) in
        [(CKM_AES_CBC, 16, "CKM_AES_CBC"), (CKM_AES_GCM, 48, "CKM_AES_GCM"), (CKM_AES_CTR, 24, "CKM_AES_CTR")]
    {
        let mut raw = CK_MECHANISM { mechanism: kind, pParameter: null_mut(), ulParameterLen: len };
        refused(&format!("C_EncryptInit with {name} and a NULL parameter"), || {
            ck!(module, C_EncryptInit, handle, &mut raw, key)
        })?;
    }
    let mut parameters = CK_GCM_PARAMS { ulIvLen: 12, ulIvBits: 96, ulAADLen: 16, ulTagBits: 128, ..Default::default() };
    let parameter = std::ptr::from_mut(&mut parameters).cast();
    let mut raw = CK_MECHANISM { mechanism: CKM_AES_GCM, pParameter: parameter, ulParameterLen: 48 };
    refused("C_EncryptInit with NULL inside CK_GCM_PARAMS", || ck!(module, C_EncryptInit, handle, &mut raw, key))?;
    let mut list = [CK_ATTRIBUTE { type_: CKA_LABEL, pValue: null_mut(), ulValueLen: 8 }];
    let mut made = 0;
    refused("C_CreateObject with a NULL value of 8 bytes", || {
        ck!(module, C_CreateObject, handle, list.as_mut_ptr(), 1, &mut made)
    })?;
    refused("C_SetAttributeValue with a NULL value of 8 bytes", || {
        ck!(module, C_SetAttributeValue, handle, key, list.as_mut_ptr(), 1)
    })?;
    step("C_FindObjectsInit with a NULL value of 8 bytes");
    // A search may take it for a value that no object has.
    if ck!(module, C_FindObjectsInit, handle, list.as_mut_ptr(), 1) == Rv::OK {
        context.ok(ck!(module, C_FindObjectsFinal, handle), "C_FindObjectsFinal")?;
    }
    Ok(())
}

fn huge_counts(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (module, handle) = (&context.module, session.handle);
    let (object, key) = (session.secret(&[1; 16], &[CKA_SIGN])?, session.aes_key(&[CKA_ENCRYPT])?);
    let mut bytes = [b'1'; 64];
    for huge in [CK_ULONG::MAX, CK_ULONG::MAX / 24 + 2, 1 << 62] {
        let mut attribute = CK_ATTRIBUTE { type_: CKA_LABEL, pValue: bytes.as_mut_ptr().cast(), ulValueLen: huge };
        let mut made = 0;
        let one = &mut attribute;
        refused(&format!("C_CreateObject with a value of {huge} bytes"), || {
            ck!(module, C_CreateObject, handle, one, 1, &mut made)
        })?;
        refused(&format!("C_SetAttributeValue with a value of {huge} bytes"), || {
            ck!(module, C_SetAttributeValue, handle, object, one, 1)
        })?;
        refused(&format!("C_Login with a PIN of {huge} bytes"), || {
            ck!(module, C_Login, handle, CKU_USER, bytes.as_mut_ptr(), huge)
        })?;
        let mut raw = CK_MECHANISM { mechanism: CKM_AES_CBC, pParameter: bytes.as_mut_ptr().cast(), ulParameterLen: huge };
        refused(&format!("C_EncryptInit with a parameter of {huge} bytes"), || {
            ck!(module, C_EncryptInit, handle, &mut raw, key)
        })?;
    }
    for bytes in [CK_ULONG::MAX, 1 << 62, 1 << 48] {
        let template = Template::secret_key(CKK_GENERIC_SECRET, &[CKA_SIGN]).ulong(CKA_VALUE_LEN, bytes);
        refused(&format!("C_GenerateKey of {bytes} bytes"), || {
            session.generate(Mechanism::new(CKM_GENERIC_SECRET_KEY_GEN), template).err().unwrap_or(Rv::OK)
        })?;
    }
    Ok(())
}

fn misaligned(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_SHA256)?;
    let (module, handle) = (&context.module, session.handle);
    let mut space = [0_u64; 16];
    let odd = |space: &mut [u64; 16]| space.as_mut_ptr().cast::<u8>().wrapping_add(1);
    step("C_DigestInit with a mechanism at an odd address");
    let place = odd(&mut space).cast::<CK_MECHANISM>();
    let mechanism = CK_MECHANISM { mechanism: CKM_SHA256, pParameter: null_mut(), ulParameterLen: 0 };
    // SAFETY: within `space`, and written without regard to alignment.
    unsafe { place.write_unaligned(mechanism) };
    let rv = ck!(module, C_DigestInit, handle, place);
    step("C_Digest with a length at an odd address");
    if rv == Rv::OK {
        let (mut data, mut out) = ([1; 4], [0; 32]);
        let length = odd(&mut space).cast::<CK_ULONG>();
        // SAFETY: as above.
        unsafe { length.write_unaligned(32) };
        let rv = ck!(module, C_Digest, handle, data.as_mut_ptr(), 4, out.as_mut_ptr(), length);
        check!(rv != Rv::OK || out != [0; 32], "C_Digest with a length at an odd address gave nothing and answered CKR_OK");
    }
    step("C_FindObjectsInit with a template at an odd address");
    let mut value = CKO_SECRET_KEY;
    let place = odd(&mut space).cast::<CK_ATTRIBUTE>();
    let attribute = CK_ATTRIBUTE { type_: CKA_CLASS, pValue: std::ptr::from_mut(&mut value).cast(), ulValueLen: 8 };
    // SAFETY: as above.
    unsafe { place.write_unaligned(attribute) };
    if ck!(module, C_FindObjectsInit, handle, place, 1) == Rv::OK {
        step("C_FindObjects with a list at an odd address");
        let (list, mut count) = (odd(&mut space).cast::<CK_OBJECT_HANDLE>(), 0);
        ck!(module, C_FindObjects, handle, list, 4, &mut count);
        context.ok(ck!(module, C_FindObjectsFinal, handle), "C_FindObjectsFinal")?;
    }
    Ok(())
}

fn in_place(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_CBC)?;
    let key = session.known_aes(&[0x11; 16], &[CKA_ENCRYPT, CKA_DECRYPT])?;
    let cipher = Mechanism::with(CKM_AES_CBC, &[9; 16]);
    let plain: Vec<u8> = (0..64).collect();
    let apart = crate::crypt::must(session.whole(Deed::Encrypt, &cipher, key, &plain), "C_Encrypt")?;
    for shift in [0, 1, 16] {
        step(&format!("C_Encrypt with its output {shift} bytes after its input"));
        context.ok(session.init(Deed::Encrypt, &cipher, key), "C_EncryptInit")?;
        let mut buffer = [plain.clone(), vec![0; 64]].concat();
        let start = buffer.as_mut_ptr();
        let mut len = 64;
        let rv = ck!(context.module, C_Encrypt, session.handle, start, 64, start.wrapping_add(shift), &mut len);
        let right = buffer[shift..shift + 64] == apart;
        check!(shift != 0 || rv == Rv::OK, "C_Encrypt in place answered {rv}");
        check!(shift != 0 || right, "C_Encrypt in place gave a wrong ciphertext");
        if rv == Rv::OK && !right {
            let what = format!("output {shift} bytes after the input gives a wrong ciphertext without an error");
            return Err(Stop::Deviation(what + "; the standard speaks of the same place only"));
        }
    }
    Ok(())
}

fn wild_handles(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let module = &context.module;
    for wild in [0, CK_ULONG::MAX, 0xdead_beef, std::ptr::from_ref(context).addr() as CK_ULONG] {
        step(&format!("handle {wild:#x}"));
        let rv = ck!(module, C_DestroyObject, session.handle, wild);
        check!(rv == Rv(CKR_OBJECT_HANDLE_INVALID), "C_DestroyObject of {wild:#x} answered {rv}");
        let mut size = 0;
        let rv = ck!(module, C_GetObjectSize, session.handle, wild, &mut size);
        check!(rv == Rv(CKR_OBJECT_HANDLE_INVALID), "C_GetObjectSize of {wild:#x} answered {rv}");
        let rv = session.init(Deed::Encrypt, &Mechanism::with(CKM_AES_CBC, &[0; 16]), wild);
        check!(
            rv == Rv(CKR_KEY_HANDLE_INVALID) || rv == Rv(CKR_OBJECT_HANDLE_INVALID),
            "C_EncryptInit of {wild:#x} answered {rv}"
        );
        if wild != session.handle {
            let mut info = CK_SESSION_INFO::default();
            let rv = ck!(module, C_GetSessionInfo, wild, &mut info);
            check!(rv == Rv(CKR_SESSION_HANDLE_INVALID), "C_GetSessionInfo of {wild:#x} answered {rv}");
        }
    }
    Ok(())
}
