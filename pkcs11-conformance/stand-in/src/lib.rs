//! A module for the tests of the suite: it stands on another module (`STAND_IN_FOR`) and adds what that one lacks, so that each case of the
//! suite runs against something. `STAND_IN_FAULT` names one rule that it then breaks; the case on that rule must find it.
//!
//! What it adds has the form of the real thing and none of its strength: its key encapsulation is made of a hash for tables.

#![allow(non_snake_case, clippy::missing_safety_doc, reason = "names, and what callers must keep, are the standard's")]
#![allow(clippy::redundant_closure_call, reason = "a body is a closure called at once, so that `?` works in it")]

mod beneath;
mod fault;
mod kem;
mod message;
mod plain;
mod state;
mod tables;

use cryptoki_sys::CK_RV;

/// A call's result inside: the code of a refusal as error.
type Done<T> = Result<T, CK_RV>;

/// The code of a result.
fn code(done: Done<()>) -> CK_RV {
    done.err().unwrap_or(cryptoki_sys::CKR_OK)
}
