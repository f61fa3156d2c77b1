//! Objects: creation, attributes, which way they may move, search, life and death.

use std::ptr;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::module::Rv;
use crate::template::Template;
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "object/template-incomplete",
        level: Level::Must,
        section: "3.1, 4.1.1 Creating objects",
        says: "A template without what the class needs (its class, a key's value) answers CKR_TEMPLATE_INCOMPLETE.",
        run: template_incomplete,
    },
    Case {
        id: "object/template-unknown-attribute",
        level: Level::Must,
        section: "3.1, 4.1.1 Creating objects",
        says: "An attribute that the class does not have answers CKR_ATTRIBUTE_TYPE_INVALID.",
        run: template_unknown_attribute,
    },
    Case {
        id: "object/template-read-only-attribute",
        level: Level::Must,
        section: "3.1, 4.1.1 Creating objects",
        says: "Attributes that only the token sets (CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE) are refused in a template.",
        run: template_read_only_attribute,
    },
    Case {
        id: "object/template-wrong-length",
        level: Level::Must,
        section: "3.1, 4.1.1 Creating objects",
        says: "A boolean of two bytes or a number of three is CKR_ATTRIBUTE_VALUE_INVALID, not something read past its end.",
        run: template_wrong_length,
    },
    Case {
        id: "object/read-lengths",
        level: Level::Must,
        section: "3.1, 5.7.5 C_GetAttributeValue",
        says: "A NULL value asks for the length; a short buffer answers CKR_BUFFER_TOO_SMALL and marks that attribute unavailable; all \
               other attributes of the call are still answered.",
        run: read_lengths,
    },
    Case {
        id: "object/read-sensitive",
        level: Level::Security,
        section: "3.1, 5.7.5 C_GetAttributeValue",
        says: "The value of a sensitive key is never revealed: CKR_ATTRIBUTE_SENSITIVE, and the length is CK_UNAVAILABLE_INFORMATION.",
        run: read_sensitive,
    },
    Case {
        id: "object/read-unknown",
        level: Level::Must,
        section: "3.1, 5.7.5 C_GetAttributeValue",
        says: "An attribute that the object does not have answers CKR_ATTRIBUTE_TYPE_INVALID and the length is CK_UNAVAILABLE_INFORMATION.",
        run: read_unknown,
    },
    Case {
        id: "object/sticky-attributes",
        level: Level::Security,
        section: "3.1, 4.9 and 4.10 Key objects",
        says: "CKA_SENSITIVE may become true and never false again, CKA_EXTRACTABLE false and never true again.",
        run: sticky_attributes,
    },
    Case {
        id: "object/copy-does-not-weaken",
        level: Level::Security,
        section: "3.1, 5.7.2 C_CopyObject",
        says: "A copy is never less sensitive and never more extractable than the original.",
        run: copy_does_not_weaken,
    },
    Case {
        id: "object/not-modifiable",
        level: Level::Must,
        section: "3.1, 4.4 Storage objects",
        says: "An object with CKA_MODIFIABLE false is not changed: CKR_ACTION_PROHIBITED.",
        run: not_modifiable,
    },
    Case {
        id: "object/not-destroyable",
        level: Level::Must,
        section: "3.1, 4.4 Storage objects",
        says: "An object with CKA_DESTROYABLE false is not destroyed: CKR_ACTION_PROHIBITED.",
        run: not_destroyable,
    },
    Case {
        id: "object/not-copyable",
        level: Level::Must,
        section: "3.1, 4.4 Storage objects",
        says: "An object with CKA_COPYABLE false is not copied: CKR_ACTION_PROHIBITED.",
        run: not_copyable,
    },
    Case {
        id: "object/set-is-atomic",
        level: Level::Must,
        section: "3.1, 5.7.6 C_SetAttributeValue",
        says: "When one attribute of the template cannot be set, none is.",
        run: set_is_atomic,
    },
    Case {
        id: "object/session-object-dies",
        level: Level::Must,
        section: "3.1, 5.6.2 C_CloseSession",
        says: "A session object is gone with the session that made it.",
        run: session_object_dies,
    },
    Case {
        id: "object/private-hidden",
        level: Level::Security,
        section: "3.1, 4.4 Storage objects",
        says: "Private objects are neither found nor made without the user's login.",
        run: private_hidden,
    },
    Case {
        id: "object/read-only-session",
        level: Level::Must,
        section: "3.1, 5.7.1 C_CreateObject",
        says: "A read-only session makes no token objects: CKR_SESSION_READ_ONLY.",
        run: read_only_session,
    },
    Case {
        id: "object/find-in-pieces",
        level: Level::Must,
        section: "3.1, 5.7.8 C_FindObjects",
        says: "A search gives each match once, in as many pieces as the caller likes, then zero.",
        run: find_in_pieces,
    },
    Case {
        id: "object/find-exact",
        level: Level::Must,
        section: "3.1, 5.7.7 C_FindObjectsInit",
        says: "A search finds what matches every attribute of its template, and nothing that misses one of them.",
        run: find_exact,
    },
    Case {
        id: "object/private-not-listed",
        level: Level::Security,
        section: "3.1, 5.7.7 C_FindObjectsInit, 4.4 CKA_PRIVATE",
        says: "A search for everything lists no private object where the user is not logged in: not for the public, and not for the SO.",
        run: private_not_listed,
    },
    Case {
        id: "object/find-oracle",
        level: Level::Security,
        section: "3.1, 5.7.7 C_FindObjectsInit",
        says: "A search by the value of a sensitive key must not tell whether the guess was right.",
        run: find_oracle,
    },
    Case {
        id: "object/trusted-needs-so",
        level: Level::Security,
        section: "3.1, 4.8 and 4.10 CKA_TRUSTED",
        says: "Only the SO marks a key as trusted for wrapping.",
        run: trusted_needs_so,
    },
];

const LABEL: &str = "pkcs11-conformance";

fn data(label: &str) -> Template {
    Template::new()
        .ulong(CKA_CLASS, CKO_DATA)
        .flag(CKA_TOKEN, false)
        .flag(CKA_PRIVATE, false)
        .bytes(CKA_LABEL, label)
        .bytes(CKA_VALUE, "value")
}

fn aes(value: &[u8]) -> Template {
    Template::secret_key(CKK_AES, &[CKA_ENCRYPT]).bytes(CKA_VALUE, value)
}

fn must<T>(made: Result<T, Rv>, what: &str) -> Result<T, Stop> {
    made.map_err(|rv| Stop::Fail(format!("{what} answered {rv}")))
}

fn set(session: &Session<'_>, object: CK_OBJECT_HANDLE, mut template: Template) -> Rv {
    let mut list = template.list();
    ck!(session.context.module, C_SetAttributeValue, session.handle, object, list.as_mut_ptr(), list.len() as CK_ULONG)
}

fn copy(session: &Session<'_>, object: CK_OBJECT_HANDLE, mut template: Template) -> Result<CK_OBJECT_HANDLE, Rv> {
    let mut list = template.list();
    let mut made = 0;
    let rv =
        ck!(session.context.module, C_CopyObject, session.handle, object, list.as_mut_ptr(), list.len() as CK_ULONG, &mut made);
    if rv == Rv::OK { Ok(made) } else { Err(rv) }
}

fn destroy(session: &Session<'_>, object: CK_OBJECT_HANDLE) -> Rv {
    ck!(session.context.module, C_DestroyObject, session.handle, object)
}

fn find(session: &Session<'_>, mut template: Template, at_once: CK_ULONG) -> Result<Vec<CK_OBJECT_HANDLE>, Stop> {
    let context = session.context;
    let mut list = template.list();
    context.ok(
        ck!(context.module, C_FindObjectsInit, session.handle, list.as_mut_ptr(), list.len() as CK_ULONG),
        "C_FindObjectsInit",
    )?;
    let mut found = Vec::new();
    loop {
        let mut piece = vec![0; at_once as usize];
        let mut count = 0;
        context
            .ok(ck!(context.module, C_FindObjects, session.handle, piece.as_mut_ptr(), at_once, &mut count), "C_FindObjects")?;
        check!(count <= at_once, "C_FindObjects gave {count} handles where {at_once} were asked for");
        if count == 0 {
            break;
        }
        found.extend(&piece[..count as usize]);
    }
    context.ok(ck!(context.module, C_FindObjectsFinal, session.handle), "C_FindObjectsFinal")?;
    Ok(found)
}

fn template_incomplete(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let without_class = Template::new().flag(CKA_TOKEN, false).bytes(CKA_LABEL, LABEL);
    let without_value = Template::secret_key(CKK_AES, &[CKA_ENCRYPT]);
    let without_type = Template::new().ulong(CKA_CLASS, CKO_SECRET_KEY).bytes(CKA_VALUE, [1; 16]);
    for (template, what) in [(without_class, "class"), (without_value, "value"), (without_type, "key type")] {
        let rv = session.create(template).err().unwrap_or(Rv::OK);
        answers!(rv, [CKR_TEMPLATE_INCOMPLETE], "C_CreateObject without a {what}");
    }
    Ok(())
}

fn template_unknown_attribute(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let rv = session.create(data(LABEL).bytes(CKA_MODULUS, [1; 16])).err().unwrap_or(Rv::OK);
    answers!(rv, [CKR_ATTRIBUTE_TYPE_INVALID, CKR_TEMPLATE_INCONSISTENT], "C_CreateObject of a data object with CKA_MODULUS");
    Ok(())
}

fn template_read_only_attribute(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for kind in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
        let rv = session.create(aes(&[1; 16]).flag(kind, true)).err().unwrap_or(Rv::OK);
        let name = crate::names::attribute(kind).unwrap_or_default();
        answers!(
            rv,
            [CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_TYPE_INVALID],
            "C_CreateObject with {name}"
        );
    }
    Ok(())
}

fn template_wrong_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let bool_of_two = Template::new().ulong(CKA_CLASS, CKO_DATA).bytes(CKA_TOKEN, [0, 0]);
    let number_of_three = Template::new().bytes(CKA_CLASS, [0, 0, 0]).flag(CKA_TOKEN, false);
    for (template, what) in [(bool_of_two, "a boolean of 2 bytes"), (number_of_three, "a number of 3 bytes")] {
        let rv = session.create(template).err().unwrap_or(Rv::OK);
        answers!(rv, [CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCOMPLETE], "C_CreateObject with {what}");
    }
    Ok(())
}

fn read_lengths(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let object = must(session.create(data(LABEL)), "C_CreateObject of a data object")?;
    let (mut short, mut token) = ([0_u8; 3], [0xff_u8; 1]);
    let mut list = [
        CK_ATTRIBUTE { type_: CKA_LABEL, pValue: ptr::null_mut(), ulValueLen: 0 },
        CK_ATTRIBUTE { type_: CKA_VALUE, pValue: short.as_mut_ptr().cast(), ulValueLen: 3 },
        CK_ATTRIBUTE { type_: CKA_TOKEN, pValue: token.as_mut_ptr().cast(), ulValueLen: 1 },
    ];
    let rv = ck!(context.module, C_GetAttributeValue, session.handle, object, list.as_mut_ptr(), 3);
    answers!(rv, [CKR_BUFFER_TOO_SMALL], "C_GetAttributeValue with one short buffer");
    check!(list[0].ulValueLen == LABEL.len() as CK_ULONG, "the label's length was told as {}", list[0].ulValueLen);
    check!(list[1].ulValueLen == CK_UNAVAILABLE_INFORMATION, "the short buffer's length became {}", list[1].ulValueLen);
    check!(short == [0; 3], "the short buffer was written");
    check!(token == [0] && list[2].ulValueLen == 1, "the attribute after the short one was not answered");
    Ok(())
}

fn read_sensitive(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = must(session.create(aes(&[1; 16]).flag(CKA_SENSITIVE, true)), "C_CreateObject of a sensitive key")?;
    let mut value = [0_u8; 64];
    let mut attribute = CK_ATTRIBUTE { type_: CKA_VALUE, pValue: value.as_mut_ptr().cast(), ulValueLen: 64 };
    let rv = ck!(context.module, C_GetAttributeValue, session.handle, key, &mut attribute, 1);
    answers!(rv, [CKR_ATTRIBUTE_SENSITIVE], "C_GetAttributeValue of a sensitive value");
    check!(
        attribute.ulValueLen == CK_UNAVAILABLE_INFORMATION,
        "the length of a sensitive value was told as {}",
        attribute.ulValueLen
    );
    check!(value == [0; 64], "bytes were written for a sensitive value");
    Ok(())
}

fn read_unknown(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let object = must(session.create(data(LABEL)), "C_CreateObject of a data object")?;
    let mut attribute = CK_ATTRIBUTE { type_: CKA_MODULUS, pValue: ptr::null_mut(), ulValueLen: 0 };
    let rv = ck!(context.module, C_GetAttributeValue, session.handle, object, &mut attribute, 1);
    answers!(rv, [CKR_ATTRIBUTE_TYPE_INVALID], "C_GetAttributeValue of an attribute that the object does not have");
    check!(attribute.ulValueLen == CK_UNAVAILABLE_INFORMATION, "its length was told as {}", attribute.ulValueLen);
    Ok(())
}

fn sticky_attributes(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let open = aes(&[1; 16]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
    let key = must(session.create(open), "C_CreateObject of an open key")?;
    answers!(set(&session, key, Template::new().flag(CKA_SENSITIVE, true)), [CKR_OK], "making a key sensitive");
    answers!(set(&session, key, Template::new().flag(CKA_EXTRACTABLE, false)), [CKR_OK], "making a key unextractable");
    for (kind, value) in [(CKA_SENSITIVE, false), (CKA_EXTRACTABLE, true)] {
        let rv = set(&session, key, Template::new().flag(kind, value));
        check!(rv != Rv::OK, "{} went back to {value}", crate::names::attribute(kind).unwrap_or_default());
        let now = must(session.attribute(key, kind), "C_GetAttributeValue")?;
        check!(now == [u8::from(!value)], "a refused change was made all the same");
    }
    Ok(())
}

fn copy_does_not_weaken(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let closed = aes(&[1; 16]).flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false);
    let key = must(session.create(closed), "C_CreateObject of a sensitive, unextractable key")?;
    for (kind, value) in [(CKA_SENSITIVE, false), (CKA_EXTRACTABLE, true)] {
        let copied = copy(&session, key, Template::new().flag(kind, value));
        check!(
            copied.is_err(),
            "C_CopyObject with {} {value} answered CKR_OK",
            crate::names::attribute(kind).unwrap_or_default()
        );
    }
    let twin = must(copy(&session, key, Template::new()), "C_CopyObject without changes")?;
    let sensitive = must(session.attribute(twin, CKA_SENSITIVE), "C_GetAttributeValue")?;
    check!(sensitive == [1], "the copy of a sensitive key is not sensitive");
    Ok(())
}

fn not_modifiable(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let object = must(session.create(data(LABEL).flag(CKA_MODIFIABLE, false)), "C_CreateObject")?;
    let rv = set(&session, object, Template::new().bytes(CKA_LABEL, "other"));
    answers!(rv, [CKR_ACTION_PROHIBITED, CKR_ATTRIBUTE_READ_ONLY], "C_SetAttributeValue of an unmodifiable object");
    Ok(())
}

fn not_destroyable(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let object = must(session.create(data(LABEL).flag(CKA_DESTROYABLE, false)), "C_CreateObject")?;
    answers!(destroy(&session, object), [CKR_ACTION_PROHIBITED], "C_DestroyObject of an undestroyable object");
    Ok(())
}

fn not_copyable(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let object = must(session.create(data(LABEL).flag(CKA_COPYABLE, false)), "C_CreateObject")?;
    let rv = copy(&session, object, Template::new()).err().unwrap_or(Rv::OK);
    answers!(rv, [CKR_ACTION_PROHIBITED], "C_CopyObject of an uncopyable object");
    Ok(())
}

fn set_is_atomic(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let object = must(session.create(data(LABEL)), "C_CreateObject")?;
    let rv = set(&session, object, Template::new().bytes(CKA_LABEL, "other").ulong(CKA_CLASS, CKO_CERTIFICATE));
    check!(rv != Rv::OK, "C_SetAttributeValue changed a class");
    let label = must(session.attribute(object, CKA_LABEL), "C_GetAttributeValue")?;
    check!(label == LABEL.as_bytes(), "the label was changed by a call that failed");
    Ok(())
}

fn session_object_dies(context: &Context) -> Outcome {
    let stays = context.session(false)?;
    let goes = context.session(false)?;
    let object = must(goes.create(data(LABEL)), "C_CreateObject")?;
    must(stays.attribute(object, CKA_LABEL), "reading through another session of the application")?;
    drop(goes);
    let rv = stays.attribute(object, CKA_LABEL).err().unwrap_or(Rv::OK);
    answers!(rv, [CKR_OBJECT_HANDLE_INVALID], "reading a session object after its session");
    Ok(())
}

fn private_hidden(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let label = format!("{LABEL}-private-{}", std::process::id());
    let private = || {
        Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, true).flag(CKA_PRIVATE, true).bytes(CKA_LABEL, label.as_str())
    };
    let by_label = || Template::new().bytes(CKA_LABEL, label.as_str());
    must(session.create(private()), "C_CreateObject of a private object")?;
    answers!(session.logout(), [CKR_OK], "C_Logout");
    check!(find(&session, by_label(), 10)?.is_empty(), "a private object was found without a login");
    let rv = session.create(private()).err().unwrap_or(Rv::OK);
    answers!(rv, [CKR_USER_NOT_LOGGED_IN], "C_CreateObject of a private object without a login");
    answers!(session.login(CKU_USER as CK_USER_TYPE, &context.settings.pin), [CKR_OK], "C_Login");
    for object in find(&session, by_label(), 10)? {
        answers!(destroy(&session, object), [CKR_OK], "C_DestroyObject");
    }
    Ok(())
}

fn read_only_session(context: &Context) -> Outcome {
    let session = context.session(false)?;
    let template =
        Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, true).flag(CKA_PRIVATE, false).bytes(CKA_LABEL, LABEL);
    let rv = session.create(template).err().unwrap_or(Rv::OK);
    answers!(rv, [CKR_SESSION_READ_ONLY], "C_CreateObject of a token object in a read-only session");
    Ok(())
}

fn find_in_pieces(context: &Context) -> Outcome {
    let session = context.session(false)?;
    let label = format!("{LABEL}-pieces");
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(must(session.create(data(&label)), "C_CreateObject")?);
    }
    made.sort_unstable();
    for at_once in [1, 2, 7, 100] {
        let mut found = find(&session, Template::new().bytes(CKA_LABEL, label.as_str()), at_once)?;
        found.sort_unstable();
        check!(found == made, "a search in pieces of {at_once} gave {} objects, expected 7, each once", found.len());
    }
    Ok(())
}

fn find_exact(context: &Context) -> Outcome {
    let session = context.session(false)?;
    let (label, other) = (format!("{LABEL}-exact"), format!("{LABEL}-other"));
    let with = |label: &str, application: &str| data(label).bytes(CKA_APPLICATION, application);
    let wanted = must(session.create(with(&label, "a")), "C_CreateObject")?;
    for (label, application) in [(&label, "b"), (&other, "a"), (&other, "b")] {
        must(session.create(with(label, application)), "C_CreateObject")?;
    }
    let both = Template::new().bytes(CKA_APPLICATION, "a").bytes(CKA_LABEL, label.as_str());
    let found = find(&session, both, 10)?;
    check!(found == [wanted], "a search by two attributes found {} objects, of which one matches", found.len());
    let found = find(&session, Template::new().bytes(CKA_LABEL, label.as_str()), 10)?;
    check!(found.len() == 2, "a search by a label found {} objects, expected 2", found.len());
    let found = find(&session, Template::new().bytes(CKA_LABEL, &label[..label.len() - 1]), 10)?;
    check!(found.is_empty(), "a search by a part of a label found {} objects", found.len());
    Ok(())
}

fn private_not_listed(context: &Context) -> Outcome {
    // A token of its own: nobody else's objects come and go there.
    let slot = context.own_token("not-listed")?;
    let session = context.session_on(slot, true)?;
    answers!(session.login(CKU_USER as CK_USER_TYPE, &context.settings.pin), [CKR_OK], "C_Login");
    let lasting = |private: bool| data(LABEL).set(CKA_TOKEN, [1]).set(CKA_PRIVATE, [u8::from(private)]);
    must(session.create(lasting(true)), "C_CreateObject of a private object")?;
    must(session.create(lasting(false)), "C_CreateObject of a public object")?;
    let all = find(&session, Template::new(), 10)?.len();
    answers!(session.logout(), [CKR_OK], "C_Logout");
    let open = find(&session, Template::new(), 10)?.len();
    check!(open + 1 == all, "a search for everything lists {open} of {all} objects without a login, and one of them is private");
    answers!(session.login(CKU_SO as CK_USER_TYPE, &context.settings.so_pin), [CKR_OK], "C_Login as SO");
    let open = find(&session, Template::new(), 10)?.len();
    check!(open + 1 == all, "a search for everything lists {open} of {all} objects to the SO, and one of them is private");
    Ok(())
}

fn find_oracle(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let value = [0x5c; 16];
    must(
        session.create(aes(&value).flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false)),
        "C_CreateObject of a sensitive key",
    )?;
    let mut by_value = Template::new().bytes(CKA_VALUE, value);
    let mut list = by_value.list();
    if ck!(context.module, C_FindObjectsInit, session.handle, list.as_mut_ptr(), 1) != Rv::OK {
        return Ok(());
    }
    let (mut object, mut count) = (0, 0);
    let rv = ck!(context.module, C_FindObjects, session.handle, &mut object, 1, &mut count);
    check!(rv != Rv::OK || count == 0, "a sensitive key was found by its value");
    Ok(())
}

fn trusted_needs_so(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let template = Template::secret_key(CKK_AES, &[CKA_WRAP, CKA_TRUSTED]).bytes(CKA_VALUE, [1; 16]);
    check!(session.create(template).is_err(), "the user made a key with CKA_TRUSTED true");
    let key = must(session.create(aes(&[1; 16])), "C_CreateObject")?;
    check!(set(&session, key, Template::new().flag(CKA_TRUSTED, true)) != Rv::OK, "the user set CKA_TRUSTED");
    Ok(())
}
