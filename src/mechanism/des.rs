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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::Params;
    use crate::mechanism::testing::{Dice, decrypt, encrypt, hex, permitted, secret_key, sign, verify};

    fn key(value: &[u8]) -> Arc<Key> {
        let kinds = [KeyType::DES, KeyType::DES2, KeyType::DES3];
        secret_key(kinds[value.len() / 8 - 1], value)
    }

    /// FIPS 81, table B1; NIST SP 800-67, appendix B.1; NIST SP 800-38B, appendix D.4.
    #[test]
    fn nist_vectors() {
        let single = key(&hex("0123456789abcdef"));
        let (data, expected) = (b"Now is the time for all ", hex("3fa40e8a984d48156a271787ab8883f9893d51ec4b563b53"));
        assert_eq!(encrypt(MechanismType::DES_ECB, &Params::None, &single, data, &[]).unwrap(), expected);
        let iv = Params::Iv(hex("1234567890abcdef"));
        let chained = encrypt(MechanismType::DES_CBC, &iv, &single, data, &[]).unwrap();
        assert_eq!(chained, hex("e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6"));

        let triple = key(&hex("0123456789ABCDEF 23456789ABCDEF01 456789ABCDEF0123"));
        let expected = hex("A826FD8CE53B855F CCE21C8112256FE6 68D5C05DD9B6B900");
        assert_eq!(encrypt(MechanismType::DES3_ECB, &Params::None, &triple, b"The qufck brown fox jump", &[]).unwrap(), expected);

        let triple = key(&hex("8aa83bf8cbda1062 0bc1bf19fbb6cd58 bc313d4a371ca8b5"));
        let data = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        for (len, expected) in
            [(0, "b7a688e122ffaf95"), (8, "8e8f293136283797"), (20, "743ddbe0ce2dc2ed"), (32, "33e6b1092400eae5")]
        {
            let mac = sign(MechanismType::DES3_CMAC, &Params::None, &triple, &data[..len], &[]).unwrap();
            assert_eq!(mac, hex(expected), "of {len} bytes");
            verify(MechanismType::DES3_CMAC_GENERAL, &Params::MacLength(4), &triple, &data[..len], &[3], &mac[..4]).unwrap();
        }
    }

    #[test]
    fn parts_are_the_whole_and_the_way_back_is_the_data() {
        let mut dice = Dice::new(4);
        for round in 0..200 {
            let key = key(&dice.bytes([8, 16, 24][round % 3]));
            let len = dice.below(500);
            let (data, iv) = (dice.bytes(len), Params::Iv(dice.bytes(8)));
            let whole_blocks = &data[..len / 8 * 8];
            let modes = if round % 3 == 0 {
                [MechanismType::DES_ECB, MechanismType::DES_CBC, MechanismType::DES_CBC_PAD]
            } else {
                [MechanismType::DES3_ECB, MechanismType::DES3_CBC, MechanismType::DES3_CBC_PAD]
            };
            for (kind, data) in modes.into_iter().zip([whole_blocks, whole_blocks, &data]) {
                let whole = encrypt(kind, &iv, &key, data, &[]).unwrap();
                let splits = dice.splits(data.len(), 6);
                assert_eq!(encrypt(kind, &iv, &key, data, &splits).unwrap(), whole, "{kind} of {len} at {splits:?}");
                assert_eq!(decrypt(kind, &iv, &key, &whole, &[]).unwrap(), data);
                assert_eq!(decrypt(kind, &iv, &key, &whole, &splits).unwrap(), data, "{kind} of {len} at {splits:?}");
            }
        }
    }

    #[test]
    fn new_keys_have_odd_parity_and_no_weak_or_repeated_part() {
        for (kind, len) in [(MechanismType::DES_KEY_GEN, 8), (MechanismType::DES2_KEY_GEN, 16), (MechanismType::DES3_KEY_GEN, 24)]
        {
            let made = generate(&Mechanism { kind, params: Params::None }, &Template::new()).unwrap();
            let value = made.exposed(AttributeType::VALUE).unwrap();
            assert_eq!(value.len(), len);
            assert!(value.iter().all(|byte| byte.count_ones() % 2 == 1));
            assert!(!made.has(AttributeType::VALUE_LEN), "DES keys have no such attribute");
        }
        assert!(!is_sound(&hex("0101010101010101")), "weak");
        assert!(!is_sound(&hex("01fe01fe01fe01fe")), "half weak");
        assert!(!is_sound(&hex("0123456789abcdef0123456789abcdef")), "repeated");
        assert!(is_sound(&hex("0123456789abcdef23456789abcdef01")));
    }

    #[test]
    fn derivation_and_wrapping_go_through_the_cipher() {
        let base = key(&hex("0123456789abcdef"));
        let derive_one = |params, key_type, value_len| {
            let kind = MechanismType::DES_ECB_ENCRYPT_DATA;
            derive(&Mechanism { kind, params }, permitted(&base, kind), &Wanted { key_type, value_len, other: None })
        };
        let data = || Params::Data(b"Now is the time for all ".to_vec());
        let derived = derive_one(data(), KeyType::DES2, Some(16)).unwrap();
        let mut expected = hex("3fa40e8a984d48156a271787ab8883f9");
        set_odd_parity(&mut expected);
        assert_eq!(derived.expose(), expected);
        assert_eq!(
            derive_one(Params::Data(vec![0; 9]), KeyType::DES, Some(8)).err().unwrap().code(),
            Code::MechanismParamInvalid
        );

        let mechanism = Mechanism { kind: MechanismType::DES3_CBC_PAD, params: Params::Iv(vec![0; 8]) };
        let kek = key(&hex("0123456789ABCDEF 23456789ABCDEF01 456789ABCDEF0123"));
        let wrapped = wrap(&mechanism, permitted(&kek, mechanism.kind), &Secret::copy_of(b"an inner key")).unwrap();
        assert_eq!(wrapped.len(), 16);
        assert_eq!(unwrap(&mechanism, permitted(&kek, mechanism.kind), &wrapped).unwrap().expose(), b"an inner key");
        let refused = unwrap(&mechanism, permitted(&kek, mechanism.kind), &wrapped[..15]).err().unwrap();
        assert_eq!(refused.code(), Code::WrappedKeyLenRange);
    }

    #[test]
    fn a_value_of_another_length_is_no_key_of_its_type() {
        for (kind, len) in [(KeyType::DES, 16), (KeyType::DES2, 24), (KeyType::DES3, 16), (KeyType::DES3, 0)] {
            let refused = encrypt(MechanismType::DES3_ECB, &Params::None, &secret_key(kind, &vec![1; len]), &[0; 8], &[]);
            assert_eq!(refused.unwrap_err().code(), Code::KeySizeRange, "{kind} of {len} bytes");
        }
    }
}
