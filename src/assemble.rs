//! The only place that knows every room: configuration → library.
//!
//! Knows: config, error, limits, log, partition, session, store, sys, token, world.
