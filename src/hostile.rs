//! What fuzzers and tests do with every reader of bytes that others may have written: frames, messages, entries of the log, copies of a store,
//! configurations, keys, certificates. Any bytes must end in a value or an error, and a value must be what its own encoding says.
//!
//! Knows: config, log, mechanism, store, token, wire.

use crate::{config, log, mechanism, store, token, wire};

/// One reader, as cargo-fuzz and the seeded tests call it.
pub struct Target {
    /// Its file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// What it does with bytes. It panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them; those of the C boundary are in `ffi::harness`.
pub const TARGETS: &[Target] = &[
    Target { name: "frames", run: wire::hostile::frames },
    Target { name: "hello", run: wire::hostile::hello },
    Target { name: "certificates", run: wire::hostile::certificates },
    Target { name: "requests", run: token::message::hostile::requests },
    Target { name: "answers", run: token::message::hostile::answers },
    Target { name: "entries", run: log::raft::hostile::entries },
    Target { name: "peers", run: log::raft::hostile::peers },
    Target { name: "snapshots", run: store::hostile::snapshots },
    Target { name: "softhsm", run: store::hostile::softhsm },
    Target { name: "configurations", run: config::hostile::configurations },
    Target { name: "keys", run: mechanism::encoding::hostile::keys },
];

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    TARGETS.iter().filter(|target| target.name == name).for_each(|target| (target.run)(bytes));
}

#[cfg(test)]
pub mod kept;
#[cfg(test)]
mod tests;
