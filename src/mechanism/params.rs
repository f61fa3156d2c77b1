//! Mechanism parameters as checked, owned values. `ffi::params` makes them from C structures by [`ParamKind`].

use minicbor::{Decode, Encode};

use crate::ck::{Kdf, MechanismType, Mgf};
use crate::object::ObjectId;

/// A mechanism with its parameter, ready to be sent anywhere: field numbers are for ever.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Mechanism {
    /// `CKM_*`.
    #[n(0)]
    pub kind: MechanismType,
    /// Its parameter.
    #[n(1)]
    pub params: Params,
}

/// OAEP: hash, mask generation function, label (`CKZ_DATA_SPECIFIED`, may be empty).
#[derive(Clone, Debug, Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Oaep {
    #[n(0)]
    pub hash: MechanismType,
    #[n(1)]
    pub mgf: Mgf,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub label: Vec<u8>,
}

/// The parameter of one use of a mechanism.
#[derive(Clone, Debug, Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Params {
    #[n(0)]
    None,
    /// Initialisation vector; its length is checked by the row's [`ParamKind`].
    #[n(1)]
    Iv(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// `CK_GCM_PARAMS`: IV 1…2^32-1 bytes in principle, bounded by `limits`; tag 0…128 bits, multiple of 8 checked by the family.
    #[n(2)]
    Gcm {
        #[cbor(n(0), with = "minicbor::bytes")]
        iv: Vec<u8>,
        #[cbor(n(1), with = "minicbor::bytes")]
        aad: Vec<u8>,
        #[n(2)]
        tag_bits: u64,
    },
    /// `CK_CCM_PARAMS`.
    #[n(3)]
    Ccm {
        #[n(0)]
        data_len: u64,
        #[cbor(n(1), with = "minicbor::bytes")]
        nonce: Vec<u8>,
        #[cbor(n(2), with = "minicbor::bytes")]
        aad: Vec<u8>,
        #[n(3)]
        mac_len: u64,
    },
    /// `CK_AES_CTR_PARAMS`: the counter is the low `counter_bits` (1…128) of the block, big-endian.
    #[n(4)]
    Ctr {
        #[n(0)]
        counter_bits: u64,
        #[cbor(n(1), with = "minicbor::bytes")]
        block: [u8; 16],
    },
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    #[n(5)]
    Oaep(#[n(0)] Oaep),
    /// `CK_RSA_PKCS_PSS_PARAMS`; salt length in bytes.
    #[n(6)]
    Pss {
        #[n(0)]
        hash: MechanismType,
        #[n(1)]
        mgf: Mgf,
        #[n(2)]
        salt_len: u64,
    },
    /// `CK_ECDH1_DERIVE_PARAMS`: public point raw or as DER OCTET STRING.
    #[n(7)]
    Ecdh1 {
        #[n(0)]
        kdf: Kdf,
        #[cbor(n(1), with = "minicbor::bytes")]
        shared_data: Vec<u8>,
        #[cbor(n(2), with = "minicbor::bytes")]
        public_data: Vec<u8>,
    },
    /// `CK_MAC_GENERAL_PARAMS`: MAC length in bytes.
    #[n(8)]
    MacLength(#[n(0)] u64),
    /// A plain byte string: `CK_KEY_DERIVATION_STRING_DATA`, a Diffie–Hellman public value (big-endian).
    #[n(9)]
    Data(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// `CK_AES_CBC_ENCRYPT_DATA_PARAMS` and its DES twin (IV of 16 or 8 bytes).
    #[n(10)]
    CbcEncryptData {
        #[cbor(n(0), with = "minicbor::bytes")]
        iv: Vec<u8>,
        #[cbor(n(1), with = "minicbor::bytes")]
        data: Vec<u8>,
    },
    /// A second key by its session handle, as it came from the caller; the session resolves it to `OtherKey`.
    #[n(11)]
    OtherHandle(#[n(0)] u64),
    /// A second key.
    #[n(12)]
    OtherKey(#[n(0)] ObjectId),
    /// `CK_RSA_AES_KEY_WRAP_PARAMS`.
    #[n(13)]
    RsaAesKeyWrap {
        #[n(0)]
        aes_bits: u64,
        #[n(1)]
        oaep: Oaep,
    },
    /// `CK_EDDSA_PARAMS`.
    #[n(14)]
    Eddsa {
        #[n(0)]
        prehash: bool,
        #[cbor(n(1), with = "minicbor::bytes")]
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
