//! The door out: we call strangers. Owning types over the C library's and the crypto library's functions, and vector kernels.
//!
//! Knows: error, faults.
//! Crates: aws-lc-sys, libc, rusqlite, sha2, tokio, zeroize.

#![allow(unsafe_code)]

pub mod awslc;
pub mod claim;
pub mod clock;
pub mod files;
pub mod filesystem;
pub mod heirloom;
pub mod memory;
pub mod process;
pub mod signals;
pub mod simd;
pub mod socket;
pub mod syslog;
pub mod tap;
pub mod user;
pub mod vfs;
pub mod watch;
