//! Objects that are no keys: certificates, data, domain parameters; and what every object has.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{attribute_name, code, must};
use crate::module::Rv;
use crate::numbers::{self, hex};
use crate::template::Template;
use crate::{answers, check, ck};

/// The cases about classes of objects.
pub const CASES: &[Case] = &[
    Case {
        id: "object/certificate",
        level: Level::Must,
        section: "3.1, 4.6.3 X.509 public key certificate objects",
        says: "A certificate keeps its subject, issuer, serial number and value, and is found by each of them.",
        run: certificate,
    },
    Case {
        id: "object/certificate-incomplete",
        level: Level::Must,
        section: "3.1, 4.6.2, 4.6.3 footnotes of the attribute tables, CKR_TEMPLATE_INCOMPLETE",
        says: "A certificate needs a type, a subject and a value (or a URL).",
        run: certificate_incomplete,
    },
    Case {
        id: "object/certificate-changes",
        level: Level::Must,
        section: "3.1, 4.6.3: only CKA_ID, CKA_ISSUER and CKA_SERIAL_NUMBER may be modified",
        says: "Of a certificate the label, the ID, the issuer and the serial number change; the value, the subject and the type do not.",
        run: certificate_changes,
    },
    Case {
        id: "object/certificate-trusted",
        level: Level::Security,
        section: "3.1, 4.6.2 CKA_TRUSTED: only the SO sets it",
        says: "A user does not make a certificate that the token vouches for.",
        run: certificate_trusted,
    },
    Case {
        id: "object/data",
        level: Level::Must,
        section: "3.1, 4.5 data objects; 4.4 storage objects: default values",
        says: "A data object keeps its application, identifier and value; what was not given has its default: no bytes, and true for \
               CKA_MODIFIABLE, CKA_COPYABLE and CKA_DESTROYABLE.",
        run: data,
    },
    Case {
        id: "object/domain-parameters",
        level: Level::Must,
        section: "3.1, 4.11 domain parameter objects, 6.2.7 DSA domain parameters",
        says: "A token that keeps domain parameters keeps the numbers as they were given, and refuses parameters without their prime.",
        run: domain_parameters,
    },
    Case {
        id: "object/size",
        level: Level::Must,
        section: "3.1, 5.7.4 C_GetObjectSize",
        says: "C_GetObjectSize tells a size, or that it is not available; a NULL place is CKR_ARGUMENTS_BAD.",
        run: size,
    },
    Case {
        id: "object/set-twice",
        level: Level::Should,
        section: "3.1, 5.7.6 C_SetAttributeValue, CKR_TEMPLATE_INCONSISTENT",
        says: "A template that gives one attribute two values is inconsistent, and changes nothing.",
        run: set_twice,
    },
    Case {
        id: "object/find-strange",
        level: Level::Must,
        section: "3.1, 5.7.7 C_FindObjectsInit",
        says: "A search for an attribute that no object has, or for a value of a wrong length, finds nothing or is refused as such.",
        run: find_strange,
    },
];

fn full(label: &str) -> Result<Template, Stop> {
    let template = Template::new().ulong(CKA_CLASS, CKO_CERTIFICATE).ulong(CKA_CERTIFICATE_TYPE, CKC_X_509);
    let template = template.flag(CKA_TOKEN, false).flag(CKA_PRIVATE, false).bytes(CKA_LABEL, label);
    let name = hex(numbers::CERTIFICATE_NAME)?;
    let template = template.bytes(CKA_SUBJECT, name.clone()).bytes(CKA_ISSUER, name).bytes(CKA_ID, label);
    Ok(template.bytes(CKA_SERIAL_NUMBER, hex(numbers::CERTIFICATE_SERIAL)?).bytes(CKA_VALUE, hex(numbers::CERTIFICATE)?))
}

fn made(session: &Session<'_>, label: &str) -> Result<CK_OBJECT_HANDLE, Stop> {
    must(session.create(full(label)?), "C_CreateObject of a certificate")
}

fn certificate(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let label = format!("certificate-{}", std::process::id());
    let object = made(&session, &label)?;
    let name = hex(numbers::CERTIFICATE_NAME)?;
    for (kind, wanted) in [
        (CKA_SUBJECT, name.clone()),
        (CKA_ISSUER, name),
        (CKA_SERIAL_NUMBER, hex(numbers::CERTIFICATE_SERIAL)?),
        (CKA_VALUE, hex(numbers::CERTIFICATE)?),
        (CKA_ID, label.clone().into_bytes()),
    ] {
        let told = must(session.attribute(object, kind), &format!("reading {}", attribute_name(kind)))?;
        check!(told == wanted, "{} is {told:02x?}", attribute_name(kind));
        let found = session.found(&Template::new().bytes(CKA_LABEL, label.as_str()).bytes(kind, wanted))?;
        check!(found == [object], "a search by {} finds {} certificates, not the one", attribute_name(kind), found.len());
    }
    check!(session.number(object, CKA_CERTIFICATE_TYPE)? == CKC_X_509, "CKA_CERTIFICATE_TYPE is not CKC_X_509");
    check!(!session.flag(object, CKA_TRUSTED)?, "a certificate is trusted that nobody trusted");
    Ok(())
}

fn certificate_incomplete(context: &Context) -> Outcome {
    let session = context.session(true)?;
    for kind in [CKA_CERTIFICATE_TYPE, CKA_SUBJECT, CKA_VALUE] {
        let rv = code(session.create(full("incomplete")?.without(kind)));
        answers!(rv, [CKR_TEMPLATE_INCOMPLETE], "C_CreateObject of a certificate without {}", attribute_name(kind));
    }
    Ok(())
}

fn certificate_changes(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let object = made(&session, "changes")?;
    for kind in [CKA_LABEL, CKA_ID, CKA_ISSUER, CKA_SERIAL_NUMBER] {
        let rv = session.set(object, &Template::new().bytes(kind, [2, 1, 5]));
        answers!(rv, [CKR_OK], "C_SetAttributeValue of {} of a certificate", attribute_name(kind));
        check!(session.attribute(object, kind) == Ok(vec![2, 1, 5]), "{} was changed and is as before", attribute_name(kind));
    }
    for (kind, value) in
        [(CKA_VALUE, vec![0x30, 0]), (CKA_SUBJECT, vec![0x30, 0]), (CKA_CERTIFICATE_TYPE, 1_u64.to_ne_bytes().to_vec())]
    {
        let rv = session.set(object, &Template::new().bytes(kind, value));
        answers!(rv, [CKR_ATTRIBUTE_READ_ONLY], "C_SetAttributeValue of {} of a certificate", attribute_name(kind));
    }
    Ok(())
}

fn certificate_trusted(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let rv = code(session.create(full("trusted")?.flag(CKA_TRUSTED, true)));
    check!(rv != Rv::OK, "the user made a certificate with CKA_TRUSTED");
    let rv = session.set(made(&session, "trusted")?, &Template::new().flag(CKA_TRUSTED, true));
    check!(rv != Rv::OK, "the user set CKA_TRUSTED of a certificate");
    Ok(())
}

fn data(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let plain = Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, false).flag(CKA_PRIVATE, false);
    let given = [(CKA_APPLICATION, b"the suite".to_vec()), (CKA_OBJECT_ID, vec![6, 2, 0x2a, 3]), (CKA_VALUE, vec![7; 3000])];
    let whole = given.iter().fold(plain.clone(), |template, (kind, value)| template.bytes(*kind, value.clone()));
    let (whole, bare) = (must(session.create(whole), "C_CreateObject")?, must(session.create(plain), "C_CreateObject")?);
    for (kind, value) in given {
        check!(session.attribute(whole, kind) == Ok(value), "{} is not what was given", attribute_name(kind));
        let default = session.attribute(bare, kind);
        check!(default == Ok(Vec::new()), "{} that was not given is not empty: {default:02x?}", attribute_name(kind));
    }
    for kind in [CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE] {
        check!(session.flag(bare, kind)?, "{} is not true where it was not given", attribute_name(kind));
    }
    Ok(())
}

fn domain_parameters(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let plain = Template::new().ulong(CKA_CLASS, CKO_DOMAIN_PARAMETERS).ulong(CKA_KEY_TYPE, CKK_DSA).flag(CKA_TOKEN, false);
    let numbers = [(CKA_PRIME, numbers::DSA_PRIME), (CKA_SUBPRIME, numbers::DSA_SUBPRIME), (CKA_BASE, numbers::DSA_BASE)];
    let mut whole = plain.flag(CKA_PRIVATE, false);
    for (kind, number) in numbers {
        whole = whole.bytes(kind, hex(number)?);
    }
    let object = match session.create(whole.clone()) {
        // The standard has no code for a class that a token does not keep.
        Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID | CKR_TEMPLATE_INCONSISTENT | CKR_FUNCTION_FAILED)) => {
            return Err(Stop::Skip("the token keeps no domain parameters".into()));
        }
        made => must(made, "C_CreateObject of domain parameters")?,
    };
    for (kind, number) in numbers {
        check!(session.attribute(object, kind) == Ok(hex(number)?), "{} is not what was given", attribute_name(kind));
    }
    check!(!session.flag(object, CKA_LOCAL)?, "domain parameters that were given claim to be made by the token");
    let rv = code(session.create(whole.without(CKA_PRIME)));
    answers!(rv, [CKR_TEMPLATE_INCOMPLETE], "C_CreateObject of domain parameters without CKA_PRIME");
    Ok(())
}

fn size(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let object = must(session.create(Template::new().ulong(CKA_CLASS, CKO_DATA).bytes(CKA_VALUE, [1; 100])), "C_CreateObject")?;
    let (module, mut size) = (&context.module, 0);
    match ck!(module, C_GetObjectSize, session.handle, object, &mut size) {
        Rv(CKR_FUNCTION_NOT_SUPPORTED) => return Err(Stop::Skip("C_GetObjectSize is not supported".into())),
        rv => answers!(rv, [CKR_OK, CKR_INFORMATION_SENSITIVE], "C_GetObjectSize of a data object"),
    }
    check!(size >= 100, "C_GetObjectSize of an object with a value of 100 bytes told {size}");
    let rv = ck!(module, C_GetObjectSize, session.handle, object, null_mut());
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_GetObjectSize without a place for the size");
    Ok(())
}

fn set_twice(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let template = Template::new().ulong(CKA_CLASS, CKO_DATA).bytes(CKA_LABEL, "before");
    let object = must(session.create(template), "C_CreateObject")?;
    let rv = session.set(object, &Template::new().bytes(CKA_LABEL, "one").bytes(CKA_LABEL, "two"));
    answers!(rv, [CKR_TEMPLATE_INCONSISTENT], "C_SetAttributeValue of two labels");
    check!(session.attribute(object, CKA_LABEL) == Ok(b"before".to_vec()), "the label was changed by a call that failed");
    Ok(())
}

fn find_strange(context: &Context) -> Outcome {
    let session = context.user_session()?;
    must(session.create(Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, false)), "C_CreateObject")?;
    for (kind, value, what) in [
        (CKA_VENDOR_DEFINED | 0x7fff_fff0, vec![1], "an attribute that there is not"),
        (CKA_TOKEN, vec![0, 0], "CKA_TOKEN of 2 bytes"),
        (CKA_CLASS, vec![0; 3], "CKA_CLASS of 3 bytes"),
    ] {
        let mut template = Template::new().bytes(kind, value);
        let mut list = template.list();
        let rv = ck!(context.module, C_FindObjectsInit, session.handle, list.as_mut_ptr(), 1);
        answers!(rv, [CKR_OK, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID], "C_FindObjectsInit by {what}");
        if rv == Rv::OK {
            let (mut found, mut count) = ([0; 4], 0);
            context.ok(ck!(context.module, C_FindObjects, session.handle, found.as_mut_ptr(), 4, &mut count), "C_FindObjects")?;
            context.ok(ck!(context.module, C_FindObjectsFinal, session.handle), "C_FindObjectsFinal")?;
            check!(count == 0, "a search by {what} finds {count} objects");
        }
    }
    Ok(())
}
