//! DSA (FIPS 186-4): domain parameters, key pairs, signatures.

use std::ptr::{self, NonNull};

use aws_lc_sys as lc;

use super::bignum::{Number, bytes_of};
use super::fault::{fault, forget};
use crate::error::{Code, Result};

/// Domain parameters, big-endian.
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Domain {
    pub prime: Vec<u8>,
    pub subprime: Vec<u8>,
    pub base: Vec<u8>,
}

/// A DSA key, public or private.
pub struct Dsa {
    key: NonNull<lc::DSA>,
    /// Length of the subprime in bytes.
    half: usize,
}

// SAFETY: the handle owns its key, which has no tie to the thread that made it.
unsafe impl Send for Dsa {}
// SAFETY: after construction only functions are called that take the key as const, which dsa.h declares safe for
// concurrent use.
unsafe impl Sync for Dsa {}

impl Dsa {
    /// New domain parameters with a prime of so many bits; the subprime has 160 bits below 2048, 256 from there on.
    pub fn generate_domain(bits: u32) -> Result<Domain> {
        let shell = Self::shell()?;
        let dsa = shell.key.as_ptr();
        // SAFETY: the structure is live and ours alone; no seed, counter or callback is given.
        let done = unsafe {
            lc::DSA_generate_parameters_ex(dsa, bits, ptr::null(), 0, ptr::null_mut(), ptr::null_mut(), ptr::null_mut())
        };
        if done != 1 {
            return Err(fault(Code::FunctionFailed, "DSA domain parameters could not be generated"));
        }
        // SAFETY: generation set all three numbers, which live as long as the structure.
        unsafe {
            Ok(Domain {
                prime: bytes_of(lc::DSA_get0_p(dsa)),
                subprime: bytes_of(lc::DSA_get0_q(dsa)),
                base: bytes_of(lc::DSA_get0_g(dsa)),
            })
        }
    }

    /// A key from its domain, its public number and, for signing, its private one.
    pub fn new(domain: &Domain, public: &[u8], private: Option<&[u8]>) -> Result<Self> {
        let shell = Self::in_domain(domain)?;
        let public = Number::from_be(public)?;
        let private = private.map(Number::from_be).transpose()?;
        // SAFETY: the structure is live and takes both numbers over; the call cannot fail when a public number is given.
        unsafe {
            lc::DSA_set0_key(shell.key.as_ptr(), public.into_raw(), private.map_or(ptr::null_mut(), Number::into_raw));
        }
        Ok(shell)
    }

    /// A new key pair in a domain: public, private (secret).
    ///
    /// Errors: `DomainParamsInvalid`.
    pub fn generate(domain: &Domain) -> Result<(Vec<u8>, Vec<u8>)> {
        let shell = Self::in_domain(domain)?;
        let dsa = shell.key.as_ptr();
        // SAFETY: the structure is live and ours alone; generation sets both numbers.
        unsafe {
            if lc::DSA_generate_key(dsa) != 1 {
                return Err(fault(Code::DomainParamsInvalid, "the DSA domain parameters are refused"));
            }
            Ok((bytes_of(lc::DSA_get0_pub_key(dsa)), bytes_of(lc::DSA_get0_priv_key(dsa))))
        }
    }

    /// Length of a signature in bytes: twice the subprime's.
    pub fn signature_len(&self) -> usize {
        2 * self.half
    }

    /// Signs a digest, of which the leftmost bits count that the subprime has; writes `r || s`.
    pub fn sign(&self, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        let half = self.half;
        let (r_out, s_out) = out[..2 * half].split_at_mut(half);
        // SAFETY: the key is live; the pointer goes with the slice's length; the signature is ours until freed below.
        unsafe {
            let signature = lc::DSA_do_sign(digest.as_ptr(), digest.len(), self.key.as_ptr());
            if signature.is_null() {
                return Err(fault(Code::FunctionFailed, "DSA signing failed"));
            }
            let (mut r, mut s) = (ptr::null(), ptr::null());
            lc::DSA_SIG_get0(signature, &mut r, &mut s);
            let fits =
                lc::BN_bn2bin_padded(r_out.as_mut_ptr(), half, r) == 1 && lc::BN_bn2bin_padded(s_out.as_mut_ptr(), half, s) == 1;
            lc::DSA_SIG_free(signature);
            assert!(fits, "r and s are below the subprime");
        }
        Ok(2 * half)
    }

    /// Whether `r || s` is a signature over the digest.
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool> {
        let (r, s) = signature.split_at(signature.len() / 2);
        let (r, s) = (Number::from_be(r)?, Number::from_be(s)?);
        let mut valid = 0;
        // SAFETY: the signature takes both numbers over and is freed once; the key is live; the pointer goes with the length.
        let done = unsafe {
            let parsed = lc::DSA_SIG_new();
            if parsed.is_null() {
                return Err(fault(Code::HostMemory, "a signature could not be made"));
            }
            lc::DSA_SIG_set0(parsed, r.into_raw(), s.into_raw());
            let done = lc::DSA_do_check_signature(&mut valid, digest.as_ptr(), digest.len(), parsed, self.key.as_ptr());
            lc::DSA_SIG_free(parsed);
            done
        };
        forget();
        Ok(done == 1 && valid == 1)
    }

    fn in_domain(domain: &Domain) -> Result<Self> {
        let mut shell = Self::shell()?;
        let (p, q) = (Number::from_be(&domain.prime)?, Number::from_be(&domain.subprime)?);
        let g = Number::from_be(&domain.base)?;
        shell.half = q.bits().div_ceil(8);
        // SAFETY: the structure is live and takes the three numbers over; the call cannot fail when all are given.
        unsafe { lc::DSA_set0_pqg(shell.key.as_ptr(), p.into_raw(), q.into_raw(), g.into_raw()) };
        Ok(shell)
    }

    fn shell() -> Result<Self> {
        // SAFETY: no precondition; the result is ours.
        let key = NonNull::new(unsafe { lc::DSA_new() });
        let key = key.ok_or_else(|| fault(Code::HostMemory, "a DSA key could not be made"))?;
        Ok(Self { key, half: 0 })
    }
}

impl Drop for Dsa {
    fn drop(&mut self) {
        // SAFETY: the key is ours and freed once; the library wipes its numbers.
        unsafe { lc::DSA_free(self.key.as_ptr()) };
    }
}
