//! The log of a group of members: openraft decides the order, and nothing outside this directory knows it.
//!
//! - `types`, `codec`: openraft's types as we use them, and their form on the disk and between members.
//! - `disk`, `storage`: the log. `machine`, `progress`: the store, and how far it is.

mod codec;
mod disk;
mod machine;
mod progress;
mod storage;
#[cfg(test)]
mod tests;
mod types;

pub use types::{Member, NodeId};

use super::decide::Decision;
