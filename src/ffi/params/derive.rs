//! Parameters of derivations and MACs: a number, a handle, a byte string.

use cryptoki_sys::{CK_KEY_DERIVATION_STRING_DATA, CK_MAC_GENERAL_PARAMS, CK_OBJECT_HANDLE};

use super::{Parameter, invalid, pointed};
use crate::error::Result;
use crate::mechanism::Params;

/// `CK_MAC_GENERAL_PARAMS`.
///
/// # Safety
/// The caller's promise.
pub unsafe fn mac_length(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; a number.
    Ok(Params::MacLength(unsafe { parameter.structure::<CK_MAC_GENERAL_PARAMS>() }?))
}

/// `CK_OBJECT_HANDLE`.
///
/// # Safety
/// The caller's promise.
pub unsafe fn other_key(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; a number.
    Ok(Params::OtherHandle(unsafe { parameter.structure::<CK_OBJECT_HANDLE>() }?))
}

/// `CK_KEY_DERIVATION_STRING_DATA`.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn string_data(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; a number and a data pointer.
    let raw = unsafe { parameter.structure::<CK_KEY_DERIVATION_STRING_DATA>() }?;
    // SAFETY: the caller's promise.
    Ok(Params::Data(unsafe { pointed(raw.pData, raw.ulLen, "pData") }?))
}

/// The parameter's own bytes, at least one.
///
/// # Safety
/// The caller's promise.
pub unsafe fn raw_data(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise.
    let data = unsafe { parameter.bytes() }?;
    if data.is_empty() {
        return Err(invalid("it is empty"));
    }
    Ok(Params::Data(data))
}
