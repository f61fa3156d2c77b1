//! What the caller asks for and what the base key demands, settled before any cryptography.

use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::SECRET_VALUE_MAX_BYTES;
use crate::object::{Object, Template, Value};

/// The template of a key that is to be unwrapped or derived, with the attributes that the base key demands. Made once the
/// two are known to agree, so whoever holds one has not forgotten the demands.
#[derive(Debug)]
pub struct Settled {
    pub(super) class: ObjectClass,
    pub(super) key_type: KeyType,
    pub(super) given: Template,
    /// Which of them the base key demands.
    pub(super) demands: Template,
}

impl Settled {
    /// `C_UnwrapKey`: with the unwrapping key's `CKA_UNWRAP_TEMPLATE` (PKCS#11 3.1, 5.18.4).
    ///
    /// Errors: `TemplateIncomplete` without class or key type; `TemplateInconsistent` when caller and key disagree, or for a
    /// class that is never wrapped; `AttributeValueInvalid`.
    pub fn for_unwrap(given: Template, unwrapping: &Object) -> Result<Self> {
        let (given, demands) = with_demands(given, unwrapping, AttributeType::UNWRAP_TEMPLATE)?;
        let number = |kind| given.ulong(kind).ok_or_else(|| super::incomplete(kind));
        let class = ObjectClass(number(AttributeType::CLASS)?);
        let key_type = KeyType(number(AttributeType::KEY_TYPE)?);
        if !super::is_closed_class(class) {
            return Err(refuse(Code::TemplateInconsistent, format!("a wrapped key is a secret or a private key, not a {class}")));
        }
        super::known(class, Some(key_type))?;
        Ok(Self { class, key_type, given, demands })
    }

    /// `C_DeriveKey`: with the base key's `CKA_DERIVE_TEMPLATE` (PKCS#11 3.1, 4.9). A secret key, generic unless somebody
    /// says otherwise.
    ///
    /// Errors: `TemplateInconsistent` when caller and key disagree, or for another class; `AttributeValueInvalid`.
    pub fn for_derive(given: Template, base: &Object) -> Result<Self> {
        let (mut given, demands) = with_demands(given, base, AttributeType::DERIVE_TEMPLATE)?;
        let class = ObjectClass::SECRET_KEY;
        let key_type = KeyType(given.ulong(AttributeType::KEY_TYPE).unwrap_or(KeyType::GENERIC_SECRET.0));
        agree(&mut given, AttributeType::CLASS, class.0)?;
        agree(&mut given, AttributeType::KEY_TYPE, key_type.0)?;
        super::known(class, Some(key_type))?;
        Ok(Self { class, key_type, given, demands })
    }

    /// `CKA_CLASS` of the new key.
    pub fn class(&self) -> ObjectClass {
        self.class
    }

    /// `CKA_KEY_TYPE` of the new key.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// `CKA_VALUE_LEN` in bytes, if anybody named it.
    ///
    /// Errors: `AttributeValueInvalid` unless 1 to [`SECRET_VALUE_MAX_BYTES`].
    pub fn value_len(&self) -> Result<Option<usize>> {
        match self.given.ulong(AttributeType::VALUE_LEN) {
            None => Ok(None),
            Some(len) if len == 0 || len > SECRET_VALUE_MAX_BYTES as u64 => Err(refuse(
                Code::AttributeValueInvalid,
                format!("CKA_VALUE_LEN is 1 to {SECRET_VALUE_MAX_BYTES} bytes, not {len}"),
            )),
            Some(len) => Ok(Some(len as usize)),
        }
    }
}

/// Adds what the base key demands; a caller who says otherwise is refused.
fn with_demands(mut given: Template, base: &Object, kind: AttributeType) -> Result<(Template, Template)> {
    let demands = match base.attributes.get(kind) {
        Some(Value::Template(demands)) if !faults::on(Fault::UnwrapTemplateIgnored) => demands.duplicate(),
        _ => Template::new(),
    };
    for (inner, value) in demands.iter() {
        if given.get(inner).is_some_and(|own| !own.same_as(value)) {
            return Err(refuse(Code::TemplateInconsistent, format!("the base key's {kind} demands another {inner}")));
        }
        given.set(inner, value.duplicate());
    }
    Ok((given, demands))
}

/// Sets a number that is settled; a caller who says otherwise is refused.
pub fn agree(given: &mut Template, kind: AttributeType, number: u64) -> Result<()> {
    match given.get(kind) {
        Some(Value::Ulong(own)) if *own == number => Ok(()),
        Some(_) => Err(refuse(Code::TemplateInconsistent, format!("{kind} does not fit the mechanism"))),
        None => {
            given.set(kind, Value::Ulong(number));
            Ok(())
        }
    }
}

/// Sets a flag that is settled; a caller who says otherwise is refused.
pub fn agree_flag(given: &mut Template, kind: AttributeType, flag: bool) -> Result<()> {
    match given.bool(kind) {
        Some(own) if own != flag => Err(refuse(Code::TemplateInconsistent, format!("{kind} must be {flag} here"))),
        _ => {
            given.set(kind, Value::Bool(flag));
            Ok(())
        }
    }
}
