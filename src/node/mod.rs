//! A node: one partition of a pool, as its clients and peers reach it.
//!
//! Knows: error, limits, log, mechanism, object, partition, secret, store, sys, token, wire, world.
//! Crates: httparse, minicbor, parking_lot, prometheus-client, rustls, serde_json, ureq.

mod certificate;
mod daemon;
mod events;
mod heard;
mod http;
mod metrics;
mod operate;
mod operations;
pub mod peers;
mod scopes;
mod server;
mod streams;
#[cfg(test)]
mod tests;
mod uses;
mod webhooks;

pub use certificate::check_certificate;
pub use daemon::{Node, NodeSettings};
pub use events::{Event, Events};
pub use operate::{Counted, MemberStatus, NodeStatus, OPERATE_KIND, Operate, Operated};
pub use operations::Operations;
pub use server::{Caller, Server, Standing};
