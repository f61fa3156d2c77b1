//! What `C_CreateObject` makes and refuses, and what an import keeps.

use super::*;

#[test]
fn a_created_key_is_what_softhsm_makes_of_the_same_template() {
    let none = || Template::new();
    let expected = [
        no(A::TOKEN),
        yes(A::PRIVATE),
        yes(A::MODIFIABLE),
        yes(A::COPYABLE),
        yes(A::DESTROYABLE),
        no(A::SENSITIVE),
        no(A::EXTRACTABLE),
        no(A::ALWAYS_SENSITIVE),
        no(A::NEVER_EXTRACTABLE),
        no(A::LOCAL),
        yes(A::ENCRYPT),
        yes(A::DECRYPT),
        yes(A::SIGN),
        yes(A::VERIFY),
        yes(A::WRAP),
        yes(A::UNWRAP),
        no(A::DERIVE),
        no(A::TRUSTED),
        no(A::WRAP_WITH_TRUSTED),
        number(A::KEY_GEN_MECHANISM, u64::MAX),
        bytes(A::ID, b""),
        bytes(A::LABEL, b""),
        bytes(A::START_DATE, b""),
        bytes(A::END_DATE, b""),
        (A::ALLOWED_MECHANISMS, Value::Mechanisms(Vec::new())),
        (A::WRAP_TEMPLATE, Value::Template(none())),
        (A::UNWRAP_TEMPLATE, Value::Template(none())),
    ];
    check(for_create(aes().into_iter().collect(), &COMPATIBLE), Ok(&expected), "a secret key");
    let expected = [
        no(A::PRIVATE),
        no(A::TRUSTED),
        bytes(A::ISSUER, b""),
        bytes(A::URL, b""),
        number(A::CERTIFICATE_CATEGORY, 0),
        number(A::NAME_HASH_ALGORITHM, MechanismType::SHA_1.0),
    ];
    check(for_create(certificate().into_iter().collect(), &COMPATIBLE), Ok(&expected), "a certificate");
    let data = || minimal(ObjectClass::DATA, None);
    check(for_create(with(data(), vec![]), &COMPATIBLE), Ok(&[yes(A::PRIVATE), bytes(A::APPLICATION, b"")]), "data");
    check(for_create(with(data(), vec![]), &PUBLIC), Err(Code::UserNotLoggedIn), "data without login");
}

#[test]
fn templates_that_make_no_object_are_refused_with_the_code_that_says_why() {
    let class = |class: ObjectClass| vec![number(A::CLASS, class.0)];
    let cases: Vec<(&str, Attributes, Attributes, Context, Code)> = vec![
        ("nothing", vec![], vec![], COMPATIBLE, Code::TemplateIncomplete),
        ("a class of another form", vec![], vec![bytes(A::CLASS, b"\0")], COMPATIBLE, Code::TemplateIncomplete),
        ("a class that is not kept", class(ObjectClass::MECHANISM), vec![], COMPATIBLE, Code::AttributeValueInvalid),
        ("no such class", class(ObjectClass(77)), vec![], COMPATIBLE, Code::AttributeValueInvalid),
        ("a key without a type", class(ObjectClass::SECRET_KEY), vec![], COMPATIBLE, Code::TemplateIncomplete),
        ("a secret key of type RSA", secret_key(KeyType::RSA), vec![], COMPATIBLE, Code::AttributeValueInvalid),
        ("no such key type", secret_key(KeyType(0x99)), vec![], COMPATIBLE, Code::AttributeValueInvalid),
        ("another length", aes(), vec![number(A::VALUE_LEN, 15)], COMPATIBLE, Code::TemplateInconsistent),
        ("trusted by the user", aes(), vec![yes(A::TRUSTED)], COMPATIBLE, Code::AttributeReadOnly),
        ("local", aes(), vec![yes(A::LOCAL)], COMPATIBLE, Code::AttributeReadOnly),
        ("private without login", aes(), vec![], PUBLIC, Code::UserNotLoggedIn),
        ("private by the SO", aes(), vec![], OFFICER, Code::UserNotLoggedIn),
        ("a token object, read-only", aes(), vec![yes(A::TOKEN)], READ_ONLY, Code::SessionReadOnly),
        ("the 13th month", aes(), vec![bytes(A::START_DATE, b"20301301")], COMPATIBLE, Code::AttributeValueInvalid),
        ("day 0", aes(), vec![bytes(A::END_DATE, b"20300100")], COMPATIBLE, Code::AttributeValueInvalid),
        ("half a date", aes(), vec![bytes(A::END_DATE, b"2030")], COMPATIBLE, Code::AttributeValueInvalid),
        ("no digits", aes(), vec![bytes(A::END_DATE, b"2030-1-1")], COMPATIBLE, Code::AttributeValueInvalid),
        ("wrap and decrypt", aes(), vec![yes(A::WRAP), yes(A::DECRYPT)], DEFAULT, Code::TemplateInconsistent),
        ("unwrap and encrypt", aes(), vec![yes(A::UNWRAP), yes(A::ENCRYPT)], STRICT, Code::TemplateInconsistent),
        (
            "a certificate category",
            certificate(),
            vec![number(A::CERTIFICATE_CATEGORY, 4)],
            COMPATIBLE,
            Code::AttributeValueInvalid,
        ),
        ("no such certificate", certificate(), vec![number(A::CERTIFICATE_TYPE, 9)], COMPATIBLE, Code::AttributeValueInvalid),
        ("a certificate without subject", certificate(), vec![bytes(A::SUBJECT, b"")], COMPATIBLE, Code::TemplateIncomplete),
        ("a certificate without value", certificate(), vec![bytes(A::VALUE, b"")], COMPATIBLE, Code::TemplateIncomplete),
        ("a URL without hashes", certificate(), vec![bytes(A::URL, b"http://a")], COMPATIBLE, Code::TemplateIncomplete),
        ("an attribute certificate", certificate(), vec![number(A::CERTIFICATE_TYPE, 1)], COMPATIBLE, Code::TemplateIncomplete),
        ("a trusted certificate", certificate(), vec![yes(A::TRUSTED)], COMPATIBLE, Code::AttributeReadOnly),
    ];
    for (what, base, more, context, code) in cases {
        check(for_create(with(base, more), &context), Err(code), what);
    }
}

#[test]
fn a_certificate_has_the_attributes_of_its_type() {
    let made = |more| for_create(with(certificate(), more), &DEFAULT).unwrap();
    let (of_key, of_attributes) = (made(vec![]), made(vec![number(A::CERTIFICATE_TYPE, 1), bytes(A::OWNER, b"o")]));
    for kind in [A::OWNER, A::AC_ISSUER, A::ATTR_TYPES] {
        assert!(!of_key.has(kind), "{kind} of an X.509 certificate (PKCS#11 3.1, 4.6.3)");
        assert!(of_attributes.has(kind), "{kind} of an attribute certificate (PKCS#11 3.1, 4.6.5)");
    }
}

#[test]
fn templates_that_real_clients_send_are_taken() {
    let by_url = [bytes(A::VALUE, b""), bytes(A::URL, b"http://a"), bytes(A::HASH_OF_SUBJECT_PUBLIC_KEY, &[1; 20])];
    let by_url = by_url.into_iter().chain([bytes(A::HASH_OF_ISSUER_PUBLIC_KEY, &[1; 20])]).collect();
    let cases: Vec<(&str, Attributes, Attributes, Context)> = vec![
        ("the value's own length", aes(), vec![number(A::VALUE_LEN, 16)], DEFAULT),
        ("a cleared date", aes(), vec![bytes(A::START_DATE, &[0; 8]), bytes(A::END_DATE, b"20301231")], STRICT),
        ("wrap and unwrap", aes(), vec![yes(A::WRAP), yes(A::UNWRAP)], DEFAULT),
        ("all usages on a compatible token", aes(), vec![yes(A::WRAP), yes(A::DECRYPT)], COMPATIBLE),
        ("a certificate by its URL", certificate(), by_url, DEFAULT),
        ("an attribute certificate", certificate(), vec![number(A::CERTIFICATE_TYPE, 1), bytes(A::OWNER, b"o")], DEFAULT),
        (
            "a certificate without login",
            certificate(),
            vec![bytes(A::ID, b"1"), bytes(A::SERIAL_NUMBER, b"\x02\x01\x01")],
            PUBLIC,
        ),
        ("the SO's trusted certificate", certificate(), vec![yes(A::TRUSTED)], OFFICER),
    ];
    for (what, base, more, context) in cases {
        check(for_create(with(base, more), &context), Ok(&[]), what);
    }
    let cleared = for_create(with(aes(), vec![bytes(A::START_DATE, &[0; 8])]), &STRICT);
    check(cleared, Ok(&[bytes(A::START_DATE, b"")]), "a cleared date is no date");
}

#[test]
fn what_a_key_demands_of_others_is_looked_at_when_it_is_made() {
    let inner = |kind, value| vec![nested(A::UNWRAP_TEMPLATE, vec![(kind, value)])];
    let good = [(A::EXTRACTABLE, Value::Bool(false)), (A::KEY_TYPE, Value::Ulong(31)), (A::LABEL, Value::Bytes(b"l".to_vec()))];
    for (kind, value) in good {
        check(for_create(with(aes(), inner(kind, value)), &DEFAULT), Ok(&[]), &format!("{kind}"));
    }
    let bad = [
        (A::EXTRACTABLE, Value::Ulong(0)),
        (A::VALUE, Value::Secret(Secret::copy_of(b"guess"))),
        (A::UNWRAP_TEMPLATE, Value::Template(Template::new())),
        (A::APPLICATION, Value::Bytes(Vec::new())),
        (A(0x8000_0001), Value::Bytes(Vec::new())),
    ];
    for (kind, value) in bad {
        check(for_create(with(aes(), inner(kind, value)), &DEFAULT), Err(Code::AttributeValueInvalid), &format!("{kind}"));
    }
}

#[test]
fn an_imported_object_keeps_what_it_has_and_gets_what_it_lacks() {
    let softhsms = with(
        aes(),
        vec![
            yes(A::LOCAL),
            yes(A::ALWAYS_SENSITIVE),
            no(A::ENCRYPT),
            bytes(A::END_DATE, b"20301301"),
            bytes(A(0x8000_0001), b"x"),
        ],
    );
    let expected = [
        yes(A::LOCAL),
        yes(A::ALWAYS_SENSITIVE),
        no(A::ENCRYPT),
        yes(A::WRAP),
        bytes(A::END_DATE, b"20301301"),
        bytes(A(0x8000_0001), b"x"),
    ];
    check(for_import(softhsms), Ok(&expected), "a secret key");
    let imported = for_import(certificate().into_iter().collect()).unwrap();
    assert!(matches!(imported.get(A::VALUE), Some(Value::Bytes(_))), "a certificate's value is plain");
    check(for_import(secret_key(KeyType::GOST28147).into_iter().collect()), Err(Code::AttributeValueInvalid), "GOST");
}
