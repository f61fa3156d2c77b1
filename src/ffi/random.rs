//! Random numbers (PKCS#11 3.1, 5.19) and the functions that 2.0 left behind (5.20).

use cryptoki_sys::{CK_BYTE_PTR, CK_RV, CK_SESSION_HANDLE, CK_ULONG};

use super::call;
use super::memory::{self, Given};
use super::shape::feed;
use crate::error::{Code, Result, refuse};
use crate::ffi::module::Module;
use crate::session::Library;

/// Takes a seed from the application.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SeedRandom(session: CK_SESSION_HANDLE, seed: CK_BYTE_PTR, seed_len: CK_ULONG) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { feed("C_SeedRandom", session, Given(seed, seed_len), Library::seed_random) }
}

/// Fills the buffer with random bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GenerateRandom(session: CK_SESSION_HANDLE, random: CK_BYTE_PTR, random_len: CK_ULONG) -> CK_RV {
    call("C_GenerateRandom", |module| {
        // SAFETY: the caller's promise.
        let buffer = unsafe { memory::random_buffer(random, random_len) }?;
        module.library.generate_random(session, buffer)
    })
}

/// Always `CKR_FUNCTION_NOT_PARALLEL`: no function runs in parallel with its caller.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetFunctionStatus(session: CK_SESSION_HANDLE) -> CK_RV {
    call("C_GetFunctionStatus", |module| not_parallel(module, session))
}

/// Always `CKR_FUNCTION_NOT_PARALLEL`: no function runs in parallel with its caller.
#[unsafe(no_mangle)]
pub extern "C" fn C_CancelFunction(session: CK_SESSION_HANDLE) -> CK_RV {
    call("C_CancelFunction", |module| not_parallel(module, session))
}

fn not_parallel(module: &Module, session: CK_SESSION_HANDLE) -> Result<()> {
    module.library.check_session(session)?;
    Err(refuse(Code::FunctionNotParallel, "no function runs in parallel with its caller"))
}
