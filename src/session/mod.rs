//! Sessions, logins and running operations: everything PKCS#11 remembers between two calls.
//!
//! Knows: ck, error, limits, mechanism, object, secret, token, world.
//! Crates: parking_lot.

mod output;

pub use output::{Filled, Output};
