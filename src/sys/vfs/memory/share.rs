//! What connections to one database share: its locks, and the index of its log.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

/// Who holds a lock: a number of one open file.
pub type Holder = u64;

/// SQLite's locks on a database file.
#[derive(Default)]
pub struct DatabaseLocks {
    shared: Vec<Holder>,
    reserved: Option<Holder>,
    pending: Option<Holder>,
    exclusive: Option<Holder>,
}

impl DatabaseLocks {
    /// Raises a holder's lock from `level` to `wanted`. Returns where it got, and whether that is enough.
    pub fn raise(&mut self, me: Holder, level: c_int, wanted: c_int) -> (c_int, bool) {
        let others = |held: Option<Holder>| held.is_some_and(|holder| holder != me);
        if level >= wanted {
            return (level, true);
        }
        if level < ffi::SQLITE_LOCK_SHARED {
            if others(self.pending) || others(self.exclusive) {
                return (level, false);
            }
            self.shared.push(me);
            if wanted == ffi::SQLITE_LOCK_SHARED {
                return (wanted, true);
            }
        }
        if others(self.reserved) || others(self.pending) || others(self.exclusive) {
            return (level.max(ffi::SQLITE_LOCK_SHARED), false);
        }
        if wanted == ffi::SQLITE_LOCK_RESERVED {
            self.reserved = Some(me);
            return (wanted, true);
        }
        self.pending = Some(me);
        if self.shared.iter().any(|holder| *holder != me) {
            return (ffi::SQLITE_LOCK_PENDING, false);
        }
        self.exclusive = Some(me);
        (ffi::SQLITE_LOCK_EXCLUSIVE, true)
    }

    /// Lowers a holder's lock to "shared" or nothing.
    pub fn lower(&mut self, me: Holder, wanted: c_int) {
        for held in [&mut self.reserved, &mut self.pending, &mut self.exclusive] {
            held.take_if(|holder| *holder == me);
        }
        if wanted < ffi::SQLITE_LOCK_SHARED {
            self.shared.retain(|holder| *holder != me);
        }
    }

    /// Whether somebody means to write.
    pub fn is_reserved(&self) -> bool {
        self.reserved.or(self.pending).or(self.exclusive).is_some()
    }
}

/// Locks of the index.
const LOCKS: usize = 8;
/// What SQLite asks for at once.
const REGION_BYTES: usize = 32 << 10;

/// The index of a write-ahead log.
#[derive(Default)]
pub struct Shared {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// Never moved or dropped before the whole is.
    regions: Vec<Box<[AtomicU64]>>,
    readers: [Vec<Holder>; LOCKS],
    writer: [Option<Holder>; LOCKS],
    users: usize,
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody begins to use it.
    pub fn join(&self) {
        self.inside().users += 1;
    }

    /// Somebody is done with it; tells whether nobody uses it any more.
    pub fn leave(&self, me: Holder) -> bool {
        let mut inside = self.inside();
        inside.readers.iter_mut().for_each(|readers| readers.retain(|holder| *holder != me));
        inside.writer.iter_mut().for_each(|writer| {
            let _ = writer.take_if(|holder| *holder == me);
        });
        inside.users -= 1;
        inside.users == 0
    }

    /// The address of a region of `bytes` bytes, which lasts as long as this; `None`: it is not there, and is not to be made.
    pub fn region(&self, region: usize, bytes: usize, extend: bool) -> Option<NonNull<u8>> {
        let mut inside = self.inside();
        while extend && bytes <= REGION_BYTES && inside.regions.len() <= region {
            inside.regions.push((0..REGION_BYTES / size_of::<u64>()).map(|_| AtomicU64::new(0)).collect());
        }
        let words = inside.regions.get(region)?;
        NonNull::new(words.as_ptr().cast_mut().cast())
    }

    /// Takes some of the locks, shared or alone. False: another is in the way.
    pub fn lock(&self, me: Holder, first: usize, count: usize, alone: bool) -> bool {
        let mut inside = self.inside();
        let range = first..(first + count).min(LOCKS);
        let taken = range.clone().any(|at| {
            inside.writer[at].is_some_and(|holder| holder != me)
                || (alone && inside.readers[at].iter().any(|holder| *holder != me))
        });
        if taken {
            return false;
        }
        for at in range {
            match alone {
                true => inside.writer[at] = Some(me),
                false => inside.readers[at].push(me),
            }
        }
        true
    }

    /// Lets go of them.
    pub fn unlock(&self, me: Holder, first: usize, count: usize) {
        let mut inside = self.inside();
        for at in first..(first + count).min(LOCKS) {
            inside.writer[at].take_if(|holder| *holder == me);
            inside.readers[at].retain(|holder| *holder != me);
        }
    }
}
