//! `C_SetAttributeValue` and `C_CopyObject`: never weaker.

use super::*;

/// Everything that keeps a key safe, as flags that must never go back.
fn guards(attributes: &Template) -> Vec<(A, bool)> {
    let guard = |(kind, safe): (A, bool)| (kind, attributes.bool(kind) == Some(safe));
    let remembered = [(A::ALWAYS_AUTHENTICATE, true), (A::TRUSTED, false)];
    STICKY.into_iter().chain(remembered).map(guard).collect()
}

#[test]
fn no_change_and_no_copy_is_ever_weaker() {
    let private = || minimal(ObjectClass::PRIVATE_KEY, Some(KeyType::RSA));
    for base in [aes as fn() -> Attributes, private] {
        for bits in 0_u32..1 << STICKY.len() {
            let flags = STICKY.iter().enumerate().map(|(at, (kind, _))| (*kind, Value::Bool(bits & (1 << at) != 0)));
            let original = made(base(), flags.collect());
            for context in [COMPATIBLE, DEFAULT, STRICT] {
                let every = STICKY.iter().map(|(kind, _)| *kind).chain([A::ALWAYS_AUTHENTICATE, A::TRUSTED]);
                for change in every.flat_map(|kind| [yes(kind), no(kind)]) {
                    let changes = || Template::from_iter([(change.0, change.1.duplicate())]);
                    let answers = [for_update(&original, changes(), &context), for_copy(&original, changes(), &context)];
                    for after in answers.into_iter().flatten() {
                        for ((kind, was), (_, is)) in guards(&original.attributes).into_iter().zip(guards(&after)) {
                            assert!(is || !was, "{kind} went back by {change:?} on {original:?}", original = original.attributes);
                        }
                        assert!(after.exposed(A::LABEL).is_some() && after.len() == original.attributes.len());
                    }
                }
            }
        }
    }
}

#[test]
fn every_guard_can_be_raised_by_a_copy_and_what_the_standard_lets_be_changed_later_too() {
    for (kind, safe) in STICKY.into_iter().filter(|(kind, _)| *kind != A::PRIVATE) {
        let original = made(aes(), vec![(kind, Value::Bool(!safe))]);
        let raise = || Template::from_iter([(kind, Value::Bool(safe))]);
        check(for_copy(&original, raise(), &COMPATIBLE), Ok(&[(kind, Value::Bool(safe))]), &format!("a copy with {kind}"));
        let later = if kind == A::MODIFIABLE { Err(Code::AttributeReadOnly) } else { Ok(&[(kind, Value::Bool(safe))][..]) };
        check(for_update(&original, raise(), &COMPATIBLE), later, &format!("{kind} later"));
        let raised = made(aes(), vec![(kind, Value::Bool(safe))]);
        if ![A::COPYABLE, A::MODIFIABLE].contains(&kind) {
            check(for_copy(&raised, raise(), &COMPATIBLE), Ok(&[]), &format!("a copy that names {kind} again"));
            check(for_update(&raised, raise(), &COMPATIBLE), Err(Code::AttributeReadOnly), &format!("{kind} once more"));
        }
        let lower = Template::from_iter([(kind, Value::Bool(!safe))]);
        let code = if [A::MODIFIABLE, A::COPYABLE].contains(&kind) { Code::ActionProhibited } else { Code::AttributeReadOnly };
        let answer = match kind {
            A::COPYABLE => for_copy(&raised, lower, &COMPATIBLE),
            _ => for_update(&raised, lower, &COMPATIBLE),
        };
        check(answer, Err(code), &format!("{kind} back"));
    }
    let open = made(aes(), vec![no(A::PRIVATE)]);
    check(for_copy(&open, Template::from_iter([yes(A::PRIVATE)]), &PUBLIC), Err(Code::UserNotLoggedIn), "private by nobody");
    check(for_copy(&open, Template::from_iter([yes(A::PRIVATE)]), &DEFAULT), Ok(&[yes(A::PRIVATE)]), "a private copy");
    let private = made(aes(), vec![]);
    check(for_copy(&private, Template::from_iter([no(A::PRIVATE)]), &DEFAULT), Err(Code::TemplateInconsistent), "a public copy");
}

#[test]
fn a_key_that_wrapped_never_decrypts_neither_itself_nor_a_copy() {
    let pairs = [(A::WRAP, A::DECRYPT), (A::DECRYPT, A::WRAP), (A::UNWRAP, A::ENCRYPT), (A::ENCRYPT, A::UNWRAP)];
    for (first, second) in pairs {
        let original = object(for_create(with(aes(), vec![yes(first), no(second)]), &DEFAULT).unwrap());
        let off = object(for_update(&original, Template::from_iter([no(first)]), &DEFAULT).unwrap());
        for key in [&original, &off] {
            for changes in [vec![yes(second)], vec![no(first), yes(second)]] {
                let changes = || with(vec![], changes.iter().map(|(kind, value)| (*kind, value.duplicate())).collect());
                let what = format!("{first}, then {second}");
                check(for_update(key, changes(), &DEFAULT), Err(Code::AttributeReadOnly), &what);
                check(for_copy(key, changes(), &STRICT), Err(Code::AttributeReadOnly), &what);
                check(for_update(key, changes(), &COMPATIBLE), Ok(&[yes(second)]), &what);
            }
        }
        check(for_update(&off, Template::from_iter([yes(A::DERIVE)]), &DEFAULT), Ok(&[yes(A::DERIVE)]), "other usages are free");
    }
}

#[test]
fn a_key_with_every_usage_stays_readable() {
    let every = vec![yes(A::WRAP), yes(A::DECRYPT), no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let readable = object(for_create(with(aes(), every), &DEFAULT).unwrap());
    for hide in [yes(A::SENSITIVE), no(A::EXTRACTABLE)] {
        let hide = |more| with(vec![(hide.0, hide.1.duplicate())], more);
        check(for_update(&readable, hide(vec![]), &DEFAULT), Err(Code::TemplateInconsistent), "hidden later");
        check(for_copy(&readable, hide(vec![]), &STRICT), Err(Code::TemplateInconsistent), "a hidden copy");
        check(for_update(&readable, hide(vec![no(A::DECRYPT)]), &DEFAULT), Ok(&[no(A::DECRYPT)]), "with one usage less");
        check(for_update(&readable, hide(vec![]), &COMPATIBLE), Ok(&[]), "compatible");
    }
}

#[test]
fn a_refused_change_changes_nothing_and_an_accepted_one_all() {
    let original = made(aes(), vec![]);
    let both = Template::from_iter([bytes(A::LABEL, b"new"), number(A::CLASS, 4)]);
    check(for_update(&original, both, &COMPATIBLE), Err(Code::AttributeReadOnly), "one of them read-only");
    assert_eq!(original.attributes.exposed(A::LABEL), Some(&b""[..]));
    let both = Template::from_iter([bytes(A::LABEL, b"new"), bytes(A::ID, b"1")]);
    check(for_update(&original, both, &COMPATIBLE), Ok(&[bytes(A::LABEL, b"new"), bytes(A::ID, b"1")]), "both free");
}

#[test]
fn an_unmodifiable_object_is_copied_as_it_is() {
    let fixed = made(aes(), vec![no(A::MODIFIABLE)]);
    let cases: Vec<(&str, (A, Value), Expected)> = vec![
        ("to the token", yes(A::TOKEN), Ok(vec![yes(A::TOKEN), no(A::MODIFIABLE)])),
        ("made indestructible", no(A::DESTROYABLE), Ok(vec![no(A::DESTROYABLE)])),
        ("naming a usage that it has", yes(A::ENCRYPT), Err(Code::ActionProhibited)),
        ("naming that it is unmodifiable", no(A::MODIFIABLE), Ok(vec![no(A::MODIFIABLE)])),
        ("relabelled", bytes(A::LABEL, b"x"), Err(Code::ActionProhibited)),
        ("with another usage", yes(A::DERIVE), Err(Code::ActionProhibited)),
        ("made modifiable", yes(A::MODIFIABLE), Err(Code::AttributeReadOnly)),
    ];
    for (what, change, expected) in cases {
        let answer = for_copy(&fixed, Template::from_iter([change]), &COMPATIBLE);
        check(answer, expected.as_deref().map_err(|code| *code), what);
    }
    check(
        for_update(&fixed, Template::from_iter([bytes(A::LABEL, b"x")]), &COMPATIBLE),
        Err(Code::ActionProhibited),
        "relabelled",
    );
    let single = made(aes(), vec![no(A::COPYABLE)]);
    check(for_copy(&single, Template::new(), &COMPATIBLE), Err(Code::ActionProhibited), "copied");
}

#[test]
fn a_guess_at_a_value_is_answered_alike_whether_it_is_right_or_wrong() {
    let key = made(aes(), vec![]);
    for guess in [[7; 16], [8; 16]] {
        let guess = || Template::from_iter([(A::VALUE, Value::Secret(Secret::copy_of(&guess)))]);
        check(for_copy(&key, guess(), &COMPATIBLE), Err(Code::AttributeReadOnly), "copy");
        check(for_update(&key, guess(), &COMPATIBLE), Err(Code::AttributeReadOnly), "update");
    }
}

#[test]
fn a_checksum_can_only_be_emptied() {
    let key = made(aes(), vec![bytes(A::CHECK_VALUE, b"abc")]);
    check(
        for_update(&key, Template::from_iter([bytes(A::CHECK_VALUE, b"")]), &DEFAULT),
        Ok(&[bytes(A::CHECK_VALUE, b"")]),
        "emptied",
    );
    let other = Template::from_iter([bytes(A::CHECK_VALUE, b"abd")]);
    check(for_update(&key, other, &DEFAULT), Err(Code::AttributeValueInvalid), "changed");
}
