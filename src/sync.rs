//! Locks and atomics of those files whose threads must meet right: a model of concurrency (`tests/models`) reads the same files with its own in
//! their place.
//!
//! Knows: nothing.
//! Crates: parking_lot.

pub use std::sync::{OnceLock, atomic};
pub use std::thread_local;

pub use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

/// The standard library's, which keep no tables beside them: one that is made after a fork works whatever other threads did at the fork.
pub mod standard {
    pub use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
}
