//! Which attribute values the blind index carries, and which searches may rely on it.
//!
//! A search may use a value only if every object that could match carries its tag. `CKA_VALUE` is the reason: certificates and
//! data are found by it, keys never are (a tag of a key's value would let the store's reader test guesses). Empty values carry
//! no tag: nearly every object has some.

use std::borrow::Cow;

use super::encode::index_bytes;
use super::table::{self, Rule};
use super::{Template, Value};
use crate::ck::{AttributeType, KeyType, ObjectClass};

/// The attributes by which an object is found, with the bytes that the index hashes.
pub fn entries(attributes: &Template) -> impl Iterator<Item = (AttributeType, Cow<'_, [u8]>)> {
    let class = class_of(attributes);
    let key_type = attributes.ulong(AttributeType::KEY_TYPE).map(KeyType);
    attributes.iter().filter_map(move |(kind, value)| {
        let rule = table::rule_for(kind, class?, key_type)?;
        (rule.indexed && !is_empty(value)).then(|| (kind, index_bytes(value)))
    })
}

/// The attributes of a search that the index can answer, with the bytes that it hashes. All others are compared afterwards.
pub fn lookups(wanted: &Template) -> impl Iterator<Item = (AttributeType, Cow<'_, [u8]>)> {
    let class = class_of(wanted);
    wanted.iter().filter_map(move |(kind, value)| {
        let mut rows = table::rows(kind).iter().filter(|rule| could_be(rule, class)).peekable();
        (rows.peek().is_some() && rows.all(|rule| rule.indexed) && !is_empty(value)).then(|| (kind, index_bytes(value)))
    })
}

fn class_of(template: &Template) -> Option<ObjectClass> {
    template.ulong(AttributeType::CLASS).map(ObjectClass)
}

fn could_be(rule: &Rule, class: Option<ObjectClass>) -> bool {
    class.is_none_or(|class| rule.classes.has(class))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Secret(secret) => secret.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn kinds<'a>(found: impl Iterator<Item = (AttributeType, Cow<'a, [u8]>)>) -> Vec<AttributeType> {
        found.map(|(kind, _)| kind).collect()
    }

    fn template(class: Option<ObjectClass>, rest: &[(AttributeType, &str)]) -> Template {
        // As `ffi` decodes: CKA_VALUE is secret until the class is known.
        let value = |kind, text: &str| match kind {
            AttributeType::VALUE => Value::Secret(Secret::copy_of(text.as_bytes())),
            _ => Value::Bytes(text.as_bytes().to_vec()),
        };
        let class = class.map(|class| (AttributeType::CLASS, Value::Ulong(class.0)));
        class.into_iter().chain(rest.iter().map(|(kind, text)| (*kind, value(*kind, text)))).collect()
    }

    #[test]
    fn a_keys_value_is_never_indexed_and_a_certificates_is() {
        let with_value = |class| template(Some(class), &[(AttributeType::VALUE, "value")]);
        for class in [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            assert_eq!(kinds(entries(&with_value(class))), [AttributeType::CLASS], "{class}");
            assert_eq!(kinds(lookups(&with_value(class))), [AttributeType::CLASS], "{class}");
        }
        for class in [ObjectClass::CERTIFICATE, ObjectClass::DATA] {
            assert_eq!(kinds(entries(&with_value(class))), [AttributeType::CLASS, AttributeType::VALUE], "{class}");
            assert_eq!(kinds(lookups(&with_value(class))), [AttributeType::CLASS, AttributeType::VALUE], "{class}");
        }
    }

    #[test]
    fn a_search_by_value_alone_cannot_rely_on_tags_that_keys_do_not_have() {
        assert_eq!(kinds(lookups(&template(None, &[(AttributeType::VALUE, "value")]))), []);
    }

    #[test]
    fn what_a_search_hashes_is_what_the_object_carries() {
        let wanted = template(Some(ObjectClass::CERTIFICATE), &[(AttributeType::VALUE, "v"), (AttributeType::ID, "1")]);
        let mut kept = wanted.duplicate();
        kept.set(AttributeType::VALUE, Value::Bytes(b"v".to_vec()));
        assert_eq!(lookups(&wanted).collect::<Vec<_>>(), entries(&kept).collect::<Vec<_>>());
    }

    #[test]
    fn empty_values_carry_no_tag_and_unknown_attributes_ask_for_none() {
        let unknown = AttributeType(0xce53_4351);
        let wanted = template(Some(ObjectClass::CERTIFICATE), &[(AttributeType::ID, ""), (unknown, "x")]);
        assert_eq!(kinds(lookups(&wanted)), [AttributeType::CLASS]);
        assert_eq!(kinds(entries(&wanted)), [AttributeType::CLASS]);
    }
}
