//! What may be done with a key: `permit` is the only maker of the witness that mechanisms ask for.

use std::marker::PhantomData;
use std::ops::Deref;

use super::{Object, Template, Value, table};
use crate::ck::{AttributeType, MechanismType, ObjectClass};
use crate::error::{Code, Result, refuse};

/// How strict a token is, set when it is made and replicated with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// SoftHSM's behaviour: conflicting usages allowed, templates of unwrapped keys honoured.
    Compatible,
    /// Conflicting pairs (wrap and decrypt, unwrap and encrypt) refused at creation; unwrapped keys are sensitive.
    #[default]
    Default,
    /// As `Default`; start and end dates enforced, a repeated GCM nonce refused.
    Strict,
}

/// One way to use a key: a marker type, the attribute that allows it.
pub trait Use: Send + Sync + 'static {
    /// The boolean attribute that must be true.
    const ATTRIBUTE: AttributeType;
}

macro_rules! uses {
    ($($(#[$doc:meta])* $Use:ident = $ATTRIBUTE:ident),* $(,)?) => {
        $($(#[$doc])* pub struct $Use;
        impl Use for $Use { const ATTRIBUTE: AttributeType = AttributeType::$ATTRIBUTE; })*
    };
}

uses! {
    /// `C_Encrypt*`.
    Encrypt = ENCRYPT,
    /// `C_Decrypt*`.
    Decrypt = DECRYPT,
    /// `C_Sign*`.
    Sign = SIGN,
    /// `C_Verify*`.
    Verify = VERIFY,
    /// `C_SignRecover*`.
    SignRecover = SIGN_RECOVER,
    /// `C_VerifyRecover*`.
    VerifyRecover = VERIFY_RECOVER,
    /// `C_WrapKey`.
    Wrap = WRAP,
    /// `C_UnwrapKey`.
    Unwrap = UNWRAP,
    /// `C_DeriveKey`.
    Derive = DERIVE,
}

/// A key that passed the policy for one use with one mechanism. Mechanisms accept nothing else.
pub struct Permitted<U: Use, K> {
    key: K,
    use_: PhantomData<U>,
}

impl<U: Use, K> Permitted<U, K> {
    /// The key, at the moment of its use.
    pub fn into_key(self) -> K {
        self.key
    }
}

/// Checks usage attribute, allowed mechanisms and, under [`Policy::Strict`], the dates (`today`: `YYYYMMDD`).
///
/// Errors: `KeyFunctionNotPermitted`, `MechanismInvalid` (not among `CKA_ALLOWED_MECHANISMS`).
pub fn permit<U: Use, K: Deref<Target: AsRef<Object>>>(
    key: K,
    mechanism: MechanismType,
    policy: Policy,
    today: &[u8; 8],
) -> Result<Permitted<U, K>> {
    let object = key.deref().as_ref();
    if !object.flag(U::ATTRIBUTE) {
        return Err(refuse(Code::KeyFunctionNotPermitted, format!("the key's {} is false", U::ATTRIBUTE)));
    }
    allowed(object, mechanism, policy, today)?;
    Ok(Permitted { key, use_: PhantomData })
}

fn allowed(object: &Object, mechanism: MechanismType, policy: Policy, today: &[u8; 8]) -> Result<()> {
    if let Some(Value::Mechanisms(allowed)) = object.attributes.get(AttributeType::ALLOWED_MECHANISMS)
        && !allowed.is_empty()
        && !allowed.contains(&mechanism)
    {
        return Err(refuse(Code::MechanismInvalid, format!("{mechanism} is not among the key's CKA_ALLOWED_MECHANISMS")));
    }
    if policy != Policy::Strict {
        return Ok(());
    }
    let date = |kind| object.bytes(kind).filter(|date| !date.is_empty());
    if date(AttributeType::START_DATE).is_some_and(|start| today.as_slice() < start) {
        return Err(refuse(Code::KeyFunctionNotPermitted, "the key is not valid yet (CKA_START_DATE)"));
    }
    if date(AttributeType::END_DATE).is_some_and(|end| today.as_slice() > end) {
        return Err(refuse(Code::KeyFunctionNotPermitted, "the key is not valid any more (CKA_END_DATE)"));
    }
    Ok(())
}

/// What reading one attribute may show.
pub enum Revealed<'a> {
    /// Its value.
    Value(&'a Value),
    /// There is one, and it is not shown.
    Sensitive,
    /// There is none.
    Absent,
}

/// Whether an attribute may be shown: a key's secrets only if it is neither sensitive nor unextractable (PKCS#11 3.1, 4.9, 4.10).
pub fn reveal(object: &Object, kind: AttributeType) -> Revealed<'_> {
    let Some(value) = object.attributes.get(kind) else { return Revealed::Absent };
    let secret = table::rule_for(kind, object.class(), object.key_type()).is_none_or(|rule| rule.secret);
    if secret && (object.flag(AttributeType::SENSITIVE) || !object.flag(AttributeType::EXTRACTABLE)) {
        return Revealed::Sensitive;
    }
    Revealed::Value(value)
}

/// Whether an object matches a search. What may not be shown matches nothing, so a search is no oracle.
pub fn matches(object: &Object, template: &Template) -> bool {
    template.iter().all(|(kind, wanted)| matches!(reveal(object, kind), Revealed::Value(value) if value.same_as(wanted)))
}

/// Whether a key may leave the token under another one (PKCS#11 3.1, 5.18.3).
///
/// Errors: `KeyUnextractable`, `KeyNotWrappable`.
pub fn may_wrap(key: &Object, wrapping: &Object) -> Result<()> {
    if ![ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY].contains(&key.class()) {
        return Err(refuse(Code::KeyNotWrappable, "only secret and private keys can be wrapped"));
    }
    if !key.flag(AttributeType::EXTRACTABLE) {
        return Err(refuse(Code::KeyUnextractable, "the key's CKA_EXTRACTABLE is false"));
    }
    if key.flag(AttributeType::WRAP_WITH_TRUSTED) && !wrapping.flag(AttributeType::TRUSTED) {
        return Err(refuse(Code::KeyNotWrappable, "the key can be wrapped with a trusted key only (CKA_WRAP_WITH_TRUSTED)"));
    }
    match wrapping.attributes.get(AttributeType::WRAP_TEMPLATE) {
        Some(Value::Template(demanded)) if !has_all(key, demanded) => {
            Err(refuse(Code::KeyHandleInvalid, "the key does not fit the wrapping key's CKA_WRAP_TEMPLATE"))
        }
        _ => Ok(()),
    }
}

fn has_all(key: &Object, demanded: &Template) -> bool {
    demanded.iter().all(|(kind, wanted)| key.attributes.get(kind).is_some_and(|value| value.same_as(wanted)))
}

/// Errors: `ActionProhibited`.
pub fn may_destroy(object: &Object) -> Result<()> {
    prohibited_unless(object, AttributeType::DESTROYABLE, "destroyed")
}

/// Errors: `ActionProhibited`.
pub fn may_copy(object: &Object) -> Result<()> {
    prohibited_unless(object, AttributeType::COPYABLE, "copied")
}

/// Errors: `ActionProhibited`.
pub fn may_modify(object: &Object) -> Result<()> {
    prohibited_unless(object, AttributeType::MODIFIABLE, "changed")
}

fn prohibited_unless(object: &Object, kind: AttributeType, what: &str) -> Result<()> {
    match object.attributes.bool(kind) {
        Some(false) => Err(refuse(Code::ActionProhibited, format!("the object cannot be {what}: its {kind} is false"))),
        _ => Ok(()),
    }
}
