//! The gate between calls and the one library of the process: calls pass without meeting each other, C_Initialize and C_Finalize wait
//! until nobody is inside, a fork waits for a moment, and a forked child finds a gate of its own.

use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::FORK_WAIT_MAX_MILLISECONDS;
use crate::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::sync::{Mutex, OnceLock, RwLock, RwLockReadGuard, thread_number};
use crate::sys::process::ForkWord;

/// Doors of a gate. Threads are spread over them, so that two calls at once touch no common cache line.
const DOORS: usize = 32;

/// What a gate keeps.
pub trait Guest: Send + Sync {
    /// Whether a forked child carries on with it. If not, the child is as if not initialised; the value is abandoned there, never used,
    /// never dropped.
    fn carries_on_after_fork(&self) -> bool;
}

/// A gate: empty, or with one value inside. Made for a `static`.
pub struct Gate<T: 'static> {
    /// This process's side of the gate; null before the first use. Otherwise from `Box::into_raw`, and never freed.
    side: AtomicPtr<Side<T>>,
}

/// The gate as one process sees it. A fork leaves its locks in whatever state they were, so a child makes a side of its own.
struct Side<T: 'static> {
    word: ForkWord,
    /// The side of the process that forked this one.
    parent: Option<&'static Side<T>>,
    /// Whether the parent's value has been asked to come along.
    settled: OnceLock<()>,
    /// Whether all doors are closed by a thread that forks.
    quiet: AtomicBool,
    /// Held while the value comes or goes.
    turn: Mutex<()>,
    doors: [Door<T>; DOORS],
}

/// All doors hold the same value; a call holds its own door open, and whoever changes the value closes one after the other.
#[repr(align(128))]
struct Door<T>(RwLock<Option<Arc<T>>>);

impl<T: Guest> Gate<T> {
    /// An empty gate.
    pub const fn new() -> Self {
        Self { side: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Runs `work` on the value, which stays until it returns; `None` when there is none.
    #[inline]
    pub fn with<R>(&self, work: impl FnOnce(&T) -> R) -> Option<R> {
        let door = self.side().doors[thread_number() % DOORS].0.read();
        door.as_deref().map(work)
    }

    /// Puts in what `make` makes. Errors: `CryptokiAlreadyInitialized`; what `make` says, and the gate stays empty.
    pub fn fill(&self, make: impl FnOnce() -> Result<T>) -> Result<()> {
        let side = self.side();
        let _turn = side.turn.lock();
        if side.doors[0].0.read().is_some() {
            if faults::on(Fault::SecondInitializeIsOk) {
                return Ok(());
            }
            return Err(refuse(Code::CryptokiAlreadyInitialized, "C_Initialize has been called before"));
        }
        side.set(Some(Arc::new(make()?)));
        Ok(())
    }

    /// Waits until nobody is inside and takes the value out.
    pub fn clear(&self) -> Option<Arc<T>> {
        let side = self.side();
        let _turn = side.turn.lock();
        let value = side.doors[0].0.read().clone();
        side.set(None);
        value
    }

    /// Right before this process forks: waits until no call is inside, so that no lock is held that the child would find held for ever, and
    /// keeps others out until [`Gate::after_fork`]. After [`FORK_WAIT_MAX_MILLISECONDS`] it waits no more: then the child is as if not
    /// initialised. Nothing to wait for where no child carries on. Tells whether nobody is inside from now on.
    pub fn before_fork(&self) -> bool {
        let Some(side) = self.settled_side() else { return false };
        let carries_on = |door: RwLockReadGuard<'_, Option<Arc<T>>>| door.as_deref().is_some_and(Guest::carries_on_after_fork);
        if !side.doors[0].0.try_read().is_some_and(carries_on) {
            return false;
        }
        let latest = Instant::now() + Duration::from_millis(FORK_WAIT_MAX_MILLISECONDS);
        for (at, door) in side.doors.iter().enumerate() {
            match door.0.try_write_until(latest) {
                Some(closed) => std::mem::forget(closed),
                None => {
                    side.open_doors(at);
                    return false;
                }
            }
        }
        side.quiet.store(true, Ordering::Release);
        true
    }

    /// In the process that forked: lets calls in again.
    pub fn after_fork(&self) {
        if let Some(side) = self.settled_side()
            && side.quiet.swap(false, Ordering::AcqRel)
        {
            side.open_doors(DOORS);
        }
    }

    /// This process's side, if it has been used.
    fn settled_side(&self) -> Option<&'static Side<T>> {
        // SAFETY: null, or a box that is never freed.
        let side = unsafe { self.side.load(Ordering::Acquire).as_ref() };
        side.filter(|side| side.word.same_process() && side.settled.get().is_some())
    }

    /// This process's side.
    #[inline]
    fn side(&self) -> &'static Side<T> {
        let side = self.side.load(Ordering::Acquire);
        // SAFETY: null, or a box that is never freed.
        match unsafe { side.as_ref() } {
            Some(side) if side.word.same_process() && side.settled.get().is_some() => side,
            _ => self.new_side(side),
        }
    }

    /// The side of this process when `seen` is none, or belongs to the process that forked this one.
    #[cold]
    fn new_side(&self, seen: *mut Side<T>) -> &'static Side<T> {
        // SAFETY: null, or a box that is never freed.
        let seen_side = unsafe { seen.as_ref::<'static>() };
        let side = match seen_side {
            Some(side) if side.word.same_process() => side,
            parent => {
                let made = Box::into_raw(Box::new(Side::new(parent)));
                match self.side.compare_exchange(seen, made, Ordering::AcqRel, Ordering::Acquire) {
                    // SAFETY: just made, and now never freed.
                    Ok(_) => unsafe { &*made },
                    Err(other) => {
                        // SAFETY: made above and shown to nobody.
                        drop(unsafe { Box::from_raw(made) });
                        // SAFETY: another thread of this process put it there: a box that is never freed.
                        unsafe { &*other }
                    }
                }
            }
        };
        side.settled.get_or_init(|| side.inherit());
        side
    }
}

impl<T: Guest> Side<T> {
    fn new(parent: Option<&'static Side<T>>) -> Self {
        Self {
            word: ForkWord::new(),
            parent,
            settled: OnceLock::new(),
            quiet: AtomicBool::new(false),
            turn: Mutex::new(()),
            doors: std::array::from_fn(|_| Door(RwLock::new(None))),
        }
    }

    /// Asks the parent's value, if there is one, whether it comes along.
    fn inherit(&self) {
        let Some(parent) = self.parent else { return };
        let value = match parent.quiet.load(Ordering::Acquire) {
            // SAFETY: the thread that forked holds all doors closed, in this process for ever: nobody writes behind them.
            true => unsafe { &*parent.doors[0].0.data_ptr() }.clone(),
            // A call was inside, of a thread that the child does not have. What that held locked stays so: the value cannot be used.
            false if parent.doors.iter().any(|door| door.0.is_locked()) => None,
            false => parent.doors[0].0.try_read().and_then(|door| door.clone()),
        };
        match value {
            Some(value) if value.carries_on_after_fork() => self.set(Some(value)),
            // Its destructor would end what belongs to the parent.
            Some(value) => std::mem::forget(value),
            None => {}
        }
    }

    /// Opens the first doors, which this thread has closed for a fork.
    fn open_doors(&self, count: usize) {
        for door in &self.doors[..count] {
            // SAFETY: closed by `before_fork` on this thread, which has forgotten the guard.
            unsafe { door.0.force_unlock_write() };
        }
    }

    /// Closes one door after the other, which waits for the calls inside.
    fn set(&self, value: Option<Arc<T>>) {
        for door in &self.doors {
            *door.0.write() = value.clone();
        }
    }
}
