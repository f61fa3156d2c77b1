//! Session objects are changed and let go, and the login that they were found under too, while threads use them: once that has returned, nobody has
//! the old at hand.

use std::sync::Arc;

use hsmpool::mechanism::Key;
use hsmpool::object::{Object, ObjectId, Template};
use hsmpool::token::{Access, LoginId, Role, Scope};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

use crate::ephemeral::Ephemeral;
use crate::hands::{Hands, Near, Source};

/// Session objects, changed and let go one after the other: each is one more chance to meet.
const IDS: [ObjectId; 3] = [ObjectId([1; 16]), ObjectId([2; 16]), ObjectId([3; 16])];
const SCOPE: Scope = Scope([1; 16]);

/// What is known: nothing here depends on more of it than that it is the same.
struct Known;

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The moment is looked at after the object was looked up, or after the login was.
    LateForObjects,
    LateForLogins,
    /// Objects are taken out of the hands before they are taken away.
    LetGoFirst,
}

struct Token {
    mistake: Mistake,
    hands: Hands<Known>,
    known: Arc<Known>,
    objects: Ephemeral,
    logged_in: Mutex<bool>,
    /// So many objects were changed, and are gone, and the login is over, for calls that have returned.
    changed: AtomicUsize,
    gone: AtomicUsize,
    no_login: AtomicBool,
}

fn access() -> Access {
    Access { role: Some(Role::User), login: Some(LoginId([3; 16])), ..Access::public(SCOPE, true) }
}

fn object(id: ObjectId, version: u64) -> Arc<Key> {
    Arc::new(Key::new(Object { id, version, attributes: Template::new() }))
}

impl Token {
    fn new(mistake: Mistake) -> Self {
        let objects = Ephemeral::default();
        IDS.into_iter().for_each(|id| objects.put(SCOPE, object(id, 1)));
        Self {
            mistake,
            hands: Hands::default(),
            known: Arc::new(Known),
            objects,
            logged_in: Mutex::new(true),
            changed: 0.into(),
            gone: 0.into(),
            no_login: false.into(),
        }
    }

    fn known(&self) -> Near<Known> {
        self.hands.known(|_| true).unwrap_or_else(|| self.hands.learn(self.known.clone(), |_| 0))
    }

    /// In the steps of `partition::object`: the object, if it is there, and whether the login is good.
    fn open(&self, id: ObjectId) -> (Option<Arc<Key>>, bool) {
        let (hands, access, known) = (&self.hands, access(), self.known());
        let source = Source::Session(SCOPE);
        let (found, proven) = match hands.key(id, &[Some(source)], &known, &access) {
            Some((key, proven)) => (Some(key), proven),
            None => {
                let moment = hands.moment();
                let found = self.objects.get(SCOPE, id);
                let late = hands.moment();
                if let Some(key) = &found {
                    hands.keep_key(if self.mistake == Mistake::LateForObjects { &late } else { &moment }, key, source);
                }
                (found, false)
            }
        };
        (found, proven || self.prove(&access, &known))
    }

    fn prove(&self, access: &Access, known: &Near<Known>) -> bool {
        let moment = self.hands.moment();
        let is_good = *self.logged_in.lock().unwrap();
        let late = self.hands.moment();
        if is_good {
            self.hands.keep_login(if self.mistake == Mistake::LateForLogins { &late } else { &moment }, access, known);
        }
        is_good
    }

    /// Takes an object out of the hands, after it was changed or is gone.
    fn let_go(&self, id: ObjectId, change: impl FnOnce()) {
        if self.mistake == Mistake::LetGoFirst {
            self.hands.let_go(&[id]);
            change();
        } else {
            change();
            self.hands.let_go(&[id]);
        }
    }

    fn end(&self) {
        for id in IDS {
            // Whoever makes the users is ahead of them otherwise.
            (0..4).for_each(|_| thread::yield_now());
            let old = self.open(id).0.expect("nobody else takes it away");
            let replaces =
                || assert!(self.objects.replace(SCOPE, &old, object(id, 2)), "the one at hand is the one that is there");
            self.let_go(id, replaces);
            self.changed.fetch_add(1, Ordering::SeqCst);
            self.let_go(id, || assert!(self.objects.remove(SCOPE, id)));
            self.gone.fetch_add(1, Ordering::SeqCst);
        }
        *self.logged_in.lock().unwrap() = false;
        self.hands.let_all_go();
        self.no_login.store(true, Ordering::SeqCst);
    }

    fn look(&self) {
        for (at, id) in IDS.into_iter().enumerate() {
            let is_changed = self.changed.load(Ordering::SeqCst) > at;
            let is_gone = self.gone.load(Ordering::SeqCst) > at;
            let no_login = self.no_login.load(Ordering::SeqCst);
            let (found, proven) = self.open(id);
            assert!(!(is_gone && found.is_some()), "an object that was let go is used");
            assert!(!(is_changed && found.is_some_and(|key| key.object().version < 2)), "what an object was is used");
            assert!(!(no_login && proven), "a login that is over is used");
        }
    }
}

fn play(mistake: Mistake) {
    let token = Arc::new(Token::new(mistake));
    let users = [(); 2].map(|()| {
        let token = token.clone();
        thread::spawn(move || (0..2).for_each(|_| token.look()))
    });
    token.end();
    token.look();
    users.into_iter().for_each(|user| user.join().unwrap());
    token.look();
}

pub fn works() {
    play(Mistake::None);
}

pub fn late_for_objects() {
    play(Mistake::LateForObjects);
}

pub fn late_for_logins() {
    play(Mistake::LateForLogins);
}

pub fn let_go_first() {
    play(Mistake::LetGoFirst);
}
