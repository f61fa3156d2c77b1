//! A session object is changed or destroyed, or the login ends, while threads use them: once that has returned, nobody has the old at hand.

use std::sync::Arc;

use hsmpool::mechanism::Key;
use hsmpool::object::{Object, ObjectId, Template};
use hsmpool::token::{Access, LoginId, Role, Scope};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::ephemeral::Ephemeral;
use crate::hands::{Hands, Near, Source};

const ID: ObjectId = ObjectId([7; 16]);
const SCOPE: Scope = Scope([1; 16]);

/// What is known: nothing here depends on more of it than that it is the same.
struct Known;

/// What ends while others look.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    /// What the object was: it is changed. The mistake: whoever looks it up looks at the moment afterwards.
    OldVersion,
    /// The object. The mistake: it is let go before it is taken away.
    Object,
    /// The login. The mistake: it is kept with what is known after the look-up.
    Login,
}

struct Token {
    ends: Ends,
    mistaken: bool,
    hands: Hands<Known>,
    known: Arc<Known>,
    objects: Ephemeral,
    logged_in: Mutex<bool>,
    /// The call that ended it has returned.
    returned: AtomicBool,
}

fn access() -> Access {
    Access { role: Some(Role::User), login: Some(LoginId([3; 16])), ..Access::public(SCOPE, true) }
}

fn object(version: u64) -> Arc<Key> {
    Arc::new(Key::new(Object { id: ID, version, attributes: Template::new() }))
}

impl Token {
    fn new(ends: Ends, mistaken: bool) -> Self {
        let objects = Ephemeral::default();
        objects.put(SCOPE, object(1));
        let (known, logged_in) = (Arc::new(Known), Mutex::new(true));
        Self { ends, mistaken, hands: Hands::default(), known, objects, logged_in, returned: false.into() }
    }

    fn known(&self) -> Near<Known> {
        self.hands.known(|_| true).unwrap_or_else(|| self.hands.learn(self.known.clone(), |_| 0))
    }

    /// In the steps of `partition::object`: the object, if it is there, and whether the login is good.
    fn open(&self) -> (Option<Arc<Key>>, bool) {
        let (hands, access, known) = (&self.hands, access(), self.known());
        let source = Source::Session(SCOPE);
        let (found, proven) = match hands.key(ID, &[Some(source)], &known, &access) {
            Some((key, proven)) => (Some(key), proven),
            None => {
                let mut moment = hands.moment();
                let found = self.objects.get(SCOPE, ID);
                if self.mistaken && self.ends == Ends::OldVersion {
                    moment = hands.moment();
                }
                if let Some(key) = &found {
                    hands.keep_key(&moment, key, source);
                }
                (found, false)
            }
        };
        (found, proven || self.prove(&access, &known))
    }

    fn prove(&self, access: &Access, known: &Near<Known>) -> bool {
        let is_good = *self.logged_in.lock().unwrap();
        match is_good {
            true if self.mistaken && self.ends == Ends::Login => self.hands.keep_login(access, &self.known()),
            true => self.hands.keep_login(access, known),
            false => {}
        }
        is_good
    }

    fn end(&self) {
        match self.ends {
            Ends::OldVersion => {
                let old = self.open().0.expect("nobody takes it away");
                assert!(self.objects.replace(SCOPE, &old, object(2)), "the one at hand is the one that is there");
                self.hands.let_go(&[ID]);
            }
            Ends::Object if self.mistaken => {
                self.hands.let_go(&[ID]);
                assert!(self.objects.remove(SCOPE, ID));
            }
            Ends::Object => {
                assert!(self.objects.remove(SCOPE, ID));
                self.hands.let_go(&[ID]);
            }
            Ends::Login => {
                *self.logged_in.lock().unwrap() = false;
                self.hands.let_all_go();
            }
        }
        self.returned.store(true, Ordering::SeqCst);
    }

    fn look(&self) {
        let is_over = self.returned.load(Ordering::SeqCst);
        let (found, proven) = self.open();
        let ended = match self.ends {
            Ends::OldVersion => found.is_some_and(|key| key.object().version == 2),
            Ends::Object => found.is_none(),
            Ends::Login => !proven,
        };
        assert!(!is_over || ended, "what was ended is used");
    }
}

fn play(ends: Ends, mistaken: bool) {
    let token = Arc::new(Token::new(ends, mistaken));
    let users = [(); 2].map(|()| {
        let token = token.clone();
        thread::spawn(move || (0..2).for_each(|_| token.look()))
    });
    token.end();
    token.look();
    users.into_iter().for_each(|user| user.join().unwrap());
    token.look();
}

pub fn change_works() {
    play(Ends::OldVersion, false);
}

pub fn change_fails() {
    play(Ends::OldVersion, true);
}

pub fn destruction_works() {
    play(Ends::Object, false);
}

pub fn destruction_fails() {
    play(Ends::Object, true);
}

pub fn logout_works() {
    play(Ends::Login, false);
}

pub fn logout_fails() {
    play(Ends::Login, true);
}
