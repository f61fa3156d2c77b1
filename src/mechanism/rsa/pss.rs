//! PSS signatures (RFC 8017, 8.1) with any hash, mask generation hash and salt length.

use std::sync::Arc;

use super::{Prepared, hash_of, mask_hash, parameter_hash};
use crate::error::{Code, Result, refuse};
use crate::mechanism::digest::Hash;
use crate::mechanism::whole::{OverDigest, OverWhole, SignOnce, VerifyOnce, check_signature_len, check_valid};
use crate::mechanism::{Key, Mechanism, Params, Signer, Verifier};
use crate::object::policy::{Permitted, Sign, Verify};
use crate::sys::awslc::rsa::Pss;

/// One use of a key.
struct Signature {
    key: Arc<Key>,
    pss: Pss,
    hash: Hash,
    size: usize,
}

impl Signature {
    fn new(params: &Params, key: Arc<Key>) -> Result<Self> {
        let Params::Pss { hash, mgf, salt_len } = params else {
            return Err(refuse(Code::MechanismParamInvalid, "PSS takes CK_RSA_PKCS_PSS_PARAMS"));
        };
        let (hash, padding_hash) = parameter_hash(*hash)?;
        let mask = mask_hash(*mgf)?;
        let rsa = &key.material::<Prepared>()?.key;
        let size = rsa.size();
        // RFC 8017, 9.1.1: the encoded message has one bit less than the modulus.
        let room = (rsa.bits() - 1).div_ceil(8).checked_sub(hash.output_len() + 2);
        let fits = room.is_some_and(|room| *salt_len <= room as u64);
        if !fits {
            return Err(refuse(
                Code::MechanismParamInvalid,
                format!("a salt of {salt_len} bytes with {hash:?} does not fit an RSA modulus of {size} bytes"),
            ));
        }
        Ok(Self { pss: Pss { hash: padding_hash, mask, salt_len: *salt_len as u32 }, hash, size, key })
    }

    /// For mechanisms that hash: the parameter must name the same hash (PKCS#11 3.1, 6.1.11).
    fn over_digest(mechanism: &Mechanism, key: Arc<Key>) -> Result<Box<OverDigest<Self>>> {
        let this = Self::new(&mechanism.params, key)?;
        let hash = hash_of(mechanism.kind)?;
        if this.hash != hash {
            return Err(refuse(
                Code::MechanismParamInvalid,
                format!("the parameter's hash {:?} is not that of {}", this.hash, mechanism.kind),
            ));
        }
        Ok(OverDigest::new(hash, this))
    }

    /// For the mechanism that takes a digest.
    fn over_whole(mechanism: &Mechanism, key: Arc<Key>) -> Result<Box<OverWhole<Self>>> {
        let this = Self::new(&mechanism.params, key)?;
        Ok(OverWhole::new(this.hash.output_len(), Code::DataLenRange, this))
    }

    fn check_digest(&self, digest: &[u8]) -> Result<()> {
        if digest.len() == self.hash.output_len() {
            return Ok(());
        }
        Err(refuse(
            Code::DataLenRange,
            format!("the digest has {} bytes, but {:?} makes {}", digest.len(), self.hash, self.hash.output_len()),
        ))
    }
}

impl SignOnce for Signature {
    fn signature_len(&self) -> usize {
        self.size
    }

    fn sign(&self, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        self.check_digest(digest)?;
        self.key.material::<Prepared>()?.key.sign_pss(&self.pss, digest, out)
    }
}

impl VerifyOnce for Signature {
    fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<()> {
        self.check_digest(digest)?;
        check_signature_len(signature, self.size)?;
        check_valid(self.key.material::<Prepared>()?.key.verify_pss(&self.pss, digest, signature)?)
    }
}

/// `CKM_RSA_PKCS_PSS`.
pub fn sign(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(Signature::over_whole(mechanism, key.into_key())?)
}

/// As [`sign`].
pub fn verify(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(Signature::over_whole(mechanism, key.into_key())?)
}

/// `CKM_SHA256_RSA_PKCS_PSS` and its like.
pub fn sign_digest(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(Signature::over_digest(mechanism, key.into_key())?)
}

/// As [`sign_digest`].
pub fn verify_digest(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(Signature::over_digest(mechanism, key.into_key())?)
}
