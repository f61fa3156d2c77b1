//! Secrets under keys: the token key, the public-object key, and what follows from them (AES-256-GCM, HKDF, Argon2id).
//!
//! Every sealed thing starts with a version byte. Nonces are random 96-bit numbers: one token key seals objects only,
//! and 2^32 object writes under one token key are out of reach (a write costs an fsync).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::{Zeroize, Zeroizing};

use crate::ck::AttributeType;
use crate::error::{Code, Doing, Result, refuse};
use crate::object::ObjectId;
use crate::secret::Secret;
use crate::store::Sealed;
use crate::sys::awslc::sealing::{Aes256Gcm, NONCE_BYTES, TAG_BYTES, hkdf_sha256, hmac_sha256};
use crate::sys::memory::Scratch;
use crate::token::TokenId;
use crate::world::World;

/// First byte of everything sealed by this version of the code.
const FORMAT: u8 = 1;
/// Argon2id cost: 19 MiB, two passes, one lane (OWASP's first recommendation; about 25 ms).
const ARGON2_MEMORY_KIB: u32 = 19_456;
const ARGON2_PASSES: u32 = 2;
/// Upper bounds for parameters read back from a store, so that a bent row cannot ask for all memory.
const ARGON2_MEMORY_MAX_KIB: u32 = 1 << 20;
const ARGON2_PASSES_MAX: u32 = 64;
const SALT_BYTES: usize = 16;

/// A 256-bit key, wiped when dropped.
pub struct Key32(Zeroizing<[u8; 32]>);

impl Key32 {
    /// Draws a new one.
    pub fn random(world: &dyn World) -> Result<Self> {
        let mut key = Self(Zeroizing::new([0; 32]));
        world.fill_random(&mut *key.0)?;
        Ok(key)
    }

    /// Takes over 32 bytes; `None` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// The bytes, for cryptography only.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The same key once more.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// The key of one purpose beneath this one (HKDF-SHA-256).
    pub fn derive(&self, purpose: &[u8]) -> Result<Self> {
        Ok(Self(Zeroizing::new(hkdf_sha256(&self.0, purpose)?)))
    }
}

/// Seals bytes under one key, with associated data that must be the same to open them.
pub struct Seal(Aes256Gcm);

impl Seal {
    /// For one purpose beneath `key`.
    pub fn new(key: &Key32, purpose: &[u8]) -> Result<Self> {
        Ok(Self(Aes256Gcm::new(key.derive(purpose)?.expose())?))
    }

    /// version | nonce | ciphertext | tag.
    pub fn seal(&self, world: &dyn World, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        world.fill_random(&mut nonce)?;
        let ciphertext = self.0.seal(&nonce, aad, plaintext)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + ciphertext.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// `None` if anything differs: key, associated data, a single bit.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Secret> {
        let (nonce, ciphertext) = sealed.strip_prefix(&[FORMAT])?.split_first_chunk()?;
        self.0.open(nonce, aad, ciphertext).map(Secret::new)
    }
}

/// What seals and indexes the objects of one kind (private under the token key, public under the public-object key).
pub struct ObjectSeals {
    object: Seal,
    capsule: Seal,
    index: Key32,
}

/// What names one version of one object: the associated data of its sealed form.
#[derive(Clone, Copy)]
pub struct ObjectName {
    /// Whose.
    pub token: TokenId,
    /// Which.
    pub id: ObjectId,
    /// Which version.
    pub version: u64,
    /// Under which kind of key.
    pub private: bool,
}

impl ObjectName {
    fn aad(&self) -> [u8; 41] {
        let mut aad = [0; 41];
        aad[..16].copy_from_slice(&self.token.0);
        aad[16..32].copy_from_slice(&self.id.0);
        aad[32..40].copy_from_slice(&self.version.to_be_bytes());
        aad[40] = self.private.into();
        aad
    }
}

impl ObjectSeals {
    /// Derives both keys.
    pub fn new(master: &Key32) -> Result<Self> {
        Ok(Self {
            object: Seal::new(master, b"hsmpool object 1")?,
            capsule: Seal::new(master, b"hsmpool capsule 1")?,
            index: master.derive(b"hsmpool index 1")?,
        })
    }

    /// Seals the encoded attributes of an object.
    pub fn seal(&self, world: &dyn World, name: &ObjectName, encoded: &Secret) -> Result<Sealed> {
        self.object.seal(world, &name.aad(), encoded.expose()).map(Sealed::from_ciphertext)
    }

    /// Errors: `StoreRefused` when the row is not what was written under this name (bent, swapped, put back).
    pub fn open(&self, name: &ObjectName, sealed: &Sealed) -> Result<Secret> {
        self.object.open(&name.aad(), sealed.as_bytes()).ok_or_else(|| {
            refuse(
                Code::StoreRefused,
                format!(
                    "object {} version {} in the store is not what was written: restore the store from a backup",
                    name.id, name.version
                ),
            )
        })
    }

    /// What seals session objects that their client carries.
    pub fn capsule(&self) -> &Seal {
        &self.capsule
    }

    /// The blind index tag of one attribute value: HMAC-SHA-256 cut to 16 bytes.
    pub fn tag(&self, kind: AttributeType, value: &[u8]) -> Result<[u8; 16]> {
        let mut message = Zeroizing::new(Vec::with_capacity(8 + value.len()));
        message.extend_from_slice(&kind.0.to_be_bytes());
        message.extend_from_slice(value);
        let mac = hmac_sha256(self.index.expose(), &message)?;
        let mut tag = [0; 16];
        tag.copy_from_slice(&mac[..16]);
        Ok(tag)
    }
}

/// The key that the whole store hangs on, if there is one: a file beside the store, or what a command printed.
pub struct RootKey(Option<Key32>);

impl RootKey {
    /// `None`: the PINs alone protect private objects, and public ones are sealed under a key that stands in the store.
    pub fn new(key: Option<Key32>) -> Self {
        Self(key)
    }

    /// The key itself, for keys beneath it.
    pub fn key(&self) -> Option<&Key32> {
        self.0.as_ref()
    }

    /// Wraps a key for storage; without a root key it is stored as it is (first byte 0).
    pub fn wrap(&self, world: &dyn World, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        match &self.0 {
            Some(root) => Seal::new(root, b"hsmpool root wrap 1")?.seal(world, aad, plaintext),
            None => Ok([&[0], plaintext].concat()),
        }
    }

    /// Errors: `StoreRefused` when the root key is missing or another one.
    pub fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Secret> {
        match (wrapped.split_first(), &self.0) {
            (Some((0, plain)), _) => Ok(Secret::copy_of(plain)),
            (Some(_), Some(root)) => Seal::new(root, b"hsmpool root wrap 1")?.open(aad, wrapped).ok_or_else(|| {
                refuse(
                    Code::StoreRefused,
                    "the root key is not the one that this store was made with: put the right key file beside it",
                )
            }),
            _ => Err(refuse(
                Code::StoreRefused,
                "the store was made with a root key, and none is configured: put its key file beside it",
            )),
        }
    }

    /// Stamps the store's state, so that dropped rows and rows put back are noticed. Without a root key anybody can make the stamp,
    /// and it guards against damage only.
    pub fn stamper(&self) -> Result<crate::store::Stamper> {
        let key = match &self.0 {
            Some(root) => root.derive(b"hsmpool store stamp 1")?,
            None => Key32(Zeroizing::new([0; 32])),
        };
        Ok(Box::new(move |message| hmac_sha256(key.expose(), message)))
    }

    /// The key that authenticates what stands in clear; the fallback serves where there is no root key.
    pub fn authentication(&self, fallback: &Key32) -> Result<Key32> {
        self.0.as_ref().unwrap_or(fallback).derive(b"hsmpool token row 1")
    }
}

/// HMAC-SHA-256 over a row that stands in clear.
pub fn authenticate(key: &Key32, row: &[u8]) -> Result<[u8; 32]> {
    hmac_sha256(key.expose(), row)
}

/// Wraps the token key under a PIN: version | memory | passes | salt | nonce | ciphertext | tag.
pub fn wrap_under_pin(world: &dyn World, pin: &Secret, aad: &[u8], token_key: &Key32) -> Result<Vec<u8>> {
    let mut blob = vec![FORMAT];
    blob.extend_from_slice(&ARGON2_MEMORY_KIB.to_be_bytes());
    blob.extend_from_slice(&ARGON2_PASSES.to_be_bytes());
    let mut salt = [0; SALT_BYTES];
    world.fill_random(&mut salt)?;
    blob.extend_from_slice(&salt);
    let pin_key = stretch(pin, &salt, ARGON2_MEMORY_KIB, ARGON2_PASSES)?;
    blob.extend_from_slice(&Seal::new(&pin_key, b"hsmpool pin wrap 1")?.seal(world, aad, token_key.expose())?);
    Ok(blob)
}

/// The token key, or `None` for a wrong PIN. Costs the same either way.
///
/// Errors: `StoreRefused` for a blob that no version of this code wrote.
pub fn unwrap_under_pin(pin: &Secret, aad: &[u8], blob: &[u8]) -> Result<Option<Key32>> {
    let damaged = || refuse(Code::StoreRefused, "the PIN record in the store is damaged: restore the store from a backup");
    let rest = blob.strip_prefix(&[FORMAT]).ok_or_else(damaged)?;
    let (memory, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
    let (passes, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
    let (salt, sealed) = rest.split_first_chunk::<SALT_BYTES>().ok_or_else(damaged)?;
    let (memory, passes) = (u32::from_be_bytes(*memory), u32::from_be_bytes(*passes));
    if memory > ARGON2_MEMORY_MAX_KIB || passes > ARGON2_PASSES_MAX || sealed.len() != 1 + NONCE_BYTES + 32 + TAG_BYTES {
        return Err(damaged());
    }
    let pin_key = stretch(pin, salt, memory, passes)?;
    Ok(Seal::new(&pin_key, b"hsmpool pin wrap 1")?.open(aad, sealed).and_then(|key| Key32::from_bytes(key.expose())))
}

fn stretch(pin: &Secret, salt: &[u8], memory_kib: u32, passes: u32) -> Result<Key32> {
    let params = Params::new(memory_kib, passes, 1, Some(32))
        .doing(Code::StoreRefused, "the PIN record in the store names impossible Argon2 parameters")?;
    const DOING: &str = "stretching the PIN with Argon2id";
    let mut key = [0; 32];
    let memory = Scratch::filled(Block::new(), params.block_count()).doing(Code::HostMemory, DOING)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(pin.expose(), salt, &mut key, memory)
        .doing(Code::HostMemory, DOING)?;
    let stretched = Key32(Zeroizing::new(key));
    key.zeroize();
    Ok(stretched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Real;

    fn name(version: u64) -> ObjectName {
        ObjectName { token: TokenId([1; 16]), id: ObjectId([2; 16]), version, private: true }
    }

    #[test]
    fn a_row_opens_under_its_own_name_only() {
        let seals = ObjectSeals::new(&Key32::random(&Real).unwrap()).unwrap();
        let sealed = seals.seal(&Real, &name(1), &Secret::copy_of(b"attributes")).unwrap();
        assert_eq!(seals.open(&name(1), &sealed).unwrap().expose(), b"attributes");
        let others = [
            name(2),
            ObjectName { token: TokenId([9; 16]), ..name(1) },
            ObjectName { id: ObjectId([9; 16]), ..name(1) },
            ObjectName { private: false, ..name(1) },
        ];
        for other in others {
            let refused = seals.open(&other, &sealed).err().map(|error| error.code());
            assert_eq!(refused, Some(Code::StoreRefused), "a row put back, swapped or moved must not open");
        }
    }

    #[test]
    fn sealing_twice_gives_different_bytes_and_tags_are_stable() {
        let key = Key32::random(&Real).unwrap();
        let (a, b) = (ObjectSeals::new(&key).unwrap(), ObjectSeals::new(&key).unwrap());
        let seal = |seals: &ObjectSeals| seals.seal(&Real, &name(1), &Secret::copy_of(b"x")).unwrap().into_bytes();
        assert_ne!(seal(&a), seal(&a));
        let tag = |seals: &ObjectSeals, kind, value: &[u8]| seals.tag(kind, value).unwrap();
        assert_eq!(tag(&a, AttributeType::ID, b"1"), tag(&b, AttributeType::ID, b"1"));
        assert_ne!(tag(&a, AttributeType::ID, b"1"), tag(&a, AttributeType::LABEL, b"1"));
        assert_ne!(tag(&a, AttributeType::ID, b"1"), tag(&a, AttributeType::ID, b"2"));
    }

    #[test]
    fn the_right_pin_opens_the_token_key_and_no_other_pin_or_place_does() {
        let key = Key32::random(&Real).unwrap();
        let pin = Secret::copy_of(b"1234");
        let blob = wrap_under_pin(&Real, &pin, b"user", &key).unwrap();
        let open = |pin: &[u8], aad: &[u8]| unwrap_under_pin(&Secret::copy_of(pin), aad, &blob).unwrap();
        assert_eq!(open(b"1234", b"user").unwrap().expose(), key.expose());
        assert!(open(b"1235", b"user").is_none());
        assert!(open(b"1234", b"so").is_none());
    }

    #[test]
    fn a_bent_pin_record_is_refused_and_never_asks_for_all_memory() {
        let blob = wrap_under_pin(&Real, &Secret::copy_of(b"1234"), b"", &Key32::random(&Real).unwrap()).unwrap();
        let code = |blob: &[u8]| unwrap_under_pin(&Secret::copy_of(b"1234"), b"", blob).err().map(|error| error.code());
        for len in [0, 1, 5, 9, 24, blob.len() - 1] {
            assert_eq!(code(&blob[..len]), Some(Code::StoreRefused), "{len} bytes");
        }
        let mut greedy = blob.clone();
        greedy[1] = 0xff;
        assert_eq!(code(&greedy), Some(Code::StoreRefused));
    }

    #[test]
    fn the_root_key_wraps_and_a_wrong_or_missing_one_is_named() {
        let root = RootKey::new(Key32::from_bytes(&[5; 32]));
        let wrapped = root.wrap(&Real, b"token", b"key").unwrap();
        assert_eq!(root.unwrap(b"token", &wrapped).unwrap().expose(), b"key");
        for other in [RootKey::new(Key32::from_bytes(&[6; 32])), RootKey::new(None)] {
            assert_eq!(other.unwrap(b"token", &wrapped).err().map(|error| error.code()), Some(Code::StoreRefused));
        }
        let plain = RootKey::new(None).wrap(&Real, b"token", b"key").unwrap();
        assert_eq!(root.unwrap(b"token", &plain).unwrap().expose(), b"key", "a store without a root key can be given one later");
    }
}
