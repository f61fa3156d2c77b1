//! The mechanisms that the suite knows how to use: which key each takes, which parameter, which data.

use cryptoki_sys::*;

/// The key that a mechanism works with, or makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// None at all.
    None,
    /// `CKK_AES`.
    Aes,
    /// `CKK_DES`.
    Des,
    /// `CKK_DES2`.
    Des2,
    /// `CKK_DES3`.
    Des3,
    /// `CKK_GENERIC_SECRET`.
    Generic,
    /// `CKK_RSA`.
    Rsa,
    /// `CKK_EC` on P-256.
    Ec,
    /// `CKK_EC_EDWARDS`, Ed25519.
    Edwards,
    /// `CKK_EC_MONTGOMERY`, X25519.
    Montgomery,
    /// `CKK_DSA`.
    Dsa,
    /// `CKK_DH`.
    Dh,
    /// `CKK_ML_DSA`, ML-DSA-44.
    MlDsa,
    /// `CKK_SLH_DSA`, the fastest set to sign with.
    SlhDsa,
    /// `CKK_ML_KEM`, ML-KEM-768.
    MlKem,
    /// `CKK_CHACHA20`.
    ChaCha,
}

/// The parameter that a mechanism takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// None.
    None,
    /// So many bytes.
    Iv(usize),
    /// `CK_AES_CTR_PARAMS`.
    Ctr,
    /// `CK_GCM_PARAMS`.
    Gcm,
    /// `CK_CCM_PARAMS`.
    Ccm,
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep,
    /// `CK_RSA_PKCS_PSS_PARAMS`: hash, mask generation function, bytes of salt.
    Pss(CK_MECHANISM_TYPE, CK_RSA_PKCS_MGF_TYPE, CK_ULONG),
    /// `CK_MAC_GENERAL_PARAMS`: bytes of the shortened MAC.
    Length(CK_ULONG),
    /// `CK_KEY_DERIVATION_STRING_DATA`.
    Data,
    /// The structure of `*_CBC_ENCRYPT_DATA` for blocks of so many bytes.
    CbcData(usize),
    /// The other side's public key: plain bytes for Diffie-Hellman, `CK_ECDH1_DERIVE_PARAMS` for curves.
    Peer,
    /// The handle of another key.
    OtherKey,
    /// `CK_RSA_AES_KEY_WRAP_PARAMS`.
    WrapOaep,
    /// `CK_HASH_SIGN_ADDITIONAL_CONTEXT` for SHA-256 without a context.
    HashContext,
    /// `CK_SALSA20_CHACHA20_POLY1305_PARAMS`.
    ChaChaPoly,
}

/// The data that a mechanism takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Any number of bytes.
    Any,
    /// Whole blocks of so many bytes.
    Blocks(usize),
    /// So many bytes (or up to so many, of which these are the usual ones).
    Exactly(usize),
}

/// One mechanism.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its number.
    pub kind: CK_MECHANISM_TYPE,
    /// The key that it takes or makes.
    pub key: Key,
    /// Its parameter.
    pub parameter: Parameter,
    /// Its data.
    pub input: Input,
    /// Whether the standard has it for data in parts.
    pub parts: bool,
}

/// Hands every row to a macro: `stream` for those that take data in parts, `whole` for the others.
macro_rules! known_mechanisms {
    ($then:ident) => {
        $then! {
            stream {
                CKM_MD5: None, None, Any, "2.40 Historical Mechanisms, MD5";
                CKM_MD5_HMAC: Generic, None, Any, "2.40 Historical Mechanisms, MD5";
                CKM_MD5_HMAC_GENERAL: Generic, Length(8), Any, "2.40 Historical Mechanisms, MD5";
                CKM_SHA_1: None, None, Any, "3.1, 6.20 SHA-1";
                CKM_SHA_1_HMAC: Generic, None, Any, "3.1, 6.20 SHA-1";
                CKM_SHA_1_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.20 SHA-1";
                CKM_SHA224: None, None, Any, "3.1, 6.21 SHA-224";
                CKM_SHA224_HMAC: Generic, None, Any, "3.1, 6.21 SHA-224";
                CKM_SHA224_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.21 SHA-224";
                CKM_SHA256: None, None, Any, "3.1, 6.22 SHA-256";
                CKM_SHA256_HMAC: Generic, None, Any, "3.1, 6.22 SHA-256";
                CKM_SHA256_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.22 SHA-256";
                CKM_SHA384: None, None, Any, "3.1, 6.23 SHA-384";
                CKM_SHA384_HMAC: Generic, None, Any, "3.1, 6.23 SHA-384";
                CKM_SHA384_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.23 SHA-384";
                CKM_SHA512: None, None, Any, "3.1, 6.24 SHA-512";
                CKM_SHA512_HMAC: Generic, None, Any, "3.1, 6.24 SHA-512";
                CKM_SHA512_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.24 SHA-512";
                CKM_SHA512_224: None, None, Any, "3.1, 6.25 SHA-512/224";
                CKM_SHA512_224_HMAC: Generic, None, Any, "3.1, 6.25 SHA-512/224";
                CKM_SHA512_224_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.25 SHA-512/224";
                CKM_SHA512_256: None, None, Any, "3.1, 6.26 SHA-512/256";
                CKM_SHA512_256_HMAC: Generic, None, Any, "3.1, 6.26 SHA-512/256";
                CKM_SHA512_256_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.26 SHA-512/256";
                CKM_SHA3_224: None, None, Any, "3.1, 6.28 SHA3-224";
                CKM_SHA3_224_HMAC: Generic, None, Any, "3.1, 6.28 SHA3-224";
                CKM_SHA3_224_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.28 SHA3-224";
                CKM_SHA3_256: None, None, Any, "3.1, 6.29 SHA3-256";
                CKM_SHA3_256_HMAC: Generic, None, Any, "3.1, 6.29 SHA3-256";
                CKM_SHA3_256_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.29 SHA3-256";
                CKM_SHA3_384: None, None, Any, "3.1, 6.30 SHA3-384";
                CKM_SHA3_384_HMAC: Generic, None, Any, "3.1, 6.30 SHA3-384";
                CKM_SHA3_384_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.30 SHA3-384";
                CKM_SHA3_512: None, None, Any, "3.1, 6.31 SHA3-512";
                CKM_SHA3_512_HMAC: Generic, None, Any, "3.1, 6.31 SHA3-512";
                CKM_SHA3_512_HMAC_GENERAL: Generic, Length(8), Any, "3.1, 6.31 SHA3-512";
                CKM_MD5_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA1_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA1_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA_1, CKG_MGF1_SHA1, 20), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA1: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA1: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_SHA224_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA224_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA224, CKG_MGF1_SHA224, 28), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA224: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA224: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_SHA256_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA256_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA256, CKG_MGF1_SHA256, 32), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA256: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA256: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_SHA384_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA384_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA384, CKG_MGF1_SHA384, 48), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA384: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA384: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_SHA512_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA512_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA512, CKG_MGF1_SHA512, 64), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA512: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA512: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_SHA3_224_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA3_224_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA3_224, CKG_MGF1_SHA3_224, 28), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA3_224: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA3_224: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_SHA3_256_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA3_256_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA3_256, CKG_MGF1_SHA3_256, 32), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA3_256: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA3_256: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_SHA3_384_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA3_384_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA3_384, CKG_MGF1_SHA3_384, 48), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA3_384: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA3_384: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_SHA3_512_RSA_PKCS: Rsa, None, Any, "3.2, 6.1.14 PKCS #1 v1.5 RSA signature with hashing";
                CKM_SHA3_512_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA3_512, CKG_MGF1_SHA3_512, 64), Any, "3.2, 6.1.15 PKCS #1 RSA PSS signature with hashing";
                CKM_DSA_SHA3_512: Dsa, None, Any, "3.1, 6.2.6 DSA with hashes";
                CKM_ECDSA_SHA3_512: Ec, None, Any, "3.1, 6.3.13 ECDSA with hashes";
                CKM_AES_ECB: Aes, None, Blocks(16), "3.1, 6.10 AES";
                CKM_AES_CBC: Aes, Iv(16), Blocks(16), "3.1, 6.10 AES";
                CKM_AES_CBC_PAD: Aes, Iv(16), Any, "3.1, 6.10 AES";
                CKM_DES3_ECB: Des3, None, Blocks(8), "3.1, 6.18 double and triple-length DES";
                CKM_DES3_CBC: Des3, Iv(8), Blocks(8), "3.1, 6.18 double and triple-length DES";
                CKM_DES3_CBC_PAD: Des3, Iv(8), Any, "3.1, 6.18 double and triple-length DES";
                CKM_DES_ECB: Des, None, Blocks(8), "2.40 Historical Mechanisms, DES";
                CKM_DES_CBC: Des, Iv(8), Blocks(8), "2.40 Historical Mechanisms, DES";
                CKM_DES_CBC_PAD: Des, Iv(8), Any, "2.40 Historical Mechanisms, DES";
                CKM_AES_CTR: Aes, Ctr, Any, "3.1, 6.11 AES with counter";
                CKM_AES_GCM: Aes, Gcm, Any, "3.1, 6.13 AES-GCM";
                CKM_AES_CCM: Aes, Ccm, Any, "3.1, 6.13 AES-CCM";
                CKM_AES_OFB: Aes, Iv(16), Any, "3.1, 6.10 AES";
                CKM_AES_CFB8: Aes, Iv(16), Any, "3.1, 6.10 AES";
                CKM_AES_CFB128: Aes, Iv(16), Any, "3.1, 6.10 AES";
                CKM_AES_CMAC: Aes, None, Any, "3.1, 6.14 AES-CMAC";
                CKM_AES_CMAC_GENERAL: Aes, Length(8), Any, "3.1, 6.14 AES-CMAC";
                CKM_DES3_CMAC: Des3, None, Any, "3.1, 6.19 triple-length DES-CMAC";
                CKM_DES3_CMAC_GENERAL: Des3, Length(4), Any, "3.1, 6.19 triple-length DES-CMAC";
                CKM_HASH_ML_DSA_SHA224: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHA256: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHA384: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHA512: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHA3_224: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHA3_256: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHA3_384: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHA3_512: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHAKE128: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA_SHAKE256: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_SLH_DSA_SHA224: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHA256: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHA384: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHA512: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHA3_224: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHA3_256: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHA3_384: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHA3_512: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHAKE128: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA_SHAKE256: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_CHACHA20_POLY1305: ChaCha, ChaChaPoly, Any, "3.1, 6.61 ChaCha20/Poly1305";
            }
            whole {
                CKM_AES_GMAC: Aes, Iv(12), Any, "3.1, 6.13 AES-GMAC";
                CKM_AES_KEY_WRAP: Aes, None, Blocks(8), "3.1, 6.16 AES key wrap";
                CKM_AES_KEY_WRAP_PAD: Aes, None, Blocks(8), "3.1, 6.16 AES key wrap";
                CKM_AES_KEY_WRAP_KWP: Aes, None, Blocks(8), "3.1, 6.16 AES key wrap";
                CKM_RSA_PKCS: Rsa, None, Exactly(32), "3.1, 6.1.6 PKCS #1 v1.5 RSA";
                CKM_RSA_X_509: Rsa, None, Exactly(256), "3.1, 6.1.12 X.509 (raw) RSA";
                CKM_RSA_PKCS_OAEP: Rsa, Oaep, Exactly(32), "3.1, 6.1.8 PKCS #1 RSA OAEP";
                CKM_RSA_PKCS_PSS: Rsa, Pss(CKM_SHA_1, CKG_MGF1_SHA1, 20), Exactly(20), "3.1, 6.1.10 PKCS #1 RSA PSS";
                CKM_RSA_AES_KEY_WRAP: Rsa, WrapOaep, Any, "3.1, 6.1 RSA AES key wrap";
                CKM_ECDSA: Ec, None, Exactly(32), "3.1, 6.3.12 ECDSA without hashing";
                CKM_EDDSA: Edwards, None, Any, "3.1, 6.3.14 EdDSA";
                CKM_DSA: Dsa, None, Exactly(20), "3.1, 6.2.5 DSA without hashing";
                CKM_ECDH1_DERIVE: Ec, Peer, Any, "3.1, 6.3.17 elliptic curve Diffie-Hellman key derivation";
                CKM_ECDH1_COFACTOR_DERIVE: Ec, Peer, Any, "3.1, 6.3.18 elliptic curve Diffie-Hellman with cofactor";
                CKM_DH_PKCS_DERIVE: Dh, Peer, Any, "3.1, 6.4.6 PKCS #3 Diffie-Hellman key derivation";
                CKM_SHA1_KEY_DERIVATION: Generic, None, Any, "3.1, 6.20 SHA-1";
                CKM_SHA224_KEY_DERIVATION: Generic, None, Any, "3.1, 6.21 SHA-224";
                CKM_SHA256_KEY_DERIVATION: Generic, None, Any, "3.1, 6.22 SHA-256";
                CKM_SHA384_KEY_DERIVATION: Generic, None, Any, "3.1, 6.23 SHA-384";
                CKM_SHA512_KEY_DERIVATION: Generic, None, Any, "3.1, 6.24 SHA-512";
                CKM_SHA512_224_KEY_DERIVATION: Generic, None, Any, "3.1, 6.25 SHA-512/224";
                CKM_SHA512_256_KEY_DERIVATION: Generic, None, Any, "3.1, 6.26 SHA-512/256";
                CKM_SHA3_224_KEY_DERIVATION: Generic, None, Any, "3.1, 6.28 SHA3-224";
                CKM_SHA3_256_KEY_DERIVATION: Generic, None, Any, "3.1, 6.29 SHA3-256";
                CKM_SHA3_384_KEY_DERIVATION: Generic, None, Any, "3.1, 6.30 SHA3-384";
                CKM_SHA3_512_KEY_DERIVATION: Generic, None, Any, "3.1, 6.31 SHA3-512";
                CKM_CONCATENATE_BASE_AND_DATA: Generic, Data, Any, "3.1, 6.43 miscellaneous simple key derivation mechanisms";
                CKM_CONCATENATE_DATA_AND_BASE: Generic, Data, Any, "3.1, 6.43 miscellaneous simple key derivation mechanisms";
                CKM_CONCATENATE_BASE_AND_KEY: Generic, OtherKey, Any, "3.1, 6.43 miscellaneous simple key derivation mechanisms";
                CKM_XOR_BASE_AND_DATA: Generic, Data, Any, "3.1, 6.43 miscellaneous simple key derivation mechanisms";
                CKM_AES_ECB_ENCRYPT_DATA: Aes, Data, Any, "3.1, 6.17 key derivation by data encryption";
                CKM_AES_CBC_ENCRYPT_DATA: Aes, CbcData(16), Any, "3.1, 6.17 key derivation by data encryption";
                CKM_DES3_ECB_ENCRYPT_DATA: Des3, Data, Any, "3.1, 6.17 key derivation by data encryption";
                CKM_DES3_CBC_ENCRYPT_DATA: Des3, CbcData(8), Any, "3.1, 6.17 key derivation by data encryption";
                CKM_DES_ECB_ENCRYPT_DATA: Des, Data, Any, "3.1, 6.17 key derivation by data encryption";
                CKM_DES_CBC_ENCRYPT_DATA: Des, CbcData(8), Any, "3.1, 6.17 key derivation by data encryption";
                CKM_AES_KEY_GEN: Aes, None, Any, "3.1, 5.18.1 C_GenerateKey";
                CKM_DES_KEY_GEN: Des, None, Any, "3.1, 5.18.1 C_GenerateKey";
                CKM_DES2_KEY_GEN: Des2, None, Any, "3.1, 5.18.1 C_GenerateKey";
                CKM_DES3_KEY_GEN: Des3, None, Any, "3.1, 5.18.1 C_GenerateKey";
                CKM_GENERIC_SECRET_KEY_GEN: Generic, None, Any, "3.1, 5.18.1 C_GenerateKey";
                CKM_SHA_1_KEY_GEN: Generic, None, Any, "3.1, 6.20 SHA-1";
                CKM_SHA224_KEY_GEN: Generic, None, Any, "3.1, 6.21 SHA-224";
                CKM_SHA256_KEY_GEN: Generic, None, Any, "3.1, 6.22 SHA-256";
                CKM_SHA384_KEY_GEN: Generic, None, Any, "3.1, 6.23 SHA-384";
                CKM_SHA512_KEY_GEN: Generic, None, Any, "3.1, 6.24 SHA-512";
                CKM_SHA512_224_KEY_GEN: Generic, None, Any, "3.1, 6.25 SHA-512/224";
                CKM_SHA512_256_KEY_GEN: Generic, None, Any, "3.1, 6.26 SHA-512/256";
                CKM_SHA3_224_KEY_GEN: Generic, None, Any, "3.1, 6.28 SHA3-224";
                CKM_SHA3_256_KEY_GEN: Generic, None, Any, "3.1, 6.29 SHA3-256";
                CKM_SHA3_384_KEY_GEN: Generic, None, Any, "3.1, 6.30 SHA3-384";
                CKM_SHA3_512_KEY_GEN: Generic, None, Any, "3.1, 6.31 SHA3-512";
                CKM_RSA_PKCS_KEY_PAIR_GEN: Rsa, None, Any, "3.1, 5.18.2 C_GenerateKeyPair";
                CKM_EC_KEY_PAIR_GEN: Ec, None, Any, "3.1, 5.18.2 C_GenerateKeyPair";
                CKM_EC_EDWARDS_KEY_PAIR_GEN: Edwards, None, Any, "3.1, 5.18.2 C_GenerateKeyPair";
                CKM_EC_MONTGOMERY_KEY_PAIR_GEN: Montgomery, None, Any, "3.1, 5.18.2 C_GenerateKeyPair";
                CKM_DSA_KEY_PAIR_GEN: Dsa, None, Any, "3.1, 5.18.2 C_GenerateKeyPair";
                CKM_DH_PKCS_KEY_PAIR_GEN: Dh, None, Any, "3.1, 5.18.2 C_GenerateKeyPair";
                CKM_ML_DSA: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_HASH_ML_DSA: MlDsa, HashContext, Exactly(32), "3.2, 6.67 ML-DSA";
                CKM_SLH_DSA: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_HASH_SLH_DSA: SlhDsa, HashContext, Exactly(32), "3.2, 6.69 SLH-DSA";
                CKM_ML_KEM: MlKem, None, Any, "3.2, 6.68 ML-KEM";
                CKM_ML_KEM_KEY_PAIR_GEN: MlKem, None, Any, "3.2, 6.68 ML-KEM";
                CKM_ML_DSA_KEY_PAIR_GEN: MlDsa, None, Any, "3.2, 6.67 ML-DSA";
                CKM_SLH_DSA_KEY_PAIR_GEN: SlhDsa, None, Any, "3.2, 6.69 SLH-DSA";
                CKM_CHACHA20_KEY_GEN: ChaCha, None, Any, "3.1, 6.58 ChaCha20";
            }
        }
    };
}
pub(crate) use known_mechanisms;

macro_rules! rows {
    (
        stream { $($stream:ident: $stream_key:ident, $stream_parameter:expr, $stream_input:expr, $stream_section:literal;)* }
        whole { $($whole:ident: $whole_key:ident, $whole_parameter:expr, $whole_input:expr, $whole_section:literal;)* }
    ) => {{
        use Input::*;
        use Parameter::*;
        &[
            $(Known {
                kind: $stream as CK_MECHANISM_TYPE,
                key: Key::$stream_key,
                parameter: $stream_parameter,
                input: $stream_input,
                parts: true,
            },)*
            $(Known {
                kind: $whole as CK_MECHANISM_TYPE,
                key: Key::$whole_key,
                parameter: $whole_parameter,
                input: $whole_input,
                parts: false,
            },)*
        ]
    }};
}

/// Every mechanism that the suite knows.
pub const KNOWN: &[Known] = known_mechanisms!(rows);

/// The row of a mechanism.
pub fn known(kind: CK_MECHANISM_TYPE) -> Option<&'static Known> {
    KNOWN.iter().find(|row| row.kind == kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn mechanisms_come_once_and_have_names() {
        let kinds: BTreeSet<CK_MECHANISM_TYPE> = KNOWN.iter().map(|row| row.kind).collect();
        assert_eq!(kinds.len(), KNOWN.len());
        assert!(KNOWN.iter().all(|row| crate::names::mechanism(row.kind).is_some()));
    }
}
