//! ECDSA (FIPS 186-5, 6): `r || s`, each as long as the order. Nonces are hedged: random, and bound to key and digest.

use std::sync::Arc;

use k256::Secp256k1;
use k256::ecdsa::Signature;
use k256::sha2::Sha256;
use zeroize::Zeroizing;

use super::{Prepared, hash_of};
use crate::error::{Code, Result, refuse};
use crate::mechanism::whole::{OverDigest, OverWhole, SignOnce, VerifyOnce, check_signature_len, check_valid};
use crate::mechanism::{Key, Mechanism, Signer, Verifier};
use crate::object::policy::{Permitted, Sign, Verify};
use crate::sys::awslc::random;

/// Random bytes in a nonce of secp256k1, beside key and digest.
const HEDGE_BYTES: usize = 32;

/// One use of a key.
struct Ecdsa {
    key: Arc<Key>,
    order_len: usize,
}

impl Ecdsa {
    fn new(key: Arc<Key>) -> Result<Self> {
        let order_len = Prepared::of(&key)?.order_len();
        Ok(Self { key, order_len })
    }
}

impl SignOnce for Ecdsa {
    fn signature_len(&self) -> usize {
        2 * self.order_len
    }

    // A digest that is longer than the order is cut to its leftmost bits, a shorter one is a smaller number.
    fn sign(&self, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        match Prepared::of(&self.key)? {
            Prepared::Library(key) => key.sign(digest, out),
            Prepared::SigningK256(key) => {
                let mut hedge = Zeroizing::new([0; HEDGE_BYTES]);
                random::fill(&mut *hedge)?;
                let digest = leftmost(digest);
                let (signature, _) =
                    ecdsa::hazmat::sign_prehashed_rfc6979::<Secp256k1, Sha256>(key.as_nonzero_scalar(), &digest, &*hedge);
                let signature = signature.to_bytes();
                out[..signature.len()].copy_from_slice(&signature);
                Ok(signature.len())
            }
            Prepared::VerifyingK256(_) => Err(refuse(Code::KeyTypeInconsistent, "signing takes a private key")),
        }
    }
}

impl VerifyOnce for Ecdsa {
    fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<()> {
        check_signature_len(signature, 2 * self.order_len)?;
        let point = match Prepared::of(&self.key)? {
            Prepared::Library(key) => return check_valid(key.verify(digest, signature)?),
            Prepared::VerifyingK256(key) => key.as_affine(),
            Prepared::SigningK256(key) => key.verifying_key().as_affine(),
        };
        // The larger of the two values that s can have is as good as the smaller: only some blockchains refuse it.
        let valid = Signature::from_slice(signature)
            .and_then(|signature| ecdsa::hazmat::verify_prehashed(&point.into(), &leftmost(digest), &signature.normalize_s()));
        check_valid(valid.is_ok())
    }
}

/// The leftmost 32 bytes; a shorter digest gets zeros in front.
fn leftmost(digest: &[u8]) -> [u8; 32] {
    let mut fixed = [0; 32];
    let len = digest.len().min(fixed.len());
    fixed[32 - len..].copy_from_slice(&digest[..len]);
    fixed
}

/// `CKM_ECDSA`: over a digest of any length.
pub fn sign(_mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(OverWhole::unbounded(Ecdsa::new(key.into_key())?))
}

/// As [`sign`].
pub fn verify(_mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(OverWhole::unbounded(Ecdsa::new(key.into_key())?))
}

/// `CKM_ECDSA_SHA256` and its like.
pub fn sign_digest(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(OverDigest::new(hash_of(mechanism.kind)?, Ecdsa::new(key.into_key())?))
}

/// As [`sign_digest`].
pub fn verify_digest(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(OverDigest::new(hash_of(mechanism.kind)?, Ecdsa::new(key.into_key())?))
}
