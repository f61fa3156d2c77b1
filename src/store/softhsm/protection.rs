//! How SoftHSM protects private objects: an iterated SHA-256 of the PIN, and AES-256-CBC with PKCS#7 padding, without a MAC.

use crate::secret::Secret;
use crate::sys::awslc::aes::{Block, DecryptKey};
use crate::sys::awslc::digest::Sha256;

const SALT_BYTES: usize = 8;
const BLOCK_BYTES: usize = 16;
/// Stands before the token key, so that a wrong PIN is noticed.
const MAGIC: &[u8] = b"RJR";
/// Rounds of hashing; the salt's last byte is added.
const ROUNDS: u32 = 1500;

/// The key of a token's private objects.
pub(super) struct TokenKey(Secret);

impl TokenKey {
    /// From a PIN blob (salt | IV | ciphertext of magic and key); `None` for a wrong PIN or a damaged blob.
    pub fn open(blob: &[u8], pin: &Secret) -> Option<Self> {
        let (salt, sealed) = blob.split_at_checked(SALT_BYTES)?;
        let plain = decrypt(&stretch(salt, pin)?, sealed)?;
        let key = plain.expose().strip_prefix(MAGIC)?;
        (key.len() == 32).then(|| Self(Secret::copy_of(key)))
    }

    /// A value (IV | ciphertext); `None` where it does not decrypt.
    pub fn decrypt(&self, sealed: &[u8]) -> Option<Secret> {
        decrypt(&self.0, sealed)
    }
}

fn stretch(salt: &[u8], pin: &Secret) -> Option<Secret> {
    let mut key = Secret::zeroed(32);
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(pin.expose());
    finish(hash, &mut key)?;
    for _ in 1..ROUNDS + u32::from(*salt.last()?) {
        let mut hash = Sha256::new();
        hash.update(key.expose());
        finish(hash, &mut key)?;
    }
    Some(key)
}

fn finish(mut hash: Sha256, key: &mut Secret) -> Option<()> {
    hash.finish(key.expose_mut().try_into().ok()?);
    Some(())
}

fn decrypt(key: &Secret, sealed: &[u8]) -> Option<Secret> {
    let (iv, ciphertext) = sealed.split_first_chunk::<BLOCK_BYTES>()?;
    let (blocks, rest) = ciphertext.as_chunks::<BLOCK_BYTES>();
    if blocks.is_empty() || !rest.is_empty() {
        return None;
    }
    let mut plain = Secret::zeroed(ciphertext.len());
    let mut chain: Block = *iv;
    DecryptKey::new(key.expose())?.cbc_decrypt(&mut chain, blocks, plain.expose_mut().as_chunks_mut().0);
    let padding = usize::from(*plain.expose().last()?);
    let len = plain.len().checked_sub(padding)?;
    if !(1..=BLOCK_BYTES).contains(&padding) || plain.expose()[len..].iter().any(|byte| usize::from(*byte) != padding) {
        return None;
    }
    plain.truncate(len);
    Some(plain)
}
