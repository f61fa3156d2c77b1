//! Configuration: `hsmpool.toml` and `softhsm2.conf`, read through one table of keys.
//!
//! Knows: ck, error, limits.
//! Crates: serde, toml.
