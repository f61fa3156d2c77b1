//! What a key remembers of its past: whether it was made here, whether it was ever readable, ever extractable.

use cryptoki_sys::*;

use super::{case, readable};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{attribute_name, must};
use crate::known_keys::{data_of, key_bytes};
use crate::module::Rv;
use crate::sample_keys::{P256, known_secret, uses};
use crate::template::{Mechanism, Template};

/// The cases about a key's past.
pub const CASES: &[Case] = &[
    case!(
        "generated-history",
        Must,
        "4.7 CKA_LOCAL, CKA_KEY_GEN_MECHANISM, 4.10 CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE; 5.18.1 C_GenerateKey",
        "A generated key is local, names the mechanism that made it, was always sensitive if it is, and never extractable if it is not.",
        generated
    ),
    case!(
        "pair-history",
        Must,
        "4.7 to 4.9; 5.18.2 C_GenerateKeyPair",
        "Both keys of a generated pair are local and name the mechanism; the private one was always sensitive if it is, and never \
         extractable if it is not.",
        generated_pair
    ),
    case!(
        "imported-history",
        Security,
        "5.7.1 C_CreateObject; 4.7 and 4.10",
        "A key that came in by C_CreateObject was outside: it is not local, not always sensitive, not never extractable, and no mechanism \
         made it.",
        imported
    ),
    case!(
        "copied-history",
        Security,
        "5.7.2 C_CopyObject; 4.7 and 4.10",
        "A copy has its original's past: what was readable before was not always sensitive, what was local stays so.",
        copied
    ),
    case!(
        "derived-history",
        Must,
        "5.18.5 C_DeriveKey; 6.17 key derivation by data encryption",
        "A derived key is not local; it was always sensitive only if its base was and it is, and the same for never extractable.",
        derived
    ),
    case!(
        "changed-history",
        Security,
        "5.7.6 C_SetAttributeValue; 4.10 CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE",
        "A key that becomes sensitive or unextractable later was not so always.",
        changed
    ),
    case!(
        "defaults",
        Must,
        "4.4, 4.7 to 4.10: default values of common attributes",
        "What a template leaves out has the standard's value: not on the token, modifiable, copyable, destroyable, not trusted, no label.",
        defaults
    ),
    case!(
        "token-key-stays",
        Must,
        "4.4 CKA_TOKEN; 5.4.2 C_Finalize",
        "A key on the token is there with its value and attributes after C_Finalize and C_Initialize; a session key is not.",
        token_key_stays
    ),
    case!(
        "private-needs-login",
        Security,
        "4.4 CKA_PRIVATE, 5.18.1 C_GenerateKey, 5.18.2 C_GenerateKeyPair",
        "Without the user's login no private key is made: CKR_USER_NOT_LOGGED_IN.",
        private_needs_login
    ),
];

const PAST: [CK_ATTRIBUTE_TYPE; 3] = [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE];

/// Fails unless local, always sensitive and never extractable are as expected.
fn has_past(session: &Session<'_>, key: CK_OBJECT_HANDLE, wanted: [bool; 3], what: &str) -> Outcome {
    for (kind, wanted) in PAST.into_iter().zip(wanted) {
        let found = session.flag(key, kind)?;
        check!(found == wanted, "{what}: {} is {found}, expected {wanted}", attribute_name(kind));
    }
    Ok(())
}

fn protection(sensitive: bool, extractable: bool) -> Template {
    uses(&[CKA_ENCRYPT]).flag(CKA_SENSITIVE, sensitive).flag(CKA_EXTRACTABLE, extractable)
}

const COMBINATIONS: [(bool, bool); 4] = [(true, false), (true, true), (false, true), (false, false)];

fn aes(session: &Session<'_>, sensitive: bool, extractable: bool) -> Result<CK_OBJECT_HANDLE, Stop> {
    let template = protection(sensitive, extractable).ulong(CKA_VALUE_LEN, 16).flag(CKA_DERIVE, true);
    must(session.generate(Mechanism::new(CKM_AES_KEY_GEN), template), "C_GenerateKey of an AES key")
}

fn generated(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    for (sensitive, extractable) in COMBINATIONS {
        let key = aes(&session, sensitive, extractable)?;
        let what = format!("a key generated with CKA_SENSITIVE {sensitive} and CKA_EXTRACTABLE {extractable}");
        check!(session.flag(key, CKA_SENSITIVE)? == sensitive, "{what} has another CKA_SENSITIVE");
        check!(session.flag(key, CKA_EXTRACTABLE)? == extractable, "{what} has another CKA_EXTRACTABLE");
        has_past(&session, key, [true, sensitive, !extractable], &what)?;
        let mechanism = session.number(key, CKA_KEY_GEN_MECHANISM)?;
        check!(mechanism == CKM_AES_KEY_GEN, "{what}: CKA_KEY_GEN_MECHANISM is {mechanism:#x}");
    }
    Ok(())
}

fn generated_pair(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_EC_KEY_PAIR_GEN)?;
    for (sensitive, extractable) in COMBINATIONS {
        let private = uses(&[CKA_SIGN]).flag(CKA_SENSITIVE, sensitive).flag(CKA_EXTRACTABLE, extractable);
        let public = uses(&[CKA_VERIFY]).bytes(CKA_EC_PARAMS, P256.oid);
        let made = session.generate_pair(&Mechanism::new(CKM_EC_KEY_PAIR_GEN), &public, &private);
        let (public, private) = must(made, "C_GenerateKeyPair")?;
        let what = format!("a private key generated with CKA_SENSITIVE {sensitive} and CKA_EXTRACTABLE {extractable}");
        has_past(&session, private, [true, sensitive, !extractable], &what)?;
        check!(session.flag(public, CKA_LOCAL)?, "a generated public key is not local");
        for key in [public, private] {
            let mechanism = session.number(key, CKA_KEY_GEN_MECHANISM)?;
            check!(mechanism == CKM_EC_KEY_PAIR_GEN, "CKA_KEY_GEN_MECHANISM of a generated pair is {mechanism:#x}");
        }
    }
    Ok(())
}

fn imported(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (sensitive, extractable) in COMBINATIONS {
        let template = known_secret(CKK_AES, &key_bytes(16), &[CKA_ENCRYPT])
            .set(CKA_SENSITIVE, [u8::from(sensitive)])
            .set(CKA_EXTRACTABLE, [u8::from(extractable)]);
        let key = must(session.create(template), "C_CreateObject of an AES key")?;
        let what = format!("a key imported with CKA_SENSITIVE {sensitive} and CKA_EXTRACTABLE {extractable}");
        has_past(&session, key, [false, false, false], &what)?;
        let mechanism = session.number(key, CKA_KEY_GEN_MECHANISM)?;
        check!(mechanism == CK_UNAVAILABLE_INFORMATION, "{what}: CKA_KEY_GEN_MECHANISM is {mechanism:#x}");
    }
    Ok(())
}

fn copied(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    let same = must(session.copy(aes(&session, true, false)?, &Template::new()), "C_CopyObject")?;
    has_past(&session, same, [true, true, true], "a copy of a key that was always protected")?;
    let hidden = Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
    let made = must(session.copy(aes(&session, false, true)?, &hidden), "C_CopyObject to more protection")?;
    check!(session.flag(made, CKA_SENSITIVE)?, "the copy is not sensitive, which its template asked for");
    check!(!session.flag(made, CKA_EXTRACTABLE)?, "the copy is extractable, which its template forbade");
    has_past(&session, made, [true, false, false], "a protected copy of a readable key")?;
    let outside = must(session.create(known_secret(CKK_AES, &key_bytes(16), &[])), "C_CreateObject")?;
    let made = must(session.copy(outside, &hidden), "C_CopyObject of an imported key")?;
    has_past(&session, made, [false, false, false], "a copy of an imported key")
}

fn derived(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    session.need(CKM_AES_ECB_ENCRYPT_DATA)?;
    let mechanism = Mechanism::string_data(CKM_AES_ECB_ENCRYPT_DATA, &data_of(16));
    // Base: always sensitive, never extractable or neither. Derived: sensitive, extractable.
    for protected in [true, false] {
        for (sensitive, extractable) in [(true, false), (true, true)] {
            let base = aes(&session, protected, !protected)?;
            let template = Template::secret_key(CKK_GENERIC_SECRET, &[]).ulong(CKA_VALUE_LEN, 16);
            let template = template.flag(CKA_SENSITIVE, sensitive).flag(CKA_EXTRACTABLE, extractable);
            let key = must(session.derive(&mechanism, base, &template), "C_DeriveKey")?;
            let what = format!("a key derived from a base that was protected: {protected}, with CKA_EXTRACTABLE {extractable}");
            has_past(&session, key, [false, protected && sensitive, protected && !extractable], &what)?;
        }
    }
    Ok(())
}

fn changed(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    let key = aes(&session, false, true)?;
    let hidden = Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
    let rv = session.set(key, &hidden);
    check!(rv == Rv::OK, "C_SetAttributeValue to more protection answered {rv}");
    check!(session.flag(key, CKA_SENSITIVE)?, "CKA_SENSITIVE was not set");
    has_past(&session, key, [true, false, false], "a key that became protected")
}

fn defaults(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    let template = Template::new().ulong(CKA_VALUE_LEN, 16);
    let key = must(session.generate(Mechanism::new(CKM_AES_KEY_GEN), template), "C_GenerateKey with CKA_VALUE_LEN alone")?;
    let flags = [
        (CKA_TOKEN, false),
        (CKA_MODIFIABLE, true),
        (CKA_COPYABLE, true),
        (CKA_DESTROYABLE, true),
        (CKA_TRUSTED, false),
        (CKA_WRAP_WITH_TRUSTED, false),
        (CKA_DERIVE, false),
    ];
    for (kind, wanted) in flags {
        let found = session.flag(key, kind)?;
        check!(found == wanted, "{} is {found} by default, expected {wanted}", attribute_name(kind));
    }
    for kind in [CKA_LABEL, CKA_ID, CKA_START_DATE, CKA_END_DATE] {
        let name = attribute_name(kind);
        let value = must(session.attribute(key, kind), &format!("reading {name}"))?;
        check!(value.is_empty(), "{name} has {} bytes by default", value.len());
    }
    Ok(())
}

fn found(session: &Session<'_>, label: &str) -> Result<Vec<CK_OBJECT_HANDLE>, Stop> {
    let mut template = Template::new().bytes(CKA_LABEL, label);
    let mut list = template.list();
    let module = &session.context.module;
    let rv = crate::ck!(module, C_FindObjectsInit, session.handle, list.as_mut_ptr(), list.len() as CK_ULONG);
    session.context.ok(rv, "C_FindObjectsInit")?;
    let (mut handles, mut count) = ([0; 8], 0);
    let rv = crate::ck!(module, C_FindObjects, session.handle, handles.as_mut_ptr(), 8, &mut count);
    session.context.ok(rv, "C_FindObjects")?;
    session.context.ok(crate::ck!(module, C_FindObjectsFinal, session.handle), "C_FindObjectsFinal")?;
    Ok(handles.into_iter().take(count as usize).collect())
}

fn token_key_stays(context: &Context) -> Outcome {
    let (on_token, in_session) = (format!("stays-{}", std::process::id()), format!("goes-{}", std::process::id()));
    let session = context.user_session()?;
    let kept = known_secret(CKK_AES, &key_bytes(32), &[CKA_ENCRYPT]).set(CKA_TOKEN, [1]).bytes(CKA_LABEL, on_token.as_str());
    must(session.create(kept.bytes(CKA_ID, *b"\x01\x02")), "C_CreateObject of a token key")?;
    must(
        session.create(readable(CKK_AES).bytes(CKA_VALUE, key_bytes(16)).bytes(CKA_LABEL, in_session.as_str())),
        "C_CreateObject",
    )?;
    drop(session);
    context.ok(context.finalize(), "C_Finalize")?;
    let session = context.user_session()?;
    let (stays, goes) = (found(&session, &on_token)?, found(&session, &in_session)?);
    check!(goes.is_empty(), "a session key is still there after C_Finalize");
    let [key] = stays[..] else { return Err(Stop::Fail(format!("{} keys are there where one was stored", stays.len()))) };
    let (value, id) = (session.attribute(key, CKA_VALUE), session.attribute(key, CKA_ID));
    let encrypts = session.flag(key, CKA_ENCRYPT)?;
    let rv = session.destroy(key);
    check!(must(value, "reading CKA_VALUE")? == key_bytes(32), "the stored key has another value");
    check!(must(id, "reading CKA_ID")? == [1, 2] && encrypts, "the stored key has other attributes");
    check!(rv == Rv::OK, "C_DestroyObject answered {rv}");
    check!(found(&session, &on_token)?.is_empty(), "the key is there after C_DestroyObject");
    Ok(())
}

fn private_needs_login(context: &Context) -> Outcome {
    let session = context.session(true)?;
    session.need(CKM_AES_KEY_GEN)?;
    let template = uses(&[CKA_ENCRYPT]).flag(CKA_PRIVATE, true).ulong(CKA_VALUE_LEN, 16);
    let rv = crate::crypt::code(session.generate(Mechanism::new(CKM_AES_KEY_GEN), template));
    check!(rv == Rv(CKR_USER_NOT_LOGGED_IN), "C_GenerateKey of a private key without login answered {rv}");
    session.need(CKM_EC_KEY_PAIR_GEN)?;
    let public = uses(&[CKA_VERIFY]).flag(CKA_PRIVATE, false).bytes(CKA_EC_PARAMS, P256.oid);
    let private = uses(&[CKA_SIGN]).flag(CKA_PRIVATE, true);
    let rv = crate::crypt::code(session.generate_pair(&Mechanism::new(CKM_EC_KEY_PAIR_GEN), &public, &private));
    check!(rv == Rv(CKR_USER_NOT_LOGGED_IN), "C_GenerateKeyPair of a private key without login answered {rv}");
    Ok(())
}
