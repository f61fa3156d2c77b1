//! A token kept on this node: checks, computes, seals, proposes.
//!
//! Knows: ck, error, limits, log, mechanism, object, secret, store, sys, token, world.
//! Crates: argon2, minicbor, parking_lot, subtle, zeroize.
