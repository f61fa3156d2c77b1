//! Diffie–Hellman over a prime field (PKCS #3).

use std::ptr::{self, NonNull};

use aws_lc_sys as lc;

use super::bignum::{Number, bytes_of};
use super::fault::fault;
use crate::error::{Code, Result};

/// A private key with its prime and base.
pub struct Dh {
    key: NonNull<lc::DH>,
}

// SAFETY: the handle owns its key, which has no tie to the thread that made it.
unsafe impl Send for Dh {}
// SAFETY: after construction only `DH_compute_key_padded` and readers are called, which dh.h declares non-mutating.
unsafe impl Sync for Dh {}

impl Dh {
    /// A new safe prime of so many bits, and the base 2. Slow: minutes from 2048 bits on.
    pub fn generate_domain(bits: u32) -> Result<(Vec<u8>, Vec<u8>)> {
        let shell = Self::shell()?;
        let dh = shell.key.as_ptr();
        let bits = i32::try_from(bits).unwrap_or(i32::MAX);
        // SAFETY: the structure is live and ours alone; no callback is given; generation sets both numbers.
        unsafe {
            if lc::DH_generate_parameters_ex(dh, bits, lc::DH_GENERATOR_2, ptr::null_mut()) != 1 {
                return Err(fault(Code::FunctionFailed, "Diffie-Hellman parameters could not be generated"));
            }
            Ok((bytes_of(lc::DH_get0_p(dh)), bytes_of(lc::DH_get0_g(dh))))
        }
    }

    /// The safe prime of RFC 3526 with so many bits, whose base is 2; `None` for sizes that it does not have.
    pub fn known_prime(bits: u32) -> Result<Option<Vec<u8>>> {
        let make = match bits {
            1536 => lc::BN_get_rfc3526_prime_1536,
            2048 => lc::BN_get_rfc3526_prime_2048,
            3072 => lc::BN_get_rfc3526_prime_3072,
            4096 => lc::BN_get_rfc3526_prime_4096,
            6144 => lc::BN_get_rfc3526_prime_6144,
            8192 => lc::BN_get_rfc3526_prime_8192,
            _ => return Ok(None),
        };
        // SAFETY: NULL asks for a new number, which is ours.
        Number::own(unsafe { make(ptr::null_mut()) }).map(|prime| Some(prime.to_be()))
    }

    /// A private key from its numbers, big-endian.
    pub fn new(prime: &[u8], base: &[u8], private: &[u8]) -> Result<Self> {
        let shell = Self::in_domain(prime, base)?;
        let private = Number::from_be(private)?;
        // SAFETY: the structure is live and takes the number over; the call cannot fail.
        unsafe { lc::DH_set0_key(shell.key.as_ptr(), ptr::null_mut(), private.into_raw()) };
        Ok(shell)
    }

    /// A new key pair: public, private (secret). `private_bits` bounds the private number; 0 leaves it to the prime.
    ///
    /// Errors: `DomainParamsInvalid`.
    pub fn generate(prime: &[u8], base: &[u8], private_bits: u32) -> Result<(Vec<u8>, Vec<u8>)> {
        let shell = Self::in_domain(prime, base)?;
        let dh = shell.key.as_ptr();
        // SAFETY: the structure is live and ours alone; generation sets both numbers.
        unsafe {
            lc::DH_set_length(dh, private_bits);
            if lc::DH_generate_key(dh) != 1 {
                return Err(fault(Code::DomainParamsInvalid, "the Diffie-Hellman parameters are refused"));
            }
            Ok((bytes_of(lc::DH_get0_pub_key(dh)), bytes_of(lc::DH_get0_priv_key(dh))))
        }
    }

    /// The shared secret, as long as the prime. Secret.
    ///
    /// Errors: `PublicKeyInvalid` unless 1 < `peer` < prime - 1, and for a result of 1 or prime - 1 (SP 800-56A, 5.7.1.1).
    pub fn agree(&self, peer: &[u8]) -> Result<Vec<u8>> {
        let peer = Number::from_be(peer)?;
        // SAFETY: key and number are live; the buffer is as long as the prime, which is what the function writes.
        unsafe {
            let mut shared = vec![0; lc::DH_size(self.key.as_ptr()) as usize];
            let written = lc::DH_compute_key_padded(shared.as_mut_ptr(), peer.as_ptr(), self.key.as_ptr());
            if written < 0 {
                return Err(fault(Code::PublicKeyInvalid, "the key agreement refused the peer's value"));
            }
            Ok(shared)
        }
    }

    fn in_domain(prime: &[u8], base: &[u8]) -> Result<Self> {
        let shell = Self::shell()?;
        let (p, g) = (Number::from_be(prime)?, Number::from_be(base)?);
        // SAFETY: the structure is live and takes both numbers over; the call cannot fail when both are given.
        unsafe { lc::DH_set0_pqg(shell.key.as_ptr(), p.into_raw(), ptr::null_mut(), g.into_raw()) };
        Ok(shell)
    }

    fn shell() -> Result<Self> {
        // SAFETY: no precondition; the result is ours.
        let key = NonNull::new(unsafe { lc::DH_new() });
        let key = key.ok_or_else(|| fault(Code::HostMemory, "a Diffie-Hellman key could not be made"))?;
        Ok(Self { key })
    }
}

impl Drop for Dh {
    fn drop(&mut self) {
        // SAFETY: the key is ours and freed once; the library wipes its numbers.
        unsafe { lc::DH_free(self.key.as_ptr()) };
    }
}
