//! A token made of many nodes: the same verbs, sent to a partition that can answer them.
//!
//! Nothing that the application holds depends on one node: logins are tickets, session objects are capsules, operations in parts are
//! replayed, changes are named so that they happen once. A call fails only when no node answered until its deadline.
//!
//! Knows: ck, error, faults, limits, mechanism, object, secret, sync, sys, token, wire, world.
//! Crates: parking_lot.

mod admin;
mod belongings;
mod beside;
mod budget;
mod call;
mod cipher;
mod connection;
mod digest;
mod glance;
mod health;
mod inherit;
mod look;
mod make;
mod numbers;
mod pace;
mod patience;
mod race;
mod retry;
mod route;
mod seen;
mod sign;
mod since;
mod stream;
#[cfg(test)]
mod tests;
mod together;
mod token;
mod view;

pub use admin::PooledAdmin;
pub use beside::{AtOnce, Beside};
pub use call::{Failure, Link, Pool};
pub use connection::{Entry, Newest, Wires};
pub use race::{Entrant, Finish, Heard, Lost, Race, Track, run};
pub use view::{Place, View};
