//! Keys and other token objects, opened and ready for use: each good for one version of the log, then looked at again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::log::Version;
use crate::mechanism::Key;
use crate::object::ObjectId;

/// Opened token objects of one token. Most are never asked for; the bound keeps a scan of a million from filling the memory.
#[derive(Default)]
pub(super) struct ReadyKeys(RwLock<HashMap<ObjectId, Arc<Ready>>>);

/// Opened objects kept at most; beyond it the cache starts anew.
const READY_MAX: usize = 20_000;

/// One opened object.
pub(super) struct Ready {
    pub key: Arc<Key>,
    checked: RwLock<Version>,
}

impl Ready {
    /// Whether its row is known to be unchanged at this version.
    pub fn is_good_at(&self, version: Version) -> bool {
        *self.checked.read() == version
    }

    /// Its row was read and is still the one that was opened.
    pub fn is_still_good(&self, version: Version) {
        *self.checked.write() = version;
    }
}

impl ReadyKeys {
    pub fn get(&self, id: ObjectId) -> Option<Arc<Ready>> {
        self.0.read().get(&id).cloned()
    }

    pub fn put(&self, key: Arc<Key>, version: Version) {
        let mut ready = self.0.write();
        if ready.len() >= READY_MAX {
            ready.clear();
        }
        ready.insert(key.object().id, Arc::new(Ready { key, checked: RwLock::new(version) }));
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
