//! Keys and other token objects, opened and ready for use: each good as long as its mark in the store stays the same.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::error::Result;
use crate::mechanism::Key;
use crate::object::ObjectId;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Opened token objects of one token. Most are never asked for; the bound keeps a scan of a million from filling the memory.
#[derive(Default)]
pub(super) struct ReadyKeys(RwLock<HashMap<ObjectId, Arc<Ready>, BuildHasherDefault<IdHasher>>>);

/// Ids are random, or hashes: a part of one is as good as a hash of it.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= bytes.last_chunk().map_or(0, |part| u64::from_ne_bytes(*part));
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// Opened objects kept at most; beyond it the cache starts anew.
const READY_MAX: usize = 20_000;

/// One opened object.
struct Ready {
    key: Arc<Key>,
    /// Its row is known to be unchanged at this mark of it.
    mark: AtomicU64,
}

impl ReadyKeys {
    /// The object as its row is, or was when `mark` was read, which is before this call: the one that was opened, if its mark still stands or
    /// `version` says that its row has the same version; else what `read` opens.
    pub fn open(
        &self,
        id: ObjectId,
        mark: u64,
        version: impl FnOnce() -> Result<Option<u64>>,
        read: impl FnOnce() -> Result<Option<Arc<Key>>>,
    ) -> Result<Option<Arc<Key>>> {
        let ready = self.0.read().get(&id).cloned();
        if let Some(ready) = ready {
            if ready.mark.load(Ordering::Acquire) == mark {
                return Ok(Some(ready.key.clone()));
            }
            if version()? == Some(ready.key.object().version) {
                ready.mark.store(mark, Ordering::Release);
                return Ok(Some(ready.key.clone()));
            }
            self.forget(id);
        }
        let key = read()?;
        if let Some(key) = &key {
            self.put(key.clone(), mark);
        }
        Ok(key)
    }

    /// Keeps an object whose row was read, or written, later than this mark.
    pub fn put(&self, key: Arc<Key>, mark: u64) {
        let mut ready = self.0.write();
        if ready.len() >= READY_MAX {
            ready.clear();
        }
        ready.insert(key.object().id, Arc::new(Ready { key, mark: AtomicU64::new(mark) }));
    }

    pub fn forget(&self, id: ObjectId) {
        self.0.write().remove(&id);
    }

    /// The last user has logged out: no private object stays open.
    pub fn forget_private(&self) {
        self.0.write().retain(|_, ready| !ready.key.object().is_private());
    }

    pub fn clear(&self) {
        self.0.write().clear();
    }
}
