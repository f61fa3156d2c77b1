//! Handles: typed numbers, never used twice. Sessions and objects count together, from 1, as SoftHSM's do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::object::ObjectId;
use crate::token::Reference;

/// The one counter of an application.
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The objects that an application has handles of. The same object has the same handle as long as that is valid.
#[derive(Default)]
pub(super) struct ObjectHandles(RwLock<Known>);

#[derive(Default)]
struct Known {
    by_handle: HashMap<u64, (u64, Reference)>,
    by_object: HashMap<(u64, ObjectId), u64>,
}

impl ObjectHandles {
    /// The object behind a handle, if it belongs to the slot.
    pub fn get(&self, slot: u64, handle: u64) -> Option<Reference> {
        self.0.read().by_handle.get(&handle).filter(|(owner, _)| *owner == slot).map(|(_, reference)| *reference)
    }

    /// The handle of an object; a new one if it has none yet.
    pub fn handle(&self, slot: u64, reference: Reference, counter: &Counter) -> u64 {
        if let Some(handle) = self.0.read().by_object.get(&(slot, reference.id)) {
            return *handle;
        }
        let mut known = self.0.write();
        let known = &mut *known;
        *known.by_object.entry((slot, reference.id)).or_insert_with(|| {
            let handle = counter.next();
            known.by_handle.insert(handle, (slot, reference));
            handle
        })
    }

    /// Handles of many objects under one lock.
    pub fn handles(&self, slot: u64, references: &[Reference], counter: &Counter) -> Vec<u64> {
        let mut known = self.0.write();
        let known = &mut *known;
        let one = |reference: &Reference| {
            *known.by_object.entry((slot, reference.id)).or_insert_with(|| {
                let handle = counter.next();
                known.by_handle.insert(handle, (slot, *reference));
                handle
            })
        };
        references.iter().map(one).collect()
    }

    /// Its handle is dead from now on.
    pub fn forget(&self, slot: u64, id: ObjectId) {
        let mut known = self.0.write();
        if let Some(handle) = known.by_object.remove(&(slot, id)) {
            known.by_handle.remove(&handle);
        }
    }

    /// Handles of everything that `dies` names are dead from now on.
    pub fn forget_if(&self, slot: u64, dies: impl Fn(&Reference) -> bool) {
        let mut known = self.0.write();
        known.by_handle.retain(|_, (owner, reference)| *owner != slot || !dies(reference));
        let Known { by_handle, by_object } = &mut *known;
        by_object.retain(|_, handle| by_handle.contains_key(handle));
    }
}
