//! From templates to complete attributes: for objects that are created, generated, unwrapped, derived, copied, changed.
//!
//! Every function checks the whole template before it returns anything, so a refused one changes nothing.

use super::policy::{self, Policy};
use super::table::{self, Default, Direction, Given, Rule, ValueKind};
use super::{Object, Template, Value};
use crate::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::limits::ATTRIBUTE_VALUE_MAX_BYTES;
use crate::secret::Secret;

/// Who asks, as far as attributes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody is logged in.
    Public,
    /// The user.
    User,
    /// The SO.
    SecurityOfficer,
}

/// Under which circumstances a template is judged.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Who asks.
    pub standing: Standing,
    /// How strict the token is.
    pub policy: Policy,
}

/// `C_CreateObject`: complete attributes, not yet checked for what the numbers mean.
///
/// Errors: `TemplateIncomplete`, `TemplateInconsistent`, `AttributeTypeInvalid`, `AttributeValueInvalid`, `AttributeReadOnly`.
pub fn for_create(given: Template, context: &Context) -> Result<Template> {
    let class = ObjectClass(given.ulong(AttributeType::CLASS).ok_or_else(|| incomplete(AttributeType::CLASS))?);
    if table::rule_for(AttributeType::CLASS, class, None).is_none() {
        return Err(refuse(Code::AttributeValueInvalid, format!("objects of class {class} are not kept")));
    }
    let key_type = match class {
        ObjectClass::DATA | ObjectClass::CERTIFICATE => None,
        _ => Some(KeyType(given.ulong(AttributeType::KEY_TYPE).ok_or_else(|| incomplete(AttributeType::KEY_TYPE))?)),
    };
    known(class, key_type)?;
    let mut attributes = checked(given, class, key_type, Given::CREATE, context)?;
    for kind in table::required_components(class, key_type) {
        if attributes.exposed(*kind).is_none_or(<[u8]>::is_empty) {
            return Err(incomplete(*kind));
        }
    }
    if class == ObjectClass::CERTIFICATE {
        check_certificate(&attributes)?;
    }
    if let (Some(len), Some(value)) = (attributes.ulong(AttributeType::VALUE_LEN), attributes.exposed(AttributeType::VALUE))
        && len != value.len() as u64
    {
        return Err(refuse(Code::TemplateInconsistent, "CKA_VALUE_LEN is not the length of CKA_VALUE"));
    }
    complete(&mut attributes, class, key_type, context)?;
    Ok(attributes)
}

/// `C_GenerateKey`, and each side of `C_GenerateKeyPair`: complete but for what the mechanism makes.
pub fn for_generate(
    class: ObjectClass,
    key_type: KeyType,
    mechanism: MechanismType,
    given: Template,
    context: &Context,
) -> Result<Template> {
    let mut given = given;
    agree(&mut given, AttributeType::CLASS, class.0)?;
    agree(&mut given, AttributeType::KEY_TYPE, key_type.0)?;
    let mut attributes = checked(given, class, Some(key_type), Given::GENERATE, context)?;
    close_by_default(&mut attributes, class, context);
    complete(&mut attributes, class, Some(key_type), context)?;
    attributes.set(AttributeType::LOCAL, Value::Bool(true));
    if class != ObjectClass::DOMAIN_PARAMETERS {
        attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(mechanism.0));
    }
    remember(&mut attributes, class, true, true);
    Ok(attributes)
}

/// Class and key type of a key to be unwrapped or derived, from the caller's template and the base key's own.
///
/// Errors: `TemplateIncomplete`.
pub fn wanted(given: &Template, base: &Object) -> Result<(ObjectClass, KeyType)> {
    let demanded = demanded_by(base, AttributeType::UNWRAP_TEMPLATE);
    let number =
        |kind| given.ulong(kind).or_else(|| demanded.and_then(|template| template.ulong(kind))).ok_or_else(|| incomplete(kind));
    let class = ObjectClass(number(AttributeType::CLASS)?);
    let key_type = KeyType(number(AttributeType::KEY_TYPE)?);
    if ![ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY].contains(&class) {
        return Err(refuse(Code::TemplateInconsistent, format!("a wrapped key is a secret or a private key, not a {class}")));
    }
    known(class, Some(key_type))?;
    Ok((class, key_type))
}

/// `C_UnwrapKey`: `parts` are the key's components. The unwrapping key's `CKA_UNWRAP_TEMPLATE` is added to what was given.
///
/// Under [`Policy::Default`] and [`Policy::Strict`] the key is sensitive, and extractable only if that template says so.
pub fn for_unwrap(given: Template, unwrapping: &Object, parts: Template, context: &Context) -> Result<Template> {
    let (class, key_type) = wanted(&given, unwrapping)?;
    let demanded = demanded_by(unwrapping, AttributeType::UNWRAP_TEMPLATE);
    let mut given = with_demanded(given, demanded)?;
    if context.policy != Policy::Compatible {
        let may_leave = demanded.and_then(|template| template.bool(AttributeType::EXTRACTABLE)).unwrap_or(false);
        agree_flag(&mut given, AttributeType::SENSITIVE, true)?;
        if !may_leave {
            agree_flag(&mut given, AttributeType::EXTRACTABLE, false)?;
        }
    }
    // It told how much of the plaintext is the key; what the key has is set from its value.
    given.remove(AttributeType::VALUE_LEN);
    let mut attributes = checked(given, class, Some(key_type), Given::DERIVE, context)?;
    for (kind, value) in parts {
        attributes.set(kind, value);
    }
    complete(&mut attributes, class, Some(key_type), context)?;
    attributes.set(AttributeType::LOCAL, Value::Bool(false));
    remember(&mut attributes, class, false, false);
    Ok(attributes)
}

/// `C_DeriveKey`: complete but for the value. With an `other` key, both count as base (concatenation).
pub fn for_derive(given: Template, base: &Object, other: Option<&Object>, context: &Context) -> Result<Template> {
    let mut given = with_demanded(given, demanded_by(base, AttributeType::DERIVE_TEMPLATE))?;
    let key_type = KeyType(given.ulong(AttributeType::KEY_TYPE).unwrap_or(KeyType::GENERIC_SECRET.0));
    let class = ObjectClass::SECRET_KEY;
    agree(&mut given, AttributeType::CLASS, class.0)?;
    agree(&mut given, AttributeType::KEY_TYPE, key_type.0)?;
    known(class, Some(key_type))?;
    if let Some(other) = other {
        for key in [base, other] {
            if key.flag(AttributeType::SENSITIVE) {
                agree_flag(&mut given, AttributeType::SENSITIVE, true)?;
            }
            if key.class() != ObjectClass::PUBLIC_KEY && !key.flag(AttributeType::EXTRACTABLE) {
                agree_flag(&mut given, AttributeType::EXTRACTABLE, false)?;
            }
        }
    }
    let mut attributes = checked(given, class, Some(key_type), Given::DERIVE, context)?;
    close_by_default(&mut attributes, class, context);
    complete(&mut attributes, class, Some(key_type), context)?;
    attributes.set(AttributeType::LOCAL, Value::Bool(false));
    let all = |kind| base.flag(kind) && other.is_none_or(|other| other.flag(kind));
    remember(&mut attributes, class, all(AttributeType::ALWAYS_SENSITIVE), all(AttributeType::NEVER_EXTRACTABLE));
    Ok(attributes)
}

/// `C_CopyObject`: the original's attributes with the changes. A copy is never weaker than its original.
///
/// Errors: `ActionProhibited`, `AttributeReadOnly`, `TemplateInconsistent`.
pub fn for_copy(original: &Object, changes: Template, context: &Context) -> Result<Template> {
    policy::may_copy(original)?;
    changed(original, changes, Given::COPY, context)
}

/// `C_SetAttributeValue`: all attributes as they are afterwards.
///
/// Errors: `ActionProhibited`, `AttributeReadOnly`, `AttributeTypeInvalid`, `AttributeValueInvalid`, `TemplateInconsistent`.
pub fn for_update(original: &Object, changes: Template, context: &Context) -> Result<Template> {
    policy::may_modify(original)?;
    changed(original, changes, Given::LATER, context)
}

fn changed(original: &Object, changes: Template, way: Given, context: &Context) -> Result<Template> {
    let (class, key_type) = (original.class(), original.key_type());
    let mut attributes = original.attributes.duplicate();
    for (kind, value) in changes {
        let same = original.attributes.get(kind).is_some_and(|old| !is_secret(kind, class, key_type) && old.same_as(&value));
        if same {
            continue;
        }
        let rule = rule(kind, class, key_type)?;
        if !rule.given.allows(way) {
            return Err(read_only(kind));
        }
        if let (Some(from), Value::Bool(to)) = (original.attributes.bool(kind), &value) {
            may_move(rule, from, *to)?;
        }
        let value = normal(rule, value)?;
        may_trust(kind, &value, context)?;
        attributes.set(kind, value);
    }
    if original.is_private() && attributes.bool(AttributeType::PRIVATE) == Some(false) {
        return Err(refuse(Code::TemplateInconsistent, "a private object has no public copy"));
    }
    no_conflict(&attributes, class, context)?;
    Ok(attributes)
}

fn is_secret(kind: AttributeType, class: ObjectClass, key_type: Option<KeyType>) -> bool {
    table::rule_for(kind, class, key_type).is_none_or(|rule| rule.secret)
}

fn may_move(rule: &Rule, from: bool, to: bool) -> Result<()> {
    match (rule.direction, from, to) {
        (Direction::OnlyTrue, true, false) | (Direction::OnlyFalse, false, true) => {
            Err(refuse(Code::AttributeReadOnly, format!("{} cannot go back to {to}", rule.kind)))
        }
        _ => Ok(()),
    }
}

/// Every given attribute belongs to the class, may be given this way, and has a sane value.
fn checked(given: Template, class: ObjectClass, key_type: Option<KeyType>, way: Given, context: &Context) -> Result<Template> {
    let mut attributes = Template::new();
    for (kind, value) in given {
        let rule = rule(kind, class, key_type)?;
        if !rule.given.allows(way) {
            return Err(read_only(kind));
        }
        let value = normal(rule, value)?;
        may_trust(kind, &value, context)?;
        attributes.set(kind, value);
    }
    Ok(attributes)
}

fn rule(kind: AttributeType, class: ObjectClass, key_type: Option<KeyType>) -> Result<&'static Rule> {
    table::rule_for(kind, class, key_type).ok_or_else(|| refuse(Code::AttributeTypeInvalid, format!("a {class} has no {kind}")))
}

/// The value in the form that its rule names.
fn normal(rule: &Rule, value: Value) -> Result<Value> {
    let invalid = |what: &str| refuse(Code::AttributeValueInvalid, format!("{}: {what}", rule.kind));
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
    if !fits {
        return Err(invalid("a value of another kind"));
    }
    if let Value::Bytes(bytes) = &value {
        if bytes.len() > ATTRIBUTE_VALUE_MAX_BYTES {
            return Err(invalid("too long"));
        }
        if rule.value == ValueKind::Date && !is_date(bytes) {
            return Err(invalid("a date is empty, or 8 digits: year, month, day"));
        }
    }
    Ok(value)
}

/// Empty, all zero bytes (some callers send a cleared `CK_DATE`), or a plausible year, month and day.
fn is_date(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes == [0; 8] {
        return true;
    }
    let number = |range: std::ops::Range<usize>| bytes[range].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    bytes.len() == 8
        && bytes.iter().all(u8::is_ascii_digit)
        && (1..=12).contains(&number(4..6))
        && (1..=31).contains(&number(6..8))
}

fn may_trust(kind: AttributeType, value: &Value, context: &Context) -> Result<()> {
    let asks = kind == AttributeType::TRUSTED && matches!(value, Value::Bool(true));
    if asks && context.standing != Standing::SecurityOfficer {
        return Err(refuse(Code::AttributeReadOnly, "only the SO sets CKA_TRUSTED to true"));
    }
    Ok(())
}

/// Generated and derived keys are closed unless the caller opens them; a compatible token leaves them open, as SoftHSM does.
fn close_by_default(attributes: &mut Template, class: ObjectClass, context: &Context) {
    if context.policy != Policy::Compatible
        && [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY].contains(&class)
        && !attributes.has(AttributeType::SENSITIVE)
    {
        // A key that may leave in clear is asked for by EXTRACTABLE: it is not closed behind the caller's back.
        let extractable = attributes.bool(AttributeType::EXTRACTABLE) == Some(true);
        attributes.set(AttributeType::SENSITIVE, Value::Bool(!extractable));
    }
}

/// Fills in what nobody said.
fn complete(attributes: &mut Template, class: ObjectClass, key_type: Option<KeyType>, context: &Context) -> Result<()> {
    for rule in table::rules_of(class, key_type) {
        if attributes.has(rule.kind) {
            continue;
        }
        let value = match rule.default {
            Default::Absent => continue,
            Default::Required => return Err(incomplete(rule.kind)),
            Default::Bool(flag) => Value::Bool(flag && !yields(rule.kind, attributes, class, context)),
            Default::IfSecret => Value::Bool([ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY].contains(&class)),
            Default::Empty => Value::Bytes(Vec::new()),
            Default::Ulong(number) => Value::Ulong(number),
        };
        attributes.set(rule.kind, value);
    }
    no_conflict(attributes, class, context)
}

/// The two pairs of usages that let a key's holder read a wrapped key (Clulow 2003; Delaune, Kremer, Steel 2008).
const CONFLICTS: [(AttributeType, AttributeType); 2] =
    [(AttributeType::WRAP, AttributeType::DECRYPT), (AttributeType::UNWRAP, AttributeType::ENCRYPT)];

/// Whether a default usage stands back: a secret key wraps only when asked to, and does not decrypt then.
fn yields(kind: AttributeType, attributes: &Template, class: ObjectClass, context: &Context) -> bool {
    if context.policy == Policy::Compatible || class != ObjectClass::SECRET_KEY {
        return false;
    }
    CONFLICTS.iter().any(|(wrap, cipher)| kind == *wrap || (kind == *cipher && attributes.bool(*wrap) == Some(true)))
}

fn no_conflict(attributes: &Template, class: ObjectClass, context: &Context) -> Result<()> {
    if context.policy == Policy::Compatible || class != ObjectClass::SECRET_KEY {
        return Ok(());
    }
    for (a, b) in CONFLICTS {
        if attributes.bool(a) == Some(true) && attributes.bool(b) == Some(true) {
            return Err(refuse(
                Code::TemplateInconsistent,
                format!(
                    "one key must not have both {a} and {b}: whoever uses it could read the keys that it wraps (a token with the compatible policy allows it)"
                ),
            ));
        }
    }
    Ok(())
}

/// Sets what a key remembers of its life: whether it was always sensitive and never extractable.
fn remember(attributes: &mut Template, class: ObjectClass, sensitive_so_far: bool, unextractable_so_far: bool) {
    if ![ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY].contains(&class) {
        return;
    }
    let sensitive = attributes.bool(AttributeType::SENSITIVE) == Some(true);
    let extractable = attributes.bool(AttributeType::EXTRACTABLE) == Some(true);
    attributes.set(AttributeType::ALWAYS_SENSITIVE, Value::Bool(sensitive_so_far && sensitive));
    attributes.set(AttributeType::NEVER_EXTRACTABLE, Value::Bool(unextractable_so_far && !extractable));
}

fn demanded_by(key: &Object, kind: AttributeType) -> Option<&Template> {
    match key.attributes.get(kind) {
        Some(Value::Template(template)) => Some(template),
        _ => None,
    }
}

/// Adds what the base key demands; a caller who says otherwise is refused.
fn with_demanded(mut given: Template, demanded: Option<&Template>) -> Result<Template> {
    for (kind, value) in demanded.into_iter().flat_map(Template::iter) {
        if given.get(kind).is_some_and(|own| !own.same_as(value)) {
            return Err(refuse(Code::TemplateInconsistent, format!("the base key's template demands another {kind}")));
        }
        given.set(kind, value.duplicate());
    }
    Ok(given)
}

fn agree(given: &mut Template, kind: AttributeType, number: u64) -> Result<()> {
    match given.get(kind) {
        Some(Value::Ulong(own)) if *own == number => Ok(()),
        Some(_) => Err(refuse(Code::TemplateInconsistent, format!("{kind} does not fit the mechanism"))),
        None => {
            given.set(kind, Value::Ulong(number));
            Ok(())
        }
    }
}

fn agree_flag(given: &mut Template, kind: AttributeType, flag: bool) -> Result<()> {
    match given.bool(kind) {
        Some(own) if own != flag => Err(refuse(Code::TemplateInconsistent, format!("{kind} must be {flag} here"))),
        _ => {
            given.set(kind, Value::Bool(flag));
            Ok(())
        }
    }
}

fn known(class: ObjectClass, key_type: Option<KeyType>) -> Result<()> {
    match key_type {
        None => Ok(()),
        Some(key_type) if table::knows_key_type(class, key_type) => Ok(()),
        Some(key_type) => Err(refuse(Code::AttributeValueInvalid, format!("no {class} of type {key_type} can be kept"))),
    }
}

/// PKCS#11 3.1, 4.6.3: an X.509 certificate has a subject, and a value or the place where it is to be had.
fn check_certificate(attributes: &Template) -> Result<()> {
    let filled = |kind| attributes.exposed(kind).is_some_and(|bytes| !bytes.is_empty());
    if !filled(AttributeType::SUBJECT) && attributes.ulong(AttributeType::CERTIFICATE_TYPE) == Some(0) {
        return Err(incomplete(AttributeType::SUBJECT));
    }
    if filled(AttributeType::VALUE) || filled(AttributeType::URL) { Ok(()) } else { Err(incomplete(AttributeType::VALUE)) }
}

fn incomplete(kind: AttributeType) -> crate::error::Error {
    refuse(Code::TemplateIncomplete, format!("the template lacks {kind}"))
}

fn read_only(kind: AttributeType) -> crate::error::Error {
    refuse(Code::AttributeReadOnly, format!("{kind} cannot be set here"))
}
