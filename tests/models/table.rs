//! Session objects are made while their session is closed: each is either refused its handle or taken with the session, and no handle of one outlives
//! the close.

use std::sync::Arc;

use hsmpool::object::ObjectId;
use hsmpool::token::Reference;
use shuttle::thread;

use crate::handle::{Counter, Handle, ObjectHandles};

/// As much of a session as the table looks at.
pub mod sessions {
    use std::sync::Arc;

    use shuttle::sync::atomic::{AtomicBool, Ordering};

    use crate::handle::Handle;

    pub struct Session {
        pub handle: Handle<Session>,
        pub slot: Arc<Slot>,
        pub closed: AtomicBool,
    }

    pub struct Slot(pub u64);

    impl Slot {
        pub fn id(&self) -> u64 {
            self.0
        }
    }

    impl Session {
        pub fn is_closed(&self) -> bool {
            self.closed.load(Ordering::Acquire)
        }

        pub fn mark_closed(&self) {
            self.closed.store(true, Ordering::Release);
        }
    }
}

use sessions::{Session, Slot};

const SLOT: u64 = 5;

fn play(close: fn(&ObjectHandles, &Session) -> Vec<ObjectId>) {
    let (counter, objects) = (Arc::new(Counter::new()), Arc::new(ObjectHandles::default()));
    let session = Arc::new(Session { handle: counter.next(), slot: Arc::new(Slot(SLOT)), closed: false.into() });
    let makers = [1, 2].map(|number| {
        let (counter, objects, session) = (counter.clone(), objects.clone(), session.clone());
        thread::spawn(move || {
            let reference = Reference { id: ObjectId([number; 16]), token: false, private: false };
            let before = objects.epoch();
            let made = objects.adopt(&session, reference, &counter);
            // What is remembered of a handle is good while the epoch stands.
            if let Some(handle) = made
                && objects.get(SLOT, handle).is_none()
            {
                assert_ne!(objects.epoch(), before, "a handle died, and the epoch stands");
            }
            (reference.id, made)
        })
    });
    let taken = close(&objects, &session);
    for maker in makers {
        let (id, made) = maker.join().unwrap();
        let is_alive = made.is_some_and(|handle| objects.get(SLOT, handle).is_some());
        assert!(!is_alive, "a session object's handle outlived its session");
        assert_eq!(made.is_some(), taken.contains(&id), "whoever made it, or whoever closes, destroys it");
    }
}

pub fn works() {
    play(|objects, session| {
        session.mark_closed();
        objects.take_made(session.handle)
    });
}

/// What it made is taken before nobody can make more.
pub fn fails() {
    play(|objects, session| {
        let taken = objects.take_made(session.handle);
        session.mark_closed();
        taken
    });
}
