//! Attacks by attributes: trust that a user claims, protection that is taken off, values that are guessed.

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, attribute_name, code, must};
use crate::known_keys::rsa_private;
use crate::module::Rv;
use crate::sample_keys::{P256, known_secret};
use crate::template::{Mechanism, Template};
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "security/trusted-by-user",
        level: Level::Security,
        section: "3.1, 4.8 and 4.10 CKA_TRUSTED",
        says: "Only the SO sets CKA_TRUSTED. A user who could would make any key worthy to wrap the keys that CKA_WRAP_WITH_TRUSTED guards.",
        run: trusted_by_user,
    },
    Case {
        id: "security/sticky",
        level: Level::Security,
        section: "3.1, 4.9 and 4.10 CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_WRAP_WITH_TRUSTED",
        says: "Protection moves one way: what is sensitive stays so, what is unextractable stays so, what needs a trusted wrapping key \
               keeps needing it.",
        run: sticky,
    },
    Case {
        id: "security/copy-to-weaken",
        level: Level::Security,
        section: "3.1, 5.7.2 C_CopyObject",
        says: "A copy is no way around: it may be more protected than its original, never less.",
        run: copy_to_weaken,
    },
    Case {
        id: "security/fixed-objects",
        level: Level::Security,
        section: "3.1, 4.4 CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE",
        says: "What is not modifiable, copyable or destroyable answers CKR_ACTION_PROHIBITED, and the flags cannot be raised again.",
        run: fixed_objects,
    },
    Case {
        id: "security/sensitive-read",
        level: Level::Security,
        section: "3.1, 5.7.5 C_GetAttributeValue",
        says: "Secret parts of sensitive or unextractable keys answer CKR_ATTRIBUTE_SENSITIVE, the length CK_UNAVAILABLE_INFORMATION, \
               and nothing is written, whatever the buffer.",
        run: sensitive_read,
    },
    Case {
        id: "security/search-by-secret",
        level: Level::Security,
        section: "3.1, 5.7.7 C_FindObjectsInit",
        says: "A search by CKA_VALUE must not find a sensitive key: it would confirm guesses of its value.",
        run: search_by_secret,
    },
    Case {
        id: "security/private-after-logout",
        level: Level::Security,
        section: "3.1, 5.6.10 C_Logout",
        says: "At logout private session objects are destroyed and handles of private objects die, and they do not wake at the next login.",
        run: private_after_logout,
    },
    Case {
        id: "security/private-without-login",
        level: Level::Security,
        section: "3.1, 4.4 CKA_PRIVATE, 5.7.7 C_FindObjectsInit",
        says: "Without a login no search shows private objects and none can be made.",
        run: private_without_login,
    },
    Case {
        id: "security/always-authenticate",
        level: Level::Security,
        section: "3.1, 4.9 CKA_ALWAYS_AUTHENTICATE, 5.6.8 C_Login",
        says: "A key with CKA_ALWAYS_AUTHENTICATE does nothing without a login of its own for each use.",
        run: always_authenticate,
    },
    Case {
        id: "security/always-authenticate-each",
        level: Level::Security,
        section: "3.1, 4.9 CKA_ALWAYS_AUTHENTICATE, 5.10.2 C_Decrypt, 5.13.4 C_SignFinal, 5.13.6 C_SignRecover",
        says: "CKA_ALWAYS_AUTHENTICATE stands before every use of a private key: decryption, a signature in parts, one with recovery.",
        run: always_authenticate_each,
    },
];

fn true_flag(kind: CK_ATTRIBUTE_TYPE) -> Template {
    Template::new().flag(kind, true)
}

fn trusted_by_user(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let made = session.create(known_secret(CKK_GENERIC_SECRET, &[1; 16], &[CKA_TRUSTED]));
    check!(code(made) != Rv::OK, "C_CreateObject as user made a trusted key");
    session.need(CKM_AES_KEY_GEN)?;
    let template = Template::secret_key(CKK_AES, &[CKA_WRAP, CKA_TRUSTED]).ulong(CKA_VALUE_LEN, 32);
    check!(
        code(session.generate(Mechanism::new(CKM_AES_KEY_GEN), template)) != Rv::OK,
        "C_GenerateKey as user made a trusted key"
    );
    let key = session.aes_key(&[CKA_WRAP])?;
    check!(session.set(key, &true_flag(CKA_TRUSTED)) != Rv::OK, "C_SetAttributeValue as user made a key trusted");
    check!(code(session.copy(key, &true_flag(CKA_TRUSTED))) != Rv::OK, "C_CopyObject as user made a trusted copy");
    check!(!session.flag(key, CKA_TRUSTED)?, "a key that nobody trusts says CKA_TRUSTED");
    Ok(())
}

/// Each protection, with the value that would take it off.
const PROTECTIONS: [(CK_ATTRIBUTE_TYPE, bool); 3] =
    [(CKA_SENSITIVE, false), (CKA_EXTRACTABLE, true), (CKA_WRAP_WITH_TRUSTED, false)];

fn protected(session: &Session<'_>) -> Result<CK_OBJECT_HANDLE, Stop> {
    session.need(CKM_AES_KEY_GEN)?;
    let template = Template::secret_key(CKK_AES, &[CKA_SENSITIVE, CKA_WRAP_WITH_TRUSTED, CKA_PRIVATE]);
    let template = template.flag(CKA_EXTRACTABLE, false).ulong(CKA_VALUE_LEN, 32);
    must(session.generate(Mechanism::new(CKM_AES_KEY_GEN), template), "C_GenerateKey of a protected key")
}

fn sticky(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = protected(&session)?;
    for (kind, off) in PROTECTIONS {
        let rv = session.set(key, &Template::new().flag(kind, off));
        answers!(
            rv,
            [CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID],
            "C_SetAttributeValue of {} to {off}",
            attribute_name(kind)
        );
        check!(session.flag(key, kind)? != off, "{} became {off} although the call failed", attribute_name(kind));
    }
    for kind in [CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_LOCAL] {
        let rv = session.set(key, &Template::new().flag(kind, false));
        check!(rv != Rv::OK, "C_SetAttributeValue changed {}", attribute_name(kind));
    }
    Ok(())
}

fn copy_to_weaken(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = protected(&session)?;
    for (kind, off) in PROTECTIONS.into_iter().chain([(CKA_PRIVATE, false)]) {
        if let Ok(copy) = session.copy(key, &Template::new().flag(kind, off)) {
            check!(session.flag(copy, kind)? != off, "a copy has {} {off} where its original does not", attribute_name(kind));
        }
    }
    let plain = must(session.copy(key, &Template::new()), "C_CopyObject with an empty template")?;
    for (kind, off) in PROTECTIONS {
        check!(session.flag(plain, kind)? != off, "a plain copy lost {}", attribute_name(kind));
    }
    Ok(())
}

fn fixed_objects(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let made = |kind| session.create(known_secret(CKK_GENERIC_SECRET, &[1; 16], &[]).flag(kind, false));
    let key = must(made(CKA_MODIFIABLE), "C_CreateObject with CKA_MODIFIABLE false")?;
    answers!(session.set(key, &Template::new().bytes(CKA_LABEL, *b"x")), [CKR_ACTION_PROHIBITED], "C_SetAttributeValue");
    check!(session.set(key, &true_flag(CKA_MODIFIABLE)) != Rv::OK, "CKA_MODIFIABLE was raised again");
    let key = must(made(CKA_COPYABLE), "C_CreateObject with CKA_COPYABLE false")?;
    answers!(code(session.copy(key, &Template::new())), [CKR_ACTION_PROHIBITED], "C_CopyObject");
    check!(session.set(key, &true_flag(CKA_COPYABLE)) != Rv::OK, "CKA_COPYABLE was raised again");
    let key = must(made(CKA_DESTROYABLE), "C_CreateObject with CKA_DESTROYABLE false")?;
    answers!(session.destroy(key), [CKR_ACTION_PROHIBITED], "C_DestroyObject");
    Ok(())
}

fn sensitive_read(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let secret = protected(&session)?;
    let pair = session.ec_pair(P256, &[CKA_VERIFY], &[CKA_SIGN, CKA_SENSITIVE])?;
    let rsa = session.rsa_pair(2048, &[CKA_VERIFY], &[CKA_SIGN, CKA_SENSITIVE])?;
    let open = Template::secret_key(CKK_GENERIC_SECRET, &[]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, false);
    let open = must(session.create(open.bytes(CKA_VALUE, [4; 16])), "C_CreateObject of an unextractable key")?;
    let mut parts = vec![(secret, CKA_VALUE), (pair.private, CKA_VALUE), (open, CKA_VALUE)];
    let rsa_parts = [CKA_PRIVATE_EXPONENT, CKA_PRIME_1, CKA_PRIME_2, CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT];
    parts.extend(rsa_parts.map(|kind| (rsa.private, kind)));
    for (object, kind) in parts {
        for room in [None, Some(0), Some(1), Some(4096)] {
            let mut buffer = vec![0xa5_u8; room.unwrap_or(0)];
            let place = if room.is_some() { buffer.as_mut_ptr().cast() } else { std::ptr::null_mut() };
            let mut attribute = CK_ATTRIBUTE { type_: kind, pValue: place, ulValueLen: buffer.len() as CK_ULONG };
            let rv = ck!(context.module, C_GetAttributeValue, session.handle, object, &mut attribute, 1);
            answers!(rv, [CKR_ATTRIBUTE_SENSITIVE], "C_GetAttributeValue of {} with room {room:?}", attribute_name(kind));
            let (told, name) = (attribute.ulValueLen, attribute_name(kind));
            check!(told == CK_UNAVAILABLE_INFORMATION, "the length of {name} is told as {told} with room {room:?}");
            check!(buffer.iter().all(|byte| *byte == 0xa5), "C_GetAttributeValue of {name} wrote into the buffer");
        }
    }
    Ok(())
}

fn found(session: &Session<'_>, mut template: Template) -> Result<Vec<CK_OBJECT_HANDLE>, Rv> {
    let (module, mut list) = (&session.context.module, template.list());
    let rv = ck!(module, C_FindObjectsInit, session.handle, list.as_mut_ptr(), list.len() as CK_ULONG);
    if rv != Rv::OK {
        return Err(rv);
    }
    let (mut handles, mut count) = ([0; 64], 0);
    let rv = ck!(module, C_FindObjects, session.handle, handles.as_mut_ptr(), 64, &mut count);
    let end = ck!(module, C_FindObjectsFinal, session.handle);
    if rv == Rv::OK && end == Rv::OK { Ok(handles[..count as usize].to_vec()) } else { Err(rv) }
}

fn search_by_secret(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let value = [0x5c; 24];
    let hidden = known_secret(CKK_GENERIC_SECRET, &value, &[]).set(CKA_SENSITIVE, [1]).flag(CKA_SIGN, true);
    let hidden = must(session.create(hidden), "C_CreateObject of a sensitive key")?;
    match found(&session, Template::new().bytes(CKA_VALUE, value)) {
        Ok(handles) => check!(!handles.contains(&hidden), "a search by the right CKA_VALUE finds a sensitive key"),
        Err(rv) => answers!(rv, [CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID], "the search"),
    }
    Ok(())
}

fn private_after_logout(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let label = format!("logout-{}", std::process::id());
    let private = known_secret(CKK_GENERIC_SECRET, &[1; 16], &[]);
    let key = must(session.create(private.clone()), "C_CreateObject of a private session object")?;
    // Nobody asks for this one before the next login: a module may forget a handle only when it is used.
    let quiet = must(session.create(private.clone()), "C_CreateObject of a private session object")?;
    let lasting = private.set(CKA_TOKEN, [1]).bytes(CKA_LABEL, label.as_bytes());
    let lasting = must(session.create(lasting), "C_CreateObject of a private token object")?;
    answers!(session.logout(), [CKR_OK], "C_Logout");
    for object in [key, lasting] {
        let rv = code(session.attribute(object, CKA_CLASS));
        answers!(rv, [CKR_OBJECT_HANDLE_INVALID], "C_GetAttributeValue of a private object after C_Logout");
    }
    answers!(session.login(CKU_USER as CK_USER_TYPE, &context.settings.pin), [CKR_OK], "C_Login");
    let woken = [key, quiet].map(|key| code(session.attribute(key, CKA_CLASS)));
    let again = found(&session, Template::new().bytes(CKA_LABEL, label.as_bytes()));
    for object in again.unwrap_or_default() {
        answers!(session.destroy(object), [CKR_OK], "C_DestroyObject");
    }
    for rv in woken {
        answers!(rv, [CKR_OBJECT_HANDLE_INVALID], "C_GetAttributeValue of a private session object after the next login");
    }
    Ok(())
}

fn private_without_login(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let label = Template::new().flag(CKA_PRIVATE, true);
    let handles = found(&session, label).unwrap_or_default();
    check!(handles.is_empty(), "a search without login finds {} private objects", handles.len());
    let rv = code(session.create(known_secret(CKK_GENERIC_SECRET, &[1; 16], &[])));
    answers!(rv, [CKR_USER_NOT_LOGGED_IN], "C_CreateObject of a private object without login");
    Ok(())
}

fn always_authenticate(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let pair = session.ec_pair(P256, &[CKA_VERIFY], &[CKA_SIGN, CKA_PRIVATE, CKA_ALWAYS_AUTHENTICATE])?;
    session.need(CKM_ECDSA)?;
    let ecdsa = Mechanism::new(CKM_ECDSA);
    for _ in 0..2 {
        answers!(session.init(Deed::Sign, &ecdsa, pair.private), [CKR_OK], "C_SignInit");
        let rv = code(session.finish(Deed::Sign, &[3; 32]));
        answers!(rv, [CKR_USER_NOT_LOGGED_IN], "C_Sign without a login of its own");
        let rv = session.init(Deed::Sign, &ecdsa, pair.private);
        answers!(rv, [CKR_OK, CKR_OPERATION_ACTIVE], "C_SignInit");
        let rv = session.login(CKU_CONTEXT_SPECIFIC as CK_USER_TYPE, &context.settings.pin);
        answers!(rv, [CKR_OK], "C_Login(CKU_CONTEXT_SPECIFIC)");
        must(session.finish(Deed::Sign, &[3; 32]), "C_Sign after its login")?;
    }
    Ok(())
}

fn always_authenticate_each(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let flags = session.mechanism_info(CKM_RSA_PKCS)?.flags;
    let template = rsa_private(&[CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_PRIVATE, CKA_ALWAYS_AUTHENTICATE])?;
    let guarded = must(session.create(template), "C_CreateObject of an RSA private key with CKA_ALWAYS_AUTHENTICATE")?;
    let (plain, hashed) = (Mechanism::new(CKM_RSA_PKCS), Mechanism::new(CKM_SHA256_RSA_PKCS));
    if flags & CKF_DECRYPT != 0 {
        let sealed = must(session.whole(Deed::Encrypt, &plain, session.known_rsa()?.public, b"sealed"), "C_Encrypt")?;
        let rv = code(session.whole(Deed::Decrypt, &plain, guarded, &sealed));
        answers!(rv, [CKR_USER_NOT_LOGGED_IN], "C_Decrypt without a login of its own");
    }
    if session.need(CKM_SHA256_RSA_PKCS).is_ok() {
        let rv = code(context.session(true)?.pieces(Deed::Sign, &hashed, guarded, &[b"in", b"parts"]));
        answers!(rv, [CKR_USER_NOT_LOGGED_IN], "C_SignUpdate and C_SignFinal without a login of their own");
    }
    if flags & CKF_SIGN_RECOVER != 0 {
        let rv = code(context.session(true)?.sign_recover(&plain, guarded, b"recovered"));
        answers!(rv, [CKR_USER_NOT_LOGGED_IN], "C_SignRecover without a login of its own");
    }
    Ok(())
}
