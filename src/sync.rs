//! Locks and atomics of those files whose threads must meet right: a model of concurrency (`tests/models`) reads the same files with its own in
//! their place.
//!
//! Knows: nothing.
//! Crates: parking_lot.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub use std::sync::{OnceLock, atomic};

pub use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

/// A number of the calling thread, for spreading threads over things that each of them writes to.
pub fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(THREADS.fetch_add(1, Relaxed));
        }
        number.get()
    })
}

/// The standard library's, which keep no tables beside them: one that is made after a fork works whatever other threads did at the fork.
pub mod standard {
    pub use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
}
