//! OAEP (RFC 8017, 7.1) with any hash, mask generation hash and label: encryption and key wrap.

use std::sync::Arc;

use super::{Prepared, mask_hash, parameter_hash};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::params::Oaep;
use crate::mechanism::whole::{OverWhole, TransformOnce};
use crate::mechanism::{Cipher, Key, Mechanism, Params};
use crate::object::policy::{Decrypt, Encrypt, Permitted, Unwrap, Wrap};
use crate::secret::Secret;
use crate::sys::awslc::rsa;

/// One use of a key.
pub(super) struct Block {
    key: Arc<Key>,
    size: usize,
    message_max: usize,
    hash: rsa::PaddingHash,
    mask: rsa::PaddingHash,
    label: Vec<u8>,
}

impl Block {
    pub(super) fn new(params: &Oaep, key: Arc<Key>) -> Result<Self> {
        let (hash, padding_hash) = parameter_hash(params.hash)?;
        let mask = mask_hash(params.mgf)?;
        let size = key.material::<Prepared>()?.key.size();
        let message_max = size.checked_sub(2 * hash.output_len() + 2).ok_or_else(|| {
            refuse(Code::KeySizeRange, format!("an RSA modulus of {size} bytes is too short for OAEP with {hash:?}"))
        })?;
        let label = if faults::on(Fault::OaepLabelIgnored) { Vec::new() } else { params.label.clone() };
        Ok(Self { key, size, message_max, hash: padding_hash, mask, label })
    }

    fn of(mechanism: &Mechanism, key: Arc<Key>) -> Result<Self> {
        match &mechanism.params {
            Params::Oaep(params) => Self::new(params, key),
            _ => Err(refuse(Code::MechanismParamInvalid, "OAEP takes CK_RSA_PKCS_OAEP_PARAMS")),
        }
    }

    fn oaep(&self) -> rsa::Oaep<'_> {
        rsa::Oaep { hash: self.hash, mask: self.mask, label: &self.label }
    }

    /// Length of a ciphertext in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A ciphertext of `size` bytes. Errors: `KeySizeRange` for a key that does not fit.
    pub(super) fn wrap(&self, inner: &[u8]) -> Result<Vec<u8>> {
        if inner.len() > self.message_max {
            return Err(refuse(Code::KeySizeRange, "the key to be wrapped does not fit OAEP with this RSA key"));
        }
        let mut wrapped = vec![0; self.size];
        self.key.material::<Prepared>()?.key.encrypt_oaep(&self.oaep(), inner, &mut wrapped)?;
        Ok(wrapped)
    }

    /// What [`Block::wrap`] took; `WrappedKeyInvalid` for anything that is wrong.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Result<Secret> {
        if wrapped.len() != self.size {
            return Err(refuse(Code::WrappedKeyLenRange, "the wrapped key is not as long as the RSA modulus"));
        }
        let mut inner = Secret::zeroed(self.size);
        let len = self.decrypted(wrapped, inner.expose_mut(), || {
            refuse(Code::WrappedKeyInvalid, "the wrapped key does not open with this RSA key and these OAEP parameters")
        })?;
        inner.truncate(len);
        Ok(inner)
    }

    fn decrypted(&self, input: &[u8], out: &mut [u8], wrong: impl Fn() -> Error) -> Result<usize> {
        self.key.material::<Prepared>()?.key.decrypt_oaep(&self.oaep(), input, out)?.ok_or_else(wrong)
    }
}

struct Encryption(Block);

impl TransformOnce for Encryption {
    const UNPADS: bool = false;

    fn output_max(&self) -> usize {
        self.0.size
    }

    fn transform(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.0.key.material::<Prepared>()?.key.encrypt_oaep(&self.0.oaep(), input, out)
    }
}

struct Decryption(Block);

impl TransformOnce for Decryption {
    const UNPADS: bool = true;

    // The library wants room for a whole block while it works.
    fn output_max(&self) -> usize {
        self.0.size
    }

    fn transform(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if input.len() != self.0.size {
            return Err(refuse(
                Code::EncryptedDataLenRange,
                format!("the ciphertext has {} bytes, not the modulus's {}", input.len(), self.0.size),
            ));
        }
        self.0.decrypted(input, out, || {
            refuse(Code::EncryptedDataInvalid, "the ciphertext does not open with this RSA key and these OAEP parameters")
        })
    }
}

/// `CKM_RSA_PKCS_OAEP`.
pub fn encrypt(mechanism: &Mechanism, key: Permitted<Encrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    let block = Block::of(mechanism, key.into_key())?;
    Ok(OverWhole::new(block.message_max, Code::DataLenRange, Encryption(block)))
}

/// As [`encrypt`].
pub fn decrypt(mechanism: &Mechanism, key: Permitted<Decrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    let block = Block::of(mechanism, key.into_key())?;
    Ok(OverWhole::new(block.size, Code::EncryptedDataLenRange, Decryption(block)))
}

/// `CKM_RSA_PKCS_OAEP` over a key.
pub fn wrap(mechanism: &Mechanism, key: Permitted<Wrap, Arc<Key>>, inner: &Secret) -> Result<Vec<u8>> {
    Block::of(mechanism, key.into_key())?.wrap(inner.expose())
}

/// As [`wrap`].
pub fn unwrap(mechanism: &Mechanism, key: Permitted<Unwrap, Arc<Key>>, wrapped: &[u8]) -> Result<Secret> {
    Block::of(mechanism, key.into_key())?.unwrap(wrapped)
}
