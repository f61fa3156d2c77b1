//! The rules of the table, column by column, and what the standard and the policies ask for beyond it.

use super::*;
use crate::ck::AttributeType as A;
use crate::object::ObjectId;
use crate::secret::Secret;

mod changes;
mod create;
mod policies;

type Attributes = Vec<(A, Value)>;
type Expected = std::result::Result<Attributes, Code>;

const COMPATIBLE: Context = Context { standing: Standing::User, write: true, policy: Policy::Compatible };
const DEFAULT: Context = Context { standing: Standing::User, write: true, policy: Policy::Default };
const STRICT: Context = Context { standing: Standing::User, write: true, policy: Policy::Strict };
const PUBLIC: Context = Context { standing: Standing::Public, write: true, policy: Policy::Compatible };
const READ_ONLY: Context = Context { standing: Standing::Public, write: false, policy: Policy::Compatible };
const OFFICER: Context = Context { standing: Standing::SecurityOfficer, write: true, policy: Policy::Compatible };

const CLASSES: [ObjectClass; 6] = [
    ObjectClass::DATA,
    ObjectClass::CERTIFICATE,
    ObjectClass::PUBLIC_KEY,
    ObjectClass::PRIVATE_KEY,
    ObjectClass::SECRET_KEY,
    ObjectClass::DOMAIN_PARAMETERS,
];
const STICKY: [(A, bool); 6] = [
    (A::SENSITIVE, true),
    (A::EXTRACTABLE, false),
    (A::WRAP_WITH_TRUSTED, true),
    (A::COPYABLE, false),
    (A::MODIFIABLE, false),
    (A::PRIVATE, true),
];

fn yes(kind: A) -> (A, Value) {
    (kind, Value::Bool(true))
}

fn no(kind: A) -> (A, Value) {
    (kind, Value::Bool(false))
}

fn number(kind: A, number: u64) -> (A, Value) {
    (kind, Value::Ulong(number))
}

fn bytes(kind: A, bytes: &[u8]) -> (A, Value) {
    (kind, Value::Bytes(bytes.to_vec()))
}

fn nested(kind: A, inner: Attributes) -> (A, Value) {
    (kind, Value::Template(inner.into_iter().collect()))
}

fn aes() -> Attributes {
    secret_key(KeyType::AES)
}

fn secret_key(key_type: KeyType) -> Attributes {
    minimal(ObjectClass::SECRET_KEY, Some(key_type))
}

fn certificate() -> Attributes {
    minimal(ObjectClass::CERTIFICATE, None)
}

/// What `C_CreateObject` needs for an object of that kind, as `ffi` decodes it.
fn minimal(class: ObjectClass, key_type: Option<KeyType>) -> Attributes {
    let mut given = vec![number(A::CLASS, class.0)];
    given.extend(key_type.map(|key_type| number(A::KEY_TYPE, key_type.0)));
    if class == ObjectClass::CERTIFICATE {
        given.extend([number(A::CERTIFICATE_TYPE, 0), bytes(A::SUBJECT, b"subject")]);
        given.push((A::VALUE, Value::Secret(Secret::copy_of(b"certificate"))));
    }
    let needed = table::required_components(class, key_type).iter();
    given.extend(needed.map(|kind| match table::rule(*kind) {
        Some(rule) if rule.value == ValueKind::Secret => (*kind, Value::Secret(Secret::copy_of(&[7; 16]))),
        _ => bytes(*kind, &[7; 16]),
    }));
    given
}

/// Every kind of object that has rules of its own.
fn kinds() -> Vec<(ObjectClass, Option<KeyType>)> {
    let types = [KeyType::RSA, KeyType::DSA, KeyType::DH, KeyType::EC, KeyType::EC_EDWARDS, KeyType::EC_MONTGOMERY, KeyType::AES];
    let keyed =
        |class: ObjectClass| types.into_iter().filter(move |t| table::knows_key_type(class, *t)).map(move |t| (class, Some(t)));
    let plain = [(ObjectClass::DATA, None), (ObjectClass::CERTIFICATE, None)];
    plain.into_iter().chain(CLASSES.into_iter().flat_map(keyed)).collect()
}

fn with(mut base: Attributes, more: Attributes) -> Template {
    base.extend(more);
    base.into_iter().collect()
}

fn object(attributes: Template) -> Object {
    Object { id: ObjectId([1; 16]), version: 1, attributes }
}

/// A created object under the compatible policy.
fn made(base: Attributes, more: Attributes) -> Object {
    object(for_create(with(base, more), &COMPATIBLE).unwrap())
}

/// An acceptable value of an attribute, other than its default (but for trust, which only the SO gives).
fn sample(rule: &Rule, class: ObjectClass, key_type: Option<KeyType>) -> Value {
    match (rule.kind, rule.value) {
        (A::CLASS, _) => Value::Ulong(class.0),
        (A::KEY_TYPE, _) => Value::Ulong(key_type.map_or(0, |key_type| key_type.0)),
        (A::CERTIFICATE_TYPE, _) => Value::Ulong(CertificateType::WTLS.0),
        (A::VALUE_LEN, _) => Value::Ulong(16),
        (_, ValueKind::Bool) => Value::Bool(rule.default != Default::Bool(true) && rule.kind != A::TRUSTED),
        (_, ValueKind::Ulong) => Value::Ulong(1),
        (_, ValueKind::Bytes | ValueKind::BigInteger) => Value::Bytes(vec![9; 4]),
        (_, ValueKind::Secret) => Value::Secret(Secret::copy_of(&[9; 16])),
        (_, ValueKind::Date) => Value::Bytes(b"20300131".to_vec()),
        (_, ValueKind::Mechanisms) => Value::Mechanisms(vec![MechanismType::AES_GCM]),
        (_, ValueKind::Template) => Value::Template(Template::from_iter([yes(A::SENSITIVE)])),
    }
}

/// The answer has these attributes, or that code.
#[track_caller]
fn check(answer: Result<Template>, expected: std::result::Result<&[(A, Value)], Code>, what: &str) {
    match (answer, expected) {
        (Ok(attributes), Ok(expected)) => {
            for (kind, value) in expected {
                let is = attributes.get(*kind);
                assert!(is.is_some_and(|is| is.same_as(value)), "{what}: {kind} is {is:?}, not {value:?}");
            }
        }
        (Err(error), Err(code)) => assert_eq!(error.code(), code, "{what}: {error}"),
        (Ok(_), Err(code)) => panic!("{what}: accepted, not refused with {code:?}"),
        (Err(error), Ok(_)) => panic!("{what}: {error:?}"),
    }
}

#[test]
fn every_kind_of_object_is_made_of_what_it_needs_and_has_every_attribute_with_a_default() {
    for (class, key_type) in kinds() {
        let attributes = for_create(minimal(class, key_type).into_iter().collect(), &COMPATIBLE).unwrap();
        for rule in
            table::rules_of(class, key_type).filter(|rule| !matches!(rule.default, Default::Absent | Default::IfOfAttributes))
        {
            let value = attributes.get(rule.kind);
            let value = value.unwrap_or_else(|| panic!("{class} {key_type:?} has no {}", rule.kind));
            assert!(check::in_form(rule, value.duplicate()).is_ok(), "{class}: {} is {value:?}", rule.kind);
        }
        for kind in table::required_components(class, key_type) {
            let mut lacking: Template = minimal(class, key_type).into_iter().collect();
            lacking.remove(*kind);
            check(
                for_create(lacking.duplicate(), &COMPATIBLE),
                Err(Code::TemplateIncomplete),
                &format!("{class} without {kind}"),
            );
            lacking.set(*kind, Value::Bytes(Vec::new()));
            check(for_create(lacking, &COMPATIBLE), Err(Code::TemplateIncomplete), &format!("{class} with empty {kind}"));
        }
    }
}

#[test]
fn an_attribute_belongs_to_the_classes_and_key_types_of_its_rules_and_to_no_other() {
    for (class, key_type) in kinds() {
        for (kind, _) in A::NAMES {
            let Some(any) = table::rule(*kind) else { continue };
            let value = sample(any, class, key_type);
            let belongs = table::rule_for(*kind, class, key_type).is_some();
            let answer = for_create(with(minimal(class, key_type), vec![(*kind, value)]), &COMPATIBLE);
            let foreign = matches!(&answer, Err(error) if error.code() == Code::AttributeTypeInvalid);
            assert_eq!(foreign, !belongs, "{kind} of a {class} {key_type:?}");
        }
        let vendors = A(0xce53_4351);
        let answer = for_create(with(minimal(class, key_type), vec![bytes(vendors, b"x")]), &COMPATIBLE);
        check(answer, Err(Code::AttributeTypeInvalid), "a vendor's attribute");
    }
}

#[test]
fn an_attribute_is_given_in_the_ways_of_its_rule_only() {
    for (class, key_type) in kinds() {
        for rule in table::rules_of(class, key_type) {
            let given = || vec![(rule.kind, sample(rule, class, key_type))];
            let expect = |way, answer: Result<Template>, what: &str| {
                let expected = if rule.given.allows(way) { Ok(&[][..]) } else { Err(Code::AttributeReadOnly) };
                check(answer, expected, &format!("{} of a {class} {key_type:?}, {what}", rule.kind));
            };
            // A URL comes with hashes: see the templates that real clients send.
            if rule.kind != A::URL {
                expect(Given::CREATE, for_create(with(minimal(class, key_type), given()), &COMPATIBLE), "create");
            }
            if let Some(key_type) = key_type {
                let mechanism = MechanismType::AES_KEY_GEN;
                let template = with(Vec::new(), given());
                expect(Given::GENERATE, for_generate(class, key_type, mechanism, template, &COMPATIBLE), "generate");
            }
            if let (ObjectClass::SECRET_KEY | ObjectClass::PRIVATE_KEY, Some(key_type)) = (class, key_type) {
                let kind = vec![number(A::CLASS, class.0), number(A::KEY_TYPE, key_type.0)];
                let settled = Settled::for_unwrap(with(kind, given()), &made(aes(), vec![])).unwrap();
                expect(Given::DERIVE, for_unwrap(settled, Template::new(), &COMPATIBLE), "unwrap");
            }
            let value = match (rule.kind, sample(rule, class, key_type)) {
                (A::CHECK_VALUE, _) => Value::Bytes(Vec::new()),
                (_, Value::Bool(_)) if rule.direction != Direction::Free => Value::Bool(rule.direction == Direction::OnlyTrue),
                (_, value) => value,
            };
            // One-way flags start at the other end.
            let start = match value {
                Value::Bool(end) if rule.given.allows(Given::CREATE) && rule.kind != A::TRUSTED => {
                    vec![(rule.kind, Value::Bool(!end))]
                }
                _ => vec![],
            };
            let original = made(minimal(class, key_type), start);
            let changes = || Template::from_iter([(rule.kind, value.duplicate())]);
            expect(Given::COPY, for_copy(&original, changes(), &COMPATIBLE), "copy");
            expect(Given::LATER, for_update(&original, changes(), &COMPATIBLE), "later");
        }
    }
}

#[test]
fn a_value_has_the_form_that_its_rule_names() {
    for (class, key_type) in kinds() {
        for rule in table::rules_of(class, key_type).filter(|rule| rule.given.allows(Given::CREATE)) {
            let wrong = match rule.value {
                ValueKind::Bool => Value::Ulong(1),
                ValueKind::Mechanisms | ValueKind::Template => Value::Bytes(vec![1]),
                _ => Value::Bool(true),
            };
            if [A::CLASS, A::KEY_TYPE].contains(&rule.kind) {
                continue; // Not read as a number at all: see the table of refusals.
            }
            let answer = for_create(with(minimal(class, key_type), vec![(rule.kind, wrong)]), &COMPATIBLE);
            check(answer, Err(Code::AttributeValueInvalid), &format!("{} of a {class}", rule.kind));
        }
    }
}

#[test]
fn byte_strings_are_secret_where_the_class_has_it_so() {
    for (class, key_type) in kinds() {
        let attributes = for_create(minimal(class, key_type).into_iter().collect(), &COMPATIBLE).unwrap();
        for (kind, value) in attributes.iter() {
            let rule = table::rule_for(kind, class, key_type).unwrap();
            assert_eq!(matches!(value, Value::Secret(_)), rule.secret, "{kind} of a {class} {key_type:?}");
        }
    }
}
