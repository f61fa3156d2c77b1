//! Mechanism parameters as checked, owned values. `ffi::params` makes them from C structures by [`ParamKind`].

use crate::ck::{Kdf, MechanismType, Mgf};
use crate::object::ObjectId;

/// A mechanism with its parameter, ready to be sent anywhere.
#[derive(Clone, Debug)]
pub struct Mechanism {
    /// `CKM_*`.
    pub kind: MechanismType,
    /// Its parameter.
    pub params: Params,
}

/// OAEP: hash, mask generation function, label (`CKZ_DATA_SPECIFIED`, may be empty).
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Oaep {
    pub hash: MechanismType,
    pub mgf: Mgf,
    pub label: Vec<u8>,
}

/// The parameter of one use of a mechanism.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Params {
    None,
    /// Initialisation vector; its length is checked by the row's [`ParamKind`].
    Iv(Vec<u8>),
    /// `CK_GCM_PARAMS`: IV 1…2^32-1 bytes in principle, bounded by `limits`; tag 0…128 bits, multiple of 8 checked by the family.
    Gcm {
        iv: Vec<u8>,
        aad: Vec<u8>,
        tag_bits: u64,
    },
    /// `CK_CCM_PARAMS`.
    Ccm {
        data_len: u64,
        nonce: Vec<u8>,
        aad: Vec<u8>,
        mac_len: u64,
    },
    /// `CK_AES_CTR_PARAMS`: the counter is the low `counter_bits` (1…128) of the block, big-endian.
    Ctr {
        counter_bits: u64,
        block: [u8; 16],
    },
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep(Oaep),
    /// `CK_RSA_PKCS_PSS_PARAMS`; salt length in bytes.
    Pss {
        hash: MechanismType,
        mgf: Mgf,
        salt_len: u64,
    },
    /// `CK_ECDH1_DERIVE_PARAMS`: public point raw or as DER OCTET STRING.
    Ecdh1 {
        kdf: Kdf,
        shared_data: Vec<u8>,
        public_data: Vec<u8>,
    },
    /// `CK_MAC_GENERAL_PARAMS`: MAC length in bytes.
    MacLength(u64),
    /// A plain byte string: `CK_KEY_DERIVATION_STRING_DATA`, a Diffie–Hellman public value (big-endian).
    Data(Vec<u8>),
    /// `CK_AES_CBC_ENCRYPT_DATA_PARAMS` and its DES twin (IV of 16 or 8 bytes).
    CbcEncryptData {
        iv: Vec<u8>,
        data: Vec<u8>,
    },
    /// A second key by its session handle, as it came from the caller; the session resolves it to `OtherKey`.
    OtherHandle(u64),
    /// A second key.
    OtherKey(ObjectId),
    /// `CK_RSA_AES_KEY_WRAP_PARAMS`.
    RsaAesKeyWrap {
        aes_bits: u64,
        oaep: Oaep,
    },
    /// `CK_EDDSA_PARAMS`.
    Eddsa {
        prehash: bool,
        context: Vec<u8>,
    },
}

/// Which C structure a mechanism's parameter is, and how it may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// NULL and length 0. (SoftHSM ignores a parameter where none belongs; so do we, under no flag: clients rely on it.)
    None,
    /// Exactly so many bytes → `Params::Iv`.
    Iv(usize),
    /// Absent → `Params::None`; else exactly so many bytes → `Params::Iv` (key wrap's optional IV).
    OptionalIv(usize),
    /// `CK_GCM_PARAMS`.
    Gcm,
    /// `CK_CCM_PARAMS`.
    Ccm,
    /// `CK_AES_CTR_PARAMS`.
    Ctr,
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep,
    /// `CK_RSA_PKCS_PSS_PARAMS`.
    Pss,
    /// `CK_ECDH1_DERIVE_PARAMS`.
    Ecdh1,
    /// `CK_MAC_GENERAL_PARAMS`.
    MacLength,
    /// `CK_KEY_DERIVATION_STRING_DATA` → `Params::Data`.
    StringData,
    /// The parameter's own bytes → `Params::Data` (`CKM_DH_PKCS_DERIVE`).
    RawData,
    /// `CK_*_CBC_ENCRYPT_DATA_PARAMS` with an IV of so many bytes.
    CbcEncryptData(usize),
    /// `CK_OBJECT_HANDLE` → `Params::OtherHandle`.
    OtherKey,
    /// `CK_RSA_AES_KEY_WRAP_PARAMS`.
    RsaAesKeyWrap,
    /// Absent → `Params::None`; else `CK_EDDSA_PARAMS`.
    OptionalEddsa,
}
