//! Keys that are generated, unwrapped and derived, under each policy.

use super::*;

#[test]
fn usages_that_nobody_asked_for_never_conflict() {
    let cases: Vec<(&str, Attributes, [bool; 4])> = vec![
        // encrypt, decrypt, wrap, unwrap
        ("nothing said", vec![], [true, true, false, false]),
        ("wrap", vec![yes(A::WRAP)], [true, false, true, false]),
        ("unwrap", vec![yes(A::UNWRAP)], [false, true, false, true]),
        ("wrap and unwrap", vec![yes(A::WRAP), yes(A::UNWRAP)], [false, false, true, true]),
        ("encrypt", vec![yes(A::ENCRYPT), no(A::DECRYPT)], [true, false, false, false]),
    ];
    for (what, asked, expected) in cases {
        let usages = [A::ENCRYPT, A::DECRYPT, A::WRAP, A::UNWRAP];
        let expected: Attributes = usages.into_iter().zip(expected).map(|(kind, flag)| (kind, Value::Bool(flag))).collect();
        for context in [DEFAULT, STRICT] {
            check(for_create(asked_for(aes(), &asked), &context), Ok(&expected), what);
        }
    }
    let pair = [yes(A::DECRYPT), yes(A::UNWRAP), yes(A::SIGN)];
    let private = minimal(ObjectClass::PRIVATE_KEY, Some(KeyType::RSA));
    check(for_create(private.into_iter().collect(), &STRICT), Ok(&pair), "the two halves of a pair are different keys");
}

fn asked_for(base: Attributes, asked: &[(A, Value)]) -> Template {
    with(base, asked.iter().map(|(kind, value)| (*kind, value.duplicate())).collect())
}

#[test]
fn a_generated_key_is_closed_unless_it_is_asked_to_be_open() {
    let cases: Vec<(Context, Attributes, [bool; 4])> = vec![
        // sensitive, extractable, always sensitive, never extractable
        (COMPATIBLE, vec![], [false, false, false, true]),
        (COMPATIBLE, vec![yes(A::SENSITIVE), yes(A::EXTRACTABLE)], [true, true, true, false]),
        (DEFAULT, vec![], [true, false, true, true]),
        (DEFAULT, vec![no(A::SENSITIVE)], [false, false, false, true]),
        (DEFAULT, vec![yes(A::EXTRACTABLE)], [false, true, false, false]),
        (STRICT, vec![yes(A::SENSITIVE), yes(A::EXTRACTABLE)], [true, true, true, false]),
    ];
    for (context, asked, expected) in cases {
        for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY] {
            let key_type = if class == ObjectClass::SECRET_KEY { KeyType::AES } else { KeyType::EC };
            let mechanism = MechanismType::AES_KEY_GEN;
            let answer = for_generate(class, key_type, mechanism, asked_for(vec![], &asked), &context);
            let flags = [A::SENSITIVE, A::EXTRACTABLE, A::ALWAYS_SENSITIVE, A::NEVER_EXTRACTABLE];
            let mut expected: Attributes =
                flags.into_iter().zip(expected).map(|(kind, flag)| (kind, Value::Bool(flag))).collect();
            expected.extend([yes(A::LOCAL), number(A::KEY_GEN_MECHANISM, mechanism.0)]);
            check(answer, Ok(&expected), &format!("{class} {context:?} {asked:?}"));
        }
    }
}

#[test]
fn generation_makes_what_its_mechanism_makes() {
    let generate = |given: Attributes| {
        for_generate(
            ObjectClass::PUBLIC_KEY,
            KeyType::RSA,
            MechanismType::RSA_PKCS_KEY_PAIR_GEN,
            given.into_iter().collect(),
            &DEFAULT,
        )
    };
    let cases: Vec<(&str, Attributes, Expected)> = vec![
        ("nothing said", vec![], Ok(vec![no(A::PRIVATE), yes(A::LOCAL), yes(A::ENCRYPT), yes(A::WRAP)])),
        ("its class", vec![number(A::CLASS, ObjectClass::PUBLIC_KEY.0)], Ok(vec![])),
        ("another class", vec![number(A::CLASS, ObjectClass::PRIVATE_KEY.0)], Err(Code::TemplateInconsistent)),
        ("another type", vec![number(A::KEY_TYPE, KeyType::EC.0)], Err(Code::TemplateInconsistent)),
        ("a type of another form", vec![yes(A::KEY_TYPE)], Err(Code::TemplateInconsistent)),
        ("what it makes", vec![bytes(A::MODULUS, b"n")], Err(Code::AttributeReadOnly)),
        ("what the other half has", vec![yes(A::SENSITIVE)], Err(Code::AttributeTypeInvalid)),
        ("trust", vec![yes(A::TRUSTED)], Err(Code::AttributeReadOnly)),
        ("its size", vec![number(A::MODULUS_BITS, 2048)], Ok(vec![number(A::MODULUS_BITS, 2048)])),
    ];
    for (what, given, expected) in cases {
        check(generate(given), expected.as_deref().map_err(|code| *code), what);
    }
}

#[test]
fn an_unwrapped_key_is_as_open_as_the_policy_and_the_unwrapping_key_say() {
    let opening = || vec![nested(A::UNWRAP_TEMPLATE, vec![yes(A::EXTRACTABLE)])];
    let labelling = || vec![nested(A::UNWRAP_TEMPLATE, vec![bytes(A::LABEL, b"l"), number(A::KEY_TYPE, KeyType::AES.0)])];
    let open = || vec![no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let closed = || Ok(vec![yes(A::SENSITIVE), no(A::EXTRACTABLE), no(A::ALWAYS_SENSITIVE), no(A::NEVER_EXTRACTABLE)]);
    type Case = (&'static str, Attributes, Attributes, Context, Expected);
    let cases: Vec<Case> = vec![
        ("nothing said", vec![], vec![], DEFAULT, closed()),
        ("nothing said, compatible", vec![], vec![], COMPATIBLE, Ok(vec![no(A::SENSITIVE), no(A::LOCAL)])),
        ("open, compatible", vec![], open(), COMPATIBLE, Ok(open())),
        ("not sensitive", vec![], vec![no(A::SENSITIVE)], DEFAULT, Err(Code::TemplateInconsistent)),
        ("extractable", vec![], vec![yes(A::EXTRACTABLE)], STRICT, Err(Code::TemplateInconsistent)),
        ("opened by the key", opening(), vec![], DEFAULT, Ok(vec![yes(A::SENSITIVE), yes(A::EXTRACTABLE)])),
        ("against the key", opening(), vec![no(A::EXTRACTABLE)], COMPATIBLE, Err(Code::TemplateInconsistent)),
        ("with the key", labelling(), vec![bytes(A::LABEL, b"l")], DEFAULT, closed()),
        ("labelled by the key", labelling(), vec![], DEFAULT, Ok(vec![bytes(A::LABEL, b"l"), number(A::KEY_TYPE, 31)])),
        ("labelled otherwise", labelling(), vec![bytes(A::LABEL, b"m")], DEFAULT, Err(Code::TemplateInconsistent)),
        ("of another type", labelling(), vec![number(A::KEY_TYPE, 16)], COMPATIBLE, Err(Code::TemplateInconsistent)),
        ("with a length", vec![], vec![number(A::VALUE_LEN, 5)], DEFAULT, closed()),
        ("a public key", vec![], vec![number(A::CLASS, 2)], DEFAULT, Err(Code::TemplateInconsistent)),
        ("wrap and decrypt", vec![], vec![yes(A::WRAP), yes(A::DECRYPT)], DEFAULT, Err(Code::TemplateInconsistent)),
    ];
    for (what, demanded, asked, context, expected) in cases {
        let unwrapping = made(aes(), demanded);
        let mut given = Template::from_iter([number(A::CLASS, 4)]);
        if !unwrapping.attributes.get(A::UNWRAP_TEMPLATE).is_some_and(|t| matches!(t, Value::Template(t) if t.has(A::KEY_TYPE))) {
            given.set(A::KEY_TYPE, Value::Ulong(KeyType::AES.0));
        }
        asked.into_iter().for_each(|(kind, value)| drop(given.set(kind, value)));
        let parts = Template::from_iter([(A::VALUE, Value::Secret(Secret::copy_of(&[3; 16])))]);
        let answer = Settled::for_unwrap(given, &unwrapping).and_then(|settled| for_unwrap(settled, parts, &context));
        check(answer, expected.as_deref().map_err(|code| *code), what);
    }
    let incomplete = Settled::for_unwrap(Template::from_iter([number(A::CLASS, 4)]), &made(aes(), vec![]));
    check(incomplete.map(|settled| settled.given), Err(Code::TemplateIncomplete), "no key type");
}

#[test]
fn a_derived_key_remembers_its_base() {
    let base = |sensitive: bool, extractable: bool| {
        let given = vec![(A::SENSITIVE, Value::Bool(sensitive)), (A::EXTRACTABLE, Value::Bool(extractable)), yes(A::DERIVE)];
        let generated =
            for_generate(ObjectClass::SECRET_KEY, KeyType::AES, MechanismType::AES_KEY_GEN, with(vec![], given), &DEFAULT);
        object(generated.unwrap())
    };
    let closed = || vec![yes(A::SENSITIVE), no(A::EXTRACTABLE)];
    let open = || vec![no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let memory = |always, never| Ok(vec![(A::ALWAYS_SENSITIVE, Value::Bool(always)), (A::NEVER_EXTRACTABLE, Value::Bool(never))]);
    type Case = (&'static str, Object, Option<Object>, Attributes, Expected);
    let cases: Vec<Case> = vec![
        ("closed of closed", base(true, false), None, closed(), memory(true, true)),
        ("open of closed", base(true, false), None, open(), memory(false, false)),
        ("closed of open", base(false, true), None, closed(), memory(false, false)),
        ("closed by default", base(true, false), None, vec![], memory(true, true)),
        ("contains the base", base(true, false), Some(base(true, false)), vec![], Ok(closed())),
        ("contains one closed", base(false, true), Some(base(true, false)), open(), Err(Code::TemplateInconsistent)),
        ("contains two open", base(false, true), Some(base(false, true)), open(), Ok(open())),
        ("a pair's key", base(true, false), None, vec![number(A::CLASS, 3)], Err(Code::TemplateInconsistent)),
        ("generic by default", base(true, false), None, vec![], Ok(vec![number(A::KEY_TYPE, 16), no(A::LOCAL)])),
    ];
    for (what, base, other, asked, expected) in cases {
        let answer = Settled::for_derive(with(vec![], asked), &base)
            .and_then(|settled| for_derive(settled, &base, other.as_ref(), &DEFAULT));
        check(answer, expected.as_deref().map_err(|code| *code), what);
    }
}

#[test]
fn the_base_keys_demands_are_known_before_the_derivation() {
    let demanded = vec![number(A::KEY_TYPE, KeyType::AES.0), number(A::VALUE_LEN, 32), no(A::EXTRACTABLE)];
    let base = made(aes(), vec![nested(A::DERIVE_TEMPLATE, demanded)]);
    let settled = Settled::for_derive(Template::new(), &base).unwrap();
    assert_eq!((settled.class(), settled.key_type()), (ObjectClass::SECRET_KEY, KeyType::AES));
    assert_eq!(settled.value_len().unwrap(), Some(32));
    for asked in [number(A::VALUE_LEN, 16), yes(A::EXTRACTABLE), number(A::KEY_TYPE, 16)] {
        let answer = Settled::for_derive(Template::from_iter([asked]), &base);
        assert_eq!(answer.unwrap_err().code(), Code::TemplateInconsistent);
    }
    for len in [0, crate::limits::SECRET_VALUE_MAX_BYTES as u64 + 1] {
        let settled = Settled::for_derive(Template::from_iter([number(A::VALUE_LEN, len)]), &made(aes(), vec![])).unwrap();
        assert_eq!(settled.value_len().unwrap_err().code(), Code::AttributeValueInvalid, "{len} bytes");
    }
}
