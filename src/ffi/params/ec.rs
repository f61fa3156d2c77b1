//! Parameters of mechanisms over elliptic curves.

use cryptoki_sys::{CK_ECDH1_DERIVE_PARAMS, CK_EDDSA_PARAMS};

use super::{Parameter, pointed};
use crate::ck::Kdf;
use crate::error::Result;
use crate::mechanism::Params;

/// `CK_ECDH1_DERIVE_PARAMS`.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn ecdh1(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; numbers and data pointers.
    let raw = unsafe { parameter.structure::<CK_ECDH1_DERIVE_PARAMS>() }?;
    // SAFETY: the caller's promise.
    let shared_data = unsafe { pointed(raw.pSharedData, raw.ulSharedDataLen, "pSharedData") }?;
    // SAFETY: the caller's promise.
    let public_data = unsafe { pointed(raw.pPublicData, raw.ulPublicDataLen, "pPublicData") }?;
    Ok(Params::Ecdh1 { kdf: Kdf(raw.kdf), shared_data, public_data })
}

/// `CK_EDDSA_PARAMS`.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn eddsa(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; numbers and a data pointer.
    let raw = unsafe { parameter.structure::<CK_EDDSA_PARAMS>() }?;
    // SAFETY: the caller's promise.
    let context = unsafe { pointed(raw.pContextData, raw.ulContextDataLen, "pContextData") }?;
    Ok(Params::Eddsa { prehash: raw.phFlag != 0, context })
}
