//! The log of a group of members: openraft decides the order, and nothing outside this directory knows it.
//!
//! - `types`, `codec`, `message`: openraft's types as we use them, and their form on the disk and between members.
//! - `disk`, `storage`: the log. `machine`, `progress`: the store, and how far it is. `copies`: who is sent one.
//! - `ground`, `hand`: time, chance and threads, which a simulation replaces.
//! - `network`, `line`, `courier`, `answer`: what members ask of one another. `zones`: what keeps the loss of a zone from losing anything. `settle`: what ends changes of the voters that broke off.
//! - `lease`: until when a member may serve. `fence`: when it may never again. `watch`: whether its disk hangs. `group`, `propose`, `spread`, `gather`, `manage`, `status`, `survey`, `rescue`: what room `node` uses.

mod answer;
mod applying;
mod codec;
mod copies;
mod courier;
mod disk;
mod fence;
mod gather;
pub mod ground;
mod group;
mod hand;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod lease;
mod line;
mod machine;
mod manage;
mod message;
mod network;
mod progress;
mod propose;
mod pulse;
mod rescue;
mod settle;
mod spread;
mod status;
mod storage;
mod survey;
#[cfg(test)]
mod tests;
mod types;
mod watch;
mod zones;

pub use group::{Group, GroupSettings, Peers, Way, Ways};
pub use settle::Turnover;
pub use status::GroupStatus;
pub use survey::{Heard, Survey};
pub use types::{Member, NodeId};
pub use zones::zone_with_quorum;

use super::decide::Decision;
