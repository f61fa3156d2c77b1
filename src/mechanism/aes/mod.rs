//! AES (PKCS#11 3.1, 6.13 to 6.17): what an AES key prepares, and the rows; each mode has its own file.

mod ccm;
mod ctr;
mod feedback;
mod gcm;
mod wrap;

use std::sync::{Arc, OnceLock};

use ::aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use ::aes::{Aes128, Aes192, Aes256};

use super::block::{self, BlockCipher, BlockOperation, Direction, Mode};
use super::cmac::Cmac;
use super::generic::{fit, random_value, wanted_len};
use super::key::Material;
use super::params::ParamKind;
use super::table::{Input, Row};
use super::{Cipher, Key, Mechanism, Signer, Verbs, Verifier, Wanted};
use crate::ck::{AttributeType, KeyType, MechanismType};
use crate::error::{Code, Result, refuse};
use crate::object::policy::{Decrypt, Derive, Encrypt, Permitted, Sign, Unwrap, Verify, Wrap};
use crate::object::{Object, Template};
use crate::secret::Secret;
use crate::sys::awslc::aes::{BLOCK_BYTES, Block, EncryptKey};
use crate::sys::awslc::gcm::GcmKey;
use crate::sys::simd::aes::WideKey;

/// An AES key's schedules, once per library: each does what it is fastest at.
struct AesKey {
    /// RustCrypto's: parallel blocks, with the widest vectors that the machine has.
    parallel: Parallel,
    /// AWS-LC's: chaining, feedback, counters.
    serial: EncryptKey,
    /// Our kernels', where the processor has what they need.
    wide: Option<WideKey>,
    /// Made when first used: GHASH tables take longer than the schedule.
    gcm: OnceLock<GcmKey>,
}

enum Parallel {
    Bits128(Aes128),
    Bits192(Aes192),
    Bits256(Aes256),
}

impl Parallel {
    /// `None` unless the key has 16, 24 or 32 bytes.
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Self::Bits128),
            24 => Aes192::new_from_slice(key).ok().map(Self::Bits192),
            32 => Aes256::new_from_slice(key).ok().map(Self::Bits256),
            _ => None,
        }
    }

    fn encrypt(&self, input: &[Block], out: &mut [Block]) {
        let (input, out) = (Array::cast_slice_from_core(input), Array::cast_slice_from_core_mut(out));
        let done = match self {
            Self::Bits128(key) => key.encrypt_blocks_b2b(input, out),
            Self::Bits192(key) => key.encrypt_blocks_b2b(input, out),
            Self::Bits256(key) => key.encrypt_blocks_b2b(input, out),
        };
        done.expect("the caller gives room for as many blocks as come in");
    }

    fn decrypt(&self, input: &[Block], out: &mut [Block]) {
        let (input, out) = (Array::cast_slice_from_core(input), Array::cast_slice_from_core_mut(out));
        let done = match self {
            Self::Bits128(key) => key.decrypt_blocks_b2b(input, out),
            Self::Bits192(key) => key.decrypt_blocks_b2b(input, out),
            Self::Bits256(key) => key.decrypt_blocks_b2b(input, out),
        };
        done.expect("the caller gives room for as many blocks as come in");
    }
}

impl Material for AesKey {
    fn prepare(object: &Object) -> Result<Self> {
        let value = object.secret(AttributeType::VALUE).map_or(&[][..], Secret::expose);
        match (Parallel::new(value), EncryptKey::new(value)) {
            (Some(parallel), Some(serial)) => Ok(Self { parallel, serial, wide: WideKey::new(value), gcm: OnceLock::new() }),
            _ => Err(refuse(Code::KeySizeRange, format!("an AES key of {} bytes", value.len()))),
        }
    }
}

impl AesKey {
    /// Counter mode over whole blocks with a big-endian counter of 128 bits, which is left at its next value.
    fn ctr(&self, counter: &mut Block, input: &[Block], out: &mut [Block]) {
        match &self.wide {
            Some(wide) => wide.ctr(counter, input, out),
            None => self.serial.ctr(counter, input, out),
        }
    }
}

/// Blocks that are decrypted at once before they are chained: they stay in the first-level cache.
const BATCH: usize = 256;

impl BlockCipher<BLOCK_BYTES> for AesKey {
    fn ecb_encrypt(&self, input: &[Block], out: &mut [Block]) {
        self.parallel.encrypt(input, out);
    }

    fn ecb_decrypt(&self, input: &[Block], out: &mut [Block]) {
        self.parallel.decrypt(input, out);
    }

    fn cbc_encrypt(&self, chain: &mut Block, input: &[Block], out: &mut [Block]) {
        self.serial.cbc_encrypt(chain, input, out);
    }

    fn cbc_decrypt(&self, chain: &mut Block, input: &[Block], out: &mut [Block]) {
        if let Some(wide) = &self.wide {
            return wide.cbc_decrypt(chain, input, out);
        }
        for (input, out) in input.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            self.parallel.decrypt(input, out);
            for (out, mask) in out.iter_mut().zip(std::iter::once(&*chain).chain(input)) {
                *out = (u128::from_ne_bytes(*out) ^ u128::from_ne_bytes(*mask)).to_ne_bytes();
            }
            *chain = *input.last().expect("chunks are never empty");
        }
    }
}

/// The first bytes of an encrypted zero block; `None` unless the key has 16, 24 or 32 bytes.
pub fn check_value(value: &[u8]) -> Option<[u8; 3]> {
    let mut out = [[0; BLOCK_BYTES]];
    Parallel::new(value)?.encrypt(&[[0; BLOCK_BYTES]], &mut out);
    out[0].first_chunk().copied()
}

fn generate(_: &Mechanism, template: &Template) -> Result<Template> {
    match wanted_len(template)? {
        len @ (16 | 24 | 32) => random_value(len as usize),
        len => Err(refuse(Code::AttributeValueInvalid, format!("CKA_VALUE_LEN of {len} bytes is no length of AES"))),
    }
}

fn cipher(mechanism: &Mechanism, key: Arc<Key>, direction: Direction) -> Result<Box<dyn Cipher>> {
    let mode = match mechanism.kind {
        MechanismType::AES_ECB => Mode { chain: None, padded: false },
        MechanismType::AES_CBC => Mode { chain: Some(block::vector(mechanism)?), padded: false },
        MechanismType::AES_CBC_PAD => Mode { chain: Some(block::vector(mechanism)?), padded: true },
        MechanismType::AES_CTR => return ctr::start(mechanism, key, direction),
        MechanismType::AES_GCM => return gcm::start(mechanism, key, direction),
        MechanismType::AES_CCM => return ccm::start(mechanism, key, direction),
        _ => return feedback::start(mechanism, key, direction),
    };
    Ok(Box::new(BlockOperation::<AesKey, BLOCK_BYTES>::new(key, direction, mode)?))
}

fn encrypt(mechanism: &Mechanism, key: Permitted<Encrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    cipher(mechanism, key.into_key(), Direction::Encrypt)
}

fn decrypt(mechanism: &Mechanism, key: Permitted<Decrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    cipher(mechanism, key.into_key(), Direction::Decrypt)
}

fn wrap(mechanism: &Mechanism, key: Permitted<Wrap, Arc<Key>>, inner: &Secret) -> Result<Vec<u8>> {
    let whole_blocks = matches!(mechanism.kind, MechanismType::AES_ECB | MechanismType::AES_CBC);
    let cipher = cipher(mechanism, key.into_key(), Direction::Encrypt)?;
    block::wrap(cipher, whole_blocks.then_some(BLOCK_BYTES), inner)
}

fn unwrap(mechanism: &Mechanism, key: Permitted<Unwrap, Arc<Key>>, wrapped: &[u8]) -> Result<Secret> {
    block::unwrap(cipher(mechanism, key.into_key(), Direction::Decrypt)?, wrapped)
}

fn sign(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    match mechanism.kind {
        MechanismType::AES_GMAC => Ok(Box::new(gcm::Gmac::start(mechanism, key.into_key())?)),
        _ => Ok(Box::new(Cmac::<AesKey, BLOCK_BYTES>::new(mechanism, key.into_key())?)),
    }
}

fn verify(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    match mechanism.kind {
        MechanismType::AES_GMAC => Ok(Box::new(gcm::Gmac::start(mechanism, key.into_key())?)),
        _ => Ok(Box::new(Cmac::<AesKey, BLOCK_BYTES>::new(mechanism, key.into_key())?)),
    }
}

fn derive(mechanism: &Mechanism, key: Permitted<Derive, Arc<Key>>, wanted: &Wanted<'_>) -> Result<Secret> {
    fit(block::encrypt_data::<AesKey, BLOCK_BYTES>(mechanism, key.into_key())?, wanted)
}

const fn row(kind: MechanismType, params: ParamKind, input: Input, verbs: Verbs) -> Row {
    Row { kind, sizes: (16, 32), params, keys: &[KeyType::AES], input, verbs, ..Row::BASE }
}

const CRYPT: Verbs = Verbs { encrypt: Some(encrypt), decrypt: Some(decrypt), ..Verbs::NONE };
const CRYPT_AND_WRAP: Verbs = Verbs { wrap: Some(wrap), unwrap: Some(unwrap), ..CRYPT };
const WRAP: Verbs = Verbs { wrap: Some(wrap::wrap), unwrap: Some(wrap::unwrap), ..Verbs::NONE };
const MAC: Verbs = Verbs { sign: Some(sign), verify: Some(verify), ..Verbs::NONE };
const DERIVE: Verbs = Verbs { derive: Some(derive), ..Verbs::NONE };
const IV: ParamKind = ParamKind::Iv(BLOCK_BYTES);

/// AES mechanisms.
pub const ROWS: &[Row] = &[
    row(MechanismType::AES_KEY_GEN, ParamKind::None, Input::Whole, Verbs { generate: Some(generate), ..Verbs::NONE }),
    row(MechanismType::AES_ECB, ParamKind::None, Input::Stream, CRYPT_AND_WRAP),
    row(MechanismType::AES_CBC, IV, Input::Stream, CRYPT_AND_WRAP),
    row(MechanismType::AES_CBC_PAD, IV, Input::Stream, CRYPT_AND_WRAP),
    row(MechanismType::AES_CTR, ParamKind::Ctr, Input::Stream, CRYPT),
    row(MechanismType::AES_OFB, IV, Input::Stream, CRYPT),
    row(MechanismType::AES_CFB8, IV, Input::Stream, CRYPT),
    row(MechanismType::AES_CFB128, IV, Input::Stream, CRYPT),
    row(MechanismType::AES_GCM, ParamKind::Gcm, Input::Stream, CRYPT_AND_WRAP),
    row(MechanismType::AES_CCM, ParamKind::Ccm, Input::Stream, CRYPT_AND_WRAP),
    row(MechanismType::AES_GMAC, ParamKind::RawData, Input::Stream, MAC),
    row(MechanismType::AES_CMAC, ParamKind::None, Input::Stream, MAC),
    row(MechanismType::AES_CMAC_GENERAL, ParamKind::MacLength, Input::Stream, MAC),
    row(MechanismType::AES_KEY_WRAP, ParamKind::OptionalIv(8), Input::Whole, WRAP),
    row(MechanismType::AES_KEY_WRAP_PAD, ParamKind::OptionalIv(4), Input::Whole, WRAP),
    row(MechanismType::AES_KEY_WRAP_KWP, ParamKind::OptionalIv(4), Input::Whole, WRAP),
    row(MechanismType::AES_ECB_ENCRYPT_DATA, ParamKind::StringData, Input::Whole, DERIVE),
    row(MechanismType::AES_CBC_ENCRYPT_DATA, ParamKind::CbcEncryptData(BLOCK_BYTES), Input::Whole, DERIVE),
];

#[cfg(test)]
mod tests;
