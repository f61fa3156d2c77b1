//! Single values: in the form that their rule names, and sane.

use crate::ck::{AttributeType, CertificateType, ObjectClass};
use crate::error::{Code, Error, Result, refuse};
use crate::limits::{ATTRIBUTE_VALUE_MAX_BYTES, SECRET_VALUE_MAX_BYTES, TEMPLATE_ATTRIBUTES_MAX};
use crate::object::table::{self, Rule, ValueKind};
use crate::object::{Template, Value};
use crate::secret::Secret;

/// The value in the form that its rule names; byte strings become secret or plain as the class has it.
///
/// Errors: `AttributeValueInvalid`.
pub fn in_form(rule: &Rule, value: Value) -> Result<Value> {
    let value = match (rule.value, value) {
        (ValueKind::Secret, Value::Bytes(bytes)) => Value::Secret(Secret::new(bytes)),
        (ValueKind::Bytes | ValueKind::BigInteger | ValueKind::Date, Value::Secret(secret)) => {
            Value::Bytes(secret.expose().to_vec())
        }
        (_, value) => value,
    };
    let fits = matches!(
        (rule.value, &value),
        (ValueKind::Bool, Value::Bool(_))
            | (ValueKind::Ulong, Value::Ulong(_))
            | (ValueKind::Bytes | ValueKind::BigInteger | ValueKind::Date, Value::Bytes(_))
            | (ValueKind::Secret, Value::Secret(_))
            | (ValueKind::Mechanisms, Value::Mechanisms(_))
            | (ValueKind::Template, Value::Template(_))
    );
    if fits { Ok(value) } else { Err(invalid(rule.kind, "a value of another form")) }
}

/// [`in_form`], and sane: dates are dates, choices are among the standard's, nothing is too long.
///
/// Errors: `AttributeValueInvalid`.
pub fn normal(rule: &Rule, value: Value) -> Result<Value> {
    let value = in_form(rule, value)?;
    match &value {
        Value::Bytes(bytes) if bytes.len() > ATTRIBUTE_VALUE_MAX_BYTES => Err(invalid(rule.kind, "too long")),
        Value::Secret(secret) if secret.len() > SECRET_VALUE_MAX_BYTES => Err(invalid(rule.kind, "too long")),
        // Some callers send a cleared CK_DATE for "none".
        Value::Bytes(bytes) if rule.value == ValueKind::Date && *bytes == [0; 8] => Ok(Value::Bytes(Vec::new())),
        Value::Bytes(bytes) if rule.value == ValueKind::Date && !is_date(bytes) => {
            Err(invalid(rule.kind, "a date is empty, or 8 digits: year, month, day"))
        }
        Value::Ulong(number) if !is_choice(rule.kind, *number) => Err(invalid(rule.kind, &format!("{number:#x} has no meaning"))),
        Value::Template(template) => {
            check_nested(rule.kind, template)?;
            Ok(value)
        }
        _ => Ok(value),
    }
}

fn is_date(bytes: &[u8]) -> bool {
    let number = |range: std::ops::Range<usize>| bytes[range].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    bytes.is_empty()
        || (bytes.len() == 8
            && bytes.iter().all(u8::is_ascii_digit)
            && (1..=12).contains(&number(4..6))
            && (1..=31).contains(&number(6..8)))
}

/// Numbers that are one of a few. Categories and domains: PKCS#11 3.1, 4.6.2 and 4.6.3.
fn is_choice(kind: AttributeType, number: u64) -> bool {
    match kind {
        AttributeType::CERTIFICATE_TYPE => table::knows_certificate_type(CertificateType(number)),
        AttributeType::CERTIFICATE_CATEGORY | AttributeType::JAVA_MIDP_SECURITY_DOMAIN => number <= 3,
        _ => true,
    }
}

/// The template that a key demands of others: attributes of secret and private keys, no secrets, no further templates.
fn check_nested(kind: AttributeType, template: &Template) -> Result<()> {
    if template.len() > TEMPLATE_ATTRIBUTES_MAX {
        return Err(invalid(kind, "too many attributes"));
    }
    for (inner, value) in template.iter() {
        let classes = [ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY];
        let rule = table::rows(inner).iter().find(|rule| classes.iter().any(|class| rule.classes.has(*class)));
        let sane = match (rule, value) {
            (Some(rule), _) if rule.secret || rule.value == ValueKind::Template => false,
            // The form is compared on a copy: these are flags and short strings.
            (Some(rule), value) => normal(rule, value.duplicate()).is_ok(),
            (None, _) => false,
        };
        if !sane {
            return Err(invalid(kind, &format!("{inner} cannot be demanded of a key, or not so")));
        }
    }
    Ok(())
}

fn invalid(kind: AttributeType, what: &str) -> Error {
    refuse(Code::AttributeValueInvalid, format!("{kind}: {what}"))
}
