//! Operations: the two-call length protocol, and what ends an operation.

use std::ptr;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, must};
use crate::module::Rv;
use crate::template::Mechanism;
use crate::use_keys::Transform;
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "operation/query-then-use",
        level: Level::Must,
        section: "3.1, 5.2 Conventions for functions returning output in a variable-length buffer",
        says: "A NULL buffer asks for the length and leaves the operation running; so does a buffer that is too small, which answers \
               CKR_BUFFER_TOO_SMALL and tells the length; then a large enough one gets the result.",
        run: query_then_use,
    },
    Case {
        id: "operation/init-twice",
        level: Level::Must,
        section: "3.1, 5.8.1 C_EncryptInit, 5.12.1 C_DigestInit",
        says: "A second Init of a running operation answers CKR_OPERATION_ACTIVE.",
        run: init_twice,
    },
    Case {
        id: "operation/without-init",
        level: Level::Must,
        section: "3.1, 5.8 to 5.15",
        says: "Single, Update and Final without Init answer CKR_OPERATION_NOT_INITIALIZED.",
        run: without_init,
    },
    Case {
        id: "operation/final-ends",
        level: Level::Must,
        section: "3.1, 5.12.5 C_DigestFinal and its like",
        says: "Final and the single-part call end the operation: the next one answers CKR_OPERATION_NOT_INITIALIZED.",
        run: final_ends,
    },
    Case {
        id: "operation/null-length",
        level: Level::Must,
        section: "3.1, 5.2",
        says: "Without a place for the length there is no answer but CKR_ARGUMENTS_BAD.",
        run: null_length,
    },
    Case {
        id: "operation/verify-ends-on-wrong-length",
        level: Level::Must,
        section: "3.1, 5.15.2 C_Verify",
        says: "C_Verify always ends the operation, also when the signature has the wrong length.",
        run: verify_ends_on_wrong_length,
    },
    Case {
        id: "operation/logout-ends",
        level: Level::Security,
        section: "3.1, 5.6.10 C_Logout",
        says: "An operation that was started with a private key object must not go on after C_Logout.",
        run: logout_ends,
    },
    Case {
        id: "operation/destroy-ends-use",
        level: Level::Security,
        section: "3.1, 5.7.3 C_DestroyObject",
        says: "A destroyed key's handle is dead: it starts no further operation.",
        run: destroy_ends_use,
    },
    Case {
        id: "operation/huge-length",
        level: Level::Security,
        section: "3.1, 5.2",
        says: "A NULL input with a length, or a length beyond all memory, is an error code and not a crash.",
        run: huge_length,
    },
    Case {
        id: "operation/short-buffers",
        level: Level::Must,
        section: "3.1, 5.2, 5.8.3 C_EncryptUpdate, 5.10.2 C_Decrypt, 5.10.3 C_DecryptUpdate",
        says: "The length protocol holds for C_Decrypt and for the Update functions too: what does not fit is not lost.",
        run: short_buffers,
    },
    Case {
        id: "operation/error-ends",
        level: Level::Must,
        section: "3.1, 5.8.2 C_Encrypt, 5.8.4 C_EncryptFinal, 5.10.2 C_Decrypt, 5.10.4 C_DecryptFinal",
        says: "An error other than CKR_BUFFER_TOO_SMALL ends the operation: the next call answers CKR_OPERATION_NOT_INITIALIZED, and what was \
               left of the data is not mixed into the next operation.",
        run: error_ends,
    },
    Case {
        id: "operation/verify-final",
        level: Level::Must,
        section: "3.1, 5.15.4 C_VerifyFinal",
        says: "C_VerifyFinal tells a signature of a wrong length from a wrong one, and ends the operation either way.",
        run: verify_final,
    },
];

fn digest_init(session: &Session<'_>) -> Rv {
    let mut mechanism = Mechanism::new(CKM_SHA256);
    ck!(session.context.module, C_DigestInit, session.handle, &mut mechanism.raw())
}

fn encrypt_init(session: &Session<'_>, key: CK_OBJECT_HANDLE) -> Rv {
    let mut mechanism = Mechanism::with(CKM_AES_CBC_PAD, &[7; 16]);
    ck!(session.context.module, C_EncryptInit, session.handle, &mut mechanism.raw(), key)
}

fn sign_init(session: &Session<'_>, key: CK_OBJECT_HANDLE) -> Rv {
    let mut mechanism = Mechanism::new(CKM_AES_CMAC);
    ck!(session.context.module, C_SignInit, session.handle, &mut mechanism.raw(), key)
}

fn verify_init(session: &Session<'_>, key: CK_OBJECT_HANDLE) -> Rv {
    let mut mechanism = Mechanism::new(CKM_AES_CMAC);
    ck!(session.context.module, C_VerifyInit, session.handle, &mut mechanism.raw(), key)
}

/// The length protocol of one function, its operation being started.
fn two_calls(session: &Session<'_>, function: Option<Transform>, data: &[u8], expected: usize, name: &str) -> Outcome {
    let (rv, told, _) = session.transform(function, data, None);
    answers!(rv, [CKR_OK], "{name} with a NULL buffer");
    check!(told >= expected, "{name} with a NULL buffer told {told} bytes where {expected} come out");
    let (rv, told, out) = session.transform(function, data, Some(1));
    answers!(rv, [CKR_BUFFER_TOO_SMALL], "{name} with a buffer of 1 byte");
    check!(told >= expected, "{name} with a buffer of 1 byte told {told} bytes where {expected} come out");
    check!(out == [0xa5], "{name} wrote into a buffer that was too small");
    let (rv, told, _) = session.transform(function, data, Some(told));
    answers!(rv, [CKR_OK], "{name} with the length that was told");
    check!(told == expected, "{name} wrote {told} bytes, expected {expected}");
    Ok(())
}

fn query_then_use(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let functions = context.module.functions();
    session.need(CKM_SHA256)?;
    answers!(digest_init(&session), [CKR_OK], "C_DigestInit");
    two_calls(&session, functions.C_Digest, b"abc", 32, "C_Digest")?;
    session.need(CKM_AES_CBC_PAD)?;
    let key = session.aes_key(&[CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY])?;
    answers!(encrypt_init(&session, key), [CKR_OK], "C_EncryptInit");
    two_calls(&session, functions.C_Encrypt, &[1; 20], 32, "C_Encrypt")?;
    session.need(CKM_AES_CMAC)?;
    answers!(sign_init(&session, key), [CKR_OK], "C_SignInit");
    two_calls(&session, functions.C_Sign, b"abc", 16, "C_Sign")
}

fn init_twice(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_SHA256)?;
    answers!(digest_init(&session), [CKR_OK], "C_DigestInit");
    answers!(digest_init(&session), [CKR_OPERATION_ACTIVE], "C_DigestInit once more");
    let session = context.user_session()?;
    session.need(CKM_AES_CBC_PAD)?;
    let key = session.aes_key(&[CKA_ENCRYPT])?;
    answers!(encrypt_init(&session, key), [CKR_OK], "C_EncryptInit");
    answers!(encrypt_init(&session, key), [CKR_OPERATION_ACTIVE], "C_EncryptInit once more");
    Ok(())
}

fn without_init(context: &Context) -> Outcome {
    let session = context.session(false)?;
    let functions = context.module.functions();
    let transforms = [
        ("C_Encrypt", functions.C_Encrypt),
        ("C_EncryptUpdate", functions.C_EncryptUpdate),
        ("C_Decrypt", functions.C_Decrypt),
        ("C_DecryptUpdate", functions.C_DecryptUpdate),
        ("C_Digest", functions.C_Digest),
        ("C_Sign", functions.C_Sign),
    ];
    for (name, function) in transforms {
        let (rv, _, _) = session.transform(function, &[0; 16], Some(64));
        answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "{name} without Init");
    }
    let (mut out, mut len) = ([0_u8; 64], 64);
    let (handle, out) = (session.handle, out.as_mut_ptr());
    answers!(
        ck!(context.module, C_EncryptFinal, handle, out, &mut len),
        [CKR_OPERATION_NOT_INITIALIZED],
        "C_EncryptFinal without Init"
    );
    answers!(
        ck!(context.module, C_DigestFinal, handle, out, &mut len),
        [CKR_OPERATION_NOT_INITIALIZED],
        "C_DigestFinal without Init"
    );
    answers!(
        ck!(context.module, C_SignFinal, handle, out, &mut len),
        [CKR_OPERATION_NOT_INITIALIZED],
        "C_SignFinal without Init"
    );
    answers!(ck!(context.module, C_VerifyFinal, handle, out, 16), [CKR_OPERATION_NOT_INITIALIZED], "C_VerifyFinal without Init");
    answers!(ck!(context.module, C_FindObjectsFinal, handle), [CKR_OPERATION_NOT_INITIALIZED], "C_FindObjectsFinal without Init");
    Ok(())
}

fn final_ends(context: &Context) -> Outcome {
    let session = context.session(false)?;
    session.need(CKM_SHA256)?;
    answers!(digest_init(&session), [CKR_OK], "C_DigestInit");
    let mut data = *b"abc";
    answers!(ck!(context.module, C_DigestUpdate, session.handle, data.as_mut_ptr(), 3), [CKR_OK], "C_DigestUpdate");
    let (mut out, mut len) = ([0_u8; 32], 32);
    answers!(ck!(context.module, C_DigestFinal, session.handle, out.as_mut_ptr(), &mut len), [CKR_OK], "C_DigestFinal");
    check!(out[..4] == [0xba, 0x78, 0x16, 0xbf], "SHA-256 of \"abc\" is wrong");
    let rv = ck!(context.module, C_DigestFinal, session.handle, out.as_mut_ptr(), &mut len);
    answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "C_DigestFinal once more");
    answers!(digest_init(&session), [CKR_OK], "C_DigestInit");
    let (rv, _, _) = session.transform(context.module.functions().C_Digest, b"abc", Some(32));
    answers!(rv, [CKR_OK], "C_Digest");
    let (rv, _, _) = session.transform(context.module.functions().C_Digest, b"abc", Some(32));
    answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "C_Digest once more");
    Ok(())
}

fn null_length(context: &Context) -> Outcome {
    let session = context.session(false)?;
    session.need(CKM_SHA256)?;
    answers!(digest_init(&session), [CKR_OK], "C_DigestInit");
    let (mut data, mut out) = (*b"abc", [0_u8; 32]);
    let rv = ck!(context.module, C_Digest, session.handle, data.as_mut_ptr(), 3, out.as_mut_ptr(), ptr::null_mut());
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_Digest without a place for the length");
    Ok(())
}

fn verify_ends_on_wrong_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_CMAC)?;
    let key = session.aes_key(&[CKA_SIGN, CKA_VERIFY])?;
    for len in [0, 1, 15, 17] {
        answers!(verify_init(&session, key), [CKR_OK], "C_VerifyInit");
        let (mut data, mut signature) = (*b"abc", [0_u8; 17]);
        let rv = ck!(context.module, C_Verify, session.handle, data.as_mut_ptr(), 3, signature.as_mut_ptr(), len);
        answers!(
            rv,
            [CKR_SIGNATURE_LEN_RANGE, CKR_SIGNATURE_INVALID, CKR_ARGUMENTS_BAD],
            "C_Verify of a signature of {len} bytes"
        );
        let rv = ck!(context.module, C_Verify, session.handle, data.as_mut_ptr(), 3, signature.as_mut_ptr(), 16);
        answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "C_Verify after one that failed on {len} bytes");
    }
    Ok(())
}

fn logout_ends(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_CMAC)?;
    let key = session.aes_key(&[CKA_SIGN])?;
    answers!(sign_init(&session, key), [CKR_OK], "C_SignInit");
    answers!(session.logout(), [CKR_OK], "C_Logout");
    let (rv, _, _) = session.transform(context.module.functions().C_Sign, b"abc", Some(16));
    check!(rv != Rv::OK, "C_Sign went on with a private key after C_Logout");
    Ok(())
}

fn destroy_ends_use(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_CMAC)?;
    let key = session.aes_key(&[CKA_SIGN])?;
    answers!(ck!(context.module, C_DestroyObject, session.handle, key), [CKR_OK], "C_DestroyObject");
    answers!(sign_init(&session, key), [CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID], "C_SignInit with a destroyed key");
    Ok(())
}

fn huge_length(context: &Context) -> Outcome {
    let session = context.session(false)?;
    session.need(CKM_SHA256)?;
    for len in [1, 1 << 32, CK_ULONG::MAX >> 1, CK_ULONG::MAX - 1, CK_ULONG::MAX] {
        match digest_init(&session) {
            Rv::OK | Rv(CKR_OPERATION_ACTIVE) => {}
            rv => return Err(Stop::Fail(format!("C_DigestInit answered {rv}"))),
        }
        let mut out_len = 32;
        let mut out = [0_u8; 32];
        let rv = ck!(context.module, C_Digest, session.handle, ptr::null_mut(), len, out.as_mut_ptr(), &mut out_len);
        check!(rv != Rv::OK, "C_Digest of a NULL input of {len:#x} bytes answered CKR_OK");
    }
    Ok(())
}

fn short_buffers(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let functions = context.module.functions();
    session.need(CKM_AES_CBC)?;
    let key = session.known_aes(&[1; 16], &[CKA_ENCRYPT, CKA_DECRYPT])?;
    let (cbc, data) = (Mechanism::with(CKM_AES_CBC, &[7; 16]), [1; 32]);
    let sealed = must(session.whole(Deed::Encrypt, &cbc, key, &data), "C_Encrypt")?;
    context.ok(session.init(Deed::Decrypt, &cbc, key), "C_DecryptInit")?;
    two_calls(&session, functions.C_Decrypt, &sealed, 32, "C_Decrypt")?;
    context.ok(session.init(Deed::Encrypt, &cbc, key), "C_EncryptInit")?;
    two_calls(&session, functions.C_EncryptUpdate, &data, 32, "C_EncryptUpdate")?;
    must(session.end(Deed::Encrypt), "C_EncryptFinal")?;
    context.ok(session.init(Deed::Decrypt, &cbc, key), "C_DecryptInit")?;
    two_calls(&session, functions.C_DecryptUpdate, &sealed, 32, "C_DecryptUpdate")?;
    must(session.end(Deed::Decrypt), "C_DecryptFinal").map(|_| ())
}

fn error_ends(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_AES_CBC)?;
    first.need(CKM_AES_CBC_PAD)?;
    let key = first.known_aes(&[1; 16], &[CKA_ENCRYPT, CKA_DECRYPT])?;
    let (cbc, pad) = (Mechanism::with(CKM_AES_CBC, &[7; 16]), Mechanism::with(CKM_AES_CBC_PAD, &[7; 16]));
    for (deed, what) in [(Deed::Encrypt, "C_Encrypt"), (Deed::Decrypt, "C_Decrypt")] {
        let session = context.session(false)?;
        context.ok(session.init(deed, &cbc, key), "the Init")?;
        let rv = code(session.finish(deed, &[1; 5]));
        answers!(rv, [CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_LEN_RANGE], "{what} of 5 bytes by CKM_AES_CBC");
        answers!(code(session.finish(deed, &[1; 16])), [CKR_OPERATION_NOT_INITIALIZED], "{what} after an error");
    }
    for (deed, mechanism, data, what) in [
        (Deed::Encrypt, &cbc, &[1; 5][..], "C_EncryptFinal after 5 bytes by CKM_AES_CBC"),
        (Deed::Decrypt, &cbc, &[1; 5], "C_DecryptFinal after 5 bytes by CKM_AES_CBC"),
        (Deed::Decrypt, &pad, &[1; 16], "C_DecryptFinal on wrong padding"),
    ] {
        let session = context.session(false)?;
        context.ok(session.init(deed, mechanism, key), "the Init")?;
        // An Update may see it already.
        let refused = session.update(deed, data).is_err() || session.end(deed).is_err();
        check!(refused, "{what} answered CKR_OK");
        answers!(code(session.end(deed)), [CKR_OPERATION_NOT_INITIALIZED], "{what}, once more,");
    }
    Ok(())
}

fn verify_final(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_CMAC)?;
    let key = session.aes_key(&[CKA_SIGN, CKA_VERIFY])?;
    let finished = |signature: *mut u8, len| ck!(context.module, C_VerifyFinal, session.handle, signature, len);
    let mut signature = [0; 17];
    for len in [15, 17, 16] {
        answers!(verify_init(&session, key), [CKR_OK], "C_VerifyInit");
        let mut data = *b"abc";
        answers!(ck!(context.module, C_VerifyUpdate, session.handle, data.as_mut_ptr(), 3), [CKR_OK], "C_VerifyUpdate");
        let rv = finished(signature.as_mut_ptr(), len);
        let expected = if len == 16 { CKR_SIGNATURE_INVALID } else { CKR_SIGNATURE_LEN_RANGE };
        check!(rv == Rv(expected), "C_VerifyFinal of a wrong signature of {len} bytes answered {rv}");
        answers!(finished(signature.as_mut_ptr(), 16), [CKR_OPERATION_NOT_INITIALIZED], "C_VerifyFinal after one of {len} bytes");
    }
    answers!(verify_init(&session, key), [CKR_OK], "C_VerifyInit");
    answers!(finished(ptr::null_mut(), 16), [CKR_ARGUMENTS_BAD, CKR_SIGNATURE_INVALID], "C_VerifyFinal without a signature");
    Ok(())
}
