//! Handles: typed numbers, never used twice. Sessions and objects count together, from 1, as SoftHSM's do.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::marker::PhantomData;

use super::sessions::Session;
use crate::object::ObjectId;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::token::Reference;

/// A number that an application knows a `T` by.
pub(super) struct Handle<T> {
    number: u64,
    of: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// What the caller says; it may name nothing.
    pub fn of(number: u64) -> Self {
        Self { number, of: PhantomData }
    }

    /// What the caller gets.
    pub fn number(self) -> u64 {
        self.number
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Handle<T> {}

impl<T> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number);
    }
}

impl<T> fmt::Display for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// A map by handles. Their numbers are our own, so nobody can choose them to collide, and a cheap hash will do.
pub(super) type ByHandle<T, V> = HashMap<Handle<T>, V, BuildHasherDefault<NumberHasher>>;

/// Spreads numbers that follow one another, or that differ by a power of two.
#[derive(Default)]
pub(super) struct NumberHasher(u64);

/// 2^64 divided by the golden ratio, odd.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(SPREAD);
    }
}

/// The one counter of an application.
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    pub fn next<T>(&self) -> Handle<T> {
        Handle::of(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The objects that an application has handles of. The same object has the same handle as long as that is valid.
#[derive(Default)]
pub(super) struct ObjectHandles {
    known: RwLock<Known>,
    /// Raised whenever a handle dies, so that sessions may remember what a handle meant.
    epoch: AtomicU64,
}

#[derive(Default)]
struct Known {
    by_handle: ByHandle<Reference, Entry>,
    /// By slot and object.
    by_object: HashMap<(u64, ObjectId), Handle<Reference>>,
    /// Session objects, which die with the session that made them.
    by_maker: ByHandle<Session, HashSet<Handle<Reference>, BuildHasherDefault<NumberHasher>>>,
}

struct Entry {
    slot: u64,
    reference: Reference,
    maker: Option<Handle<Session>>,
}

impl Known {
    fn handle(
        &mut self,
        slot: u64,
        reference: Reference,
        maker: Option<Handle<Session>>,
        counter: &Counter,
    ) -> Handle<Reference> {
        if let Some(handle) = self.by_object.get(&(slot, reference.id)) {
            return *handle;
        }
        let handle = counter.next();
        self.by_object.insert((slot, reference.id), handle);
        self.by_handle.insert(handle, Entry { slot, reference, maker });
        if let Some(maker) = maker {
            self.by_maker.entry(maker).or_default().insert(handle);
        }
        handle
    }

    fn remove(&mut self, handle: Handle<Reference>) -> Option<Reference> {
        let Entry { slot, reference, maker } = self.by_handle.remove(&handle)?;
        self.by_object.remove(&(slot, reference.id));
        if let Some(made) = maker.and_then(|maker| self.by_maker.get_mut(&maker)) {
            made.remove(&handle);
        }
        Some(reference)
    }
}

impl ObjectHandles {
    /// A number that changes whenever a handle dies.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The object behind a handle, if it belongs to the slot.
    pub fn get(&self, slot: u64, handle: Handle<Reference>) -> Option<Reference> {
        let known = self.known.read();
        known.by_handle.get(&handle).filter(|entry| entry.slot == slot).map(|entry| entry.reference)
    }

    /// The handle of an object that a session made or found out about; `None` for a session object whose session is closed by now.
    pub fn adopt(&self, maker: &Session, reference: Reference, counter: &Counter) -> Option<Handle<Reference>> {
        let mut known = self.known.write();
        // Looked at under the lock: whoever closes the session takes the objects that it made after it was marked as closed.
        if !reference.token && maker.is_closed() {
            return None;
        }
        let dies_with = (!reference.token).then_some(maker.handle);
        Some(known.handle(maker.slot.id(), reference, dies_with, counter))
    }

    /// Handles of objects that a search found.
    pub fn found(
        &self,
        slot: u64,
        references: impl Iterator<Item = Reference>,
        counter: &Counter,
    ) -> impl Iterator<Item = Handle<Reference>> {
        let mut known = self.known.write();
        references.map(move |reference| known.handle(slot, reference, None, counter))
    }

    /// The object's handle is dead from now on.
    pub fn forget(&self, slot: u64, id: ObjectId) {
        let mut known = self.known.write();
        if let Some(handle) = known.by_object.get(&(slot, id)).copied() {
            known.remove(handle);
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }

    /// Handles of everything in the slot that `dies` names are dead from now on.
    pub fn forget_if(&self, slot: u64, dies: impl Fn(&Reference) -> bool) {
        let mut known = self.known.write();
        let dead = known.by_handle.iter().filter(|(_, entry)| entry.slot == slot && dies(&entry.reference));
        let dead: Vec<_> = dead.map(|(handle, _)| *handle).collect();
        for handle in dead {
            known.remove(handle);
        }
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// How many handles are alive.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.known.read().by_handle.len()
    }

    /// The session objects that a closed session made; their handles are dead from now on.
    pub fn take_made(&self, maker: Handle<Session>) -> Vec<ObjectId> {
        let mut known = self.known.write();
        let made = known.by_maker.remove(&maker).unwrap_or_default();
        if made.is_empty() {
            return Vec::new();
        }
        self.epoch.fetch_add(1, Ordering::Release);
        made.into_iter().filter_map(|handle| known.remove(handle)).map(|reference| reference.id).collect()
    }
}
