//! Templates that cannot be: incomplete, contradicting, unknown, of a wrong length.

use cryptoki_sys::*;

use super::{case, readable};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{attribute_name, code};
use crate::known_keys::{key_bytes, rsa_private};
use crate::module::Rv;
use crate::numbers::{self, hex};
use crate::sample_keys::{P256, octet_string, uses};
use crate::template::{Mechanism, Template};

/// The cases about templates.
pub const CASES: &[Case] = &[
    case!(
        "template-incomplete-generate",
        Must,
        "5.18.1 C_GenerateKey, 5.18.2 C_GenerateKeyPair, CKR_TEMPLATE_INCOMPLETE",
        "What the mechanism cannot know must be in the template: the length of an AES key, the bits of a modulus, the curve.",
        incomplete_generate
    ),
    case!(
        "template-incomplete-import",
        Must,
        "4.1.1 Creating objects, footnote 1 of the attribute tables, CKR_TEMPLATE_INCOMPLETE",
        "A key without its type, its value, its modulus or its point is not made.",
        incomplete_import
    ),
    case!(
        "template-inconsistent",
        Must,
        "4.1.1 Creating objects, 5.18.1 C_GenerateKey, CKR_TEMPLATE_INCONSISTENT",
        "A class or key type that is not the mechanism's is refused.",
        inconsistent
    ),
    case!(
        "template-twice",
        Should,
        "4.1.1 Creating objects, CKR_TEMPLATE_INCONSISTENT",
        "Two different values for the same attribute are the standard's own example of a template that cannot be: no function that makes \
         keys picks one of them.",
        twice
    ),
    case!(
        "template-unknown",
        Must,
        "4.1.1 Creating objects, CKR_ATTRIBUTE_TYPE_INVALID",
        "An attribute that there is not is refused by every function that makes keys.",
        unknown
    ),
    case!(
        "template-wrong-length",
        Security,
        "4.1.1 Creating objects, CKR_ATTRIBUTE_VALUE_INVALID",
        "A number or a boolean of a wrong length is refused by every function that makes keys, and not read past its end.",
        wrong_length
    ),
    case!(
        "template-read-only",
        Security,
        "4.1.1, 4.7 and 4.10: attributes that only the token sets, CKR_ATTRIBUTE_READ_ONLY",
        "A caller does not tell what only the token knows: whether a key is local, always sensitive, never extractable, or how it was made.",
        read_only
    ),
    case!(
        "template-value-generate",
        Security,
        "5.18.1 C_GenerateKey, CKR_TEMPLATE_INCONSISTENT",
        "A key that is to be generated does not take its value from the template.",
        value_generate
    ),
    case!(
        "failed-pair-leaves-nothing",
        Must,
        "5.18.2 C_GenerateKeyPair: either both keys are made or none",
        "When one of the two templates is refused, neither key is left behind.",
        failed_pair
    ),
    case!(
        "set-fixed",
        Must,
        "4.1.2 Modifying objects, CKR_ATTRIBUTE_READ_ONLY",
        "A key's class, type, value and numbers are not changed after it was made.",
        set_fixed
    ),
    case!(
        "copy-fixed",
        Must,
        "5.7.2 C_CopyObject, 4.1.3 Copying objects",
        "A copy has its original's class, type and value, whatever the template says; a new label and a new place are allowed.",
        copy_fixed
    ),
];

/// Vendor-defined, and in nobody's list.
const NO_ATTRIBUTE: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x7fff_fff0;

fn aes(template: Template) -> Template {
    template.ulong(CKA_VALUE_LEN, 16)
}

fn generate(session: &Session<'_>, template: Template) -> Rv {
    code(session.generate(Mechanism::new(CKM_AES_KEY_GEN), template))
}

/// `C_GenerateKeyPair` on P-256 with two templates beside what is needed.
fn ec_pair(session: &Session<'_>, public: Template, private: Template) -> Rv {
    code(session.generate_pair(&Mechanism::new(CKM_EC_KEY_PAIR_GEN), &public.bytes(CKA_EC_PARAMS, P256.oid), &private))
}

fn expect(rv: Rv, codes: &[CK_RV], what: &str) -> Outcome {
    let wanted: Vec<Rv> = codes.iter().map(|code| Rv(*code)).collect();
    check!(codes.contains(&rv.0), "{what} answered {rv}, expected {wanted:?}");
    Ok(())
}

fn incomplete_generate(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let pair = |kind, public: Template| code(session.generate_pair(&Mechanism::new(kind), &public, &uses(&[CKA_SIGN])));
    let verify = || uses(&[CKA_VERIFY]);
    let trials = [
        (CKM_AES_KEY_GEN, "an AES key without CKA_VALUE_LEN", generate(&session, uses(&[CKA_ENCRYPT]))),
        (CKM_RSA_PKCS_KEY_PAIR_GEN, "an RSA key pair without CKA_MODULUS_BITS", pair(CKM_RSA_PKCS_KEY_PAIR_GEN, verify())),
        (CKM_EC_KEY_PAIR_GEN, "an EC key pair without CKA_EC_PARAMS", pair(CKM_EC_KEY_PAIR_GEN, verify())),
        (
            CKM_DH_PKCS_KEY_PAIR_GEN,
            "a Diffie-Hellman key pair without CKA_PRIME",
            pair(CKM_DH_PKCS_KEY_PAIR_GEN, uses(&[]).bytes(CKA_BASE, [2])),
        ),
        (CKM_DSA_KEY_PAIR_GEN, "a DSA key pair without CKA_PRIME", pair(CKM_DSA_KEY_PAIR_GEN, verify())),
    ];
    let mut tried = false;
    for (kind, what, rv) in trials {
        if matches!(session.need(kind), Err(Stop::Skip(_))) {
            continue;
        }
        tried = true;
        expect(rv, &[CKR_TEMPLATE_INCOMPLETE], &format!("generating {what}"))?;
    }
    if tried { Ok(()) } else { Err(Stop::Skip("the token generates none of these keys".into())) }
}

fn incomplete_import(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let secret = || readable(CKK_AES).bytes(CKA_VALUE, key_bytes(16));
    let rsa = || {
        let modulus = hex(numbers::RSA_MODULUS)?;
        let class = uses(&[]).ulong(CKA_CLASS, CKO_PUBLIC_KEY).ulong(CKA_KEY_TYPE, CKK_RSA);
        Ok::<Template, Stop>(class.bytes(CKA_MODULUS, modulus).bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]))
    };
    let point = octet_string(&[&[4][..], &[1; 64]].concat());
    let ec = || {
        uses(&[])
            .ulong(CKA_CLASS, CKO_PUBLIC_KEY)
            .ulong(CKA_KEY_TYPE, CKK_EC)
            .bytes(CKA_EC_PARAMS, P256.oid)
            .bytes(CKA_EC_POINT, point.clone())
    };
    let trials = [
        ("a secret key without CKA_CLASS", secret().without(CKA_CLASS)),
        ("a secret key without CKA_KEY_TYPE", secret().without(CKA_KEY_TYPE)),
        ("an AES key without CKA_VALUE", secret().without(CKA_VALUE)),
        ("an RSA public key without CKA_MODULUS", rsa()?.without(CKA_MODULUS)),
        ("an RSA public key without CKA_PUBLIC_EXPONENT", rsa()?.without(CKA_PUBLIC_EXPONENT)),
        ("an RSA private key without CKA_MODULUS", rsa_private(&[])?.without(CKA_MODULUS)),
        ("an RSA private key without CKA_PRIVATE_EXPONENT", rsa_private(&[])?.without(CKA_PRIVATE_EXPONENT)),
        ("an EC public key without CKA_EC_PARAMS", ec().without(CKA_EC_PARAMS)),
        ("an EC public key without CKA_EC_POINT", ec().without(CKA_EC_POINT)),
    ];
    for (what, template) in trials {
        expect(code(session.create(template)), &[CKR_TEMPLATE_INCOMPLETE], &format!("C_CreateObject of {what}"))?;
    }
    Ok(())
}

fn inconsistent(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    const CODES: [CK_RV; 3] = [CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID, CKR_MECHANISM_INVALID];
    let good = || aes(uses(&[CKA_ENCRYPT]));
    let trials = [
        ("class CKO_PUBLIC_KEY", good().ulong(CKA_CLASS, CKO_PUBLIC_KEY)),
        ("class CKO_DATA", good().ulong(CKA_CLASS, CKO_DATA)),
        ("key type CKK_RSA", good().ulong(CKA_KEY_TYPE, CKK_RSA)),
        ("key type CKK_DES3", good().ulong(CKA_KEY_TYPE, CKK_DES3)),
    ];
    for (what, template) in trials {
        expect(generate(&session, template), &CODES, &format!("C_GenerateKey of an AES key with {what}"))?;
    }
    session.need(CKM_EC_KEY_PAIR_GEN)?;
    let rv = ec_pair(&session, uses(&[CKA_VERIFY]).ulong(CKA_KEY_TYPE, CKK_RSA), uses(&[CKA_SIGN]));
    expect(rv, &CODES, "C_GenerateKeyPair on P-256 with key type CKK_RSA")?;
    let rv = ec_pair(&session, uses(&[CKA_VERIFY]), uses(&[CKA_SIGN]).ulong(CKA_CLASS, CKO_SECRET_KEY));
    expect(rv, &CODES, "C_GenerateKeyPair on P-256 with a private key of class CKO_SECRET_KEY")
}

fn twice(context: &Context) -> Outcome {
    const CODES: [CK_RV; 2] = [CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID];
    all_refuse(context, "CKA_LABEL twice", &CODES, &|template| template.bytes(CKA_LABEL, "one").bytes(CKA_LABEL, "two"))?;
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    let rv = generate(&session, aes(uses(&[CKA_ENCRYPT])).ulong(CKA_VALUE_LEN, 32));
    expect(rv, &CODES, "C_GenerateKey of an AES key of 16 and of 32 bytes")
}

/// Every function that makes a key, with a template changed in the same way; those whose mechanisms the token lacks are left out.
fn everywhere(session: &Session<'_>, change: &dyn Fn(Template) -> Template) -> Result<Vec<(&'static str, Rv)>, Stop> {
    let key = session.known_aes(&key_bytes(16), &[CKA_WRAP, CKA_UNWRAP, CKA_DERIVE])?;
    let has = |kind| match session.need(kind) {
        Ok(()) => Ok(true),
        Err(Stop::Skip(_)) => Ok(false),
        Err(other) => Err(other),
    };
    let import = change(readable(CKK_AES).bytes(CKA_VALUE, key_bytes(16)));
    let mut answers = vec![("C_CreateObject", code(session.create(import)))];
    if has(CKM_AES_KEY_GEN)? {
        answers.push(("C_GenerateKey", generate(session, change(aes(uses(&[CKA_ENCRYPT]))))));
    }
    if has(CKM_EC_KEY_PAIR_GEN)? {
        let (public, private) = (uses(&[CKA_VERIFY]), uses(&[CKA_SIGN]));
        answers.push(("C_GenerateKeyPair's public key", ec_pair(session, change(public.clone()), private.clone())));
        answers.push(("C_GenerateKeyPair's private key", ec_pair(session, public, change(private))));
    }
    if has(CKM_AES_KEY_WRAP)? {
        let target = session.known_aes(&key_bytes(32), &[CKA_ENCRYPT])?;
        let wrapped = crate::crypt::must(session.wrap(&Mechanism::new(CKM_AES_KEY_WRAP), key, target), "C_WrapKey")?;
        let template = change(Template::secret_key(CKK_AES, &[CKA_ENCRYPT]));
        answers.push(("C_UnwrapKey", code(session.unwrap(&Mechanism::new(CKM_AES_KEY_WRAP), key, &wrapped, &template))));
    }
    if has(CKM_AES_ECB_ENCRYPT_DATA)? {
        let template = change(Template::secret_key(CKK_GENERIC_SECRET, &[]).ulong(CKA_VALUE_LEN, 16));
        let mechanism = Mechanism::string_data(CKM_AES_ECB_ENCRYPT_DATA, &key_bytes(16));
        answers.push(("C_DeriveKey", code(session.derive(&mechanism, key, &template))));
    }
    Ok(answers)
}

/// Fails with every function that did not refuse the change by one of the codes.
fn all_refuse(context: &Context, what: &str, codes: &[CK_RV], change: &dyn Fn(Template) -> Template) -> Outcome {
    let session = context.user_session()?;
    let answers = everywhere(&session, change)?;
    let wrong: Vec<String> =
        answers.iter().filter(|(_, rv)| !codes.contains(&rv.0)).map(|(name, rv)| format!("{name} {rv}")).collect();
    check!(wrong.is_empty(), "{what}: {}", wrong.join(", "));
    Ok(())
}

fn unknown(context: &Context) -> Outcome {
    let good = everywhere(&context.user_session()?, &|template| template)?;
    let failed: Vec<String> = good.iter().filter(|(_, rv)| *rv != Rv::OK).map(|(name, rv)| format!("{name} {rv}")).collect();
    check!(failed.is_empty(), "a good template: {}", failed.join(", "));
    all_refuse(context, "an attribute that there is not", &[CKR_ATTRIBUTE_TYPE_INVALID], &|template| {
        template.bytes(NO_ATTRIBUTE, *b"value")
    })
}

fn wrong_length(context: &Context) -> Outcome {
    const CODES: [CK_RV; 1] = [CKR_ATTRIBUTE_VALUE_INVALID];
    let flags: [(CK_ATTRIBUTE_TYPE, &[u8]); 3] = [(CKA_TOKEN, &[]), (CKA_SENSITIVE, &[1, 0]), (CKA_MODIFIABLE, &[1; 8])];
    for (kind, value) in flags {
        let what = format!("{} of {} bytes", attribute_name(kind), value.len());
        all_refuse(context, &what, &CODES, &|template| match kind {
            // A public key has no such attribute.
            CKA_SENSITIVE => template.set(CKA_PRIVATE, value),
            _ => template.set(kind, value),
        })?;
    }
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    for len in [0, 1, 4, 7, 9, 16] {
        let rv = generate(&session, uses(&[CKA_ENCRYPT]).bytes(CKA_VALUE_LEN, vec![16; len]));
        expect(rv, &CODES, &format!("C_GenerateKey with a CKA_VALUE_LEN of {len} bytes"))?;
    }
    Ok(())
}

fn read_only(context: &Context) -> Outcome {
    const CODES: [CK_RV; 3] = [CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_TYPE_INVALID];
    all_refuse(context, "CKA_LOCAL in a template", &CODES, &|template| template.flag(CKA_LOCAL, true))?;
    all_refuse(context, "CKA_KEY_GEN_MECHANISM in a template", &CODES, &|template| {
        template.ulong(CKA_KEY_GEN_MECHANISM, CKM_AES_KEY_GEN)
    })?;
    // On a public key it is unknown, elsewhere it is the token's: neither is accepted.
    all_refuse(context, "CKA_ALWAYS_SENSITIVE in a template", &CODES, &|template| template.flag(CKA_ALWAYS_SENSITIVE, true))?;
    all_refuse(context, "CKA_NEVER_EXTRACTABLE in a template", &CODES, &|template| template.flag(CKA_NEVER_EXTRACTABLE, true))
}

fn value_generate(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    let template = aes(uses(&[CKA_ENCRYPT]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true));
    match session.generate(Mechanism::new(CKM_AES_KEY_GEN), template.bytes(CKA_VALUE, key_bytes(16))) {
        Ok(key) => {
            let value = session.attribute(key, CKA_VALUE);
            let own = value.as_deref() != Ok(&key_bytes(16));
            check!(own, "C_GenerateKey made a key of the template's value");
            Err(Stop::Deviation("C_GenerateKey took a template with CKA_VALUE and made a key of another value".into()))
        }
        Err(rv) => {
            let codes =
                [CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID];
            expect(rv, &codes, "C_GenerateKey with CKA_VALUE")
        }
    }
}

fn failed_pair(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_EC_KEY_PAIR_GEN)?;
    let label = format!("half a pair {}", std::process::id());
    let labelled = |kind| uses(&[kind]).bytes(CKA_LABEL, label.as_str());
    let bad = |template: Template| template.bytes(NO_ATTRIBUTE, *b"value");
    // The token finds this out later than an attribute that there is not.
    let worse = |template: Template| template.flag(CKA_ALWAYS_SENSITIVE, true);
    for (public, private) in [
        (labelled(CKA_VERIFY), bad(labelled(CKA_SIGN))),
        (bad(labelled(CKA_VERIFY)), labelled(CKA_SIGN)),
        (labelled(CKA_VERIFY), worse(labelled(CKA_SIGN))),
    ] {
        let rv = ec_pair(&session, public, private);
        check!(rv != Rv::OK, "C_GenerateKeyPair with an attribute that nobody gives answered CKR_OK");
        let mut template = Template::new().bytes(CKA_LABEL, label.as_str());
        let (mut list, module) = (template.list(), &context.module);
        context.ok(crate::ck!(module, C_FindObjectsInit, session.handle, list.as_mut_ptr(), 1), "C_FindObjectsInit")?;
        let (mut handles, mut count) = ([0; 4], 0);
        context.ok(crate::ck!(module, C_FindObjects, session.handle, handles.as_mut_ptr(), 4, &mut count), "C_FindObjects")?;
        context.ok(crate::ck!(module, C_FindObjectsFinal, session.handle), "C_FindObjectsFinal")?;
        check!(count == 0, "a key pair that could not be made left {count} of its keys");
    }
    Ok(())
}

fn set_fixed(context: &Context) -> Outcome {
    const CODES: [CK_RV; 4] =
        [CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID, CKR_TEMPLATE_INCONSISTENT, CKR_ACTION_PROHIBITED];
    let session = context.user_session()?;
    let key = session.known_aes(&key_bytes(16), &[CKA_ENCRYPT])?;
    let trials = [
        Template::new().ulong(CKA_CLASS, CKO_DATA),
        Template::new().ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
        Template::new().bytes(CKA_VALUE, [9; 16]),
        Template::new().ulong(CKA_VALUE_LEN, 32),
        Template::new().flag(CKA_LOCAL, true),
        Template::new().flag(CKA_ALWAYS_SENSITIVE, true),
        Template::new().flag(CKA_NEVER_EXTRACTABLE, true),
        Template::new().ulong(CKA_KEY_GEN_MECHANISM, CKM_AES_KEY_GEN),
    ];
    for mut template in trials {
        let name = template.list().first().map_or_else(String::new, |attribute| attribute_name(attribute.type_));
        expect(session.set(key, &template), &CODES, &format!("C_SetAttributeValue of {name}"))?;
    }
    let value = crate::crypt::must(session.attribute(key, CKA_VALUE), "reading CKA_VALUE")?;
    check!(value == key_bytes(16), "the key's value was changed by calls that failed");
    let rv = session.set(session.known_rsa()?.public, &Template::new().bytes(CKA_MODULUS, [9; 256]));
    expect(rv, &CODES, "C_SetAttributeValue of CKA_MODULUS")
}

fn copy_fixed(context: &Context) -> Outcome {
    const CODES: [CK_RV; 4] =
        [CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID, CKR_TEMPLATE_INCONSISTENT, CKR_ACTION_PROHIBITED];
    let session = context.user_session()?;
    let key = session.known_aes(&key_bytes(16), &[CKA_ENCRYPT])?;
    for (what, template) in [
        ("another class", Template::new().ulong(CKA_CLASS, CKO_DATA)),
        ("another key type", Template::new().ulong(CKA_KEY_TYPE, CKK_GENERIC_SECRET)),
        ("another value", Template::new().bytes(CKA_VALUE, [9; 16])),
    ] {
        expect(code(session.copy(key, &template)), &CODES, &format!("C_CopyObject with {what}"))?;
    }
    let template = Template::new().bytes(CKA_LABEL, "the copy").bytes(CKA_ID, *b"\x07");
    let copy = crate::crypt::must(session.copy(key, &template), "C_CopyObject with a new label and id")?;
    for (kind, wanted) in [(CKA_LABEL, &b"the copy"[..]), (CKA_ID, &[7]), (CKA_VALUE, &key_bytes(16))] {
        let found = crate::crypt::must(session.attribute(copy, kind), &format!("reading {}", attribute_name(kind)))?;
        check!(found == wanted, "{} of the copy is {found:x?}", attribute_name(kind));
    }
    check!(session.flag(copy, CKA_ENCRYPT)?, "the copy lost CKA_ENCRYPT");
    Ok(())
}
