//! Parameters of RSA mechanisms.

use cryptoki_sys::{
    CK_MECHANISM_TYPE, CK_RSA_AES_KEY_WRAP_PARAMS, CK_RSA_PKCS_OAEP_PARAMS, CK_RSA_PKCS_PSS_PARAMS, CKZ_DATA_SPECIFIED,
};

use super::{Parameter, invalid, pointed};
use crate::ck::{MechanismType, Mgf};
use crate::error::{Code, Result, refuse};
use crate::ffi::module::Dialect;
use crate::mechanism::params::Oaep;
use crate::mechanism::{Params, table};

/// `CK_RSA_PKCS_OAEP_PARAMS`.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn oaep(parameter: Parameter, dialect: Dialect) -> Result<Params> {
    // SAFETY: the caller's promise; numbers and a data pointer.
    let decoded = unsafe { parameter.structure().and_then(|raw| oaep_of(&raw, dialect)) };
    match dialect {
        Dialect::Standard => decoded.map(Params::Oaep),
        // SoftHSM's code for anything wrong with OAEP parameters, which its own tests ask for.
        Dialect::SoftHsm => decoded
            .map(Params::Oaep)
            .map_err(|error| refuse(Code::ArgumentsBad, "OAEP parameters, judged as SoftHSM judges them").because(error)),
    }
}

/// # Safety
/// The caller's promise for what the structure points to.
unsafe fn oaep_of(raw: &CK_RSA_PKCS_OAEP_PARAMS, dialect: Dialect) -> Result<Oaep> {
    // Without a label there is no source to be named; pkcs11-tool names none.
    let unnamed = raw.source == 0 && raw.pSourceData.is_null() && raw.ulSourceDataLen == 0 && dialect == Dialect::Standard;
    if raw.source != CKZ_DATA_SPECIFIED && !unnamed {
        return Err(invalid(format!("its source is {}, not CKZ_DATA_SPECIFIED", raw.source)));
    }
    let hash = digest(raw.hashAlg)?;
    // SAFETY: the caller's promise.
    let label = unsafe { pointed(raw.pSourceData.cast(), raw.ulSourceDataLen, "pSourceData") }?;
    let oaep = Oaep { hash, mgf: Mgf(raw.mgf), label };
    let plain = oaep.mgf == Mgf::MGF1_SHA1 && raw.pSourceData.is_null();
    if dialect == Dialect::SoftHsm && oaep.hash == MechanismType::SHA_1 && !plain {
        return Err(invalid("SoftHSM takes SHA-1 with MGF1-SHA1 and without a label only"));
    }
    Ok(oaep)
}

/// `CK_RSA_PKCS_PSS_PARAMS`.
///
/// # Safety
/// The caller's promise.
pub unsafe fn pss(parameter: Parameter) -> Result<Params> {
    // SAFETY: the caller's promise; numbers.
    let raw = unsafe { parameter.structure::<CK_RSA_PKCS_PSS_PARAMS>() }?;
    Ok(Params::Pss { hash: digest(raw.hashAlg)?, mgf: Mgf(raw.mgf), salt_len: raw.sLen })
}

/// A mechanism that digests.
fn digest(kind: CK_MECHANISM_TYPE) -> Result<MechanismType> {
    let kind = MechanismType(kind);
    let digests = table::find(kind).is_some_and(|row| row.verbs.digest.is_some());
    if digests { Ok(kind) } else { Err(invalid(format!("{kind} is not a digest that we have"))) }
}

/// `CK_RSA_AES_KEY_WRAP_PARAMS`.
///
/// # Safety
/// The caller's promise, also for what the structure points to.
pub unsafe fn aes_key_wrap(parameter: Parameter, dialect: Dialect) -> Result<Params> {
    // SAFETY: the caller's promise; numbers and a data pointer.
    let raw = unsafe { parameter.structure::<CK_RSA_AES_KEY_WRAP_PARAMS>() }?;
    if raw.pOAEPParams.is_null() {
        return Err(invalid("pOAEPParams is NULL"));
    }
    // SAFETY: not NULL, and good for the structure by the caller's promise; alignment is not needed.
    let oaep = unsafe { oaep_of(&raw.pOAEPParams.read_unaligned(), dialect) }?;
    Ok(Params::RsaAesKeyWrap { aes_bits: raw.ulAESKeyBits, oaep })
}
