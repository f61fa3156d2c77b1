//! The new key's attributes, what its template may say, which keys may do it, and the ciphertext's buffer.

use cryptoki_sys::*;

use super::{case, encapsulate, generated, ml_kem, one_pair, pair_templates, pairs, readable, value};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{attribute_name, code, must};
use crate::module::Rv;
use crate::sample_keys::{Pair, uses};
use crate::template::Template;

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "attributes",
        Must,
        "5.18.8 C_EncapsulateKey, 5.18.9 C_DecapsulateKey: the new key's attributes",
        "Neither side's key is local, always sensitive or never extractable: its value was in the hands of both. It is extractable unless \
         the template says otherwise.",
        attributes
    ),
    case!(
        "template-refused",
        Must,
        "5.18.8 C_EncapsulateKey, 5.18.9 C_DecapsulateKey; 4.1.1",
        "A template that gives the value, what only the token sets, another class, or something twice makes no key, and leaves none behind.",
        template_refused
    ),
    case!(
        "value-len",
        Must,
        "5.18.8 C_EncapsulateKey: a template that cannot be supported fails; 6.68 CKM_ML_KEM",
        "CKA_VALUE_LEN in the template is kept or refused; both sides' shorter keys are the same.",
        value_len
    ),
    case!(
        "buffer",
        Must,
        "5.18.8 C_EncapsulateKey, CKR_BUFFER_TOO_SMALL; 5.2",
        "A buffer that is too small for the ciphertext, or none, tells the length and makes no key.",
        buffer
    ),
    case!(
        "usage",
        Must,
        "5.18.8 CKA_ENCAPSULATE, 5.18.9 CKA_DECAPSULATE",
        "A public key without CKA_ENCAPSULATE does not encapsulate, and a private key without CKA_DECAPSULATE does not decapsulate.",
        usage
    ),
    case!(
        "wrong-key",
        Must,
        "5.18.8 C_EncapsulateKey, CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_HANDLE_INVALID",
        "A private key, an RSA key and a handle of nothing do not encapsulate; nor do a public key and a secret key decapsulate.",
        wrong_key
    ),
    case!(
        "decapsulate-template",
        Security,
        "4.10 CKA_DECAPSULATE_TEMPLATE, CKR_TEMPLATE_INCONSISTENT",
        "What the private key's template for decapsulated keys says goes into each of them, and a template against it is refused.",
        decapsulate_template
    ),
];

/// A key by either function with a template.
fn both(session: &Session<'_>, pair: Pair, template: &Template) -> Result<[(&'static str, CK_OBJECT_HANDLE); 2], Stop> {
    let (ciphertext, ours) = must(session.encapsulate(&ml_kem(), pair.public, template), "C_EncapsulateKey")?;
    let theirs = must(session.decapsulate(&ml_kem(), pair.private, template, &ciphertext), "C_DecapsulateKey")?;
    Ok([("C_EncapsulateKey", ours), ("C_DecapsulateKey", theirs)])
}

fn attributes(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (_, pair) = one_pair(&session)?;
    let plain = Template::secret_key(CKK_GENERIC_SECRET, &[CKA_DERIVE]);
    let mut wrong = Vec::new();
    for (extractable, template) in [(true, plain.clone()), (false, plain.clone().flag(CKA_EXTRACTABLE, false))] {
        let template = template.flag(CKA_SENSITIVE, true);
        for (by, key) in both(&session, pair, &template)? {
            let rules = [
                (CKA_LOCAL, false),
                (CKA_ALWAYS_SENSITIVE, false),
                (CKA_NEVER_EXTRACTABLE, false),
                (CKA_EXTRACTABLE, extractable),
                (CKA_SENSITIVE, true),
            ];
            for (kind, expected) in rules {
                match session.flag(key, kind) {
                    Ok(found) if found == expected => {}
                    Ok(_) => wrong.push(format!("{by}: {} is {}", attribute_name(kind), !expected)),
                    Err(Stop::Fail(reason)) => wrong.push(format!("{by}: {reason}")),
                    Err(other) => return Err(other),
                }
            }
        }
    }
    check!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

fn template_refused(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (_, pair) = one_pair(&session)?;
    let (ciphertext, _) = encapsulate(&session, pair.public)?;
    let label = b"refused by the template".to_vec();
    let base = || readable().bytes(CKA_LABEL, label.clone());
    let bad = [
        ("CKA_VALUE", base().bytes(CKA_VALUE, [7; 32])),
        ("CKA_LOCAL", base().flag(CKA_LOCAL, true)),
        ("CKA_ALWAYS_SENSITIVE", base().flag(CKA_ALWAYS_SENSITIVE, true)),
        ("CKA_CLASS of a private key", base().set(CKA_CLASS, CKO_PRIVATE_KEY.to_ne_bytes())),
        ("CKA_MODULUS", base().bytes(CKA_MODULUS, [7; 32])),
        ("CKA_SENSITIVE twice", base().flag(CKA_SENSITIVE, true)),
    ];
    let refused = [
        CKR_ATTRIBUTE_READ_ONLY,
        CKR_ATTRIBUTE_TYPE_INVALID,
        CKR_ATTRIBUTE_VALUE_INVALID,
        CKR_TEMPLATE_INCONSISTENT,
        CKR_TEMPLATE_INCOMPLETE,
    ];
    let mut wrong = Vec::new();
    for (what, template) in bad {
        let rvs = [
            ("C_EncapsulateKey", code(session.encapsulate(&ml_kem(), pair.public, &template))),
            ("C_DecapsulateKey", code(session.decapsulate(&ml_kem(), pair.private, &template, &ciphertext))),
        ];
        let bad = rvs.into_iter().filter(|(_, rv)| !refused.contains(&rv.0));
        wrong.extend(bad.map(|(by, rv)| format!("{by} with {what}: {rv}")));
    }
    check!(wrong.is_empty(), "{}", wrong.join("; "));
    let left = session.found(&Template::new().bytes(CKA_LABEL, label))?;
    check!(left.is_empty(), "{} keys were left behind by templates that were refused", left.len());
    Ok(())
}

fn value_len(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (_, pair) = one_pair(&session)?;
    for len in [16, 32, 33] {
        let template = readable().ulong(CKA_VALUE_LEN, len);
        let (ciphertext, ours) = match session.encapsulate(&ml_kem(), pair.public, &template) {
            Ok(made) => made,
            Err(rv) => {
                check!(len != 32 || rv == Rv(CKR_TEMPLATE_INCONSISTENT), "C_EncapsulateKey of 32 bytes answered {rv}");
                continue;
            }
        };
        let ours = value(&session, ours)?;
        check!(ours.len() as CK_ULONG == len, "C_EncapsulateKey gave {} bytes where {len} were asked for", ours.len());
        let theirs = must(session.decapsulate(&ml_kem(), pair.private, &template, &ciphertext), "C_DecapsulateKey")?;
        check!(ours == value(&session, theirs)?, "the two sides' keys of {len} bytes differ");
    }
    Ok(())
}

fn buffer(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (set, pair) in pairs(&session)? {
        let label = format!("buffer {}", set.name).into_bytes();
        let template = readable().bytes(CKA_LABEL, label.clone());
        for room in [Some(0), Some(1), Some(set.ciphertext - 1), None] {
            let (rv, len, out, _) = session.encapsulate_into(&ml_kem(), pair.public, &template, room);
            let good = if room.is_none() { [CKR_OK, CKR_BUFFER_TOO_SMALL] } else { [CKR_BUFFER_TOO_SMALL; 2] };
            check!(good.contains(&rv.0), "C_EncapsulateKey of {} with room for {room:?} bytes answered {rv}", set.name);
            check!(len == set.ciphertext as CK_ULONG, "C_EncapsulateKey of {} with room for {room:?} bytes told {len}", set.name);
            check!(out.iter().all(|byte| *byte == 0xa5), "C_EncapsulateKey wrote into a buffer that was too small");
        }
        let left = session.found(&Template::new().bytes(CKA_LABEL, label.clone()))?;
        check!(left.is_empty(), "{} keys were made while the ciphertext had no room", left.len());
        let (rv, len, out, key) = session.encapsulate_into(&ml_kem(), pair.public, &template, Some(set.ciphertext));
        check!(rv == Rv::OK, "C_EncapsulateKey of {} with the very room answered {rv}", set.name);
        let back = session.decapsulate(&ml_kem(), pair.private, &readable(), &out[..len as usize]);
        let back = value(&session, must(back, "C_DecapsulateKey")?)?;
        check!(back == value(&session, key)?, "the two sides of {} do not agree", set.name);
    }
    Ok(())
}

/// Codes by which a key is refused: the standard's lists name none of a missing use, so any that speaks of the key will do.
const KEY_REFUSED: [CK_RV; 7] = [
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_HANDLE_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_KEY_TYPE_INCONSISTENT,
    CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
    CKR_MECHANISM_INVALID,
];

fn usage(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (set, pair) = one_pair(&session)?;
    let (ciphertext, _) = encapsulate(&session, pair.public)?;
    let (public, private) = pair_templates(set.number);
    let (public, private) = (public.set(CKA_ENCAPSULATE, [0]), private.set(CKA_DECAPSULATE, [0]));
    let barred = must(generated(&session, &public, &private), "C_GenerateKeyPair of a pair without uses")?;
    let rv = code(session.encapsulate(&ml_kem(), barred.public, &readable()));
    check!(KEY_REFUSED.contains(&rv.0), "C_EncapsulateKey with a key whose CKA_ENCAPSULATE is false answered {rv}");
    let rv = code(session.decapsulate(&ml_kem(), barred.private, &readable(), &ciphertext));
    check!(KEY_REFUSED.contains(&rv.0), "C_DecapsulateKey with a key whose CKA_DECAPSULATE is false answered {rv}");
    Ok(())
}

fn wrong_key(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (_, pair) = one_pair(&session)?;
    let (ciphertext, _) = encapsulate(&session, pair.public)?;
    let rsa = session.known_rsa()?;
    let secret = session.secret(&[1; 32], &[CKA_DERIVE])?;
    let mut wrong = Vec::new();
    for (what, key) in
        [("a private key", pair.private), ("an RSA key", rsa.public), ("a secret key", secret), ("nothing", 0xdead)]
    {
        let rv = code(session.encapsulate(&ml_kem(), key, &readable()));
        if !KEY_REFUSED.contains(&rv.0) {
            wrong.push(format!("C_EncapsulateKey with {what}: {rv}"));
        }
    }
    for (what, key) in [("a public key", pair.public), ("an RSA key", rsa.private), ("a secret key", secret), ("nothing", 0xdead)]
    {
        let rv = code(session.decapsulate(&ml_kem(), key, &readable(), &ciphertext));
        if !KEY_REFUSED.contains(&rv.0) {
            wrong.push(format!("C_DecapsulateKey with {what}: {rv}"));
        }
    }
    check!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

fn decapsulate_template(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (set, _) = one_pair(&session)?;
    let mut inner = Template::new().flag(CKA_EXTRACTABLE, false).flag(CKA_ENCRYPT, false);
    let public = uses(&[CKA_ENCAPSULATE]).ulong(CKA_PARAMETER_SET, set.number);
    let private = uses(&[CKA_DECAPSULATE]).template(CKA_DECAPSULATE_TEMPLATE, &mut inner);
    let pair = match generated(&session, &public, &private) {
        Ok(pair) => pair,
        Err(rv @ Rv(CKR_ATTRIBUTE_TYPE_INVALID | CKR_TEMPLATE_INCONSISTENT)) => {
            return Err(Stop::Skip(format!("the token has no CKA_DECAPSULATE_TEMPLATE: {rv}")));
        }
        Err(rv) => return Err(Stop::Fail(format!("C_GenerateKeyPair with CKA_DECAPSULATE_TEMPLATE answered {rv}"))),
    };
    let silent = Template::secret_key(CKK_GENERIC_SECRET, &[CKA_DERIVE]);
    let (ciphertext, _) = must(session.encapsulate(&ml_kem(), pair.public, &silent), "C_EncapsulateKey")?;
    let made = must(session.decapsulate(&ml_kem(), pair.private, &silent, &ciphertext), "C_DecapsulateKey")?;
    check!(!session.flag(made, CKA_EXTRACTABLE)?, "the key is extractable, against CKA_DECAPSULATE_TEMPLATE");
    let rv = code(session.decapsulate(&ml_kem(), pair.private, &readable(), &ciphertext));
    check!(rv == Rv(CKR_TEMPLATE_INCONSISTENT), "C_DecapsulateKey against CKA_DECAPSULATE_TEMPLATE answered {rv}");
    Ok(())
}
