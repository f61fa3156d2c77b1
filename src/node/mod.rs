//! A node: one partition of a pool, as its clients and peers reach it.
//!
//! Knows: error, limits, log, mechanism, object, partition, secret, token, world.
//! Crates: parking_lot, prometheus-client, serde_json, tiny_http.

mod events;
mod metrics;
mod operations;
mod scopes;
mod server;
mod streams;

pub use events::{Event, Events};
pub use operations::Operations;
pub use server::{Caller, Server, Standing};
