//! `CKM_ECDH1_DERIVE` (PKCS#11 3.1, 6.3.17) over all curves, X25519 included, and the key derivation of X9.63.
//!
//! Without a derivation function, a key that is shorter than the shared secret is the secret's end: "the truncation
//! removes bytes from the leading end", as SoftHSM does it too. With one, exactly the wanted length is derived.

use std::sync::Arc;

use k256::PublicKey;
use zeroize::Zeroizing;

use super::Prepared;
use super::material::point_of;
use crate::ck::{Kdf, KeyType};
use crate::error::{Code, Doing, Result, refuse};
use crate::limits;
use crate::mechanism::digest::Hash;
use crate::mechanism::{Key, Mechanism, Params, Wanted, edwards};
use crate::object::policy::{Derive, Permitted};
use crate::secret::Secret;
use crate::sys::awslc::ec::Curve;

const PEER_REFUSED: &str = "the peer's public point is refused";

/// The value of the new key. All curves have cofactor 1, or clear it (X25519), so both mechanisms do the same.
pub fn derive(mechanism: &Mechanism, key: Permitted<Derive, Arc<Key>>, wanted: &Wanted<'_>) -> Result<Secret> {
    let Params::Ecdh1 { kdf, shared_data, public_data } = &mechanism.params else {
        return Err(refuse(Code::MechanismParamInvalid, "ECDH takes CK_ECDH1_DERIVE_PARAMS"));
    };
    let key = key.into_key();
    let shared = match key.object().key_type() {
        Some(KeyType::EC) => shared_secret(&key, public_data)?,
        _ => edwards::shared_secret(&key, public_data)?,
    };
    match kdf_hash(*kdf)? {
        None if !shared_data.is_empty() => Err(refuse(Code::MechanismParamInvalid, "CKD_NULL takes no shared data")),
        None => tail(&shared, wanted.value_len),
        Some(hash) => x963(hash, &shared, shared_data, wanted.value_len.unwrap_or(shared.len())),
    }
}

fn shared_secret(key: &Arc<Key>, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    match Prepared::of(key)? {
        Prepared::Library(own) => {
            let peer = point_of(own.curve(), peer).doing(Code::MechanismParamInvalid, PEER_REFUSED)?;
            own.agree(&peer).map(Zeroizing::new).doing(Code::MechanismParamInvalid, PEER_REFUSED)
        }
        Prepared::SigningK256(own) => {
            let peer = point_of(Curve::Secp256k1, peer).doing(Code::MechanismParamInvalid, PEER_REFUSED)?;
            let peer = PublicKey::from_sec1_bytes(&peer.to_uncompressed()?).doing(Code::MechanismParamInvalid, PEER_REFUSED)?;
            let shared = k256::ecdh::diffie_hellman(own.as_nonzero_scalar(), peer.as_affine());
            Ok(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
        }
        Prepared::VerifyingK256(_) => Err(refuse(Code::KeyTypeInconsistent, "key agreement takes a private key")),
    }
}

/// The hash of a derivation function; `None` for `CKD_NULL`.
fn kdf_hash(kdf: Kdf) -> Result<Option<Hash>> {
    match kdf {
        Kdf::NULL => Ok(None),
        Kdf::SHA1_KDF => Ok(Some(Hash::Sha1)),
        Kdf::SHA224_KDF => Ok(Some(Hash::Sha224)),
        Kdf::SHA256_KDF => Ok(Some(Hash::Sha256)),
        Kdf::SHA384_KDF => Ok(Some(Hash::Sha384)),
        Kdf::SHA512_KDF => Ok(Some(Hash::Sha512)),
        Kdf::SHA3_224_KDF => Ok(Some(Hash::Sha3_224)),
        Kdf::SHA3_256_KDF => Ok(Some(Hash::Sha3_256)),
        Kdf::SHA3_384_KDF => Ok(Some(Hash::Sha3_384)),
        Kdf::SHA3_512_KDF => Ok(Some(Hash::Sha3_512)),
        other => Err(refuse(Code::MechanismParamInvalid, format!("the derivation function {other} is not supported"))),
    }
}

/// The end of a shared secret; all of it where no length is wanted.
///
/// Errors: `KeySizeRange` for more than there is.
pub(in crate::mechanism) fn tail(shared: &[u8], wanted: Option<usize>) -> Result<Secret> {
    let len = wanted.unwrap_or(shared.len());
    let skipped = shared.len().checked_sub(len).ok_or_else(|| {
        refuse(Code::KeySizeRange, format!("a key of {len} bytes cannot be cut from a shared secret of {}", shared.len()))
    })?;
    Ok(Secret::copy_of(&shared[skipped..]))
}

/// The key derivation function of ANSI X9.63 (SEC 1, 3.6.1).
fn x963(hash: Hash, shared: &[u8], shared_info: &[u8], len: usize) -> Result<Secret> {
    if len == 0 || len > limits::SECRET_VALUE_MAX_BYTES {
        return Err(refuse(Code::KeySizeRange, format!("a key of {len} bytes cannot be derived")));
    }
    let mut derived = Secret::zeroed(len);
    for (counter, chunk) in (1u32..).zip(derived.expose_mut().chunks_mut(hash.output_len())) {
        let block = hash.digest(&[shared, &counter.to_be_bytes(), shared_info]);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_keeps_the_end() {
        assert_eq!(tail(&[1, 2, 3, 4], Some(2)).unwrap().expose(), [3, 4]);
        assert_eq!(tail(&[1, 2, 3, 4], None).unwrap().expose(), [1, 2, 3, 4]);
        assert_eq!(tail(&[1, 2, 3, 4], Some(5)).err().unwrap().code(), Code::KeySizeRange);
    }
}
