//! The shapes that C functions come in: input and output, input only, output only, the start of an operation.

use cryptoki_sys::{CK_MECHANISM, CK_RV, CK_SESSION_HANDLE};

use super::memory::{self, Asked, Given};
use super::{call, params};
use crate::error::Result;
use crate::mechanism::Mechanism;
use crate::session::{Filled, Library, Output};

/// Input and output: `C_Encrypt`, `C_Sign`, … The output may stand where the input stands.
///
/// # Safety
/// The caller's promise.
pub unsafe fn transform(
    name: &'static str,
    session: CK_SESSION_HANDLE,
    given: Given,
    asked: Asked,
    work: impl FnOnce(&Library, u64, &[u8], Output<'_>) -> Result<Filled>,
) -> CK_RV {
    call(name, |module| {
        // SAFETY: the caller's promise.
        let (input, output, reply) = unsafe { memory::exchange(given, asked) }?;
        reply.settle(work(&module.library, session, &input, output)?)
    })
}

/// Input only: `C_DigestUpdate`, `C_VerifyFinal`, …
///
/// # Safety
/// The caller's promise.
pub unsafe fn feed(
    name: &'static str,
    session: CK_SESSION_HANDLE,
    given: Given,
    work: impl FnOnce(&Library, u64, &[u8]) -> Result<()>,
) -> CK_RV {
    call(name, |module| {
        // SAFETY: the caller's promise.
        let input = unsafe { memory::bytes(given, "the input") }?;
        work(&module.library, session, input)
    })
}

/// Output only: `C_SignFinal`, `C_GetOperationState`, …
///
/// # Safety
/// The caller's promise.
pub unsafe fn drain(
    name: &'static str,
    session: CK_SESSION_HANDLE,
    asked: Asked,
    work: impl FnOnce(&Library, u64, Output<'_>) -> Result<Filled>,
) -> CK_RV {
    call(name, |module| {
        // SAFETY: the caller's promise.
        let (output, reply) = unsafe { memory::output(asked) }?;
        reply.settle(work(&module.library, session, output)?)
    })
}

/// The start of an operation. NULL for the mechanism ends one instead (PKCS#11 3.1, 5.8.1 and its like): `None`.
///
/// # Safety
/// The caller's promise.
pub unsafe fn begin(
    name: &'static str,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    work: impl FnOnce(&Library, u64, Option<Mechanism>) -> Result<()>,
) -> CK_RV {
    call(name, |module| {
        if mechanism.is_null() {
            return work(&module.library, session, None);
        }
        // Which session is asked before which mechanism: clients probe handles with any mechanism at hand.
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let mechanism = unsafe { params::mechanism(mechanism, module.dialect) }?;
        work(&module.library, session, Some(mechanism))
    })
}
