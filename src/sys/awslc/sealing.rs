//! What sealing at rest needs: AES-256-GCM with a 96-bit nonce, HKDF and HMAC with SHA-256.

use std::mem::MaybeUninit;

use aws_lc_sys as lc;
use zeroize::Zeroize;

use crate::error::{Code, Result, refuse};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;

/// AES-256-GCM (NIST SP 800-38D) under one key; shared between threads.
pub struct Aes256Gcm(Box<lc::EVP_AEAD_CTX>);

// SAFETY: sealing and opening take the context by const pointer; AWS-LC documents that as safe for concurrent use (aead.h).
unsafe impl Send for Aes256Gcm {}
// SAFETY: as above.
unsafe impl Sync for Aes256Gcm {}

impl Aes256Gcm {
    /// Prepares the key schedule.
    pub fn new(key: &[u8; 32]) -> Result<Self> {
        let mut context = Box::new(MaybeUninit::<lc::EVP_AEAD_CTX>::uninit());
        // SAFETY: the context is memory of the right size and alignment that init fills; the key is 32 bytes, the length AES-256 takes.
        let done = unsafe {
            lc::EVP_AEAD_CTX_init(
                context.as_mut_ptr(),
                lc::EVP_aead_aes_256_gcm(),
                key.as_ptr(),
                key.len(),
                TAG_BYTES,
                std::ptr::null_mut(),
            )
        };
        if done != 1 {
            return Err(refuse(Code::HostMemory, "AES-256-GCM context could not be made"));
        }
        // SAFETY: init succeeded, so the context is initialised.
        Ok(Self(unsafe { context.assume_init() }))
    }

    /// Ciphertext with its tag behind it: `plaintext.len() + TAG_BYTES` bytes.
    pub fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; plaintext.len() + TAG_BYTES];
        let mut written = 0;
        // SAFETY: every pointer goes with the length of its own slice; `out` has room for plaintext and tag.
        let done = unsafe {
            lc::EVP_AEAD_CTX_seal(
                &*self.0,
                out.as_mut_ptr(),
                &mut written,
                out.len(),
                nonce.as_ptr(),
                nonce.len(),
                plaintext.as_ptr(),
                plaintext.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        if done != 1 || written != out.len() {
            return Err(refuse(Code::FunctionFailed, "AES-256-GCM sealing failed"));
        }
        Ok(out)
    }

    /// The plaintext, or `None` if the tag does not fit key, nonce, associated data and ciphertext.
    pub fn open(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; sealed.len().checked_sub(TAG_BYTES)?];
        let mut written = 0;
        // SAFETY: every pointer goes with the length of its own slice; `out` has room for the plaintext.
        let done = unsafe {
            lc::EVP_AEAD_CTX_open(
                &*self.0,
                out.as_mut_ptr(),
                &mut written,
                out.len(),
                nonce.as_ptr(),
                nonce.len(),
                sealed.as_ptr(),
                sealed.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        (done == 1 && written == out.len()).then_some(out)
    }
}

impl Drop for Aes256Gcm {
    fn drop(&mut self) {
        // SAFETY: the context was initialised by `new` and is cleaned up once.
        unsafe { lc::EVP_AEAD_CTX_cleanup(&mut *self.0) };
        // For AES-GCM cleaning up leaves the schedule in the structure itself.
        // SAFETY: `opaque` covers the union, and any bytes are valid for it.
        unsafe { self.0.state.opaque.zeroize() };
    }
}

/// HKDF-SHA-256 (RFC 5869) without salt: 32 bytes for one purpose.
pub fn hkdf_sha256(secret: &[u8; 32], purpose: &[u8]) -> Result<[u8; 32]> {
    let mut out = [0; 32];
    // SAFETY: every pointer goes with the length of its own slice; an empty salt may be a null pointer of length 0.
    let done = unsafe {
        lc::HKDF(
            out.as_mut_ptr(),
            out.len(),
            lc::EVP_sha256(),
            secret.as_ptr(),
            secret.len(),
            std::ptr::null(),
            0,
            purpose.as_ptr(),
            purpose.len(),
        )
    };
    if done != 1 {
        return Err(refuse(Code::HostMemory, "HKDF failed"));
    }
    Ok(out)
}

/// HMAC-SHA-256 (RFC 2104) in one call.
pub fn hmac_sha256(key: &[u8; 32], message: &[u8]) -> Result<[u8; 32]> {
    let mut out = [0; 32];
    let mut written = 0;
    // SAFETY: every pointer goes with the length of its own slice; SHA-256 writes 32 bytes.
    let done = unsafe {
        lc::HMAC(
            lc::EVP_sha256(),
            key.as_ptr().cast(),
            key.len(),
            message.as_ptr(),
            message.len(),
            out.as_mut_ptr(),
            &mut written,
        )
    };
    if done.is_null() || written != 32 {
        return Err(refuse(Code::HostMemory, "HMAC failed"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_the_same_key_nonce_and_data_only() {
        let key = Aes256Gcm::new(&[7; 32]).unwrap();
        let sealed = key.seal(&[1; 12], b"row", b"value").unwrap();
        assert_eq!(key.open(&[1; 12], b"row", &sealed).as_deref(), Some(b"value".as_slice()));
        assert!(key.open(&[2; 12], b"row", &sealed).is_none());
        assert!(key.open(&[1; 12], b"other", &sealed).is_none());
        assert!(Aes256Gcm::new(&[8; 32]).unwrap().open(&[1; 12], b"row", &sealed).is_none());
        assert!(key.open(&[1; 12], b"row", &sealed[..15]).is_none());
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(key.open(&[1; 12], b"row", &bent).is_none(), "byte {at}");
        }
    }

    #[test]
    fn hmac_matches_rfc_4231_case_1() {
        // RFC 4231 case 1 pads its 20-byte key with zeros to the block anyway, so a 32-byte key ending in zeros is the same key.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mac = hmac_sha256(&key, b"Hi There").unwrap();
        assert_eq!(mac[..8], [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
    }

    #[test]
    fn purposes_give_different_keys() {
        assert_ne!(hkdf_sha256(&[1; 32], b"object").unwrap(), hkdf_sha256(&[1; 32], b"index").unwrap());
    }
}
