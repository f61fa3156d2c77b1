//! A session object and the login that it was found under are let go while threads use them: once that has returned, nobody has either at hand.

use std::sync::Arc;

use hsmpool::mechanism::Key;
use hsmpool::object::{Object, ObjectId, Template};
use hsmpool::token::{Access, LoginId, Role, Scope};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::hands::{Hands, Place};

const ID: ObjectId = ObjectId([7; 16]);
const SCOPE: Scope = Scope([1; 16]);

/// What is known: nothing here depends on more of it than that it is the same.
struct Known;

struct Token {
    hands: Hands<Known>,
    known: Arc<Known>,
    /// The session object, and whether the login is good.
    found: Mutex<Option<Arc<Key>>>,
    logged_in: Mutex<bool>,
    /// The call that let both go has returned.
    returned: AtomicBool,
}

fn access() -> Access {
    Access { role: Some(Role::User), login: Some(LoginId([3; 16])), ..Access::public(SCOPE, true) }
}

impl Token {
    fn new() -> Self {
        let object = Object { id: ID, version: 1, attributes: Template::new() };
        let found = Mutex::new(Some(Arc::new(Key::new(object))));
        let (hands, known) = (Hands::default(), Arc::new(Known));
        Self { hands, known, found, logged_in: Mutex::new(true), returned: AtomicBool::new(false) }
    }

    /// As `partition::object` does. Tells whether the object was there, and whether its login was good.
    fn open(&self, early: bool) -> (bool, bool) {
        let (hands, access) = (&self.hands, access());
        let known = hands.known(|_| true).unwrap_or_else(|| hands.learn(self.known.clone(), |_| 0));
        let place = Place::Session(SCOPE);
        let (opened, mut proven) = match hands.key(ID, [None, Some(place)], &known, &access) {
            Some((_, proven)) => (true, proven),
            None => {
                let early = early.then(|| hands.moment());
                let found = self.found.lock().unwrap().clone();
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
        *self.found.lock().unwrap() = None;
        self.hands.let_go(&[ID]);
        *self.logged_in.lock().unwrap() = false;
        self.hands.let_all_go();
        self.returned.store(true, Ordering::SeqCst);
    }
}

fn play(early: bool) {
    let token = Arc::new(Token::new());
    let look = move |token: &Token| {
        let is_over = token.returned.load(Ordering::SeqCst);
        let (opened, proven) = token.open(early);
        assert!(!is_over || !opened, "a key that was let go was used");
        assert!(!is_over || !proven, "a login that was let go was used");
    };
    let users = [(); 2].map(|()| {
        let token = token.clone();
        thread::spawn(move || (0..3).for_each(|_| look(&token)))
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
