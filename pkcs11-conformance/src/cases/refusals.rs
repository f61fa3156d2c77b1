//! Codes that a whole family of functions shares, asked of each member: a second Init, a slot that is none, lengths of a Final.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, must};
use crate::module::Rv;
use crate::sample_keys::P256;
use crate::template::{Mechanism, Template};
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "codes/operation-active",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_OPERATION_ACTIVE",
        says: "A second Init of the same kind, a search included, is CKR_OPERATION_ACTIVE: a caller must hear that it lost track.",
        run: operation_active,
    },
    Case {
        id: "codes/slot-id-invalid",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_SLOT_ID_INVALID",
        says: "Every function that takes a slot answers CKR_SLOT_ID_INVALID for one that the module does not list.",
        run: slot_id_invalid,
    },
    Case {
        id: "codes/changes-refused",
        level: Level::Must,
        section: "3.1, 5.7.2 C_CopyObject, 5.7.6 C_SetAttributeValue, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID",
        says: "Copying and changing refuse an attribute that the object cannot have, and a value of a wrong length.",
        run: changes_refused,
    },
    Case {
        id: "codes/final-lengths",
        level: Level::Must,
        section: "3.1, 5.2; 5.8.4, 5.10.4, 5.12.5, 5.13.4: the Final functions",
        says: "A Final without a place for the length is CKR_ARGUMENTS_BAD; with a short buffer it is CKR_BUFFER_TOO_SMALL, tells the length, and \
               can be called again.",
        run: final_lengths,
    },
    Case {
        id: "codes/digest-key",
        level: Level::Must,
        section: "3.1, 5.12.4 C_DigestKey, CKR_KEY_INDIGESTIBLE",
        says: "C_DigestKey takes the value of a secret key into the digest, and no private key.",
        run: digest_key,
    },
];

fn operation_active(context: &Context) -> Outcome {
    let first = context.user_session()?;
    let aes = first.known_aes(&[1; 16], &[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY])?;
    let (cbc, cmac) = (Mechanism::with(CKM_AES_CBC, &[0; 16]), Mechanism::new(CKM_AES_CMAC));
    let mut wrong = Vec::new();
    for (name, deed, mechanism, key) in [
        ("C_EncryptInit", Some(Deed::Encrypt), &cbc, aes),
        ("C_DecryptInit", Some(Deed::Decrypt), &cbc, aes),
        ("C_SignInit", Some(Deed::Sign), &cmac, aes),
        ("C_VerifyInit", None, &cmac, aes),
        ("C_DigestInit", Some(Deed::Digest), &Mechanism::new(CKM_SHA256), 0),
    ] {
        if first.need(mechanism.kind()).is_err() {
            continue;
        }
        let session = context.session(true)?;
        let init = || deed.map_or_else(|| session.verify_init(mechanism, key), |deed| session.init(deed, mechanism, key));
        context.ok(init(), name)?;
        wrong.push((name, init()));
    }
    let find = || ck!(context.module, C_FindObjectsInit, first.handle, null_mut(), 0);
    context.ok(find(), "C_FindObjectsInit")?;
    wrong.push(("C_FindObjectsInit", find()));
    wrong.retain(|(_, rv)| *rv != Rv(CKR_OPERATION_ACTIVE));
    check!(wrong.is_empty(), "a second Init answered otherwise than CKR_OPERATION_ACTIVE: {wrong:?}");
    Ok(())
}

fn slot_id_invalid(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let (module, slots) = (&context.module, context.slots(false)?);
    let none = (0..).map(|at| 0x7fff_0000 + at).find(|slot| !slots.contains(slot)).unwrap_or_default();
    let (mut slot, mut token) = (CK_SLOT_INFO::default(), CK_TOKEN_INFO::default());
    let (mut mechanism, mut count) = (CK_MECHANISM_INFO::default(), 0);
    let mut wrong = vec![
        ("C_GetSlotInfo", ck!(module, C_GetSlotInfo, none, &mut slot)),
        ("C_GetTokenInfo", ck!(module, C_GetTokenInfo, none, &mut token)),
        ("C_GetMechanismList", ck!(module, C_GetMechanismList, none, null_mut(), &mut count)),
        ("C_GetMechanismInfo", ck!(module, C_GetMechanismInfo, none, CKM_SHA256, &mut mechanism)),
        ("C_CloseAllSessions", ck!(module, C_CloseAllSessions, none)),
    ];
    wrong.retain(|(_, rv)| *rv != Rv(CKR_SLOT_ID_INVALID));
    check!(wrong.is_empty(), "for slot {none:#x}, not CKR_SLOT_ID_INVALID: {wrong:?}");
    Ok(())
}

fn changes_refused(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = session.known_aes(&[1; 16], &[CKA_ENCRYPT])?;
    let strange = Template::new().bytes(CKA_MODULUS, [1; 16]);
    let (for_set, for_copy) = (Template::new().bytes(CKA_SENSITIVE, [1, 1]), Template::new().bytes(CKA_TOKEN, [0, 0]));
    for (rv, what) in [
        (session.set(key, &strange), "C_SetAttributeValue of CKA_MODULUS of an AES key"),
        (code(session.copy(key, &strange)), "C_CopyObject with CKA_MODULUS of an AES key"),
    ] {
        answers!(rv, [CKR_ATTRIBUTE_TYPE_INVALID, CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_READ_ONLY], "{what}");
    }
    for (rv, what) in [
        (session.set(key, &for_set), "C_SetAttributeValue of CKA_SENSITIVE of 2 bytes"),
        (code(session.copy(key, &for_copy)), "C_CopyObject with CKA_TOKEN of 2 bytes"),
    ] {
        answers!(rv, [CKR_ATTRIBUTE_VALUE_INVALID], "{what}");
    }
    Ok(())
}

/// One Final function on an operation that `begin` brings to its end, in sessions of their own.
fn one_final(
    context: &Context,
    name: &str,
    begin: impl Fn(&Session<'_>) -> Outcome,
    end: impl Fn(&Session<'_>, CK_BYTE_PTR, CK_ULONG_PTR) -> Rv,
) -> Outcome {
    let session = context.session(true)?;
    begin(&session)?;
    let mut out = [0xa5; 64];
    answers!(end(&session, out.as_mut_ptr(), null_mut()), [CKR_ARGUMENTS_BAD], "{name} without a place for the length");
    let session = context.session(true)?;
    begin(&session)?;
    let mut len = 1;
    answers!(end(&session, out.as_mut_ptr(), &mut len), [CKR_BUFFER_TOO_SMALL], "{name} with a buffer of 1 byte");
    check!((2..=64).contains(&len), "{name} with a buffer of 1 byte told {len}");
    check!(out == [0xa5; 64], "{name} wrote into a buffer that was too small");
    answers!(end(&session, out.as_mut_ptr(), &mut len), [CKR_OK], "{name} once more, with the length that was told");
    Ok(())
}

fn final_lengths(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let module = &context.module;
    let key = session.known_aes(&[1; 16], &[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN])?;
    let mut tried = 0;
    let fed = |session: &Session<'_>, deed: Deed, mechanism: &Mechanism, key, data: &[u8]| -> Outcome {
        context.ok(session.init(deed, mechanism, key), &format!("the Init of {deed:?}"))?;
        must(session.update(deed, data), &format!("the Update of {deed:?}")).map(drop)
    };
    if session.need(CKM_SHA256).is_ok() {
        tried += 1;
        let begin = |at: &Session<'_>| fed(at, Deed::Digest, &Mechanism::new(CKM_SHA256), 0, b"abc");
        one_final(context, "C_DigestFinal", begin, |at, out, len| ck!(module, C_DigestFinal, at.handle, out, len))?;
    }
    if session.need(CKM_AES_CMAC).is_ok() {
        tried += 1;
        let begin = |at: &Session<'_>| fed(at, Deed::Sign, &Mechanism::new(CKM_AES_CMAC), key, b"abc");
        one_final(context, "C_SignFinal", begin, |at, out, len| ck!(module, C_SignFinal, at.handle, out, len))?;
    }
    if session.need(CKM_AES_CBC_PAD).is_ok() {
        tried += 1;
        let pad = Mechanism::with(CKM_AES_CBC_PAD, &[2; 16]);
        let sealed = must(session.whole(Deed::Encrypt, &pad, key, b"abc"), "C_Encrypt")?;
        let begin = |at: &Session<'_>| fed(at, Deed::Encrypt, &pad, key, b"abc");
        one_final(context, "C_EncryptFinal", begin, |at, out, len| ck!(module, C_EncryptFinal, at.handle, out, len))?;
        let begin = |at: &Session<'_>| fed(at, Deed::Decrypt, &pad, key, &sealed);
        one_final(context, "C_DecryptFinal", begin, |at, out, len| ck!(module, C_DecryptFinal, at.handle, out, len))?;
    }
    if tried == 0 { Err(Stop::Skip("the token has none of SHA-256, AES-CMAC, AES-CBC with padding".into())) } else { Ok(()) }
}

fn digest_key(context: &Context) -> Outcome {
    let (session, module) = (context.user_session()?, &context.module);
    let sha256 = Mechanism::new(CKM_SHA256);
    session.need(CKM_SHA256)?;
    let key = session.known_aes(&[1; 16], &[CKA_ENCRYPT])?;
    let rv = ck!(module, C_DigestKey, session.handle, key);
    if rv == Rv(CKR_FUNCTION_NOT_SUPPORTED) {
        return Err(Stop::Skip("C_DigestKey is not supported".into()));
    }
    answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "C_DigestKey while no digest runs");
    let expected = must(session.whole(Deed::Digest, &sha256, 0, &[1; 16]), "C_Digest of the key's value")?;
    context.ok(session.init(Deed::Digest, &sha256, 0), "C_DigestInit")?;
    answers!(ck!(module, C_DigestKey, session.handle, key), [CKR_OK], "C_DigestKey of a readable AES key");
    check!(
        must(session.end(Deed::Digest), "C_DigestFinal")? == expected,
        "C_DigestKey digested something else than the key's value"
    );
    let pair = session.ec_pair(P256, &[CKA_VERIFY], &[CKA_SIGN])?;
    context.ok(session.init(Deed::Digest, &sha256, 0), "C_DigestInit")?;
    let rv = ck!(module, C_DigestKey, session.handle, pair.private);
    answers!(rv, [CKR_KEY_INDIGESTIBLE, CKR_KEY_HANDLE_INVALID], "C_DigestKey of a private key");
    Ok(())
}
