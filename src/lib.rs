//! hsmpool: a PKCS#11 provider. The rooms, top to bottom:
//!
//! ```text
//! ffi        the C ABI: strangers call us            cli        the command line
//! assemble   configuration → the parts, connected
//! node       one partition of a pool, as clients, peers and operators reach it
//! session    what PKCS#11 remembers between two calls
//! pool       a token made of many nodes
//! token      the waist: one token, whatever stands behind it; its verbs as messages
//! partition  a token kept on this node
//! log        the only way to change the store        store      sealed bytes on SQLite
//! mechanism  cryptography, one row a mechanism       object     attributes and their rules
//! wire       bytes with an identity on each end
//! history    judges what clients saw: the checker of linearizability, for tests and rehearsals
//! config · world · secret · sys · sync · error · faults · limits · ck
//! ```

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod assemble;
pub mod ck;
pub mod cli;
pub mod config;
pub mod error;
pub mod faults;
pub mod ffi;
pub mod history;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod limits;
pub mod log;
pub mod mechanism;
pub mod node;
pub mod object;
pub mod partition;
pub mod pool;
pub mod secret;
pub mod session;
pub mod store;
pub mod sync;
pub mod sys;
pub mod token;
pub mod wire;
pub mod world;
