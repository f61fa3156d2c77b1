//! Keys are opened while one of them is replaced and destroyed: what has returned is what whoever asks afterwards sees.

use std::sync::Arc;

use hsmpool::mechanism::Key;
use hsmpool::object::{Object, ObjectId, Template};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

use crate::ready::ReadyKeys;

const ID: ObjectId = ObjectId([7; 16]);
/// The version of a key that is gone.
const GONE: u64 = 3;

/// The store: a row's version and its mark change in one transaction.
struct Store {
    committed: Mutex<(Option<u64>, u64)>,
    keys: ReadyKeys,
    /// The version that a call which has returned has left.
    returned: AtomicU64,
}

impl Store {
    fn committed(&self) -> (Option<u64>, u64) {
        *self.committed.lock().unwrap()
    }

    fn version(&self) -> Option<u64> {
        self.committed().0
    }

    /// As `partition::object` does: the transaction, then the copy is forgotten.
    fn change(&self, version: Option<u64>) {
        {
            let mut committed = self.committed.lock().unwrap();
            *committed = (version, committed.1 + 1);
        }
        self.keys.forget(ID);
        self.returned.store(version.unwrap_or(GONE), Ordering::SeqCst);
    }

    fn key(version: u64) -> Arc<Key> {
        Arc::new(Key::new(Object { id: ID, version, attributes: Template::new() }))
    }

    /// As `partition::object` does: the mark first, then whatever the cache asks for.
    fn open(&self) -> Option<Arc<Key>> {
        let mark = self.committed().1;
        self.keys.open(ID, mark, || Ok(self.version()), || Ok(self.version().map(Self::key))).unwrap()
    }

    /// The mark after the row: an old copy is kept as if it were new.
    fn open_wrongly(&self) -> Option<Arc<Key>> {
        let row = self.version();
        let mark = self.committed().1;
        self.keys.open(ID, mark, || Ok(row), || Ok(row.map(Self::key))).unwrap()
    }
}

fn play(open: fn(&Store) -> Option<Arc<Key>>) {
    let store = Store { committed: Mutex::new((Some(1), 1)), keys: ReadyKeys::default(), returned: AtomicU64::new(1) };
    let store = Arc::new(store);
    let look = move |store: &Store| {
        let least = store.returned.load(Ordering::SeqCst);
        let seen = open(store).map_or(GONE, |key| key.object().version);
        assert!(seen >= least, "version {least} was there, and {seen} was opened");
    };
    let readers = [(); 2].map(|()| {
        let store = store.clone();
        thread::spawn(move || (0..3).for_each(|_| look(&store)))
    });
    store.change(Some(2));
    store.change(None);
    look(&store);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    look(&store);
}

pub fn works() {
    play(Store::open);
}

pub fn fails() {
    play(Store::open_wrongly);
}
