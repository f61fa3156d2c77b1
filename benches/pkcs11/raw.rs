//! The same operations straight on the crypto library: what a module adds is the gap to these.
//!
//! Keys and contexts are prepared before measuring and live until the child process ends.

use std::ffi::c_int;
use std::ptr::{null, null_mut};

use aws_lc_sys::*;

use crate::rows::Repeat;

#[derive(Clone, Copy)]
pub enum Curve {
    P256,
    P384,
}

impl Curve {
    fn nid(self) -> c_int {
        match self {
            Self::P256 => NID_X9_62_prime256v1,
            Self::P384 => NID_secp384r1,
        }
    }

    fn digest_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// The library's functions answer 1 for success.
fn succeeds(answer: c_int) {
    assert_eq!(answer, 1, "the crypto library refuses");
}

fn rsa_key(bits: c_int) -> *mut RSA {
    // SAFETY: fresh handles, checked for success before use; nobody else has them.
    unsafe {
        let (key, exponent) = (RSA_new(), BN_new());
        assert!(!key.is_null() && !exponent.is_null());
        succeeds(BN_set_word(exponent, 65_537));
        succeeds(RSA_generate_key_ex(key, bits, exponent, null_mut()));
        key
    }
}

pub fn rsa_sign(bits: c_int) -> Repeat<'static> {
    let (key, data, mut signature) = (rsa_key(bits), [7_u8; 32], [0_u8; 512]);
    Box::new(move || {
        let (mut digest, mut len) = ([0; 32], 0);
        // SAFETY: the key is valid for ever; the buffers hold a SHA-256 digest and the longest key's signature.
        unsafe {
            SHA256(data.as_ptr(), data.len(), digest.as_mut_ptr());
            succeeds(RSA_sign(NID_sha256, digest.as_ptr(), digest.len(), signature.as_mut_ptr(), &mut len, key));
        }
    })
}

fn ec_key(curve: Curve) -> *mut EC_KEY {
    // SAFETY: a fresh handle, checked for success before use; nobody else has it.
    unsafe {
        let key = EC_KEY_new_by_curve_name(curve.nid());
        assert!(!key.is_null());
        succeeds(EC_KEY_generate_key(key));
        key
    }
}

fn ecdsa(key: *const EC_KEY, digest: &[u8], signature: &mut [u8; 160]) -> usize {
    let mut len = 0;
    // SAFETY: the key is valid for ever; 160 bytes hold the DER signature of every curve that we have.
    succeeds(unsafe { ECDSA_sign(0, digest.as_ptr(), digest.len(), signature.as_mut_ptr(), &mut len, key) });
    len as usize
}

pub fn ecdsa_sign(curve: Curve) -> Repeat<'static> {
    let (key, digest, mut signature) = (ec_key(curve), vec![7; curve.digest_len()], [0; 160]);
    Box::new(move || {
        ecdsa(key, &digest, &mut signature);
    })
}

pub fn ecdsa_verify(curve: Curve) -> Repeat<'static> {
    let (key, digest, mut signature) = (ec_key(curve), vec![7; curve.digest_len()], [0; 160]);
    let len = ecdsa(key, &digest, &mut signature);
    Box::new(move || {
        // SAFETY: the key is valid for ever; the lengths are those of the slices.
        succeeds(unsafe { ECDSA_verify(0, digest.as_ptr(), digest.len(), signature.as_ptr(), len, key) });
    })
}

pub fn ecdh() -> Repeat<'static> {
    let (own, peer) = (ec_key(Curve::P256), ec_key(Curve::P256));
    Box::new(move || {
        let mut secret = [0_u8; 32];
        // SAFETY: both keys are valid for ever; the secret has the field's 32 bytes.
        let len = unsafe { ECDH_compute_key(secret.as_mut_ptr().cast(), 32, EC_KEY_get0_public_key(peer), own, None) };
        assert_eq!(len, 32);
    })
}

fn ed25519_keys() -> ([u8; 32], [u8; 64]) {
    let (mut public, mut private) = ([0; 32], [0; 64]);
    // SAFETY: the function writes 32 and 64 bytes.
    unsafe { ED25519_keypair(public.as_mut_ptr(), private.as_mut_ptr()) };
    (public, private)
}

fn ed25519(private: &[u8; 64], data: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    // SAFETY: the function reads a 64-byte key and writes 64 bytes.
    succeeds(unsafe { ED25519_sign(signature.as_mut_ptr(), data.as_ptr(), data.len(), private.as_ptr()) });
    signature
}

pub fn ed25519_sign() -> Repeat<'static> {
    let (_, private) = ed25519_keys();
    Box::new(move || {
        ed25519(&private, &[7; 32]);
    })
}

pub fn ed25519_verify() -> Repeat<'static> {
    let (public, private) = ed25519_keys();
    let data = [7; 32];
    let signature = ed25519(&private, &data);
    Box::new(move || {
        // SAFETY: the function reads a 64-byte signature and a 32-byte key.
        succeeds(unsafe { ED25519_verify(data.as_ptr(), data.len(), signature.as_ptr(), public.as_ptr()) });
    })
}

pub fn hmac(len: usize) -> Repeat<'static> {
    let (key, data, mut mac) = ([7_u8; 32], vec![7; len], [0_u8; 32]);
    Box::new(move || {
        let mut mac_len = 0;
        // SAFETY: the lengths are those of the slices; the MAC of SHA-256 has 32 bytes.
        let out = unsafe {
            HMAC(EVP_sha256(), key.as_ptr().cast(), key.len(), data.as_ptr(), data.len(), mac.as_mut_ptr(), &mut mac_len)
        };
        assert!(!out.is_null());
    })
}

pub fn gcm(len: usize) -> Repeat<'static> {
    // SAFETY: the key has the 32 bytes that the algorithm asks for.
    let context = unsafe { EVP_AEAD_CTX_new(EVP_aead_aes_256_gcm(), [7_u8; 32].as_ptr(), 32, 16) };
    assert!(!context.is_null());
    let (nonce, data, mut sealed) = ([7_u8; 12], vec![7; len], vec![0; len + 16]);
    Box::new(move || {
        let (mut sealed_len, room) = (0, sealed.len());
        // SAFETY: the context is valid for ever; the lengths are those of the slices; there is no associated data.
        succeeds(unsafe {
            EVP_AEAD_CTX_seal(
                context,
                sealed.as_mut_ptr(),
                &mut sealed_len,
                room,
                nonce.as_ptr(),
                nonce.len(),
                data.as_ptr(),
                data.len(),
                null(),
                0,
            )
        });
    })
}

pub fn aes128() -> *const EVP_CIPHER {
    // SAFETY: gives the address of a constant.
    unsafe { EVP_aes_128_cbc() }
}

pub fn aes256() -> *const EVP_CIPHER {
    // SAFETY: as above.
    unsafe { EVP_aes_256_cbc() }
}

const FORWARD: c_int = 1;
const BACK: c_int = 0;
const IV: [u8; 16] = [7; 16];

/// A context with a key, for one direction.
fn keyed(cipher: *const EVP_CIPHER, direction: c_int) -> *mut EVP_CIPHER_CTX {
    // SAFETY: makes a fresh handle, checked below; no cipher here has a key of more than 32 bytes or an IV of more than 16.
    unsafe {
        let context = EVP_CIPHER_CTX_new();
        assert!(!context.is_null());
        succeeds(EVP_CipherInit_ex(context, cipher, null_mut(), [7_u8; 32].as_ptr(), IV.as_ptr(), direction));
        context
    }
}

/// One message with the context's key; how long the result is.
fn crypt(context: *mut EVP_CIPHER_CTX, direction: c_int, data: &[u8], out: &mut [u8]) -> usize {
    assert!(out.len() >= data.len() + 16, "room for the padding");
    let (mut head, mut tail) = (0, 0);
    // SAFETY: the context is valid for ever and keeps its key; the output has room for the padding block, as asserted.
    unsafe {
        succeeds(EVP_CipherInit_ex(context, null(), null_mut(), null(), IV.as_ptr(), direction));
        succeeds(EVP_CipherUpdate(context, out.as_mut_ptr(), &mut head, data.as_ptr(), data.len() as c_int));
        succeeds(EVP_CipherFinal_ex(context, out.as_mut_ptr().add(head as usize), &mut tail));
    }
    (head + tail) as usize
}

pub fn cbc(cipher: *const EVP_CIPHER, len: usize) -> Repeat<'static> {
    let (context, data, mut sealed) = (keyed(cipher, FORWARD), vec![7_u8; len], vec![0_u8; len + 32]);
    Box::new(move || {
        crypt(context, FORWARD, &data, &mut sealed);
    })
}

pub fn cbc_back(cipher: *const EVP_CIPHER, len: usize) -> Repeat<'static> {
    let (mut sealed, mut data) = (vec![0_u8; len + 32], vec![0_u8; len + 64]);
    let sealed_len = crypt(keyed(cipher, FORWARD), FORWARD, &vec![7; len], &mut sealed);
    sealed.truncate(sealed_len);
    let context = keyed(cipher, BACK);
    Box::new(move || {
        crypt(context, BACK, &sealed, &mut data);
    })
}

pub fn digest(len: usize) -> Repeat<'static> {
    let (data, mut digest) = (vec![7; len], [0; 32]);
    Box::new(move || {
        // SAFETY: the digest has 32 bytes.
        unsafe { SHA256(data.as_ptr(), data.len(), digest.as_mut_ptr()) };
    })
}

pub fn random() -> Repeat<'static> {
    let mut bytes = [0_u8; 32];
    Box::new(move || {
        // SAFETY: the length is the array's.
        succeeds(unsafe { RAND_bytes(bytes.as_mut_ptr(), bytes.len()) });
    })
}
