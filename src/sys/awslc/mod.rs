//! Owning, safe faces of AWS-LC: each handle is freed once, each length is checked before the call.

pub mod aes;
pub mod bignum;
pub mod curve25519;
pub mod des;
pub mod dh;
pub mod digest;
pub mod dsa;
pub mod ec;
mod fault;
pub mod gcm;
pub mod random;
pub mod rsa;
pub mod sealing;

/// Overwrites bytes with zeros, which no optimisation leaves out, at the speed of `memset`: for what each operation wipes. (The zeroize crate writes
/// byte by byte.)
pub fn wipe(bytes: &mut [u8]) {
    // SAFETY: the slice is valid for writes of its own length.
    unsafe { aws_lc_sys::OPENSSL_cleanse(bytes.as_mut_ptr().cast(), bytes.len()) };
}
