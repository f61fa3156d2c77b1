//! Mechanisms that own their parameters, so that the pointers inside stay valid as long as they do.

use std::any::Any;

use cryptoki_sys::*;

/// A `CK_MECHANISM` and everything that it points to.
pub struct Mechanism {
    kind: CK_MECHANISM_TYPE,
    parameter: *mut std::ffi::c_void,
    parameter_len: usize,
    _owned: Vec<Box<dyn Any>>,
}

impl Mechanism {
    /// Without a parameter.
    pub fn plain(kind: CK_MECHANISM_TYPE) -> Self {
        Self { kind, parameter: std::ptr::null_mut(), parameter_len: 0, _owned: Vec::new() }
    }

    /// With bytes as the parameter: an IV.
    pub fn with_bytes(kind: CK_MECHANISM_TYPE, bytes: &[u8]) -> Self {
        let mut owned = Box::new(bytes.to_vec());
        Self { kind, parameter: owned.as_mut_ptr().cast(), parameter_len: bytes.len(), _owned: vec![owned] }
    }

    fn with_struct<T: 'static>(kind: CK_MECHANISM_TYPE, parameter: T, mut owned: Vec<Box<dyn Any>>) -> Self {
        let mut parameter = Box::new(parameter);
        let address = (&raw mut *parameter).cast();
        owned.push(parameter);
        Self { kind, parameter: address, parameter_len: size_of::<T>(), _owned: owned }
    }

    pub fn gcm(iv: &[u8], aad: &[u8], tag_bits: usize) -> Self {
        let (mut iv, mut aad) = (Box::new(iv.to_vec()), Box::new(aad.to_vec()));
        let parameter = CK_GCM_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: iv.len() as CK_ULONG,
            ulIvBits: (iv.len() * 8) as CK_ULONG,
            pAAD: aad.as_mut_ptr(),
            ulAADLen: aad.len() as CK_ULONG,
            ulTagBits: tag_bits as CK_ULONG,
        };
        Self::with_struct(CKM_AES_GCM, parameter, vec![iv, aad])
    }

    pub fn pss(kind: CK_MECHANISM_TYPE, hash: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, salt_len: usize) -> Self {
        Self::with_struct(kind, CK_RSA_PKCS_PSS_PARAMS { hashAlg: hash, mgf, sLen: salt_len as CK_ULONG }, Vec::new())
    }

    pub fn oaep(hash: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, label: &[u8]) -> Self {
        let mut label = Box::new(label.to_vec());
        let parameter = CK_RSA_PKCS_OAEP_PARAMS {
            hashAlg: hash,
            mgf,
            source: CKZ_DATA_SPECIFIED,
            pSourceData: if label.is_empty() { std::ptr::null_mut() } else { label.as_mut_ptr().cast() },
            ulSourceDataLen: label.len() as CK_ULONG,
        };
        Self::with_struct(CKM_RSA_PKCS_OAEP, parameter, vec![label])
    }

    /// ECDH without a key derivation function.
    pub fn ecdh(public: &[u8]) -> Self {
        let mut public = Box::new(public.to_vec());
        let parameter = CK_ECDH1_DERIVE_PARAMS {
            kdf: CKD_NULL,
            ulSharedDataLen: 0,
            pSharedData: std::ptr::null_mut(),
            ulPublicDataLen: public.len() as CK_ULONG,
            pPublicData: public.as_mut_ptr(),
        };
        Self::with_struct(CKM_ECDH1_DERIVE, parameter, vec![public])
    }

    /// The C structure; valid while `self` is.
    pub fn raw(&self) -> CK_MECHANISM {
        CK_MECHANISM { mechanism: self.kind, pParameter: self.parameter, ulParameterLen: self.parameter_len as CK_ULONG }
    }
}
