//! The shapes that C functions come in: input and output, input only, output only, the start of an operation.

use cryptoki_sys::{CK_MECHANISM, CK_RV, CK_SESSION_HANDLE};

use super::memory::{self, Asked, Given};
use super::module::{Dialect, Module};
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

/// Output only: `C_SignFinal`, `C_GetOperationState`, … `ends` names (`CKF_*`) the operation that a bad
/// argument ends: encryption and decryption, as with SoftHSM; its digests and signatures go on.
///
/// # Safety
/// The caller's promise.
pub unsafe fn drain(
    name: &'static str,
    session: CK_SESSION_HANDLE,
    ends: u64,
    asked: Asked,
    work: impl FnOnce(&Library, u64, Output<'_>) -> Result<Filled>,
) -> CK_RV {
    call(name, |module| {
        // SAFETY: the caller's promise.
        let place = unsafe { memory::output(asked) };
        if place.is_err() {
            module.library.session_cancel(session, ends)?;
        }
        let (output, reply) = place?;
        reply.settle(work(&module.library, session, output)?)
    })
}

/// As [`begin`], for what was sealed elsewhere: SoftHSM judges parameters less strictly there, and so the standard's answer holds.
///
/// # Safety
/// The caller's promise.
pub unsafe fn begin_opening(
    name: &'static str,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    work: impl FnOnce(&Library, u64, Option<Mechanism>) -> Result<()>,
) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { begin_judged(name, session, mechanism, |_| Dialect::Standard, work) }
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
    // SAFETY: the caller's promise.
    unsafe { begin_judged(name, session, mechanism, |module| module.dialect, work) }
}

/// # Safety
/// The caller's promise.
unsafe fn begin_judged(
    name: &'static str,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    dialect: impl FnOnce(&Module) -> Dialect,
    work: impl FnOnce(&Library, u64, Option<Mechanism>) -> Result<()>,
) -> CK_RV {
    call(name, |module| {
        if mechanism.is_null() {
            return work(&module.library, session, None);
        }
        // SAFETY: the caller's promise.
        let mechanism = unsafe { params::mechanism(mechanism, dialect(module)) };
        // A wrong session is told before a wrong mechanism: clients probe handles with any mechanism at hand. A right mechanism's session is looked
        // at by `work`, first of all, and not here as well.
        let mechanism = mechanism.or_else(|error| module.library.check_session(session).and(Err(error)))?;
        work(&module.library, session, Some(mechanism))
    })
}
