//! What each thread has at hand of a token: what was known last, the login that it proved last, the keys that it used last. Threads that use keys
//! at once write to no memory that they share, not even to count who holds a key.
//!
//! All of it is copies. What is known is good for one version of the log; a token object for one mark of its row; a login and a session object
//! until they are let go: when the call that ends them returns, they are in no hand any more. Until then one thread may be told that they are
//! gone while another still uses them.
//!
//! Why nothing comes back that was let go: what lets go takes it away where it is found, then raises a count, then goes through the hands. What
//! keeps something looks at the count before the look-up, and again under the lock of its hand. If the count is the same, the hand will still
//! be gone through. If the first look was after the raise, the look-up did not find it. A login is kept with what was known before it was looked
//! up, and who ends logins lets that go as well.

use std::ops::Deref;
use std::sync::Arc;

use crate::limits::HANDS_PER_TOKEN;
use crate::mechanism::Key;
use crate::object::ObjectId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, thread_number};
use crate::token::{Access, LoginId, Role, Scope};

/// A value that many share, counted only by those who have it from the same hand.
#[allow(clippy::redundant_allocation, reason = "the outer count is what it is for")]
pub(super) struct Near<T>(Arc<Arc<T>>);

impl<T> Near<T> {
    pub fn new(value: Arc<T>) -> Self {
        Self(Arc::new(value))
    }

    /// Whether it was learnt by the same hand at the same time.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Near<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Near<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Keys in one hand; two whose ids meet in one place take turns.
const KEYS: usize = 16;

/// The hands of one token. `K`: what is known of the token.
pub(super) struct Hands<K> {
    /// Threads are spread over them.
    hands: [Hand<K>; HANDS_PER_TOKEN],
    /// How often something was let go: what was looked up before that is not kept after it.
    let_go: AtomicU64,
}

/// On a cache line of its own.
#[repr(align(128))]
struct Hand<K>(Mutex<Held<K>>);

struct Held<K> {
    known: Option<Near<K>>,
    /// Whose login was good, by what is known.
    proven: Option<(Scope, Role, LoginId)>,
    keys: [Option<HeldKey>; KEYS],
}

impl<K> Held<K> {
    const EMPTY: Self = Self { known: None, proven: None, keys: [const { None }; KEYS] };
}

struct HeldKey {
    key: Arc<Key>,
    source: Source,
}

/// Where a key came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// In the store, with this mark of its row.
    Store(u64),
    /// Among an application's session objects.
    Session(Scope),
}

/// A moment before something is looked up.
pub(super) struct Moment(u64);

impl<K> Default for Hands<K> {
    fn default() -> Self {
        Self { hands: std::array::from_fn(|_| Hand(Mutex::new(Held::EMPTY))), let_go: AtomicU64::new(0) }
    }
}

impl<K> Hands<K> {
    /// This thread's hand, unless others have the same one.
    fn mine(&self) -> &Mutex<Held<K>> {
        &self.hands[thread_number() % HANDS_PER_TOKEN].0
    }

    /// What is known, if `is_good` says that it still is.
    pub fn known(&self, is_good: impl FnOnce(&K) -> bool) -> Option<Near<K>> {
        let held = self.mine().lock();
        held.known.as_ref().filter(|known| is_good(known)).cloned()
    }

    /// What is known from now on; `mark` tells the mark that an object's row has by it.
    pub fn learn(&self, known: Arc<K>, mark: impl Fn(ObjectId) -> u64) -> Near<K> {
        let known = Near::new(known);
        let mut held = self.mine().lock();
        held.known = Some(known.clone());
        held.proven = None;
        for slot in &mut held.keys {
            if let Some(HeldKey { key, source: Source::Store(seen) }) = slot
                && *seen != mark(key.object().id)
            {
                *slot = None;
            }
        }
        known
    }

    /// Now, before something is looked up that is to be kept.
    pub fn moment(&self) -> Moment {
        Moment(self.let_go.load(Ordering::Acquire))
    }

    /// A key that is at hand and was came from one of these sources; and whether the login of `access` is good by what is `known`.
    pub fn key(&self, id: ObjectId, sources: &[Option<Source>], known: &Near<K>, access: &Access) -> Option<(Arc<Key>, bool)> {
        let held = self.mine().lock();
        let HeldKey { key, source } = held.keys[place_of(id)].as_ref()?;
        if key.object().id != id || !sources.contains(&Some(*source)) {
            return None;
        }
        let proven = held.proven.is_some() && held.proven == claim(access) && held.known.as_ref().is_some_and(|it| it.is(known));
        Some((key.clone(), proven))
    }

    /// Keeps a key that was looked up since `moment`, unless something was let go since.
    pub fn keep_key(&self, moment: &Moment, key: &Key, source: Source) {
        let mut held = self.mine().lock();
        // Under the lock of the hand.
        if self.let_go.load(Ordering::Acquire) == moment.0 {
            held.keys[place_of(key.object().id)] = Some(HeldKey { key: Arc::new(key.another()), source });
        }
    }

    /// Keeps that the login of `access` was found good after the hand had learnt what is `known`, unless it has let that go since.
    pub fn keep_login(&self, access: &Access, known: &Near<K>) {
        let mut held = self.mine().lock();
        if held.known.as_ref().is_some_and(|it| it.is(known)) {
            held.proven = claim(access);
        }
    }

    /// These objects are in no hand any more. To be called after they are gone, or changed, where they were found.
    pub fn let_go(&self, ids: &[ObjectId]) {
        self.each(|held| {
            for id in ids {
                held.keys[place_of(*id)].take_if(|it| it.key.object().id == *id);
            }
        });
    }

    /// The hands are empty. To be called after logins or objects are gone where they were found.
    pub fn let_all_go(&self) {
        self.each(|held| *held = Held::EMPTY);
    }

    fn each(&self, mut work: impl FnMut(&mut Held<K>)) {
        self.let_go.fetch_add(1, Ordering::AcqRel);
        self.hands.iter().for_each(|hand| work(&mut hand.0.lock()));
    }
}

fn claim(access: &Access) -> Option<(Scope, Role, LoginId)> {
    Some((access.scope, access.role?, access.login?))
}

/// Ids are random, or hashes.
fn place_of(id: ObjectId) -> usize {
    usize::from(id.0[15]) % KEYS
}
