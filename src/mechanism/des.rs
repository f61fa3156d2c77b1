//! DES and triple DES (PKCS#11 2.40, 2.17 and 2.18): generation, ECB, CBC, CMAC, derivation by encryption.

use std::sync::Arc;

use super::block::{self, BlockCipher, BlockOperation, Direction, Mode};
use super::cmac::Cmac;
use super::generic::fit;
use super::key::Material;
use super::params::ParamKind;
use super::table::{Input, Row};
use super::{Cipher, Key, Mechanism, Signer, Verbs, Verifier, Wanted};
use crate::ck::{AttributeType, KeyType, MechanismType};
use crate::error::{Code, Result, refuse};
use crate::object::policy::{Decrypt, Derive, Encrypt, Permitted, Sign, Unwrap, Verify, Wrap};
use crate::object::{Object, Template, Value};
use crate::secret::Secret;
use crate::sys::awslc::des::{BLOCK_BYTES, Block, DesKey};
use crate::sys::awslc::random;

impl Material for DesKey {
    fn prepare(object: &Object) -> Result<Self> {
        let value = object.secret(AttributeType::VALUE).map_or(&[][..], Secret::expose);
        object
            .key_type()
            .filter(|kind| key_len(*kind) == Some(value.len()))
            .and_then(|_| DesKey::new(value))
            .ok_or_else(|| refuse(Code::KeySizeRange, format!("a DES key of {} bytes", value.len())))
    }
}

impl BlockCipher<BLOCK_BYTES> for DesKey {
    fn ecb_encrypt(&self, input: &[Block], out: &mut [Block]) {
        self.ecb(true, input, out);
    }

    fn ecb_decrypt(&self, input: &[Block], out: &mut [Block]) {
        self.ecb(false, input, out);
    }

    fn cbc_encrypt(&self, chain: &mut Block, input: &[Block], out: &mut [Block]) {
        self.cbc(true, chain, input, out);
    }

    fn cbc_decrypt(&self, chain: &mut Block, input: &[Block], out: &mut [Block]) {
        self.cbc(false, chain, input, out);
    }
}

/// Length of the value in bytes; `None` for types of other families.
pub fn key_len(kind: KeyType) -> Option<usize> {
    match kind {
        KeyType::DES => Some(8),
        KeyType::DES2 => Some(16),
        KeyType::DES3 => Some(24),
        _ => None,
    }
}

/// Makes the number of ones in each byte odd, by its lowest bit.
pub fn set_odd_parity(key: &mut [u8]) {
    key.iter_mut().for_each(|byte| *byte ^= u8::from(byte.count_ones().is_multiple_of(2)));
}

/// The first bytes of an encrypted zero block.
pub fn check_value(kind: KeyType, value: &[u8]) -> Option<[u8; 3]> {
    let key = DesKey::new(value).filter(|_| key_len(kind) == Some(value.len()))?;
    let mut out = [[0; BLOCK_BYTES]];
    key.ecb(true, &[[0; BLOCK_BYTES]], &mut out);
    out[0].first_chunk().copied()
}

fn generate(mechanism: &Mechanism, _: &Template) -> Result<Template> {
    let len = match mechanism.kind {
        MechanismType::DES_KEY_GEN => 8,
        MechanismType::DES2_KEY_GEN => 16,
        _ => 24,
    };
    let mut value = Secret::zeroed(len);
    loop {
        random::fill(value.expose_mut())?;
        set_odd_parity(value.expose_mut());
        if is_sound(value.expose()) {
            return Ok([(AttributeType::VALUE, Value::Secret(value))].into_iter().collect());
        }
    }
}

/// No part is weak, and no two parts are equal: else triple DES falls back to DES (NIST SP 800-67, 3.3).
fn is_sound(key: &[u8]) -> bool {
    let parts = key.as_chunks::<8>().0;
    let repeats = (1..parts.len()).any(|at| parts[..at].contains(&parts[at]));
    !repeats && !parts.iter().any(DesKey::is_weak)
}

fn cipher(mechanism: &Mechanism, key: Arc<Key>, direction: Direction) -> Result<Box<dyn Cipher>> {
    let mode = match mechanism.kind {
        MechanismType::DES_ECB | MechanismType::DES3_ECB => Mode { chain: None, padded: false },
        MechanismType::DES_CBC | MechanismType::DES3_CBC => Mode { chain: Some(block::vector(mechanism)?), padded: false },
        _ => Mode { chain: Some(block::vector(mechanism)?), padded: true },
    };
    Ok(Box::new(BlockOperation::<DesKey, BLOCK_BYTES>::new(key, direction, mode)?))
}

fn encrypt(mechanism: &Mechanism, key: Permitted<Encrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    cipher(mechanism, key.into_key(), Direction::Encrypt)
}

fn decrypt(mechanism: &Mechanism, key: Permitted<Decrypt, Arc<Key>>) -> Result<Box<dyn Cipher>> {
    cipher(mechanism, key.into_key(), Direction::Decrypt)
}

fn wrap(mechanism: &Mechanism, key: Permitted<Wrap, Arc<Key>>, inner: &Secret) -> Result<Vec<u8>> {
    let padded = matches!(mechanism.kind, MechanismType::DES_CBC_PAD | MechanismType::DES3_CBC_PAD);
    let cipher = cipher(mechanism, key.into_key(), Direction::Encrypt)?;
    block::wrap(cipher, (!padded).then_some(BLOCK_BYTES), inner)
}

fn unwrap(mechanism: &Mechanism, key: Permitted<Unwrap, Arc<Key>>, wrapped: &[u8]) -> Result<Secret> {
    block::unwrap(cipher(mechanism, key.into_key(), Direction::Decrypt)?, wrapped)
}

fn sign(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(Box::new(Cmac::<DesKey, BLOCK_BYTES>::new(mechanism, key.into_key())?))
}

fn verify(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(Box::new(Cmac::<DesKey, BLOCK_BYTES>::new(mechanism, key.into_key())?))
}

fn derive(mechanism: &Mechanism, key: Permitted<Derive, Arc<Key>>, wanted: &Wanted<'_>) -> Result<Secret> {
    fit(block::encrypt_data::<DesKey, BLOCK_BYTES>(mechanism, key.into_key())?, wanted)
}

const DES: &[KeyType] = &[KeyType::DES];
const DES3: &[KeyType] = &[KeyType::DES3, KeyType::DES2];

const fn row(kind: MechanismType, params: ParamKind, keys: &'static [KeyType], verbs: Verbs) -> Row {
    Row { kind, params, keys, input: Input::Stream, verbs, ..Row::BASE }
}

const GENERATE: Verbs = Verbs { generate: Some(generate), ..Verbs::NONE };
const CRYPT: Verbs =
    Verbs { encrypt: Some(encrypt), decrypt: Some(decrypt), wrap: Some(wrap), unwrap: Some(unwrap), ..Verbs::NONE };
const MAC: Verbs = Verbs { sign: Some(sign), verify: Some(verify), ..Verbs::NONE };
const DERIVE: Verbs = Verbs { derive: Some(derive), ..Verbs::NONE };
const IV: ParamKind = ParamKind::Iv(BLOCK_BYTES);
const IV_AND_DATA: ParamKind = ParamKind::CbcEncryptData(BLOCK_BYTES);

/// DES mechanisms.
pub const ROWS: &[Row] = &[
    row(MechanismType::DES_KEY_GEN, ParamKind::None, DES, GENERATE),
    row(MechanismType::DES_ECB, ParamKind::None, DES, CRYPT),
    row(MechanismType::DES_CBC, IV, DES, CRYPT),
    row(MechanismType::DES_CBC_PAD, IV, DES, CRYPT),
    row(MechanismType::DES_ECB_ENCRYPT_DATA, ParamKind::StringData, DES, DERIVE),
    row(MechanismType::DES_CBC_ENCRYPT_DATA, IV_AND_DATA, DES, DERIVE),
    row(MechanismType::DES2_KEY_GEN, ParamKind::None, &[KeyType::DES2], GENERATE),
    row(MechanismType::DES3_KEY_GEN, ParamKind::None, &[KeyType::DES3], GENERATE),
    row(MechanismType::DES3_ECB, ParamKind::None, DES3, CRYPT),
    row(MechanismType::DES3_CBC, IV, DES3, CRYPT),
    row(MechanismType::DES3_CBC_PAD, IV, DES3, CRYPT),
    row(MechanismType::DES3_CMAC, ParamKind::None, DES3, MAC),
    row(MechanismType::DES3_CMAC_GENERAL, ParamKind::MacLength, DES3, MAC),
    row(MechanismType::DES3_ECB_ENCRYPT_DATA, ParamKind::StringData, DES3, DERIVE),
    row(MechanismType::DES3_CBC_ENCRYPT_DATA, IV_AND_DATA, DES3, DERIVE),
];
