//! Parameters of block ciphers: IV, counter, AEAD, derivation by encryption.

use cryptoki_sys::{
    CK_AES_CBC_ENCRYPT_DATA_PARAMS, CK_AES_CTR_PARAMS, CK_CCM_PARAMS, CK_DES_CBC_ENCRYPT_DATA_PARAMS, CK_GCM_PARAMS, CK_ULONG,
};

use super::{Parameter, invalid, pointed};
use crate::error::Result;
use crate::mechanism::Params;

/// Exactly `len` bytes.
///
/// # Safety
/// The caller's promise.
pub unsafe fn iv(parameter: Parameter, len: usize) -> Result<Params> {
    if parameter.len != len as CK_ULONG {
        return Err(invalid(format!("it is an IV of {len} bytes, not {}", parameter.len)));
    }
    // SAFETY: the caller's promise.
    Ok(Params::Iv(unsafe { parameter.bytes() }?))
}

/// `CK_GCM_PARAMS`. `ulIvBits` says nothing: the standard tells not to use it (PKCS#11 3.0, 6.13.3), and graphene leaves in it whatever was there.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn gcm(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; numbers and data pointers.
    let raw = unsafe { parameter.structure::<CK_GCM_PARAMS>() }?;
    // SAFETY: the caller's promise.
    let (iv, aad) = unsafe { (pointed(raw.pIv, raw.ulIvLen, "pIv")?, pointed(raw.pAAD, raw.ulAADLen, "pAAD")?) };
    Ok(Params::Gcm { iv, aad, tag_bits: raw.ulTagBits })
}

/// `CK_CCM_PARAMS`.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn ccm(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; numbers and data pointers.
    let raw = unsafe { parameter.structure::<CK_CCM_PARAMS>() }?;
    // SAFETY: the caller's promise.
    let (nonce, aad) = unsafe { (pointed(raw.pNonce, raw.ulNonceLen, "pNonce")?, pointed(raw.pAAD, raw.ulAADLen, "pAAD")?) };
    Ok(Params::Ccm { data_len: raw.ulDataLen, nonce, aad, mac_len: raw.ulMACLen })
}

/// `CK_AES_CTR_PARAMS`.
///
/// # Safety
/// The caller's promise.
pub unsafe fn ctr(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; numbers.
    let raw = unsafe { parameter.structure::<CK_AES_CTR_PARAMS>() }?;
    if !(1..=128).contains(&raw.ulCounterBits) {
        return Err(invalid(format!("ulCounterBits is {}, not 1 to 128", raw.ulCounterBits)));
    }
    Ok(Params::Ctr { counter_bits: raw.ulCounterBits, block: raw.cb })
}

/// `CK_AES_CBC_ENCRYPT_DATA_PARAMS`.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn aes_cbc_encrypt_data(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; numbers and a data pointer.
    let raw = unsafe { parameter.structure::<CK_AES_CBC_ENCRYPT_DATA_PARAMS>() }?;
    // SAFETY: the caller's promise.
    let data = unsafe { pointed(raw.pData, raw.length, "pData") }?;
    Ok(Params::CbcEncryptData { iv: raw.iv.to_vec(), data })
}

/// `CK_DES_CBC_ENCRYPT_DATA_PARAMS`.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn des_cbc_encrypt_data(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; numbers and a data pointer.
    let raw = unsafe { parameter.structure::<CK_DES_CBC_ENCRYPT_DATA_PARAMS>() }?;
    // SAFETY: the caller's promise.
    let data = unsafe { pointed(raw.pData, raw.length, "pData") }?;
    Ok(Params::CbcEncryptData { iv: raw.iv.to_vec(), data })
}
