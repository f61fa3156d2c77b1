//! Signatures with recovery, and codes that only some functions of a family were asked for: types of keys, parameters, templates, sizes.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, must};
use crate::known_keys::{data_of, rsa_private};
use crate::module::Rv;
use crate::sample_keys::{P256, Pair, uses};
use crate::template::{Mechanism, Template};
use crate::use_keys::Transform;
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "codes/sign-recover",
        level: Level::Must,
        section: "3.1, 5.13.5 C_SignRecoverInit, 5.13.6 C_SignRecover",
        says: "Signing with recovery keeps the rules of signing: CKA_SIGN_RECOVER, the key's type, one operation at a time, the length protocol, \
               and the longest data.",
        run: sign_recover,
    },
    Case {
        id: "codes/verify-recover",
        level: Level::Must,
        section: "3.1, 5.15.5 C_VerifyRecoverInit, 5.15.6 C_VerifyRecover",
        says: "Verifying with recovery keeps the rules of verifying, and gives no data for a signature that is wrong or of a wrong length.",
        run: verify_recover,
    },
    Case {
        id: "codes/key-type-inconsistent",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_KEY_TYPE_INCONSISTENT",
        says: "The type of a key is looked at by C_DecryptInit, C_VerifyInit and C_DeriveKey too.",
        run: key_type_inconsistent,
    },
    Case {
        id: "codes/parameter-not-taken",
        level: Level::Should,
        section: "3.1, 5.1.6 CKR_MECHANISM_PARAM_INVALID; 6: mechanisms that have no parameter",
        says: "A parameter for a mechanism that takes none is CKR_MECHANISM_PARAM_INVALID for every function: the caller means another mechanism.",
        run: parameter_not_taken,
    },
    Case {
        id: "codes/template-incomplete",
        level: Level::Must,
        section: "3.1, 5.18.4 C_UnwrapKey, 5.18.5 C_DeriveKey, CKR_TEMPLATE_INCOMPLETE",
        says: "What says neither type nor length is not unwrapped or derived as whatever the module guesses.",
        run: template_incomplete,
    },
    Case {
        id: "codes/wrap-too-long",
        level: Level::Must,
        section: "3.1, 5.18.3 C_WrapKey, CKR_KEY_SIZE_RANGE; 6.1.6 PKCS #1 v1.5 RSA",
        says: "A key that is longer than the wrapping mechanism takes is CKR_KEY_SIZE_RANGE.",
        run: wrap_too_long,
    },
];

fn rsa_recover(session: &Session<'_>) -> Result<Pair, Stop> {
    match session.mechanism_info(CKM_RSA_PKCS)?.flags & (CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER) {
        0 => Err(Stop::Skip("CKM_RSA_PKCS signs without recovery here".into())),
        _ => session.known_rsa(),
    }
}

fn sign_init(session: &Session<'_>, key: CK_OBJECT_HANDLE) -> Rv {
    ck!(session.context.module, C_SignRecoverInit, session.handle, &mut Mechanism::new(CKM_RSA_PKCS).raw(), key)
}

fn verify_init(session: &Session<'_>, key: CK_OBJECT_HANDLE) -> Rv {
    ck!(session.context.module, C_VerifyRecoverInit, session.handle, &mut Mechanism::new(CKM_RSA_PKCS).raw(), key)
}

/// What both Init functions refuse: a key that may not, keys of other types, an operation too many. Leaves one running.
fn inits(session: &Session<'_>, init: fn(&Session<'_>, CK_OBJECT_HANDLE) -> Rv, key: CK_OBJECT_HANDLE, not: Template) -> Outcome {
    let barred = must(session.create(not), "C_CreateObject of an RSA key")?;
    answers!(init(session, barred), [CKR_KEY_FUNCTION_NOT_PERMITTED], "the Init with a key that may not");
    let aes = session.known_aes(&[1; 16], &[CKA_ENCRYPT])?;
    answers!(init(session, aes), [CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED], "the Init with an AES key");
    answers!(init(session, key), [CKR_OK], "the Init");
    answers!(init(session, key), [CKR_OPERATION_ACTIVE], "the Init once more");
    Ok(())
}

/// The length protocol and NULL data of the single-part function on what [`inits`] left running; gives its result.
fn finishes(session: &Session<'_>, function: Option<Transform>, data: &[u8], expected: usize) -> Result<Vec<u8>, Stop> {
    let (rv, told, out) = session.transform(function, data, Some(1));
    answers!(rv, [CKR_BUFFER_TOO_SMALL], "a buffer of 1 byte");
    check!(
        told >= expected && out == [0xa5],
        "a buffer of 1 byte: {told} bytes were told, {expected} come out, and it became {out:x?}"
    );
    let (rv, len, mut out) = session.transform(function, data, Some(told));
    answers!(rv, [CKR_OK], "a buffer of the length that was told");
    out.truncate(len);
    Ok(out)
}

fn public_without(use_of: CK_ATTRIBUTE_TYPE, session: &Session<'_>, public: CK_OBJECT_HANDLE) -> Result<Template, Stop> {
    let modulus = must(session.attribute(public, CKA_MODULUS), "reading CKA_MODULUS")?;
    let template = uses(&[CKA_VERIFY]).ulong(CKA_CLASS, CKO_PUBLIC_KEY).ulong(CKA_KEY_TYPE, CKK_RSA).flag(use_of, false);
    Ok(template.bytes(CKA_MODULUS, modulus).bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]))
}

fn sign_recover(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (pair, module) = (rsa_recover(&session)?, &context.module);
    inits(&session, sign_init, pair.private, rsa_private(&[CKA_SIGN])?.flag(CKA_SIGN_RECOVER, false))?;
    let signature = finishes(&session, module.functions().C_SignRecover, b"recovered", 256)?;
    let recovered = must(session.verify_recover(&Mechanism::new(CKM_RSA_PKCS), pair.public, &signature), "C_VerifyRecover")?;
    check!(recovered == b"recovered", "C_VerifyRecover gave {recovered:02x?}");
    context.ok(sign_init(&session, pair.private), "C_SignRecoverInit")?;
    let (rv, _, _) = session.transform(module.functions().C_SignRecover, &[1; 246], Some(256));
    answers!(rv, [CKR_DATA_LEN_RANGE], "C_SignRecover of 246 bytes with RSA-2048");
    let session = context.session(false)?;
    context.ok(sign_init(&session, pair.private), "C_SignRecoverInit")?;
    let (mut out, mut len) = ([0; 256], 256);
    let rv = ck!(module, C_SignRecover, session.handle, null_mut(), 9, out.as_mut_ptr(), &mut len);
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_SignRecover of NULL");
    Ok(())
}

fn verify_recover(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (pair, module, mechanism) = (rsa_recover(&session)?, &context.module, Mechanism::new(CKM_RSA_PKCS));
    let signature = must(session.sign_recover(&mechanism, pair.private, b"recovered"), "C_SignRecover")?;
    inits(&session, verify_init, pair.public, public_without(CKA_VERIFY_RECOVER, &session, pair.public)?)?;
    let recovered = finishes(&session, module.functions().C_VerifyRecover, &signature, 9)?;
    check!(recovered == b"recovered", "C_VerifyRecover gave {recovered:02x?}");
    let mut wrong = signature.clone();
    wrong[128] ^= 1;
    for (bytes, expected, what) in [
        (&wrong[..], CKR_SIGNATURE_INVALID, "a changed signature"),
        (&signature[..255], CKR_SIGNATURE_LEN_RANGE, "a signature without its last byte"),
    ] {
        let rv = code(session.verify_recover(&mechanism, pair.public, bytes));
        check!(rv == Rv(expected), "C_VerifyRecover of {what} answered {rv}");
    }
    let session = context.session(false)?;
    context.ok(verify_init(&session, pair.public), "C_VerifyRecoverInit")?;
    let (mut out, mut len) = ([0; 256], 256);
    let rv = ck!(module, C_VerifyRecover, session.handle, null_mut(), 256, out.as_mut_ptr(), &mut len);
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_VerifyRecover of NULL");
    Ok(())
}

fn key_type_inconsistent(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let generic = session.secret(&[1; 16], &[CKA_DECRYPT, CKA_VERIFY, CKA_DERIVE])?;
    let derive = Mechanism::string_data(CKM_AES_ECB_ENCRYPT_DATA, &data_of(16));
    let template = Template::secret_key(CKK_GENERIC_SECRET, &[]).ulong(CKA_VALUE_LEN, 16);
    let tries: [(CK_MECHANISM_TYPE, &str, &dyn Fn() -> Rv); 3] = [
        (CKM_AES_CBC, "C_DecryptInit", &|| session.init(Deed::Decrypt, &Mechanism::with(CKM_AES_CBC, &[0; 16]), generic)),
        (CKM_AES_CMAC, "C_VerifyInit", &|| session.verify_init(&Mechanism::new(CKM_AES_CMAC), generic)),
        (CKM_AES_ECB_ENCRYPT_DATA, "C_DeriveKey", &|| code(session.derive(&derive, generic, &template))),
    ];
    let mut tried = 0;
    for (kind, name, asks) in tries {
        if session.need(kind).is_ok() {
            tried += 1;
            answers!(asks(), [CKR_KEY_TYPE_INCONSISTENT], "{name} by a mechanism of AES with a generic secret");
        }
    }
    if tried == 0 { Err(Stop::Skip("the token has none of these mechanisms".into())) } else { Ok(()) }
}

fn parameter_not_taken(context: &Context) -> Outcome {
    let first = context.user_session()?;
    let with = |kind| Mechanism::with(kind, &[7; 8]);
    let aes = first.known_aes(&[1; 16], &[CKA_SIGN, CKA_VERIFY, CKA_ENCRYPT])?;
    let wrapping = first.known_aes(&[2; 16], &[CKA_WRAP, CKA_UNWRAP])?;
    let template = || Template::secret_key(CKK_AES, &[CKA_ENCRYPT]);
    let curve = uses(&[CKA_VERIFY]).bytes(CKA_EC_PARAMS, P256.oid);
    type Asks<'a> = &'a dyn Fn(&Session<'_>, &Mechanism) -> Rv;
    let tries: [(CK_MECHANISM_TYPE, &str, Asks<'_>); 7] = [
        (CKM_SHA256, "C_DigestInit", &|session, mechanism| session.init(Deed::Digest, mechanism, 0)),
        (CKM_AES_ECB, "C_EncryptInit", &|session, mechanism| session.init(Deed::Encrypt, mechanism, aes)),
        (CKM_AES_CMAC, "C_SignInit", &|session, mechanism| session.init(Deed::Sign, mechanism, aes)),
        (CKM_AES_CMAC, "C_VerifyInit", &|session, mechanism| session.verify_init(mechanism, aes)),
        (CKM_AES_KEY_GEN, "C_GenerateKey", &|session, mechanism| {
            code(session.generate(mechanism.clone(), template().ulong(CKA_VALUE_LEN, 16)))
        }),
        (CKM_EC_KEY_PAIR_GEN, "C_GenerateKeyPair", &|session, mechanism| {
            code(session.generate_pair(mechanism, &curve, &uses(&[CKA_SIGN])))
        }),
        (CKM_AES_KEY_WRAP_PAD, "C_UnwrapKey", &|session, mechanism| {
            code(session.unwrap(mechanism, wrapping, &[1; 24], &template()))
        }),
    ];
    let (mut tried, mut taken) = (0, Vec::new());
    for (kind, name, asks) in tries {
        if first.need(kind).is_ok() {
            tried += 1;
            // A session for each: what was started goes with it.
            match asks(&context.session(true)?, &with(kind)) {
                Rv(CKR_MECHANISM_PARAM_INVALID | CKR_ARGUMENTS_BAD) => {}
                Rv::OK => taken.push(name),
                rv => return Err(Stop::Fail(format!("{name} with a parameter where none is taken answered {rv}"))),
            }
        }
    }
    if tried == 0 {
        return Err(Stop::Skip("the token has none of these mechanisms".into()));
    }
    // The structure's text says what pParameter is if the mechanism needs one, and nothing of the other case.
    let deviation = || Stop::Deviation(format!("a parameter where none is taken is ignored by {}", taken.join(", ")));
    if taken.is_empty() { Ok(()) } else { Err(deviation()) }
}

fn template_incomplete(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let untyped = || uses(&[CKA_ENCRYPT]).ulong(CKA_CLASS, CKO_SECRET_KEY);
    let mut tried = 0;
    if session.need(CKM_AES_KEY_WRAP).is_ok() {
        tried += 1;
        let wrap = Mechanism::new(CKM_AES_KEY_WRAP);
        let wrapping = session.known_aes(&[2; 16], &[CKA_WRAP, CKA_UNWRAP])?;
        let target = session.known_aes(&[3; 16], &[CKA_ENCRYPT])?;
        let wrapped = must(session.wrap(&wrap, wrapping, target), "C_WrapKey")?;
        let rv = code(session.unwrap(&wrap, wrapping, &wrapped, &untyped()));
        answers!(rv, [CKR_TEMPLATE_INCOMPLETE], "C_UnwrapKey without CKA_KEY_TYPE");
    }
    if session.need(CKM_AES_ECB_ENCRYPT_DATA).is_ok() {
        tried += 1;
        let base = session.known_aes(&[4; 16], &[CKA_DERIVE])?;
        let derive = Mechanism::string_data(CKM_AES_ECB_ENCRYPT_DATA, &data_of(64));
        // An AES key has three lengths, and 64 bytes are none of them.
        let rv = code(session.derive(&derive, base, &untyped().ulong(CKA_KEY_TYPE, CKK_AES)));
        answers!(
            rv,
            [CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT, CKR_KEY_SIZE_RANGE, CKR_ATTRIBUTE_VALUE_INVALID],
            "C_DeriveKey of an AES key without CKA_VALUE_LEN"
        );
    }
    if tried == 0 { Err(Stop::Skip("the token has none of these mechanisms".into())) } else { Ok(()) }
}

fn wrap_too_long(context: &Context) -> Outcome {
    let session = context.user_session()?;
    if session.mechanism_info(CKM_RSA_PKCS)?.flags & CKF_WRAP == 0 {
        return Err(Stop::Skip("CKM_RSA_PKCS does not wrap here".into()));
    }
    let pair = session.known_rsa()?;
    let long = session.secret(&[5; 246], &[CKA_SIGN])?;
    let rv = code(session.wrap(&Mechanism::new(CKM_RSA_PKCS), pair.public, long));
    answers!(rv, [CKR_KEY_SIZE_RANGE], "C_WrapKey of a secret of 246 bytes by CKM_RSA_PKCS with RSA-2048");
    Ok(())
}
