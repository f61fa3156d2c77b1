//! What `crate::sync` is in a model: the same names, over locks and atomics at each of which the scheduler may go on with another thread.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
pub use shuttle::sync::atomic;

/// The scheduler's number.
pub fn thread_number() -> usize {
    shuttle::current::me().into()
}

pub mod standard {
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub use std::sync::PoisonError;
}

/// A mutex without poisoning.
#[derive(Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("a panic ends the model")))
    }
}

/// Empty only while its owner waits.
pub struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("nobody looks while it waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("nobody looks while it waits")
    }
}

/// Whoever waits here waits for ever, if nobody wakes it: then the scheduler tells of a deadlock.
#[derive(Default)]
pub struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub fn wait_while_for<T>(&self, guard: &mut MutexGuard<'_, T>, mut waits: impl FnMut(&mut T) -> bool, _: Duration) {
        while waits(guard) {
            guard.0 = guard.0.take().map(|held| self.0.wait(held).expect("a panic ends the model"));
        }
    }

    pub fn new() -> Self {
        Self::default()
    }

    pub fn wait_while<T>(&self, guard: &mut MutexGuard<'_, T>, waits: impl FnMut(&mut T) -> bool) {
        self.wait_while_for(guard, waits, Duration::MAX);
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A cell that is filled once.
pub struct OnceLock<T> {
    turn: shuttle::sync::Mutex<()>,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub fn new() -> Self {
        Self { turn: shuttle::sync::Mutex::new(()), value: std::sync::OnceLock::new() }
    }

    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let _turn = self.turn.lock().expect("a panic ends the model");
        self.value.get_or_init(make)
    }
}

/// A lock for many readers or one writer, with parking_lot's ways around its guards.
#[derive(Default)]
pub struct RwLock<T> {
    holders: shuttle::sync::Mutex<Holders>,
    freed: shuttle::sync::Condvar,
    value: UnsafeCell<T>,
}

#[derive(Default)]
struct Holders {
    readers: usize,
    is_written: bool,
}

// SAFETY: the value is reached through guards, of which `Holders` lets many read or one write, or by those who promise as much.
unsafe impl<T: Send> Send for RwLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    pub fn new(value: T) -> Self {
        Self { holders: Default::default(), freed: Default::default(), value: UnsafeCell::new(value) }
    }

    fn holders(&self) -> shuttle::sync::MutexGuard<'_, Holders> {
        self.holders.lock().expect("a panic ends the model")
    }

    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let mut holders = self.holders();
        while holders.is_written {
            holders = self.freed.wait(holders).expect("a panic ends the model");
        }
        holders.readers += 1;
        RwLockReadGuard(self)
    }

    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let mut holders = self.holders();
        if holders.is_written {
            return None;
        }
        holders.readers += 1;
        Some(RwLockReadGuard(self))
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let mut holders = self.holders();
        while holders.is_written || holders.readers > 0 {
            holders = self.freed.wait(holders).expect("a panic ends the model");
        }
        holders.is_written = true;
        RwLockWriteGuard(self)
    }

    /// Time may be over whenever the lock is not free.
    pub fn try_write_until(&self, _latest: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        let mut holders = self.holders();
        while holders.is_written || holders.readers > 0 {
            drop(holders);
            if thread_rng().gen_bool(0.5) {
                return None;
            }
            shuttle::thread::yield_now();
            holders = self.holders();
        }
        holders.is_written = true;
        Some(RwLockWriteGuard(self))
    }

    pub fn is_locked(&self) -> bool {
        let holders = self.holders();
        holders.is_written || holders.readers > 0
    }

    pub fn data_ptr(&self) -> *mut T {
        self.value.get()
    }

    /// # Safety
    /// The lock is held by a write guard that was forgotten.
    pub unsafe fn force_unlock_write(&self) {
        self.free(|holders| holders.is_written = false);
    }

    fn free(&self, work: impl FnOnce(&mut Holders)) {
        work(&mut self.holders());
        self.freed.notify_all();
    }
}

pub struct RwLockReadGuard<'a, T>(&'a RwLock<T>);

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: while this guard lives, nobody writes.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.0.free(|holders| holders.readers -= 1);
    }
}

pub struct RwLockWriteGuard<'a, T>(&'a RwLock<T>);

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: while this guard lives, nobody else has one.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.0.free(|holders| holders.is_written = false);
    }
}
