//! From templates to complete attributes: for objects that are created, generated, unwrapped, derived, copied, changed.
//!
//! Every function checks the whole template before it returns anything, so a refused one changes nothing.
//!
//! What nobody says comes from the table's defaults. Where they leave a choice:
//!
//! - Under [`Policy::Compatible`] all is as in SoftHSM: a key may do everything but derive, and is neither sensitive nor
//!   extractable.
//! - Under [`Policy::Default`] and [`Policy::Strict`] a secret key encrypts, decrypts, signs and verifies; it wraps or unwraps
//!   only when asked to, and then does not do the opposite unless its value may be read anyway (see `usage`). A key that is generated or derived is sensitive,
//!   unless its template asks for `CKA_SENSITIVE` false, or for `CKA_EXTRACTABLE` true without a word on `CKA_SENSITIVE`:
//!   clients that ask for that (pkcs11-tool, Java) mean to read the key, and one that they made and can't read is of no use
//!   to them. A key that is created was plain in the caller's hands: it stays as the caller says.

mod check;
mod settle;
#[cfg(test)]
mod tests;
mod usage;

pub use settle::Settled;

use super::policy::{self, Policy};
use super::table::{self, Default, Direction, Given, Rule, ValueKind};
use super::{Object, Template, Value};
use crate::ck::{AttributeType, CertificateType, KeyType, MechanismType, ObjectClass};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};

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
    /// Whether token objects may be made and changed (the session is read-write).
    pub write: bool,
    /// How strict the token is.
    pub policy: Policy,
}

/// `C_CreateObject` (PKCS#11 3.1, 4.1.1): complete attributes, not yet checked for what the numbers mean.
///
/// Errors: `TemplateIncomplete`, `TemplateInconsistent`, `AttributeTypeInvalid`, `AttributeValueInvalid`, `AttributeReadOnly`,
/// `SessionReadOnly` for a token object, `UserNotLoggedIn` for a private one.
pub fn for_create(given: Template, context: &Context) -> Result<Template> {
    let (class, key_type) = kind_of(&given)?;
    let mut attributes = checked(given, class, key_type, Given::CREATE, context)?;
    for kind in table::required_components(class, key_type) {
        if !filled(&attributes, *kind) {
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
    if faults::on(Fault::ImportedKeyIsLocal) {
        attributes.set(AttributeType::LOCAL, Value::Bool(true));
    }
    Ok(attributes)
}

/// `C_GenerateKey`, and each side of `C_GenerateKeyPair`: complete but for what the mechanism makes.
///
/// Errors: as [`for_create`]; `TemplateInconsistent` for a class or key type that the mechanism does not make.
pub fn for_generate(
    class: ObjectClass,
    key_type: KeyType,
    mechanism: MechanismType,
    mut given: Template,
    context: &Context,
) -> Result<Template> {
    settle::agree(&mut given, AttributeType::CLASS, class.0)?;
    settle::agree(&mut given, AttributeType::KEY_TYPE, key_type.0)?;
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

/// `C_UnwrapKey` (PKCS#11 3.1, 5.18.4): `parts` are the key's components.
///
/// Under [`Policy::Default`] and [`Policy::Strict`] the key is sensitive, and extractable only if the unwrapping key's
/// `CKA_UNWRAP_TEMPLATE` says so.
///
/// Errors: as [`for_create`]; `TemplateInconsistent` where the caller asks for less secrecy than that.
pub fn for_unwrap(settled: Settled, parts: Template, context: &Context) -> Result<Template> {
    let Settled { class, key_type, mut given, demands } = settled;
    if context.policy != Policy::Compatible {
        settle::agree_flag(&mut given, AttributeType::SENSITIVE, true)?;
        if demands.bool(AttributeType::EXTRACTABLE) != Some(true) {
            settle::agree_flag(&mut given, AttributeType::EXTRACTABLE, false)?;
        }
    }
    // It told how much of the plaintext is the key; what the key has is set from its value.
    given.remove(AttributeType::VALUE_LEN);
    let mut attributes = checked(given, class, Some(key_type), Given::DERIVE, context)?;
    for (kind, value) in parts {
        attributes.set(kind, value);
    }
    complete(&mut attributes, class, Some(key_type), context)?;
    let clean = faults::on(Fault::UnwrappedKeyForgetsItsPast);
    remember(&mut attributes, class, clean, clean);
    Ok(attributes)
}

/// `C_DeriveKey` (PKCS#11 3.1, 5.18.5): complete but for the value. With an `other` key, both count as base and the new key
/// is as secret as the more secret of the two (concatenation: PKCS#11 3.1, 6.43).
///
/// Errors: as [`for_create`]; `TemplateInconsistent` where the caller asks for less secrecy than the bases have.
pub fn for_derive(settled: Settled, base: &Object, other: Option<&Object>, context: &Context) -> Result<Template> {
    let Settled { class, key_type, mut given, .. } = settled;
    if let Some(other) = other.filter(|_| !faults::on(Fault::DerivedKeyIsOpen)) {
        for key in [base, other] {
            if key.flag(AttributeType::SENSITIVE) {
                settle::agree_flag(&mut given, AttributeType::SENSITIVE, true)?;
            }
            if key.class() != ObjectClass::PUBLIC_KEY && !key.flag(AttributeType::EXTRACTABLE) {
                settle::agree_flag(&mut given, AttributeType::EXTRACTABLE, false)?;
            }
        }
    }
    let mut attributes = checked(given, class, Some(key_type), Given::DERIVE, context)?;
    close_by_default(&mut attributes, class, context);
    complete(&mut attributes, class, Some(key_type), context)?;
    let all = |kind| base.flag(kind) && other.is_none_or(|other| other.flag(kind));
    remember(&mut attributes, class, all(AttributeType::ALWAYS_SENSITIVE), all(AttributeType::NEVER_EXTRACTABLE));
    Ok(attributes)
}

/// `C_CopyObject` (PKCS#11 3.1, 5.7.2): the original's attributes with the changes. A copy is never weaker than its original.
///
/// Of an unmodifiable object only what concerns its storage may differ, so that copying is no way round `CKA_MODIFIABLE`.
///
/// Errors: `ActionProhibited`, `AttributeReadOnly`, `AttributeTypeInvalid`, `AttributeValueInvalid`, `TemplateInconsistent`,
/// `SessionReadOnly`, `UserNotLoggedIn`.
pub fn for_copy(original: &Object, changes: Template, context: &Context) -> Result<Template> {
    policy::may_copy(original)?;
    if changes.iter().any(|(kind, _)| !MAY_DIFFER_ON_ANY_COPY.contains(&kind)) {
        policy::may_modify(original)?;
    }
    changed(original, changes, Given::COPY, context)
}

/// What concerns the storage object, not what it holds.
const MAY_DIFFER_ON_ANY_COPY: &[AttributeType] = &[
    AttributeType::TOKEN,
    AttributeType::PRIVATE,
    AttributeType::MODIFIABLE,
    AttributeType::COPYABLE,
    AttributeType::DESTROYABLE,
];

/// `C_SetAttributeValue` (PKCS#11 3.1, 5.7.6): all attributes as they are afterwards.
///
/// Errors: `ActionProhibited`, `AttributeReadOnly`, `AttributeTypeInvalid`, `AttributeValueInvalid`, `TemplateInconsistent`,
/// `SessionReadOnly`.
pub fn for_update(original: &Object, changes: Template, context: &Context) -> Result<Template> {
    policy::may_modify(original)?;
    changed(original, changes, Given::LATER, context)
}

/// An object that comes from another token as it was there: values in their forms, absent attributes filled in as a
/// compatible token does. What the class does not have stays, and is hidden like a secret.
///
/// Errors: `TemplateIncomplete`, `AttributeValueInvalid` for a class, a type or a value that cannot be kept.
pub fn for_import(given: Template) -> Result<Template> {
    let (class, key_type) = kind_of(&given)?;
    let mut attributes = Template::new();
    for (kind, value) in given {
        let value = match table::rule_for(kind, class, key_type) {
            Some(rule) => check::in_form(rule, value)?,
            None => value,
        };
        attributes.set(kind, value);
    }
    fill(&mut attributes, class, key_type, Policy::Compatible)?;
    Ok(attributes)
}

fn kind_of(given: &Template) -> Result<(ObjectClass, Option<KeyType>)> {
    let number = |kind| given.ulong(kind).ok_or_else(|| incomplete(kind));
    let class = ObjectClass(number(AttributeType::CLASS)?);
    if !table::knows_class(class) {
        return Err(refuse(Code::AttributeValueInvalid, format!("objects of class {class} are not kept")));
    }
    let key_type = match class {
        ObjectClass::DATA | ObjectClass::CERTIFICATE => None,
        _ => Some(KeyType(number(AttributeType::KEY_TYPE)?)),
    };
    known(class, key_type)?;
    Ok((class, key_type))
}

fn changed(original: &Object, changes: Template, way: Given, context: &Context) -> Result<Template> {
    let (class, key_type) = (original.class(), original.key_type());
    let mut attributes = original.attributes.duplicate();
    for (kind, value) in changes {
        let rule = rule(kind, class, key_type)?;
        if !rule.given.allows(way) {
            return Err(read_only(kind));
        }
        let value = check::normal(rule, value)?;
        if let Value::Bool(to) = value {
            may_move(rule, way, original.flag(kind), to)?;
            usage::may_turn_on(kind, original, to, context)?;
        }
        // The value's checksum can be wiped out, not put right (PKCS#11 3.1, 4.10.2).
        if kind == AttributeType::CHECK_VALUE && !matches!(&value, Value::Bytes(bytes) if bytes.is_empty()) {
            return Err(refuse(Code::AttributeValueInvalid, "CKA_CHECK_VALUE can only be emptied"));
        }
        may_trust(kind, &value, context)?;
        attributes.set(kind, value);
    }
    usage::may_hide(original, &attributes, context)?;
    may_be_kept(&attributes, context)?;
    Ok(attributes)
}

/// A one-way flag that has arrived is read-only, whatever it is set to (PKCS#11 3.1, table 10, footnotes 11 and 12); a copy may
/// name it again.
fn may_move(rule: &Rule, way: Given, from: bool, to: bool) -> Result<()> {
    let arrived = match rule.direction {
        Direction::Free => false,
        Direction::OnlyTrue => from,
        Direction::OnlyFalse => !from,
    };
    let broken = if way == Given::COPY { Fault::CopyLoosens } else { Fault::StickyAttributesMove };
    if !arrived || (way == Given::COPY && from == to) || faults::on(broken) {
        return Ok(());
    }
    // SoftHSM's code, which its tests ask for.
    if rule.kind == AttributeType::PRIVATE {
        return Err(refuse(Code::TemplateInconsistent, "a private object has no public copy"));
    }
    Err(refuse(Code::AttributeReadOnly, format!("{} is {from} for good", rule.kind)))
}

/// Every given attribute belongs to the class, may be given this way, and has a sane value.
fn checked(given: Template, class: ObjectClass, key_type: Option<KeyType>, way: Given, context: &Context) -> Result<Template> {
    let mut attributes = Template::new();
    for (kind, value) in given {
        let rule = rule(kind, class, key_type)?;
        if !rule.given.allows(way) && !faults::on(Fault::ReadOnlyAttributesGiven) {
            return Err(read_only(kind));
        }
        let value = check::normal(rule, value)?;
        may_trust(kind, &value, context)?;
        attributes.set(kind, value);
    }
    Ok(attributes)
}

fn rule(kind: AttributeType, class: ObjectClass, key_type: Option<KeyType>) -> Result<&'static Rule> {
    table::rule_for(kind, class, key_type).ok_or_else(|| refuse(Code::AttributeTypeInvalid, format!("a {class} has no {kind}")))
}

fn may_trust(kind: AttributeType, value: &Value, context: &Context) -> Result<()> {
    let asks = kind == AttributeType::TRUSTED && matches!(value, Value::Bool(true));
    if asks && context.standing != Standing::SecurityOfficer && !faults::on(Fault::UserTrusts) {
        return Err(refuse(Code::AttributeReadOnly, "only the SO sets CKA_TRUSTED to true"));
    }
    Ok(())
}

/// PKCS#11 3.1, 5.7.1: a read-only session makes no token objects, and private objects are made by the user.
fn may_be_kept(attributes: &Template, context: &Context) -> Result<()> {
    if attributes.bool(AttributeType::TOKEN) == Some(true) && !context.write {
        return Err(refuse(Code::SessionReadOnly, "token objects can be made and changed in a read-write session only"));
    }
    if attributes.bool(AttributeType::PRIVATE) == Some(true) && context.standing != Standing::User {
        return Err(refuse(Code::UserNotLoggedIn, "private objects can be made by the logged-in user only"));
    }
    Ok(())
}

/// Generated and derived keys are closed unless the caller opens them (see the head of this file).
fn close_by_default(attributes: &mut Template, class: ObjectClass, context: &Context) {
    if context.policy == Policy::Compatible || !is_closed_class(class) || attributes.has(AttributeType::SENSITIVE) {
        return;
    }
    let extractable = attributes.bool(AttributeType::EXTRACTABLE) == Some(true);
    attributes.set(AttributeType::SENSITIVE, Value::Bool(!extractable));
}

/// Fills in what nobody said, and looks at the whole.
fn complete(attributes: &mut Template, class: ObjectClass, key_type: Option<KeyType>, context: &Context) -> Result<()> {
    fill(attributes, class, key_type, context.policy)?;
    usage::no_conflict(attributes, class, context)?;
    may_be_kept(attributes, context)
}

fn fill(attributes: &mut Template, class: ObjectClass, key_type: Option<KeyType>, policy: Policy) -> Result<()> {
    for rule in table::rules_of(class, key_type) {
        if attributes.has(rule.kind) {
            continue;
        }
        let value = match rule.default {
            Default::Absent => continue,
            Default::Required => return Err(incomplete(rule.kind)),
            Default::Bool(flag) => Value::Bool(flag && !usage::yields(rule.kind, attributes, class, policy)),
            Default::IfSecret => Value::Bool(is_closed_class(class) || class == ObjectClass::DATA),
            Default::IfOfAttributes if !is_of_attributes(attributes) => continue,
            Default::Empty | Default::IfOfAttributes => empty(rule.value),
            Default::Ulong(number) => Value::Ulong(number),
        };
        attributes.set(rule.kind, value);
    }
    Ok(())
}

fn empty(kind: ValueKind) -> Value {
    match kind {
        ValueKind::Mechanisms => Value::Mechanisms(Vec::new()),
        ValueKind::Template => Value::Template(Template::new()),
        _ => Value::Bytes(Vec::new()),
    }
}

fn is_closed_class(class: ObjectClass) -> bool {
    [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY].contains(&class)
}

/// Sets what a key remembers of its life: whether it was always sensitive and never extractable.
fn remember(attributes: &mut Template, class: ObjectClass, sensitive_so_far: bool, unextractable_so_far: bool) {
    if !is_closed_class(class) {
        return;
    }
    let sensitive = attributes.bool(AttributeType::SENSITIVE) == Some(true);
    let extractable = attributes.bool(AttributeType::EXTRACTABLE) == Some(true);
    attributes.set(AttributeType::ALWAYS_SENSITIVE, Value::Bool(sensitive_so_far && sensitive));
    attributes.set(AttributeType::NEVER_EXTRACTABLE, Value::Bool(unextractable_so_far && !extractable));
}

fn known(class: ObjectClass, key_type: Option<KeyType>) -> Result<()> {
    match key_type {
        None => Ok(()),
        Some(key_type) if table::knows_key_type(class, key_type) => Ok(()),
        Some(key_type) => Err(refuse(Code::AttributeValueInvalid, format!("no {class} of type {key_type} can be kept"))),
    }
}

/// PKCS#11 3.1, 4.6.3 to 4.6.5: a certificate has a subject or an owner, and a value or the place where it is to be had,
/// with the hashes by which it is known again.
fn check_certificate(attributes: &Template) -> Result<()> {
    let need = |kind| if filled(attributes, kind) { Ok(()) } else { Err(incomplete(kind)) };
    attributes.ulong(AttributeType::CERTIFICATE_TYPE).ok_or_else(|| incomplete(AttributeType::CERTIFICATE_TYPE))?;
    if is_of_attributes(attributes) {
        need(AttributeType::OWNER)?;
        return need(AttributeType::VALUE);
    }
    need(AttributeType::SUBJECT)?;
    if filled(attributes, AttributeType::URL) {
        need(AttributeType::HASH_OF_SUBJECT_PUBLIC_KEY)?;
        return need(AttributeType::HASH_OF_ISSUER_PUBLIC_KEY);
    }
    need(AttributeType::VALUE)
}

/// Whether it is a certificate of attributes, not of a key.
fn is_of_attributes(attributes: &Template) -> bool {
    attributes.ulong(AttributeType::CERTIFICATE_TYPE) == Some(CertificateType::X_509_ATTR_CERT.0)
}

fn filled(attributes: &Template, kind: AttributeType) -> bool {
    attributes.exposed(kind).is_some_and(|bytes| !bytes.is_empty())
}

fn incomplete(kind: AttributeType) -> Error {
    refuse(Code::TemplateIncomplete, format!("the template lacks {kind}"))
}

fn read_only(kind: AttributeType) -> Error {
    refuse(Code::AttributeReadOnly, format!("{kind} cannot be set here"))
}
