//! Bytes with an identity on each end: frames over TLS 1.3 or a Unix socket. It knows no message.
//!
//! Blocking throughout, one thread a connection on the serving side: a request that computes holds up nobody else's.
//!
//! Knows: error, limits, secret, sync, sys.
//! Crates: minicbor, rcgen, rustls, time, x509-parser.

mod address;
mod attention;
mod channel;
mod client;
pub mod frame;
mod hello;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod identity;
mod judge;
mod kept;
pub mod pki;
mod places;
mod record;
mod renewal;
mod revoked;
#[cfg(test)]
mod revoked_tests;
mod server;
#[cfg(test)]
mod tests;

pub use address::Address;
pub use client::{Connection, Failure, Prompt};
pub use hello::{Hello, MAKE_MINOR, MINOR, Purpose};
pub use identity::{Files, Identity, Name, Peer, name_in_file};
pub use judge::fault_of;
pub use kept::{Flight, Kept, Landed, WORTH_IT_FOR};
pub use places::{Places, first_of};
pub use record::Certificate;
pub use renewal::Renewal;
pub use server::{Conversation, Listener, Service};
