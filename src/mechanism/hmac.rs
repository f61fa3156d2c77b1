//! HMAC (RFC 2104, FIPS 198-1) with every hash that we have, whole and truncated (`_GENERAL`).
//!
//! A key keeps the two half-hashed states of each hash that it was used with, so that a MAC costs what its message costs.

use std::sync::{Arc, OnceLock};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::digest::{Digest, Hash, Hasher};
use super::key::{Material, Prepared};
use super::params::ParamKind;
use super::table::{Input, Row};
use super::{Key, Mechanism, Params, Signer, Verbs, Verifier};
use crate::ck::{AttributeType, KeyType, MechanismType};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits;
use crate::object::Object;
use crate::object::policy::{Permitted, Sign, Verify};
use crate::secret::Secret;

/// The key of an HMAC, with what each hash makes of it.
struct HmacKey {
    value: Secret,
    halves: [OnceLock<Halves>; Hash::ALL.len()],
}

/// The states after the key's block: `inner` takes the message, `outer` takes the inner digest.
struct Halves {
    inner: Hasher,
    outer: Hasher,
}

impl Material for HmacKey {
    fn prepare(object: &Object) -> Result<Self> {
        match object.secret(AttributeType::VALUE) {
            Some(value) if !value.is_empty() => {
                Ok(Self { value: value.duplicate(), halves: [const { OnceLock::new() }; Hash::ALL.len()] })
            }
            _ => Err(refuse(Code::KeySizeRange, "the key of an HMAC has no value")),
        }
    }
}

impl HmacKey {
    fn halves(&self, hash: Hash) -> &Halves {
        self.halves[hash as usize].get_or_init(|| Halves::new(hash, self.value.expose()))
    }
}

impl Halves {
    fn new(hash: Hash, key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; Hash::BLOCK_MAX_BYTES]);
        let block = &mut block[..hash.block_len()];
        if key.len() > block.len() {
            block[..hash.output_len()].copy_from_slice(&hash.digest(&[key]));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let mut half = |pad: u8| {
            block.iter_mut().for_each(|byte| *byte ^= pad);
            let mut hasher = hash.start();
            hasher.update(block);
            hasher
        };
        // The second pad is applied over the first.
        Self { inner: half(0x36), outer: half(0x36 ^ 0x5c) }
    }

    fn finish(&self, message: &mut Hasher) -> Digest {
        let mut outer = self.outer.clone();
        outer.update(&message.finish_here());
        outer.finish_here()
    }
}

/// A MAC in progress, for both directions.
struct Hmac {
    key: Prepared<HmacKey>,
    message: Hasher,
    len: usize,
}

impl Hmac {
    fn start(mechanism: &Mechanism, key: Arc<Key>) -> Result<Self> {
        let Some(form) = FAMILY.iter().find(|form| form.full == mechanism.kind || form.general == mechanism.kind) else {
            return Err(refuse(Code::MechanismInvalid, format!("{} is no HMAC", mechanism.kind)));
        };
        let hash = form.hash;
        let len = mac_len(mechanism, hash.output_len())?;
        let key = Prepared::<HmacKey>::of(key)?;
        let message = key.halves(hash).inner.clone();
        Ok(Self { key, message, len })
    }

    /// Ends it.
    fn mac(&mut self) -> Digest {
        self.key.halves(self.message.hash()).finish(&mut self.message)
    }
}

impl Signer for Hmac {
    fn signature_len(&self) -> usize {
        self.len
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.message.update(data);
        Ok(())
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        let len = self.len;
        out[..len].copy_from_slice(&self.mac()[..len]);
        Ok(len)
    }
}

impl Verifier for Hmac {
    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.message.update(data);
        Ok(())
    }

    fn finish(mut self: Box<Self>, signature: &[u8]) -> Result<()> {
        let len = self.len;
        check_mac(signature, &self.mac()[..len])
    }
}

/// The length in bytes of a MAC whose full length is `full`: what the parameter of a `_GENERAL` mechanism says, else all of it.
///
/// Errors: `MechanismParamInvalid` for 0 and for more than there is.
pub fn mac_len(mechanism: &Mechanism, full: usize) -> Result<usize> {
    match mechanism.params {
        Params::MacLength(len) if len == 0 || len > full as u64 => {
            Err(refuse(Code::MechanismParamInvalid, format!("{} cannot give {len} bytes", mechanism.kind)))
        }
        Params::MacLength(len) => Ok(len as usize),
        _ => Ok(full),
    }
}

/// Compares a MAC with the right one, in constant time.
///
/// Errors: `SignatureLenRange`, `SignatureInvalid`.
pub fn check_mac(given: &[u8], right: &[u8]) -> Result<()> {
    let right = if faults::on(Fault::ShortMacIsGood) { &right[..right.len().min(given.len())] } else { right };
    if given.len() != right.len() {
        return Err(refuse(Code::SignatureLenRange, format!("a MAC of {} bytes, not {}", given.len(), right.len())));
    }
    if bool::from(given.ct_eq(right)) { Ok(()) } else { Err(refuse(Code::SignatureInvalid, "the MAC does not fit the data")) }
}

fn sign(mechanism: &Mechanism, key: Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>> {
    Ok(Box::new(Hmac::start(mechanism, key.into_key())?))
}

fn verify(mechanism: &Mechanism, key: Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>> {
    Ok(Box::new(Hmac::start(mechanism, key.into_key())?))
}

/// The two mechanisms of one hash.
struct Form {
    hash: Hash,
    full: MechanismType,
    general: MechanismType,
}

macro_rules! family {
    ($($Hash:ident: $FULL:ident, $GENERAL:ident, $KEY:ident;)*) => {
        const FAMILY: &[Form] = &[$(Form {
            hash: Hash::$Hash,
            full: MechanismType::$FULL,
            general: MechanismType::$GENERAL,
        }),*];

        /// HMAC mechanisms.
        pub const ROWS: &[Row] = &[$(
            row(MechanismType::$FULL, ParamKind::None, &[KeyType::GENERIC_SECRET, KeyType::$KEY]),
            row(MechanismType::$GENERAL, ParamKind::MacLength, &[KeyType::GENERIC_SECRET, KeyType::$KEY]),
        )*];
    };
}

family! {
    Md5: MD5_HMAC, MD5_HMAC_GENERAL, MD5_HMAC;
    Sha1: SHA_1_HMAC, SHA_1_HMAC_GENERAL, SHA_1_HMAC;
    Sha224: SHA224_HMAC, SHA224_HMAC_GENERAL, SHA224_HMAC;
    Sha256: SHA256_HMAC, SHA256_HMAC_GENERAL, SHA256_HMAC;
    Sha384: SHA384_HMAC, SHA384_HMAC_GENERAL, SHA384_HMAC;
    Sha512: SHA512_HMAC, SHA512_HMAC_GENERAL, SHA512_HMAC;
    Sha512_224: SHA512_224_HMAC, SHA512_224_HMAC_GENERAL, SHA512_224_HMAC;
    Sha512_256: SHA512_256_HMAC, SHA512_256_HMAC_GENERAL, SHA512_256_HMAC;
    Sha3_224: SHA3_224_HMAC, SHA3_224_HMAC_GENERAL, SHA3_224_HMAC;
    Sha3_256: SHA3_256_HMAC, SHA3_256_HMAC_GENERAL, SHA3_256_HMAC;
    Sha3_384: SHA3_384_HMAC, SHA3_384_HMAC_GENERAL, SHA3_384_HMAC;
    Sha3_512: SHA3_512_HMAC, SHA3_512_HMAC_GENERAL, SHA3_512_HMAC;
}

const fn row(kind: MechanismType, params: ParamKind, keys: &'static [KeyType]) -> Row {
    Row {
        kind,
        sizes: (1, limits::SECRET_VALUE_MAX_BYTES as u64),
        params,
        keys,
        input: Input::Stream,
        verbs: Verbs { sign: Some(sign), verify: Some(verify), ..Verbs::NONE },
        ..Row::BASE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::testing::{Dice, hex, secret_key, sign, verify};

    fn mac(kind: MechanismType, key: &[u8], data: &[u8]) -> Vec<u8> {
        sign(kind, &Params::None, &secret_key(KeyType::GENERIC_SECRET, key), data, &[]).unwrap()
    }

    /// RFC 2202 (MD5, SHA-1) and RFC 4231 (SHA-2), test cases 2 and 6.
    #[test]
    fn rfc_vectors() {
        let (key, data) = (b"Jefe", b"what do ya want for nothing?");
        assert_eq!(mac(MechanismType::MD5_HMAC, key, data), hex("750c783e6ab0b503eaa86e310a5db738"));
        assert_eq!(mac(MechanismType::SHA_1_HMAC, key, data), hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"));
        assert_eq!(
            mac(MechanismType::SHA256_HMAC, key, data),
            hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        );
        assert_eq!(
            mac(MechanismType::SHA384_HMAC, key, data),
            hex("af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649")
        );
        let (key, data) = ([0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(
            mac(MechanismType::SHA256_HMAC, &key, data),
            hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
        );
    }

    /// RFC 2104, word by word.
    fn textbook(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
        let mut block = if key.len() > hash.block_len() { hash.digest(&[key]).to_vec() } else { key.to_vec() };
        block.resize(hash.block_len(), 0);
        let padded = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<_>>();
        hash.digest(&[&padded(0x5c), &hash.digest(&[&padded(0x36), data])]).to_vec()
    }

    #[test]
    fn every_hash_follows_the_definition_at_every_split() {
        let mut dice = Dice::new(7);
        for form in FAMILY {
            for key_len in [1, form.hash.block_len(), form.hash.block_len() + 1, 300] {
                let value = dice.bytes(key_len);
                let len = dice.below(1000);
                let data = dice.bytes(len);
                let right = textbook(form.hash, &value, &data);
                let key = secret_key(KeyType::GENERIC_SECRET, &value);
                assert_eq!(sign(form.full, &Params::None, &key, &data, &[]).unwrap(), right, "{}", form.full);
                let splits = dice.splits(data.len(), 5);
                assert_eq!(sign(form.full, &Params::None, &key, &data, &splits).unwrap(), right, "{} at {splits:?}", form.full);
                verify(form.full, &Params::None, &key, &data, &splits, &right).unwrap();
                let short = Params::MacLength(5);
                assert_eq!(sign(form.general, &short, &key, &data, &[]).unwrap(), right[..5]);
                verify(form.general, &short, &key, &data, &[], &right[..5]).unwrap();
            }
        }
    }

    #[test]
    fn a_wrong_mac_a_wrong_length_and_a_wrong_parameter_are_told_apart() {
        let key = secret_key(KeyType::SHA256_HMAC, b"key");
        let kind = MechanismType::SHA256_HMAC;
        let mut right = sign(kind, &Params::None, &key, b"data", &[]).unwrap();
        let code = |signature: &[u8]| verify(kind, &Params::None, &key, b"data", &[], signature).unwrap_err().code();
        assert_eq!(code(&right[..31]), Code::SignatureLenRange);
        assert_eq!(code(&[]), Code::SignatureLenRange);
        right[31] ^= 1;
        assert_eq!(code(&right), Code::SignatureInvalid);
        for len in [0, 33, u64::MAX] {
            let refused = sign(MechanismType::SHA256_HMAC_GENERAL, &Params::MacLength(len), &key, b"data", &[]);
            assert_eq!(refused.unwrap_err().code(), Code::MechanismParamInvalid);
        }
    }
}
