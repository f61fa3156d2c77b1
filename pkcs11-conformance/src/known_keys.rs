//! Keys, parameters and data for the mechanisms of the suite's table, all of them from known numbers where that is possible.

use cryptoki_sys::*;

use crate::case::Stop;
use crate::context::Session;
use crate::crypt::{mechanism_name, must};
use crate::known::{Input, Key, Known, Parameter};
use crate::numbers::{self, hex};
use crate::sample_keys::{Curve, ED25519, P256, Pair, X25519, known_secret, uses};
use crate::template::{Mechanism, Template};

/// Everything that a key for data may be used for.
const ALL_USES: [CK_ATTRIBUTE_TYPE; 7] = [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP, CKA_DERIVE];
const RSA_PUBLIC_USES: [CK_ATTRIBUTE_TYPE; 4] = [CKA_ENCRYPT, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP];
const RSA_PRIVATE_USES: [CK_ATTRIBUTE_TYPE; 4] = [CKA_DECRYPT, CKA_SIGN, CKA_SIGN_RECOVER, CKA_UNWRAP];

impl Key {
    /// `CKA_KEY_TYPE`; `None` for no key.
    pub fn key_type(self) -> Option<CK_KEY_TYPE> {
        Some(match self {
            Key::None => return None,
            Key::Aes => CKK_AES,
            Key::Des => CKK_DES,
            Key::Des2 => CKK_DES2,
            Key::Des3 => CKK_DES3,
            Key::Generic => CKK_GENERIC_SECRET,
            Key::Rsa => CKK_RSA,
            Key::Ec => CKK_EC,
            Key::Edwards => CKK_EC_EDWARDS,
            Key::Montgomery => CKK_EC_MONTGOMERY,
            Key::Dsa => CKK_DSA,
            Key::Dh => CKK_DH,
            Key::MlDsa => CKK_ML_DSA,
            Key::SlhDsa => CKK_SLH_DSA,
            Key::MlKem => CKK_ML_KEM,
            Key::ChaCha => CKK_CHACHA20,
        })
    }

    /// Bytes of a secret key's value; `None` for key pairs and for no key.
    pub fn secret_len(self) -> Option<usize> {
        match self {
            Key::Aes | Key::ChaCha => Some(32),
            Key::Des => Some(8),
            Key::Des2 => Some(16),
            Key::Des3 => Some(24),
            Key::Generic => Some(64),
            _ => None,
        }
    }

    fn curve(self) -> Option<Curve> {
        match self {
            Key::Ec => Some(P256),
            Key::Edwards => Some(ED25519),
            Key::Montgomery => Some(X25519),
            _ => None,
        }
    }
}

/// Bytes of odd parity that are no weak DES key, and as good as any for other ciphers.
pub fn key_bytes(len: usize) -> Vec<u8> {
    const ODD: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    let turned = |at: usize| ODD[(at + at / 8) % 8];
    (0..len).map(turned).collect()
}

/// Plain data of a length.
pub fn data_of(len: usize) -> Vec<u8> {
    (0..len).map(|at| at as u8).collect()
}

impl Known {
    /// Data that the mechanism takes. A raw RSA block begins with zero, so that it is less than the modulus.
    pub fn data(&self) -> Vec<u8> {
        data_of(match self.input {
            Input::Any => 37,
            Input::Blocks(block) => 4 * block,
            Input::Exactly(len) => len,
        })
    }
}

impl Session<'_> {
    /// The suite's RSA-2048 key pair for every use.
    pub fn known_rsa(&self) -> Result<Pair, Stop> {
        let public = uses(&RSA_PUBLIC_USES)
            .ulong(CKA_CLASS, CKO_PUBLIC_KEY)
            .ulong(CKA_KEY_TYPE, CKK_RSA)
            .bytes(CKA_MODULUS, hex(numbers::RSA_MODULUS)?)
            .bytes(CKA_PUBLIC_EXPONENT, hex(numbers::RSA_PUBLIC_EXPONENT)?);
        let public = must(self.create(public), "C_CreateObject of an RSA public key")?;
        let private = must(self.create(rsa_private(&RSA_PRIVATE_USES)?), "C_CreateObject of an RSA private key")?;
        Ok(Pair { public, private })
    }

    /// Key pair templates for a kind of key, without uses: public, private.
    pub fn pair_templates(&self, key: Key) -> Result<(Template, Template), Stop> {
        let (public, private) = (uses(&[]), uses(&[]));
        if let Some(curve) = key.curve() {
            return Ok((public.bytes(CKA_EC_PARAMS, curve.oid), private));
        }
        Ok(match key {
            Key::Rsa => (public.ulong(CKA_MODULUS_BITS, 2048).bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]), private),
            Key::Dsa => {
                let public = public.bytes(CKA_PRIME, hex(numbers::DSA_PRIME)?);
                (public.bytes(CKA_SUBPRIME, hex(numbers::DSA_SUBPRIME)?).bytes(CKA_BASE, hex(numbers::DSA_BASE)?), private)
            }
            Key::MlDsa => (public.ulong(CKA_PARAMETER_SET, CKP_ML_DSA_44), private),
            Key::SlhDsa => (public.ulong(CKA_PARAMETER_SET, CKP_SLH_DSA_SHA2_128F), private),
            Key::MlKem => (public.ulong(CKA_PARAMETER_SET, CKP_ML_KEM_768), private),
            Key::Dh => (public.bytes(CKA_PRIME, hex(numbers::DH_PRIME)?).bytes(CKA_BASE, [2]), private),
            _ => (public, private),
        })
    }

    /// Keys of a kind for everything that they can be used for; both handles are the same for a secret key.
    pub fn keys(&self, key: Key) -> Result<Pair, Stop> {
        if let (Some(len), Some(key_type)) = (key.secret_len(), key.key_type()) {
            let made = self.create(known_secret(key_type, &key_bytes(len), &ALL_USES));
            let secret = must(made, &format!("C_CreateObject of a secret key {key:?}"))?;
            return Ok(Pair { public: secret, private: secret });
        }
        let (public, private) = self.pair_templates(key)?;
        let (kind, public, private) = match key {
            Key::None => return Ok(Pair { public: 0, private: 0 }),
            Key::Rsa => return self.known_rsa(),
            Key::Ec => (CKM_EC_KEY_PAIR_GEN, public.flag(CKA_VERIFY, true), private.flag(CKA_SIGN, true).flag(CKA_DERIVE, true)),
            Key::Edwards => (CKM_EC_EDWARDS_KEY_PAIR_GEN, public.flag(CKA_VERIFY, true), private.flag(CKA_SIGN, true)),
            Key::Montgomery => (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, public, private.flag(CKA_DERIVE, true)),
            Key::Dsa => (CKM_DSA_KEY_PAIR_GEN, public.flag(CKA_VERIFY, true), private.flag(CKA_SIGN, true)),
            Key::MlDsa => (CKM_ML_DSA_KEY_PAIR_GEN, public.flag(CKA_VERIFY, true), private.flag(CKA_SIGN, true)),
            Key::SlhDsa => (CKM_SLH_DSA_KEY_PAIR_GEN, public.flag(CKA_VERIFY, true), private.flag(CKA_SIGN, true)),
            Key::MlKem => (CKM_ML_KEM_KEY_PAIR_GEN, public.flag(CKA_ENCAPSULATE, true), private.flag(CKA_DECAPSULATE, true)),
            _ => (CKM_DH_PKCS_KEY_PAIR_GEN, public, private.flag(CKA_DERIVE, true)),
        };
        self.need(kind)?;
        let made = self.generate_pair(&Mechanism::new(kind), &public, &private);
        let (public, private) = must(made, &format!("C_GenerateKeyPair by {}", mechanism_name(kind)))?;
        Ok(Pair { public, private })
    }

    /// The mechanism with a good parameter, for data of a length; `peer` is the other side's public key, or the other secret.
    pub fn sample(&self, row: &Known, data_len: usize, peer: Option<CK_OBJECT_HANDLE>) -> Result<Mechanism, Stop> {
        let kind = row.kind;
        let peer = || peer.ok_or_else(|| Stop::Skip(format!("the suite has no other side for {}", mechanism_name(kind))));
        Ok(match row.parameter {
            Parameter::None => Mechanism::new(kind),
            Parameter::Iv(len) => Mechanism::with(kind, &vec![7; len]),
            Parameter::Ctr => Mechanism::ctr(128, [7; 16]),
            Parameter::Gcm => Mechanism::gcm(&[7; 12], b"beside", 128),
            Parameter::Ccm => Mechanism::ccm(data_len, &[7; 12], b"beside", 16),
            Parameter::Oaep => sha1_oaep(),
            Parameter::Pss(hash, mgf, salt) => Mechanism::pss(kind, hash, mgf, salt),
            Parameter::Length(len) => Mechanism::number(kind, len),
            Parameter::Data => Mechanism::string_data(kind, &data_of(32)),
            Parameter::CbcData(8) => Mechanism::des_cbc_data(kind, [7; 8], &data_of(32)),
            Parameter::CbcData(_) => Mechanism::aes_cbc_data([7; 16], &data_of(32)),
            Parameter::Peer if row.key == Key::Dh => {
                Mechanism::with(kind, &must(self.attribute(peer()?, CKA_VALUE), "reading CKA_VALUE of a public key")?)
            }
            Parameter::Peer => Mechanism::ecdh(kind, &self.point(peer()?)?),
            Parameter::OtherKey => Mechanism::number(kind, peer()?),
            Parameter::HashContext => Mechanism::hash_context(kind, CKM_SHA256, b""),
            Parameter::ChaChaPoly => {
                let key = self.create(known_secret(CKK_CHACHA20, &key_bytes(32), &[CKA_ENCRYPT]));
                let unit = self.chacha_unit(must(key, "C_CreateObject of a ChaCha20 key")?);
                Mechanism::chacha_poly(&[7; 12], b"beside", unit)
            }
            Parameter::WrapOaep => Mechanism::rsa_aes_wrap(256, &sha1_oaep()),
        })
    }
}

/// OAEP as every module has it.
pub fn sha1_oaep() -> Mechanism {
    Mechanism::oaep(CKM_SHA_1, CKG_MGF1_SHA1, b"")
}

/// The suite's RSA private key as a template.
pub fn rsa_private(kinds: &[CK_ATTRIBUTE_TYPE]) -> Result<Template, Stop> {
    let parts = [
        (CKA_MODULUS, numbers::RSA_MODULUS),
        (CKA_PUBLIC_EXPONENT, numbers::RSA_PUBLIC_EXPONENT),
        (CKA_PRIVATE_EXPONENT, numbers::RSA_PRIVATE_EXPONENT),
        (CKA_PRIME_1, numbers::RSA_PRIME_1),
        (CKA_PRIME_2, numbers::RSA_PRIME_2),
        (CKA_EXPONENT_1, numbers::RSA_EXPONENT_1),
        (CKA_EXPONENT_2, numbers::RSA_EXPONENT_2),
        (CKA_COEFFICIENT, numbers::RSA_COEFFICIENT),
    ];
    let template = uses(kinds).ulong(CKA_CLASS, CKO_PRIVATE_KEY).ulong(CKA_KEY_TYPE, CKK_RSA);
    parts.into_iter().try_fold(template, |template, (kind, number)| Ok(template.bytes(kind, hex(number)?)))
}
