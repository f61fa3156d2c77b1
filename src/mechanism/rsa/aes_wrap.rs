//! `CKM_RSA_AES_KEY_WRAP` (PKCS#11 3.1, 6.1.15): a new AES key under OAEP, then the key under that AES key (RFC 5649).
//! A wrapped private key can be longer than any RSA modulus.

use std::sync::Arc;

use super::oaep::Block;
use crate::error::{Code, Result, refuse};
use crate::mechanism::params::Oaep;
use crate::mechanism::{Key, Mechanism, Params};
use crate::object::policy::{Permitted, Unwrap, Wrap};
use crate::secret::Secret;
use crate::sys::awslc::aes::{DecryptKey, EncryptKey};
use crate::sys::awslc::random;

/// Shortest output of RFC 5649.
const WRAPPED_MIN_BYTES: usize = 16;

fn params(mechanism: &Mechanism) -> Result<(usize, &Oaep)> {
    match &mechanism.params {
        Params::RsaAesKeyWrap { aes_bits: aes_bits @ (128 | 192 | 256), oaep } => Ok((*aes_bits as usize / 8, oaep)),
        Params::RsaAesKeyWrap { aes_bits, .. } => Err(refuse(
            Code::MechanismParamInvalid,
            format!("a temporary AES key of {aes_bits} bits: it must have 128, 192 or 256"),
        )),
        _ => Err(refuse(Code::MechanismParamInvalid, "the mechanism takes CK_RSA_AES_KEY_WRAP_PARAMS")),
    }
}

/// Wraps: the OAEP block, then the AES-wrapped key.
pub fn wrap(mechanism: &Mechanism, key: Permitted<Wrap, Arc<Key>>, inner: &Secret) -> Result<Vec<u8>> {
    let (len, oaep) = params(mechanism)?;
    let block = Block::new(oaep, key.into_key())?;
    let mut temporary = Secret::zeroed(len);
    random::fill(temporary.expose_mut())?;
    let schedule = EncryptKey::new(temporary.expose()).expect("the length was checked");
    let behind = schedule
        .wrap_padded(inner.expose())
        .ok_or_else(|| refuse(Code::KeySizeRange, format!("{} bytes cannot be wrapped", inner.len())))?;
    let mut wrapped = block.wrap(temporary.expose())?;
    wrapped.extend_from_slice(&behind);
    Ok(wrapped)
}

/// As [`wrap`]. Errors: `WrappedKeyLenRange`, `WrappedKeyInvalid`.
pub fn unwrap(mechanism: &Mechanism, key: Permitted<Unwrap, Arc<Key>>, wrapped: &[u8]) -> Result<Secret> {
    let (len, oaep) = params(mechanism)?;
    let block = Block::new(oaep, key.into_key())?;
    let (front, behind) = match wrapped.split_at_checked(block.size()) {
        Some((front, behind)) if behind.len() >= WRAPPED_MIN_BYTES && behind.len().is_multiple_of(8) => (front, behind),
        _ => return Err(refuse(Code::WrappedKeyLenRange, format!("a wrapped key of {} bytes", wrapped.len()))),
    };
    let temporary = block.unwrap(front)?;
    let schedule = DecryptKey::new(temporary.expose()).filter(|_| temporary.len() == len);
    let mut inner = Secret::zeroed(behind.len() - 8);
    let opened = schedule.and_then(|schedule| schedule.unwrap_padded(behind, inner.expose_mut()));
    let len = opened.ok_or_else(|| refuse(Code::WrappedKeyInvalid, "the wrapped key fails its integrity check"))?;
    inner.truncate(len);
    Ok(inner)
}
