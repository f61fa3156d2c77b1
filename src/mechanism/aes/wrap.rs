//! AES Key Wrap (RFC 3394) and Key Wrap with Padding (RFC 5649). `CKM_AES_KEY_WRAP_PAD` is the latter, as with SoftHSM.

use std::sync::Arc;

use crate::ck::MechanismType;
use crate::error::{Code, Error, Result, refuse};
use crate::mechanism::generic::value;
use crate::mechanism::{Key, Mechanism, Params};
use crate::object::policy::{Permitted, Unwrap, Wrap};
use crate::secret::Secret;
use crate::sys::awslc::aes::{DecryptKey, EncryptKey};

/// The initial value of RFC 3394, 2.2.3.1.
const DEFAULT_IV: [u8; 8] = [0xA6; 8];
/// The constant half of the initial value of RFC 5649, 3.
const DEFAULT_PADDED_IV: [u8; 4] = [0xA6, 0x59, 0x59, 0xA6];

/// Which of the two.
enum Form {
    Plain([u8; 8]),
    Padded,
}

/// Errors: `MechanismParamInvalid` for another initial value than RFC 5649's where there is padding: the library checks that one only.
fn form(mechanism: &Mechanism) -> Result<Form> {
    let iv = match &mechanism.params {
        Params::Iv(iv) => Some(iv.as_slice()),
        _ => None,
    };
    match (mechanism.kind, iv) {
        (MechanismType::AES_KEY_WRAP, None) => Ok(Form::Plain(DEFAULT_IV)),
        (MechanismType::AES_KEY_WRAP, Some(iv)) if iv.len() == 8 => Ok(Form::Plain([0, 1, 2, 3, 4, 5, 6, 7].map(|at| iv[at]))),
        (MechanismType::AES_KEY_WRAP_PAD | MechanismType::AES_KEY_WRAP_KWP, None) => Ok(Form::Padded),
        (MechanismType::AES_KEY_WRAP_PAD | MechanismType::AES_KEY_WRAP_KWP, Some(iv)) if iv == DEFAULT_PADDED_IV => {
            Ok(Form::Padded)
        }
        (kind, _) => Err(refuse(Code::MechanismParamInvalid, format!("{kind} with an initial value that it does not take"))),
    }
}

fn wrong_size(value: &Secret) -> Error {
    refuse(Code::KeySizeRange, format!("an AES key of {} bytes", value.len()))
}

/// Without padding of its own, the wrap takes whole blocks of 8 bytes: zero bytes follow the key (PKCS#11 2.40, 2.14.3).
fn followed_by_zeros(inner: &Secret) -> Secret {
    let mut whole = Secret::zeroed(inner.len().next_multiple_of(8));
    whole.expose_mut()[..inner.len()].copy_from_slice(inner.expose());
    whole
}

/// Wraps the inner bytes.
///
/// Errors: `KeySizeRange` for a length that the form does not take.
pub fn wrap(mechanism: &Mechanism, key: Permitted<Wrap, Arc<Key>>, inner: &Secret) -> Result<Vec<u8>> {
    let form = form(mechanism)?;
    let key = key.into_key();
    let value = value(&key)?;
    let schedule = EncryptKey::new(value.expose()).ok_or_else(|| wrong_size(value))?;
    let wrapped = match form {
        Form::Plain(iv) => schedule.wrap(&iv, followed_by_zeros(inner).expose()),
        Form::Padded => schedule.wrap_padded(inner.expose()),
    };
    wrapped.ok_or_else(|| refuse(Code::KeySizeRange, format!("{} cannot wrap {} bytes", mechanism.kind, inner.len())))
}

/// Unwraps.
///
/// Errors: `WrappedKeyLenRange`, `WrappedKeyInvalid`.
pub fn unwrap(mechanism: &Mechanism, key: Permitted<Unwrap, Arc<Key>>, wrapped: &[u8]) -> Result<Secret> {
    let form = form(mechanism)?;
    let key = key.into_key();
    let value = value(&key)?;
    let schedule = DecryptKey::new(value.expose()).ok_or_else(|| wrong_size(value))?;
    let shortest = if matches!(form, Form::Plain(_)) { 24 } else { 16 };
    if wrapped.len() < shortest || !wrapped.len().is_multiple_of(8) {
        return Err(refuse(Code::WrappedKeyLenRange, format!("a wrapped key of {} bytes", wrapped.len())));
    }
    let mut inner = Secret::zeroed(wrapped.len() - 8);
    let len = match form {
        Form::Plain(iv) => schedule.unwrap(&iv, wrapped, inner.expose_mut()).then_some(inner.len()),
        Form::Padded => schedule.unwrap_padded(wrapped, inner.expose_mut()),
    };
    match len {
        Some(len) => {
            inner.truncate(len);
            Ok(inner)
        }
        None => Err(refuse(Code::WrappedKeyInvalid, "the wrapped key fails its integrity check")),
    }
}
