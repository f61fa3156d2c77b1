//! What a session is refused for what it is: read-only, or nobody logged in. Every function that makes or changes objects is asked.

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{code, must};
use crate::module::Rv;
use crate::sample_keys::P256;
use crate::template::{Mechanism, Template};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "codes/session-read-only",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_SESSION_READ_ONLY",
        says: "No function makes, changes or destroys a token object in a read-only session, whoever is logged in.",
        run: session_read_only,
    },
    Case {
        id: "codes/user-not-logged-in",
        level: Level::Security,
        section: "3.1, 5.1.6 CKR_USER_NOT_LOGGED_IN, 4.4 CKA_PRIVATE",
        says: "No function makes a private object where nobody is logged in.",
        run: user_not_logged_in,
    },
    Case {
        id: "codes/handles-of-objects",
        level: Level::Must,
        section: "3.1, 5.1.6 CKR_OBJECT_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID",
        says: "The handle of an object that was destroyed names nothing, for every function that takes one.",
        run: handles_of_objects,
    },
];

type Answer = (&'static str, Rv);

/// A data object that anybody may make in a session.
fn data() -> Template {
    Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, false).flag(CKA_PRIVATE, false).bytes(CKA_LABEL, *b"standing")
}

/// A public session key of known value that wraps, unwraps and derives.
fn base_key(session: &Session<'_>) -> Result<CK_OBJECT_HANDLE, Stop> {
    let template = Template::secret_key(CKK_AES, &[CKA_WRAP, CKA_UNWRAP, CKA_DERIVE, CKA_EXTRACTABLE]);
    let template = template.flag(CKA_SENSITIVE, false).flag(CKA_PRIVATE, false).bytes(CKA_VALUE, [3; 16]);
    must(session.create(template), "C_CreateObject of a public AES key")
}

/// Every function that makes an object, asked for one with this flag; what the token has no mechanism for is left out.
fn makers(session: &Session<'_>, asked: CK_ATTRIBUTE_TYPE) -> Result<Vec<Answer>, Stop> {
    // Of the two flags that matter here one is asked for, and the other is not.
    let with = |template: Template| template.set(CKA_TOKEN, [0]).set(CKA_PRIVATE, [0]).set(asked, [1]);
    let aes = || with(Template::secret_key(CKK_AES, &[CKA_ENCRYPT]));
    let mut answers = vec![("C_CreateObject", code(session.create(with(data()))))];
    let original = must(session.create(data()), "C_CreateObject of a public session object")?;
    answers.push(("C_CopyObject", code(session.copy(original, &Template::new().flag(asked, true)))));
    if session.need(CKM_AES_KEY_GEN).is_ok() {
        let made = session.generate(Mechanism::new(CKM_AES_KEY_GEN), aes().ulong(CKA_VALUE_LEN, 16));
        answers.push(("C_GenerateKey", code(made)));
    }
    if session.need(CKM_EC_KEY_PAIR_GEN).is_ok() {
        let public = with(Template::new().bytes(CKA_EC_PARAMS, P256.oid));
        let made = session.generate_pair(&Mechanism::new(CKM_EC_KEY_PAIR_GEN), &public, &with(Template::new()));
        answers.push(("C_GenerateKeyPair", code(made)));
    }
    let key = base_key(session)?;
    let wrap = Mechanism::new(CKM_AES_KEY_WRAP);
    if let Ok(blob) = session.wrap(&wrap, key, key) {
        answers.push(("C_UnwrapKey", code(session.unwrap(&wrap, key, &blob, &aes()))));
    }
    if session.need(CKM_AES_ECB_ENCRYPT_DATA).is_ok() {
        let derive = Mechanism::string_data(CKM_AES_ECB_ENCRYPT_DATA, &[1; 16]);
        answers.push(("C_DeriveKey", code(session.derive(&derive, key, &aes().ulong(CKA_VALUE_LEN, 16)))));
    }
    Ok(answers)
}

fn all_give(answers: &[Answer], expected: Rv) -> Outcome {
    let wrong = answers.iter().filter(|(_, rv)| *rv != expected).map(|(name, rv)| format!("{name} {rv}"));
    let wrong: Vec<String> = wrong.collect();
    check!(wrong.is_empty(), "expected {expected} of {} functions, got: {}", answers.len(), wrong.join(", "));
    Ok(())
}

fn session_read_only(context: &Context) -> Outcome {
    let writer = context.user_session()?;
    let session = context.session(false)?;
    let lasting = must(writer.create(data().set(CKA_TOKEN, [1])), "C_CreateObject of a token object")?;
    let mut answers = makers(&session, CKA_TOKEN)?;
    answers.push(("C_SetAttributeValue", session.set(lasting, &Template::new().bytes(CKA_LABEL, *b"other"))));
    answers.push(("C_DestroyObject", session.destroy(lasting)));
    // Where the rule is broken it is gone already.
    let _ = writer.destroy(lasting);
    all_give(&answers, Rv(CKR_SESSION_READ_ONLY))
}

fn user_not_logged_in(context: &Context) -> Outcome {
    all_give(&makers(&context.session(true)?, CKA_PRIVATE)?, Rv(CKR_USER_NOT_LOGGED_IN))
}

fn handles_of_objects(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let gone = must(session.create(data()), "C_CreateObject")?;
    context.ok(session.destroy(gone), "C_DestroyObject")?;
    let (module, mut size) = (&context.module, 0);
    let answers = [
        ("C_DestroyObject", session.destroy(gone)),
        ("C_CopyObject", code(session.copy(gone, &Template::new()))),
        ("C_GetObjectSize", crate::ck!(module, C_GetObjectSize, session.handle, gone, &mut size)),
        ("C_GetAttributeValue", code(session.attribute(gone, CKA_LABEL))),
        ("C_SetAttributeValue", session.set(gone, &Template::new().bytes(CKA_LABEL, *b"other"))),
    ];
    all_give(&answers, Rv(CKR_OBJECT_HANDLE_INVALID))?;
    if session.need(CKM_SHA256).is_ok() {
        let mechanism = Mechanism::new(CKM_SHA256);
        context.ok(session.init(crate::crypt::Deed::Digest, &mechanism, 0), "C_DigestInit")?;
        let rv = crate::ck!(module, C_DigestKey, session.handle, gone);
        let allowed = [CKR_KEY_HANDLE_INVALID, CKR_FUNCTION_NOT_SUPPORTED, CKR_OBJECT_HANDLE_INVALID];
        check!(allowed.contains(&rv.0), "C_DigestKey of a destroyed object answered {rv}");
    }
    Ok(())
}
