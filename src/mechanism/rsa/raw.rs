//! RSA without padding, `CKM_RSA_X_509` (PKCS#11 3.1, 6.1.9): the input is a number, short of the modulus or as long.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Prepared;
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::whole::{OverWhole, SignOnce, TransformOnce, VerifyOnce, check_signature_len, check_valid};
use crate::mechanism::{Cipher, Key, Mechanism, Recover, Signer, Verifier};
use crate::object::policy::{Decrypt, Encrypt, Permitted, Sign, SignRecover, Unwrap, Verify, VerifyRecover, Wrap};
use crate::secret::Secret;
use crate::sys::awslc::rsa::Padding;

/// One use of a key.
struct Block {
    key: Arc<Key>,
    size: usize,
}

impl Block {
    fn new(key: Arc<Key>) -> Result<Self> {
        let size = key.material::<Prepared>()?.key.size();
        Ok(Self { key, size })
    }

    fn collecting(self) -> Box<OverWhole<Self>> {
        OverWhole::new(self.size, Code::DataLenRange, self)
    }

    /// The input with zeros in front, so that it is as long as the modulus.
    fn padded(&self, input: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let zeros = self.size.checked_sub(input.len()).ok_or_else(|| {
            refuse(Code::DataLenRange, format!("the data has {} bytes, more than the modulus's {}", input.len(), self.size))
        })?;
        let mut block = Zeroizing::new(vec![0; self.size]);
        block[zeros..].copy_from_slice(input);
        Ok(block)
    }

    fn recovered(&self, signature: &[u8]) -> Result<Vec<u8>> {
        check_signature_len(signature, self.size)?;
        let mut block = vec![0; self.size];
        let len = self.key.material::<Prepared>()?.key.recover(Padding::None, signature, &mut block);
        check_valid(len == Some(self.size))?;
        Ok(block)
    }
}

impl SignOnce for Block {
    fn signature_len(&self) -> usize {
        self.size
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.key.material::<Prepared>()?.key.sign(Padding::None, &self.padded(input)?, out)
    }
}

impl VerifyOnce for Block {
    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        check_valid(self.recovered(signature)? == *self.padded(input)?)
    }
}

/// `CKM_RSA_X_509`.
pub fn sign(_mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(Block::new(key.into_key())?.collecting())
}

/// As [`sign`].
pub fn verify(_mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(Block::new(key.into_key())?.collecting())
}

struct SignRecovery(Block);

impl Recover for SignRecovery {
    fn output_len(&self, _input: usize) -> usize {
        self.0.size
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.0.sign(input, out)
    }
}

struct VerifyRecovery(Block);

impl Recover for VerifyRecovery {
    fn output_len(&self, _input: usize) -> usize {
        self.0.size
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let block = self.0.recovered(input)?;
        out[..block.len()].copy_from_slice(&block);
        Ok(block.len())
    }
}

/// `CKM_RSA_X_509` with recovery.
pub fn sign_recover(_mechanism: &Mechanism, key: Permitted<SignRecover, Arc<Key>>) -> Result<Box<dyn Recover>> {
    Ok(Box::new(SignRecovery(Block::new(key.into_key())?)))
}

/// As [`sign_recover`]; the output is as long as the modulus, leading zeros included.
pub fn verify_recover(_mechanism: &Mechanism, key: Permitted<VerifyRecover, Arc<Key>>) -> Result<Box<dyn Recover>> {
    Ok(Box::new(VerifyRecovery(Block::new(key.into_key())?)))
}

struct Encryption(Block);

impl TransformOnce for Encryption {
    const UNPADS: bool = false;

    fn output_max(&self) -> usize {
        self.0.size
    }

    fn transform(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.0.key.material::<Prepared>()?.key.encrypt(Padding::None, &self.0.padded(input)?, out)
    }
}

struct Decryption(Block);

impl TransformOnce for Decryption {
    const UNPADS: bool = false;

    fn output_max(&self) -> usize {
        self.0.size
    }

    fn transform(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let size = self.0.size;
        if input.len() != size {
            return Err(refuse(Code::EncryptedDataLenRange, format!("the ciphertext has {} bytes, not {size}", input.len())));
        }
        self.0.key.material::<Prepared>()?.key.decrypt_raw(input, &mut out[..size])?;
        Ok(size)
    }
}

/// `CKM_RSA_X_509`.
pub fn encrypt(_mechanism: &Mechanism, key: Permitted<Encrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    let block = Block::new(key.into_key())?;
    Ok(OverWhole::new(block.size, Code::DataLenRange, Encryption(block)))
}

/// As [`encrypt`]; the output is as long as the modulus, leading zeros included.
pub fn decrypt(_mechanism: &Mechanism, key: Permitted<Decrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    let block = Block::new(key.into_key())?;
    Ok(OverWhole::new(block.size, Code::EncryptedDataLenRange, Decryption(block)))
}

/// `CKM_RSA_X_509` over a key.
pub fn wrap(_mechanism: &Mechanism, key: Permitted<Wrap, Arc<Key>>, inner: &Secret) -> Result<Vec<u8>> {
    let block = Block::new(key.into_key())?;
    if inner.len() > block.size {
        return Err(refuse(Code::KeySizeRange, "the key to be wrapped does not fit the RSA modulus"));
    }
    let mut wrapped = vec![0; block.size];
    Encryption(block).transform(inner.expose(), &mut wrapped)?;
    Ok(wrapped)
}

/// As [`wrap`]; as long as the modulus, so the caller keeps as many bytes of its end as the new key has.
pub fn unwrap(_mechanism: &Mechanism, key: Permitted<Unwrap, Arc<Key>>, wrapped: &[u8]) -> Result<Secret> {
    let block = Block::new(key.into_key())?;
    if wrapped.len() != block.size {
        return Err(refuse(Code::WrappedKeyLenRange, "the wrapped key is not as long as the RSA modulus"));
    }
    let mut inner = Secret::zeroed(block.size);
    block
        .key
        .material::<Prepared>()?
        .key
        .decrypt_raw(wrapped, inner.expose_mut())
        .doing(Code::WrappedKeyInvalid, "the wrapped key is not in the range of the RSA modulus")?;
    Ok(inner)
}
