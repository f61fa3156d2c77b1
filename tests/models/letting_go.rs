//! A session object and the login that it was found under are let go while threads use them: once that has returned, nobody has either at hand.

use std::sync::Arc;

use hsmpool::mechanism::Key;
use hsmpool::object::{Object, ObjectId, Template};
use hsmpool::token::{Access, LoginId, Role, Scope};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

use crate::hands::{Hands, Place};

/// Session objects, let go one after the other: each is one more chance to meet.
const IDS: [ObjectId; 4] = [ObjectId([1; 16]), ObjectId([2; 16]), ObjectId([3; 16]), ObjectId([4; 16])];
const SCOPE: Scope = Scope([1; 16]);

/// What is known: nothing here depends on more of it than that it is the same.
struct Known;

struct Token {
    hands: Hands<Known>,
    known: Arc<Known>,
    /// The session objects that are there, and whether the login is good.
    found: Mutex<Vec<Arc<Key>>>,
    logged_in: Mutex<bool>,
    /// The calls that let so many objects, and the login, go have returned.
    objects_gone: AtomicUsize,
    no_login: AtomicBool,
}

fn access() -> Access {
    Access { role: Some(Role::User), login: Some(LoginId([3; 16])), ..Access::public(SCOPE, true) }
}

impl Token {
    fn new() -> Self {
        let key = |id| Arc::new(Key::new(Object { id, version: 1, attributes: Template::new() }));
        let found = Mutex::new(IDS.map(key).to_vec());
        let (hands, known) = (Hands::default(), Arc::new(Known));
        Self { hands, known, found, logged_in: Mutex::new(true), objects_gone: 0.into(), no_login: false.into() }
    }

    /// As `partition::object` does. Tells whether the object was there, and whether its login was good.
    fn open(&self, id: ObjectId, early: bool) -> (bool, bool) {
        let (hands, access) = (&self.hands, access());
        let known = hands.known(|_| true).unwrap_or_else(|| hands.learn(self.known.clone(), |_| 0));
        let place = Place::Session(SCOPE);
        let (opened, mut proven) = match hands.key(id, [None, Some(place)], &known, &access) {
            Some((_, proven)) => (true, proven),
            None => {
                let early = early.then(|| hands.moment());
                let found = self.found.lock().unwrap().iter().find(|key| key.object().id == id).cloned();
                if let Some(key) = &found {
                    hands.keep_key(&early.unwrap_or_else(|| hands.moment()), key, place);
                }
                (found.is_some(), false)
            }
        };
        if !proven {
            let early = early.then(|| hands.moment());
            proven = *self.logged_in.lock().unwrap();
            if proven {
                hands.keep_login(&early.unwrap_or_else(|| hands.moment()), &access, &known);
            }
        }
        (opened, proven)
    }

    fn let_go(&self) {
        for id in IDS {
            // Whoever makes the users is ahead of them otherwise.
            (0..4).for_each(|_| thread::yield_now());
            self.found.lock().unwrap().retain(|key| key.object().id != id);
            self.hands.let_go(&[id]);
            self.objects_gone.fetch_add(1, Ordering::SeqCst);
        }
        *self.logged_in.lock().unwrap() = false;
        self.hands.let_all_go();
        self.no_login.store(true, Ordering::SeqCst);
    }
}

fn play(early: bool) {
    let token = Arc::new(Token::new());
    let look = move |token: &Token| {
        for (at, id) in IDS.into_iter().enumerate() {
            let is_gone = token.objects_gone.load(Ordering::SeqCst) > at;
            let no_login = token.no_login.load(Ordering::SeqCst);
            let (opened, proven) = token.open(id, early);
            assert!(!(is_gone && opened), "a key that was let go was used");
            assert!(!(no_login && proven), "a login that was let go was used");
        }
    };
    let users = [(); 2].map(|()| {
        let token = token.clone();
        thread::spawn(move || (0..2).for_each(|_| look(&token)))
    });
    token.let_go();
    look(&token);
    users.into_iter().for_each(|user| user.join().unwrap());
    look(&token);
}

pub fn works() {
    play(true);
}

/// The moment after the look: what was let go in between is kept.
pub fn fails() {
    play(false);
}
