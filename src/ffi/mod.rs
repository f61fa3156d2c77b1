//! The door in: the C ABI. The only code that touches a caller's memory.
//!
//! A C function here is a name, its promise and a few lines: it hands its arguments to [`memory`], [`template`] or [`params`],
//! calls one function of `session::Library`, and puts the answer where the caller wants it. What all of them have in common stands in
//! [`enter`] and [`call`].
//!
//! Knows: assemble, ck, error, faults, limits, mechanism, object, secret, session, sync, sys, token, world.
//! Crates: cryptoki-sys, parking_lot.

#![allow(unsafe_code, reason = "it is the C boundary")]
#![allow(non_snake_case, reason = "the functions carry the standard's names")]
#![allow(clippy::missing_safety_doc, reason = "what callers must keep is said once, in `memory`")]

mod cipher;
mod digest;
mod gate;
mod general;
#[cfg(any(test, fuzzing))]
pub mod harness;
pub mod header;
mod key;
mod memory;
mod message;
mod module;
mod object;
mod params;
mod random;
mod session;
mod shape;
mod sign;
mod slot;
mod tables;
mod template;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki_sys::{CK_RV, CKR_OK};

use crate::error::{Code, Error, Result};
use module::Module;

/// What every C function does: runs `work`, catches a panic, tells the log what went wrong, and turns the result into a number.
///
/// After a panic the objects and sessions below are usable: locks are not poisoned, and an operation that did not come back from a call
/// is over.
fn enter(name: &'static str, work: impl FnOnce() -> Result<()>) -> CK_RV {
    let error = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return CKR_OK,
        Ok(Err(error)) => error,
        Err(panic) => Error::new(Code::General, message_of(panic)),
    };
    // A log that panics must not end the application.
    let told = catch_unwind(AssertUnwindSafe(|| tables::tell(name, &error)));
    told.unwrap_or_else(std::mem::forget);
    error.code().rv().0
}

/// As [`enter`], for all functions that need C_Initialize first: gives them what it made.
fn call(name: &'static str, work: impl FnOnce(&Module) -> Result<()>) -> CK_RV {
    enter(name, || {
        let done = tables::GATE.with(work);
        done.unwrap_or_else(|| Err(general::not_initialised()))
    })
}

/// What a panic said.
fn message_of(panic: Box<dyn Any + Send>) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    // Dropping a payload runs code of whoever panicked, which may panic again.
    std::mem::forget(panic);
    format!("a bug, please report it: {}", said.unwrap_or_else(|| "a panic without a message".to_owned()))
}
