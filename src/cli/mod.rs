//! The command line: one file a command.
//!
//! Knows: assemble, ck, config, error, limits, mechanism, object, partition, secret, session, store, sys, token, world.
//! Crates: clap.
