//! One session, what it remembers, and the table of all sessions.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::cipher::Ciphering;
use super::digest::Digest;
use super::handle::{ByHandle, Handle, ObjectHandles};
use super::operation::{AnyCell, Cell};
use super::slot::Slot;
use crate::ck::flags;
use crate::error::{Code, Error, Result, refuse};
use crate::limits::SESSIONS_MAX;
use crate::mechanism::{Recover, Signer, Verifier};
use crate::token::{Access, Reference, Token};

/// One session, on cache lines of its own.
#[repr(align(128))]
pub(super) struct Session {
    pub handle: Handle<Session>,
    pub slot: Arc<Slot>,
    pub token: Arc<dyn Token>,
    pub read_write: bool,
    closed: AtomicBool,
    inside: Mutex<Inside>,
}

/// What one call at a time works on.
#[derive(Default)]
pub(super) struct Inside {
    pub cells: Cells,
    pub memo: Memo,
}

impl Session {
    pub fn new(handle: Handle<Session>, slot: Arc<Slot>, token: Arc<dyn Token>, read_write: bool) -> Self {
        Self { handle, slot, token, read_write, closed: AtomicBool::new(false), inside: Mutex::default() }
    }

    /// The session for the length of one call. Other sessions are not kept waiting.
    pub fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock()
    }

    /// Who asks, for calls that leave the session's operations alone.
    pub fn access(&self) -> Access {
        self.slot.access(self.read_write)
    }

    /// From now on nobody finds it; a call in progress may still hold it.
    pub fn mark_closed(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// The operations of one session, each kind for itself: the functions for two operations at once need two cells.
#[derive(Default)]
pub(super) struct Cells {
    pub digest: Cell<Digest>,
    pub sign: Cell<Box<dyn Signer>>,
    pub verify: Cell<Box<dyn Verifier>>,
    pub sign_recover: Cell<Box<dyn Recover>>,
    pub verify_recover: Cell<Box<dyn Recover>>,
    pub encrypt: Cell<Ciphering>,
    pub decrypt: Cell<Ciphering>,
    /// Found and not yet fetched.
    pub find: Option<std::vec::IntoIter<Reference>>,
    starts: u64,
}

impl Cells {
    /// The number of the next start: later ones are higher.
    pub fn next_turn(&mut self) -> u64 {
        self.starts += 1;
        self.starts
    }

    /// All cells but the search, by the flag that `C_SessionCancel` names them with.
    pub fn all(&mut self) -> [(u64, &mut dyn AnyCell); 7] {
        [
            (flags::DIGEST, &mut self.digest),
            (flags::SIGN, &mut self.sign),
            (flags::VERIFY, &mut self.verify),
            (flags::SIGN_RECOVER, &mut self.sign_recover),
            (flags::VERIFY_RECOVER, &mut self.verify_recover),
            (flags::ENCRYPT, &mut self.encrypt),
            (flags::DECRYPT, &mut self.decrypt),
        ]
    }

    /// The operation that a context-specific login is for: of those that wait for one, the latest.
    pub fn waiting(&mut self) -> Option<&mut dyn AnyCell> {
        let waiting = self.all().into_iter().map(|(_, cell)| cell).filter(|cell| cell.waiting_since().is_some());
        waiting.max_by_key(|cell| cell.waiting_since())
    }

    /// Logout: whatever has seen a key or shows objects ends; a digest of the caller's own data goes on.
    pub fn end_at_logout(&mut self) {
        let digest = std::mem::take(&mut self.digest);
        let starts = self.starts;
        *self = Cells { starts, ..Cells::default() };
        if digest.look().is_ok_and(|digest| !digest.keyed) {
            self.digest = digest;
        }
    }
}

/// What the last call found out, good as long as nothing of the kind has changed: so that threads on their own sessions
/// write to no memory that they share.
#[derive(Default)]
pub(super) struct Memo {
    access: Option<(u64, Access)>,
    object: Option<(u64, Handle<Reference>, Reference)>,
}

impl Memo {
    /// Who asks.
    pub fn access(&mut self, session: &Session) -> &Access {
        let epoch = session.slot.login_epoch();
        let known = self.access.take().filter(|(seen, _)| *seen == epoch);
        &self.access.insert(known.unwrap_or_else(|| session.slot.access_with_epoch(session.read_write))).1
    }

    /// The object behind a handle.
    pub fn object(&mut self, session: &Session, objects: &ObjectHandles, handle: Handle<Reference>) -> Option<Reference> {
        // Read before the table: a handle that dies in between leaves a memo that is never used.
        let epoch = objects.epoch();
        if let Some((seen, known, reference)) = self.object
            && (seen, known) == (epoch, handle)
        {
            return Some(reference);
        }
        let reference = objects.get(session.slot.id(), handle)?;
        self.object = Some((epoch, handle, reference));
        Some(reference)
    }
}

/// Every open session, spread over shards so that look-ups from two threads seldom touch the same cache line.
pub(super) struct Sessions {
    shards: [Shard; SHARDS],
    open: AtomicUsize,
}

const SHARDS: usize = 64;

#[derive(Default)]
#[repr(align(128))]
struct Shard(RwLock<ByHandle<Session, Arc<Session>>>);

impl Sessions {
    pub fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Shard::default()), open: AtomicUsize::new(0) }
    }

    fn shard(&self, handle: Handle<Session>) -> &RwLock<ByHandle<Session, Arc<Session>>> {
        &self.shards[handle.number() as usize % SHARDS].0
    }

    /// Errors: `SessionHandleInvalid`.
    pub fn get(&self, handle: Handle<Session>) -> Result<Arc<Session>> {
        self.shard(handle).read().get(&handle).cloned().ok_or_else(|| no_session(handle))
    }

    /// Room for one more session. Errors: `SessionCount`.
    pub fn reserve(&self) -> Result<Place<'_>> {
        let place = Place { sessions: self, taken: false };
        if self.open.fetch_add(1, Ordering::Relaxed) >= SESSIONS_MAX {
            return Err(refuse(Code::SessionCount, format!("{SESSIONS_MAX} sessions are open")));
        }
        Ok(place)
    }

    /// Takes a session out: who succeeds closes it. Errors: `SessionHandleInvalid`.
    pub fn remove(&self, handle: Handle<Session>) -> Result<Arc<Session>> {
        match self.shard(handle).write().entry(handle) {
            Entry::Vacant(_) => Err(no_session(handle)),
            Entry::Occupied(entry) => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                Ok(entry.remove())
            }
        }
    }

    /// Takes all out.
    pub fn take_all(&self) -> Vec<Arc<Session>> {
        self.open.store(0, Ordering::Relaxed);
        self.shards.iter().flat_map(|shard| std::mem::take(&mut *shard.0.write()).into_values()).collect()
    }
}

/// Room for a session that is being opened; given back unless it is taken.
pub(super) struct Place<'a> {
    sessions: &'a Sessions,
    taken: bool,
}

impl Place<'_> {
    pub fn take(mut self, session: Arc<Session>) -> Handle<Session> {
        self.taken = true;
        let handle = session.handle;
        self.sessions.shard(handle).write().insert(handle, session);
        handle
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.sessions.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn no_session(handle: Handle<Session>) -> Error {
    refuse(Code::SessionHandleInvalid, format!("{handle} is no open session"))
}
