//! Wrapping and unwrapping: who may, under which templates, and what comes back.

use cryptoki_sys::*;

use super::{case, readable};
use crate::case::{Case, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, must};
use crate::known_keys::{key_bytes, rsa_private};
use crate::module::Rv;
use crate::sample_keys::{P256, uses};
use crate::template::{Mechanism, Template};
use crate::{answers, check, ck};

/// The cases about wrapping.
pub const CASES: &[Case] = &[
    case!(
        "wrap-with-trusted",
        Security,
        "4.9 and 4.10 CKA_WRAP_WITH_TRUSTED, 5.18.3 C_WrapKey, CKR_KEY_NOT_WRAPPABLE",
        "A key that asks for a trusted wrapping key is not wrapped with another.",
        wrap_with_trusted
    ),
    case!(
        "wrap-with-trusted-key",
        Must,
        "4.10 CKA_TRUSTED, CKA_WRAP_WITH_TRUSTED",
        "A wrapping key that the SO has marked as trusted wraps a key that asks for such a one.",
        wrap_with_trusted_key
    ),
    case!(
        "wrap-unextractable",
        Security,
        "5.18.3 C_WrapKey, CKR_KEY_UNEXTRACTABLE",
        "A key with CKA_EXTRACTABLE false is not wrapped.",
        wrap_unextractable
    ),
    case!(
        "wrap-template",
        Security,
        "4.10 CKA_WRAP_TEMPLATE, 5.18.3 C_WrapKey",
        "A wrapping key with a template wraps only keys that match it.",
        wrap_template
    ),
    case!(
        "unwrap-template",
        Security,
        "4.10 CKA_UNWRAP_TEMPLATE, 5.18.4 C_UnwrapKey, CKR_TEMPLATE_INCONSISTENT",
        "An unwrapping key's template is part of every key that it unwraps; a caller that says otherwise is refused.",
        unwrap_template
    ),
    case!(
        "wrap-length",
        Must,
        "5.2, 5.18.3 C_WrapKey, CKR_BUFFER_TOO_SMALL",
        "A NULL buffer asks for the length, a short one answers CKR_BUFFER_TOO_SMALL and is not written, the told length suffices.",
        wrap_length
    ),
    case!(
        "wrap-private",
        Must,
        "6.7 wrapping of private keys (PKCS #8), 5.18.4 C_UnwrapKey",
        "RSA and EC private keys that were wrapped and unwrapped sign as before.",
        wrap_private
    ),
    case!(
        "unwrap-garbage",
        Must,
        "5.18.4 C_UnwrapKey, CKR_WRAPPED_KEY_INVALID, CKR_WRAPPED_KEY_LEN_RANGE",
        "A wrapped key of which a bit was changed, and one that is too short, make no key.",
        unwrap_garbage
    ),
    case!(
        "wrap-types",
        Must,
        "5.18.3 C_WrapKey, CKR_WRAPPING_KEY_TYPE_INCONSISTENT, CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT",
        "A wrapping key of another type than the mechanism's is refused.",
        wrap_types
    ),
];

const KW: CK_MECHANISM_TYPE = CKM_AES_KEY_WRAP;

fn wrapping_key(session: &Session<'_>) -> Result<CK_OBJECT_HANDLE, Stop> {
    session.need(KW)?;
    session.known_aes(&key_bytes(32), &[CKA_WRAP, CKA_UNWRAP])
}

/// A key that may be wrapped.
fn target() -> Template {
    readable(CKK_AES).flag(CKA_ENCRYPT, true).bytes(CKA_VALUE, key_bytes(16))
}

fn wrap_with_trusted(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let wrapping = wrapping_key(&session)?;
    let guarded = must(session.create(target().flag(CKA_WRAP_WITH_TRUSTED, true)), "C_CreateObject with CKA_WRAP_WITH_TRUSTED")?;
    check!(session.flag(guarded, CKA_WRAP_WITH_TRUSTED)?, "CKA_WRAP_WITH_TRUSTED was not kept");
    let rv = code(session.wrap(&Mechanism::new(KW), wrapping, guarded));
    answers!(rv, [CKR_KEY_NOT_WRAPPABLE], "C_WrapKey with a key that is not trusted");
    let free = must(session.create(target()), "C_CreateObject")?;
    answers!(code(session.wrap(&Mechanism::new(KW), wrapping, free)), [CKR_OK], "C_WrapKey of a key that asks for no trust");
    Ok(())
}

fn wrap_with_trusted_key(context: &Context) -> Outcome {
    let slot = context.own_token("trusted")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(CKU_USER, &context.settings.pin), [CKR_OK], "C_Login as user");
    session.need(KW)?;
    let template = readable(CKK_AES).set(CKA_TOKEN, [1]).flag(CKA_PRIVATE, false).flag(CKA_WRAP, true);
    let wrapping = must(session.create(template.bytes(CKA_VALUE, key_bytes(32))), "C_CreateObject of a public wrapping key")?;
    answers!(session.logout(), [CKR_OK], "C_Logout");
    answers!(session.login(CKU_SO, &context.settings.so_pin), [CKR_OK], "C_Login as SO");
    let rv = session.set(wrapping, &Template::new().flag(CKA_TRUSTED, true));
    answers!(rv, [CKR_OK], "C_SetAttributeValue of CKA_TRUSTED by the SO");
    answers!(session.logout(), [CKR_OK], "C_Logout of the SO");
    answers!(session.login(CKU_USER, &context.settings.pin), [CKR_OK], "C_Login as user");
    check!(session.flag(wrapping, CKA_TRUSTED)?, "the key is not trusted after the SO's C_SetAttributeValue");
    let guarded = must(session.create(target().flag(CKA_WRAP_WITH_TRUSTED, true)), "C_CreateObject with CKA_WRAP_WITH_TRUSTED")?;
    answers!(code(session.wrap(&Mechanism::new(KW), wrapping, guarded)), [CKR_OK], "C_WrapKey with a trusted key");
    Ok(())
}

fn wrap_unextractable(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let wrapping = wrapping_key(&session)?;
    let key = must(session.create(target().set(CKA_EXTRACTABLE, [0])), "C_CreateObject with CKA_EXTRACTABLE false")?;
    answers!(code(session.wrap(&Mechanism::new(KW), wrapping, key)), [CKR_KEY_UNEXTRACTABLE], "C_WrapKey of such a key");
    Ok(())
}

/// A key with an attribute that is a template; a skip where the token has no such attributes.
fn with_template(session: &Session<'_>, kind: CK_ATTRIBUTE_TYPE, inner: &mut Template) -> Result<CK_OBJECT_HANDLE, Stop> {
    let template = readable(CKK_AES).flag(CKA_WRAP, true).flag(CKA_UNWRAP, true).bytes(CKA_VALUE, key_bytes(32));
    match session.create(template.template(kind, inner)) {
        Err(Rv(CKR_ATTRIBUTE_TYPE_INVALID)) => {
            Err(Stop::Skip(format!("the token has no {}", crate::crypt::attribute_name(kind))))
        }
        made => must(made, &format!("C_CreateObject with {}", crate::crypt::attribute_name(kind))),
    }
}

fn wrap_template(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(KW)?;
    let mut only = Template::new().bytes(CKA_LABEL, "may leave");
    let wrapping = with_template(&session, CKA_WRAP_TEMPLATE, &mut only)?;
    let matching = must(session.create(target().bytes(CKA_LABEL, "may leave")), "C_CreateObject")?;
    let other = must(session.create(target().bytes(CKA_LABEL, "stays")), "C_CreateObject")?;
    answers!(code(session.wrap(&Mechanism::new(KW), wrapping, matching)), [CKR_OK], "C_WrapKey of a key that matches");
    let rv = code(session.wrap(&Mechanism::new(KW), wrapping, other));
    answers!(rv, [CKR_KEY_HANDLE_INVALID, CKR_KEY_NOT_WRAPPABLE], "C_WrapKey of a key that does not match CKA_WRAP_TEMPLATE");
    Ok(())
}

fn unwrap_template(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(KW)?;
    // CKA_DERIVE too: a careful module makes every unwrapped key sensitive, template or not.
    let mut always = Template::new().flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false).flag(CKA_DERIVE, true);
    let unwrapping = with_template(&session, CKA_UNWRAP_TEMPLATE, &mut always)?;
    let key = must(session.create(target()), "C_CreateObject")?;
    let wrapped = must(session.wrap(&Mechanism::new(KW), wrapping_key(&session)?, key), "C_WrapKey")?;
    let plain = Template::secret_key(CKK_AES, &[CKA_ENCRYPT]);
    let made = must(session.unwrap(&Mechanism::new(KW), unwrapping, &wrapped, &plain), "C_UnwrapKey")?;
    check!(session.flag(made, CKA_SENSITIVE)?, "CKA_UNWRAP_TEMPLATE's CKA_SENSITIVE is not in the unwrapped key");
    check!(!session.flag(made, CKA_EXTRACTABLE)?, "CKA_UNWRAP_TEMPLATE's CKA_EXTRACTABLE is not in the unwrapped key");
    check!(session.flag(made, CKA_DERIVE)?, "CKA_UNWRAP_TEMPLATE's CKA_DERIVE is not in the unwrapped key");
    for kind in [CKA_SENSITIVE, CKA_DERIVE] {
        let rv = code(session.unwrap(&Mechanism::new(KW), unwrapping, &wrapped, &plain.clone().flag(kind, false)));
        answers!(rv, [CKR_TEMPLATE_INCONSISTENT], "C_UnwrapKey against CKA_UNWRAP_TEMPLATE");
    }
    Ok(())
}

fn wrap_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (wrapping, key) = (wrapping_key(&session)?, must(session.create(target()), "C_CreateObject")?);
    let mut mechanism = Mechanism::new(KW);
    let mut call = |room: Option<&mut [u8]>| {
        let mut len = room.as_ref().map_or(0, |room| room.len()) as CK_ULONG;
        let place = room.map_or(std::ptr::null_mut(), |room| room.as_mut_ptr());
        let raw = &mut mechanism.raw();
        (ck!(context.module, C_WrapKey, session.handle, raw, wrapping, key, place, &mut len), len)
    };
    let (rv, told) = call(None);
    answers!(rv, [CKR_OK], "C_WrapKey with a NULL buffer");
    check!((24..1024).contains(&told), "C_WrapKey told {told} bytes for a wrapped AES-128 key of 24");
    let mut short = [0xa5; 23];
    let (rv, again) = call(Some(&mut short));
    answers!(rv, [CKR_BUFFER_TOO_SMALL], "C_WrapKey with a buffer of 23 bytes");
    check!(again >= 24, "C_WrapKey told {again} bytes after CKR_BUFFER_TOO_SMALL");
    check!(short == [0xa5; 23], "C_WrapKey wrote into a buffer that was too small");
    let mut room = vec![0; told as usize];
    let (rv, len) = call(Some(&mut room));
    answers!(rv, [CKR_OK], "C_WrapKey with the length that was told");
    check!(len == 24, "C_WrapKey wrote {len} bytes for an AES-128 key by AES key wrap");
    Ok(())
}

/// Mechanisms that carry a PKCS #8 structure, whose length is no multiple of anything.
fn carrier(session: &Session<'_>) -> Result<Mechanism, Stop> {
    let kinds = [CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD, CKM_AES_CBC_PAD];
    for kind in kinds {
        match session.mechanism_info(kind) {
            Ok(info) if info.flags & (CKF_WRAP | CKF_UNWRAP) == CKF_WRAP | CKF_UNWRAP => {
                let iv: &[u8] = if kind == CKM_AES_CBC_PAD { &[7; 16] } else { &[] };
                return Ok(Mechanism::with(kind, iv));
            }
            Ok(_) | Err(Stop::Skip(_)) => {}
            Err(other) => return Err(other),
        }
    }
    Err(Stop::Skip("the token has no mechanism that wraps private keys with AES".into()))
}

fn wrap_private(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let mechanism = carrier(&session)?;
    let wrapping = session.known_aes(&key_bytes(32), &[CKA_WRAP, CKA_UNWRAP])?;
    let extractable = |template: Template| template.set(CKA_EXTRACTABLE, [1]).set(CKA_SENSITIVE, [0]);
    let public = session.known_rsa()?.public;
    let private = must(session.create(extractable(rsa_private(&[CKA_SIGN])?)), "C_CreateObject of an RSA private key")?;
    let mut trials = vec![(CKK_RSA, CKM_RSA_PKCS, public, private)];
    if session.need(CKM_EC_KEY_PAIR_GEN).is_ok() {
        let public = uses(&[CKA_VERIFY]).bytes(CKA_EC_PARAMS, P256.oid);
        let made = session.generate_pair(&Mechanism::new(CKM_EC_KEY_PAIR_GEN), &public, &extractable(uses(&[CKA_SIGN])));
        let (public, private) = must(made, "C_GenerateKeyPair")?;
        trials.push((CKK_EC, CKM_ECDSA, public, private));
    }
    for (key_type, signing, public, private) in trials {
        let wrapped = must(session.wrap(&mechanism, wrapping, private), &format!("C_WrapKey of a key of type {key_type:#x}"))?;
        let template = uses(&[CKA_SIGN]).ulong(CKA_CLASS, CKO_PRIVATE_KEY).ulong(CKA_KEY_TYPE, key_type);
        let made = session.unwrap(&mechanism, wrapping, &wrapped, &template);
        let made = must(made, &format!("C_UnwrapKey of a key of type {key_type:#x}"))?;
        let signature = must(session.whole(Deed::Sign, &Mechanism::new(signing), made, &[5; 32]), "C_Sign")?;
        let rv = session.verify(&Mechanism::new(signing), public, &[5; 32], &signature);
        check!(rv == Rv::OK, "what an unwrapped key of type {key_type:#x} signed verifies with {rv}");
    }
    Ok(())
}

fn unwrap_garbage(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (key, wrapping) = (must(session.create(target()), "C_CreateObject")?, wrapping_key(&session)?);
    let wrapped = must(session.wrap(&Mechanism::new(KW), wrapping, key), "C_WrapKey")?;
    let template = Template::secret_key(CKK_AES, &[CKA_ENCRYPT]);
    let unwrap = |wrapped: &[u8]| code(session.unwrap(&Mechanism::new(KW), wrapping, wrapped, &template));
    for at in [0, 8, wrapped.len() - 1] {
        let mut other = wrapped.clone();
        other[at] ^= 1;
        let rv = unwrap(&other);
        answers!(rv, [CKR_WRAPPED_KEY_INVALID], "C_UnwrapKey of a key whose byte {at} was changed");
    }
    for len in [0, 1, 8, 16, 23] {
        let rv = unwrap(&wrapped[..len]);
        let what = format!("C_UnwrapKey of the first {len} bytes");
        answers!(rv, [CKR_WRAPPED_KEY_LEN_RANGE, CKR_WRAPPED_KEY_INVALID, CKR_ARGUMENTS_BAD], "{what}");
    }
    Ok(())
}

fn wrap_types(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = must(session.create(target()), "C_CreateObject")?;
    let wrapped = must(session.wrap(&Mechanism::new(KW), wrapping_key(&session)?, key), "C_WrapKey")?;
    let generic = readable(CKK_GENERIC_SECRET).flag(CKA_WRAP, true).flag(CKA_UNWRAP, true);
    let generic = must(session.create(generic.bytes(CKA_VALUE, key_bytes(32))), "C_CreateObject of a generic secret")?;
    let rsa = session.known_rsa()?;
    for (what, wraps, unwraps) in [("a generic secret", generic, generic), ("an RSA key", rsa.public, rsa.private)] {
        let rv = code(session.wrap(&Mechanism::new(KW), wraps, key));
        answers!(rv, [CKR_WRAPPING_KEY_TYPE_INCONSISTENT, CKR_KEY_TYPE_INCONSISTENT], "C_WrapKey by AES key wrap with {what}");
        let template = Template::secret_key(CKK_AES, &[CKA_ENCRYPT]);
        let rv = code(session.unwrap(&Mechanism::new(KW), unwraps, &wrapped, &template));
        answers!(
            rv,
            [CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, CKR_KEY_TYPE_INCONSISTENT],
            "C_UnwrapKey by AES key wrap with {what}"
        );
    }
    Ok(())
}
