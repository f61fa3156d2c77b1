//! The door in: the C ABI. The only code that touches a caller's memory.
//!
//! Knows: assemble, ck, error, limits, mechanism, object, secret, session, sys, token.
//! Crates: cryptoki-sys, parking_lot.

#![allow(unsafe_code)]
