//! Mechanisms with their parameters: C structures become checked, owned values, one file a family.
//!
//! A parameter has exactly the size of its structure, and each pointer in it is NULL with length 0 or good for its length; everything
//! else is `CKR_MECHANISM_PARAM_INVALID`. What the numbers mean (tag lengths, hashes) is the mechanism's business.

mod aes;
mod derive;
mod ec;
mod rsa;
#[cfg(test)]
mod tests;

use cryptoki_sys::{CK_MECHANISM, CK_ULONG, CK_VOID_PTR};

use super::memory::{self, Given};
use super::module::Dialect;
use crate::ck::MechanismType;
use crate::error::{Code, Error, Result, refuse};
use crate::limits::MECHANISM_PARAMETER_MAX_BYTES;
use crate::mechanism::params::ParamKind;
use crate::mechanism::{Mechanism, Params, table};

/// The mechanism that a caller names.
///
/// Errors: `ArgumentsBad` for NULL, `MechanismInvalid` for one that we do not have, `MechanismParamInvalid`.
///
/// # Safety
/// The caller's promise, for the parameter and for everything that it points to.
pub unsafe fn mechanism(pointer: *const CK_MECHANISM, dialect: Dialect) -> Result<Mechanism> {
    // SAFETY: the caller's promise; the structure is numbers and a data pointer.
    let raw = unsafe { memory::read(pointer, "pMechanism") }?;
    let kind = MechanismType(raw.mechanism);
    let row = table::find(kind).ok_or_else(|| refuse(Code::MechanismInvalid, format!("there is no mechanism {kind}")))?;
    let parameter = Parameter { start: raw.pParameter, len: raw.ulParameterLen };
    // SAFETY: the caller's promise.
    let params = unsafe { decode(row.params, parameter, dialect) };
    Ok(Mechanism { kind, params: params.map_err(|error| of_mechanism(kind, error))? })
}

/// Names the mechanism; the code stays.
fn of_mechanism(kind: MechanismType, error: Error) -> Error {
    refuse(error.code(), format!("the parameter of {kind}")).because(error)
}

/// # Safety
/// The caller's promise, for the parameter and for everything that it points to.
unsafe fn decode(kind: ParamKind, parameter: Parameter, dialect: Dialect) -> Result<Params> {
    // SAFETY: the caller's promise, handed on to each.
    unsafe {
        match kind {
            ParamKind::None => Ok(Params::None),
            ParamKind::Iv(len) => aes::iv(parameter, len),
            ParamKind::OptionalIv(_) if parameter.is_absent() => Ok(Params::None),
            ParamKind::OptionalIv(len) => aes::iv(parameter, len),
            ParamKind::Gcm => aes::gcm(parameter),
            ParamKind::Ccm => aes::ccm(parameter),
            ParamKind::Ctr => aes::ctr(parameter),
            ParamKind::CbcEncryptData(8) => aes::des_cbc_encrypt_data(parameter),
            ParamKind::CbcEncryptData(_) => aes::aes_cbc_encrypt_data(parameter),
            ParamKind::Oaep => rsa::oaep(parameter, dialect),
            ParamKind::Pss => rsa::pss(parameter),
            ParamKind::RsaAesKeyWrap => rsa::aes_key_wrap(parameter, dialect),
            ParamKind::Ecdh1 => ec::ecdh1(parameter),
            ParamKind::OptionalEddsa if parameter.is_absent() => Ok(Params::None),
            ParamKind::OptionalEddsa => ec::eddsa(parameter),
            ParamKind::MacLength => derive::mac_length(parameter),
            ParamKind::StringData => derive::string_data(parameter),
            ParamKind::RawData => derive::raw_data(parameter),
            ParamKind::OtherKey => derive::other_key(parameter),
        }
    }
}

/// `pParameter` and `ulParameterLen`.
#[derive(Clone, Copy)]
struct Parameter {
    start: CK_VOID_PTR,
    len: CK_ULONG,
}

impl Parameter {
    /// NULL and length 0.
    fn is_absent(self) -> bool {
        self.start.is_null() && self.len == 0
    }

    /// The structure that it is.
    ///
    /// # Safety
    /// The caller's promise; and every pattern of bytes is a valid `T`.
    unsafe fn structure<T: Copy>(self) -> Result<T> {
        if self.start.is_null() || self.len != size_of::<T>() as CK_ULONG {
            let (is, has) = (size_of::<T>(), self.len);
            let null = if self.start.is_null() { "NULL, " } else { "" };
            return Err(invalid(format!("it is a structure of {is} bytes, not {null}{has} bytes")));
        }
        // SAFETY: not NULL, and good for so many bytes by the caller's promise; alignment is not needed.
        Ok(unsafe { self.start.cast::<T>().read_unaligned() })
    }

    /// Its own bytes.
    ///
    /// # Safety
    /// The caller's promise.
    unsafe fn bytes(self) -> Result<Vec<u8>> {
        // SAFETY: the caller's promise.
        unsafe { pointed(self.start.cast(), self.len, "it") }
    }
}

/// Bytes that a parameter points to, copied.
///
/// # Safety
/// The caller's promise.
unsafe fn pointed(start: *const u8, len: CK_ULONG, name: &str) -> Result<Vec<u8>> {
    if len > MECHANISM_PARAMETER_MAX_BYTES as CK_ULONG {
        return Err(invalid(format!("{name} is longer than any we accept, {len} bytes")));
    }
    // SAFETY: the caller's promise; the slice is not used after this call.
    let bytes = unsafe { memory::bytes(Given(start, len), name) };
    bytes.map(<[u8]>::to_vec).map_err(|error| invalid("a pointer in it").because(error))
}

fn invalid(what: impl Into<String>) -> Error {
    refuse(Code::MechanismParamInvalid, what)
}
