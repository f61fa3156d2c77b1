//! A node: one partition of a pool, as its clients and peers reach it.
//!
//! Knows: error, limits, log, mechanism, object, partition, secret, token, world.
//! Crates: parking_lot.

mod scopes;
mod server;
mod streams;

pub use server::{Caller, Server, Standing};
