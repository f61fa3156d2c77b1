//! Session objects: in memory, by application, never logged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::mechanism::Key;
use crate::object::ObjectId;
use crate::sync::RwLock;
use crate::token::Scope;

/// Session objects of one token, by application.
#[derive(Default)]
pub(super) struct Ephemeral(RwLock<HashMap<Scope, HashMap<ObjectId, Arc<Key>>>>);

impl Ephemeral {
    pub fn get(&self, scope: Scope, id: ObjectId) -> Option<Arc<Key>> {
        self.0.read().get(&scope)?.get(&id).cloned()
    }

    pub fn put(&self, scope: Scope, key: Arc<Key>) {
        self.0.write().entry(scope).or_default().insert(key.object().id, key);
    }

    /// Puts a new version in the place of the one that it was made from; false if that is no longer there.
    pub fn replace(&self, scope: Scope, old: &Key, new: Arc<Key>) -> bool {
        let mut all = self.0.write();
        let Some(place) = all.get_mut(&scope).and_then(|objects| objects.get_mut(&old.object().id)) else { return false };
        if !place.is(old) {
            return false;
        }
        *place = new;
        true
    }

    pub fn remove(&self, scope: Scope, id: ObjectId) -> bool {
        self.0.write().get_mut(&scope).is_some_and(|objects| objects.remove(&id).is_some())
    }

    /// In order of id, so that a search gives the same order twice.
    pub fn all(&self, scope: Scope) -> Vec<Arc<Key>> {
        let mut keys: Vec<_> = self.0.read().get(&scope).map(|objects| objects.values().cloned().collect()).unwrap_or_default();
        keys.sort_by_key(|key| key.object().id);
        keys
    }

    /// The ids of all applications' objects.
    pub fn ids(&self) -> HashSet<ObjectId> {
        self.0.read().values().flat_map(HashMap::keys).copied().collect()
    }

    pub fn forget_private(&self, scope: Scope) {
        if let Some(objects) = self.0.write().get_mut(&scope) {
            objects.retain(|_, key| !key.object().is_private());
        }
    }

    pub fn leave(&self, scope: Scope) {
        self.0.write().remove(&scope);
    }

    pub fn clear(&self) {
        self.0.write().clear();
    }
}
