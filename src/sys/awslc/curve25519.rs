//! Ed25519 (RFC 8032) and X25519 (RFC 7748). Keys are plain bytes, so these are functions.

use aws_lc_sys as lc;

use super::fault::{fault, forget};
use crate::error::{Code, Result};

/// Length of a public key, of a seed and of an X25519 scalar in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of an Ed25519 signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// Length of an expanded Ed25519 private key in bytes: seed, then public key.
pub const EXPANDED_BYTES: usize = 64;

/// Which variant of Ed25519 (RFC 8032, 5.1); the context is at most 255 bytes long.
#[derive(Clone, Copy, Debug)]
pub enum Variant<'a> {
    /// Ed25519.
    Pure,
    /// Ed25519ctx; the context is not empty.
    Context(&'a [u8]),
    /// Ed25519ph: the message is its SHA-512 digest.
    Prehashed(&'a [u8]),
}

/// Seed and public key, as signing takes them. Secret.
pub fn expand(seed: &[u8; KEY_BYTES]) -> [u8; EXPANDED_BYTES] {
    let mut public = [0; KEY_BYTES];
    let mut expanded = [0; EXPANDED_BYTES];
    // SAFETY: the three buffers have the lengths that the function's declaration demands.
    unsafe { lc::ED25519_keypair_from_seed(public.as_mut_ptr(), expanded.as_mut_ptr(), seed.as_ptr()) };
    expanded
}

/// Signs a message, or (prehashed) its digest of 64 bytes.
///
/// Errors: `MechanismParamInvalid` for a context that is too long.
pub fn sign(variant: Variant<'_>, key: &[u8; EXPANDED_BYTES], message: &[u8]) -> Result<[u8; SIGNATURE_BYTES]> {
    let mut signature = [0; SIGNATURE_BYTES];
    let out = signature.as_mut_ptr();
    // SAFETY: signature and key have the lengths that the functions demand; the other pointers go with their slices'
    // lengths; a prehashed message is checked to be 64 bytes long.
    let done = unsafe {
        match variant {
            Variant::Pure => lc::ED25519_sign(out, message.as_ptr(), message.len(), key.as_ptr()),
            Variant::Context(context) => {
                lc::ED25519ctx_sign(out, message.as_ptr(), message.len(), key.as_ptr(), context.as_ptr(), context.len())
            }
            Variant::Prehashed(context) => {
                assert_eq!(message.len(), 64, "the digest is SHA-512's");
                lc::ED25519ph_sign_digest(out, message.as_ptr(), key.as_ptr(), context.as_ptr(), context.len())
            }
        }
    };
    if done == 1 { Ok(signature) } else { Err(fault(Code::MechanismParamInvalid, "the Ed25519 context is refused")) }
}

/// Whether the signature belongs to the message, or (prehashed) its digest of 64 bytes.
pub fn verify(variant: Variant<'_>, key: &[u8; KEY_BYTES], message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
    let (data, len, signature) = (message.as_ptr(), message.len(), signature.as_ptr());
    // SAFETY: signature and key have the lengths that the functions demand; the other pointers go with their slices'
    // lengths; a prehashed message is checked to be 64 bytes long.
    let valid = unsafe {
        match variant {
            Variant::Pure => lc::ED25519_verify(data, len, signature, key.as_ptr()),
            Variant::Context(context) => {
                lc::ED25519ctx_verify(data, len, signature, key.as_ptr(), context.as_ptr(), context.len())
            }
            Variant::Prehashed(context) => {
                assert_eq!(len, 64, "the digest is SHA-512's");
                lc::ED25519ph_verify_digest(data, signature, key.as_ptr(), context.as_ptr(), context.len())
            }
        }
    };
    if valid != 1 {
        forget();
    }
    valid == 1
}

/// The X25519 public key of a scalar.
pub fn x25519_public(scalar: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
    let mut public = [0; KEY_BYTES];
    // SAFETY: both buffers have the length that the function demands.
    unsafe { lc::X25519_public_from_private(public.as_mut_ptr(), scalar.as_ptr()) };
    public
}

/// The X25519 shared secret; `None` if the peer's point is of small order, so that the secret would be zero (RFC 7748, 6.1).
pub fn x25519(scalar: &[u8; KEY_BYTES], peer: &[u8; KEY_BYTES]) -> Option<[u8; KEY_BYTES]> {
    let mut shared = [0; KEY_BYTES];
    // SAFETY: the three buffers have the length that the function demands.
    let done = unsafe { lc::X25519(shared.as_mut_ptr(), scalar.as_ptr(), peer.as_ptr()) };
    if done == 1 {
        return Some(shared);
    }
    forget();
    None
}
