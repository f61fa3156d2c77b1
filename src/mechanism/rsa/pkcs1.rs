//! PKCS #1 v1.5 (RFC 8017, 7.2 and 8.2): signatures over digests and short data, encryption, key wrap.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Prepared, hash_of, rejection};
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::digest::Hash;
use crate::mechanism::whole::{OverDigest, OverWhole, SignOnce, TransformOnce, VerifyOnce, check_signature_len, check_valid};
use crate::mechanism::{Cipher, Key, Mechanism, Recover, Signer, Verifier};
use crate::object::policy::{Decrypt, Encrypt, Permitted, Sign, SignRecover, Unwrap, Verify, VerifyRecover, Wrap};
use crate::secret::Secret;
use crate::sys::awslc::rsa::Padding;

/// Bytes of a block that are no message: 00, type, at least eight of padding, 00.
const OVERHEAD_BYTES: usize = 11;

/// The DER of `DigestInfo` (RFC 8017, 9.2) in front of the digest.
const fn digest_info(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Md5 => b"\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10",
        Hash::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        Hash::Sha224 => b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c",
        Hash::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        Hash::Sha384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
        Hash::Sha512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
        Hash::Sha512_224 => b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x05\x05\x00\x04\x1c",
        Hash::Sha512_256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x06\x05\x00\x04\x20",
        Hash::Sha3_224 => b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x07\x05\x00\x04\x1c",
        Hash::Sha3_256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x08\x05\x00\x04\x20",
        Hash::Sha3_384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x09\x05\x00\x04\x30",
        Hash::Sha3_512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x0a\x05\x00\x04\x40",
    }
}

/// One use of a key; `prefix` goes in front of what is signed.
struct Block {
    key: Arc<Key>,
    size: usize,
    prefix: &'static [u8],
}

impl Block {
    fn new(key: Arc<Key>, prefix: &'static [u8]) -> Result<Self> {
        let size = key.material::<Prepared>()?.key.size();
        if size < OVERHEAD_BYTES {
            return Err(refuse(Code::KeySizeRange, "the RSA modulus is too short for PKCS #1 v1.5"));
        }
        Ok(Self { key, size, prefix })
    }

    fn message_max(&self) -> usize {
        self.size - OVERHEAD_BYTES
    }

    /// Collects at most one message.
    fn collecting(self) -> Box<OverWhole<Self>> {
        OverWhole::new(self.message_max(), Code::DataLenRange, self)
    }

    fn framed(&self, input: &[u8]) -> Vec<u8> {
        [self.prefix, input].concat()
    }

    /// The message under a signature; `SignatureInvalid` if the padding is not exactly right.
    fn recovered(&self, signature: &[u8]) -> Result<Vec<u8>> {
        check_signature_len(signature, self.size)?;
        let mut message = vec![0; self.size];
        let len = self.key.material::<Prepared>()?.key.recover(Padding::Pkcs1, signature, &mut message);
        check_valid(len.is_some())?;
        message.truncate(len.unwrap_or_default());
        Ok(message)
    }
}

impl SignOnce for Block {
    fn signature_len(&self) -> usize {
        self.size
    }

    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let message = self.framed(input);
        if message.len() > self.message_max() {
            return Err(refuse(Code::KeySizeRange, "the RSA modulus is too short for the digest"));
        }
        self.key.material::<Prepared>()?.key.sign(Padding::Pkcs1, &message, out)
    }
}

impl VerifyOnce for Block {
    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()> {
        check_valid(self.recovered(signature)? == self.framed(input))
    }
}

/// `CKM_RSA_PKCS`: what is signed is the data itself, by convention a `DigestInfo`.
pub fn sign(_mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(Block::new(key.into_key(), b"")?.collecting())
}

/// As [`sign`].
pub fn verify(_mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(Block::new(key.into_key(), b"")?.collecting())
}

/// `CKM_SHA256_RSA_PKCS` and its like.
pub fn sign_digest(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    let hash = hash_of(mechanism.kind)?;
    Ok(OverDigest::new(hash, Block::new(key.into_key(), digest_info(hash))?))
}

/// As [`sign_digest`].
pub fn verify_digest(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    let hash = hash_of(mechanism.kind)?;
    Ok(OverDigest::new(hash, Block::new(key.into_key(), digest_info(hash))?))
}

struct SignRecovery(Block);

impl Recover for SignRecovery {
    fn output_len(&self, _input: usize) -> usize {
        self.0.size
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        check_message_len(input, self.0.message_max())?;
        self.0.sign(input, out)
    }
}

struct VerifyRecovery(Block);

impl Recover for VerifyRecovery {
    fn output_len(&self, _input: usize) -> usize {
        self.0.message_max()
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let message = self.0.recovered(input)?;
        out[..message.len()].copy_from_slice(&message);
        Ok(message.len())
    }
}

/// `CKM_RSA_PKCS` with recovery.
pub fn sign_recover(_mechanism: &Mechanism, key: Permitted<SignRecover, Arc<Key>>) -> Result<Box<dyn Recover>> {
    Ok(Box::new(SignRecovery(Block::new(key.into_key(), b"")?)))
}

/// As [`sign_recover`].
pub fn verify_recover(_mechanism: &Mechanism, key: Permitted<VerifyRecover, Arc<Key>>) -> Result<Box<dyn Recover>> {
    Ok(Box::new(VerifyRecovery(Block::new(key.into_key(), b"")?)))
}

struct Encryption(Block);

impl TransformOnce for Encryption {
    const UNPADS: bool = false;

    fn output_max(&self) -> usize {
        self.0.size
    }

    fn transform(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.0.key.material::<Prepared>()?.key.encrypt(Padding::Pkcs1, input, out)
    }
}

/// Never fails for the padding's sake: a wrong one gives a plaintext that the key and the ciphertext determine.
struct Decryption(Block);

impl TransformOnce for Decryption {
    const UNPADS: bool = true;

    fn output_max(&self) -> usize {
        self.0.message_max()
    }

    fn transform(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if input.len() != self.0.size {
            return Err(refuse(
                Code::EncryptedDataLenRange,
                format!("the ciphertext has {} bytes, not the modulus's {}", input.len(), self.0.size),
            ));
        }
        rejection::decrypt(self.0.key.material::<Prepared>()?, input, out)
    }
}

/// `CKM_RSA_PKCS`.
pub fn encrypt(_mechanism: &Mechanism, key: Permitted<Encrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    let block = Block::new(key.into_key(), b"")?;
    Ok(OverWhole::new(block.message_max(), Code::DataLenRange, Encryption(block)))
}

/// As [`encrypt`], with implicit rejection.
pub fn decrypt(_mechanism: &Mechanism, key: Permitted<Decrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    let block = Block::new(key.into_key(), b"")?;
    Ok(OverWhole::new(block.size, Code::EncryptedDataLenRange, Decryption(block)))
}

/// `CKM_RSA_PKCS` over a key.
pub fn wrap(_mechanism: &Mechanism, key: Permitted<Wrap, Arc<Key>>, inner: &Secret) -> Result<Vec<u8>> {
    let block = Block::new(key.into_key(), b"")?;
    if inner.len() > block.message_max() {
        return Err(refuse(Code::KeySizeRange, "the key to be wrapped does not fit the RSA modulus"));
    }
    let mut wrapped = vec![0; block.size];
    Encryption(block).transform(inner.expose(), &mut wrapped)?;
    Ok(wrapped)
}

/// As [`wrap`], with implicit rejection: a wrong padding gives a key of random length and value, the same each time.
pub fn unwrap(_mechanism: &Mechanism, key: Permitted<Unwrap, Arc<Key>>, wrapped: &[u8]) -> Result<Secret> {
    let block = Block::new(key.into_key(), b"")?;
    if wrapped.len() != block.size {
        return Err(refuse(Code::WrappedKeyLenRange, "the wrapped key is not as long as the RSA modulus"));
    }
    let mut inner = Zeroizing::new(vec![0; block.message_max()]);
    let len = rejection::decrypt(block.key.material::<Prepared>()?, wrapped, &mut inner)
        .doing(Code::WrappedKeyInvalid, "the wrapped key is not in the range of the RSA modulus")?;
    // No key is empty: a false plaintext that is must not be told by a code.
    Ok(Secret::copy_of(&inner[..len.max(1)]))
}

fn check_message_len(message: &[u8], max: usize) -> Result<()> {
    if message.len() <= max {
        return Ok(());
    }
    Err(refuse(Code::DataLenRange, format!("the data has {} bytes; the key takes at most {max}", message.len())))
}
