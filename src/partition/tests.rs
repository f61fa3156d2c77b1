//! The partition's promises, on a real store in a temporary directory.

mod bounds;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::together::Made;
use super::*;
use crate::ck::{AttributeType as A, KeyType, MechanismType, ObjectClass};
use crate::log::{Proposal, Solo, Version};
use crate::mechanism::{Mechanism, Params};
use crate::object::{Template, Value};
use crate::secret::Secret;
use crate::token::message::{Making, New};
use crate::token::{Access, Admin, PinState, Reading, Reference, Role, Scope, Token};
use crate::world::Real;

struct Home {
    directory: PathBuf,
}

impl Home {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("hsmpool-partition-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        Self { directory }
    }

    /// One process's partition: two of them on one directory see each other as processes do.
    fn open(&self, policy: Policy) -> LocalAdmin {
        self.open_with(policy, |log| Arc::new(log))
    }

    fn open_with(&self, policy: Policy, log: impl FnOnce(Solo) -> Arc<dyn Log>) -> LocalAdmin {
        self.assemble(policy, Arc::new(Real), log)
    }

    fn open_in(&self, policy: Policy, world: Arc<dyn World>) -> LocalAdmin {
        self.assemble(policy, world, |log| Arc::new(log))
    }

    fn assemble(&self, policy: Policy, world: Arc<dyn World>, log: impl FnOnce(Solo) -> Arc<dyn Log>) -> LocalAdmin {
        let store = Arc::new(Store::open(&self.directory).unwrap());
        let source = RootKeySource::File(self.directory.join("hsmpool.key"));
        let root_key = load_root_key(&source, store.tokens().unwrap().is_empty(), &Real).unwrap();
        store.authenticate(root_key.stamper().unwrap()).unwrap();
        let log = log(Solo::new(store.clone()));
        let settings = Settings { pin_attempts_max: 3, policy, root_key, tickets: false };
        LocalAdmin(Partition::new(store, log, world, settings).unwrap())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn pin(text: &str) -> Secret {
    Secret::copy_of(text.as_bytes())
}

fn ready_token(admin: &LocalAdmin) -> Arc<dyn Token> {
    let token = admin.init_token(None, &pin("so-pin"), *b"label                           ").unwrap();
    let so = token.login(&SCOPE, Role::SecurityOfficer, &pin("so-pin")).unwrap();
    token.init_pin(&so, &pin("user-pin")).unwrap();
    token.logout(&so).unwrap();
    token
}

const SCOPE: Scope = Scope([1; 16]);

fn user(token: &dyn Token) -> Access {
    token.login(&SCOPE, Role::User, &pin("user-pin")).unwrap().with_write(true)
}

fn data(label: &str, private: bool) -> Template {
    Template::from_iter([
        (A::CLASS, Value::Ulong(ObjectClass::DATA.0)),
        (A::TOKEN, Value::Bool(true)),
        (A::PRIVATE, Value::Bool(private)),
        (A::LABEL, Value::Bytes(label.as_bytes().to_vec())),
    ])
}

fn labelled(label: &str) -> Template {
    Template::from_iter([(A::LABEL, Value::Bytes(label.as_bytes().to_vec()))])
}

fn code<T>(result: Result<T>) -> Option<Code> {
    result.err().map(|error| error.code())
}

#[test]
fn a_token_lives_on_in_another_process_with_label_serial_and_objects() {
    let home = Home::new("lives");
    let first = home.open(Policy::Default);
    let token = ready_token(&first);
    let access = user(&*token);
    token.create(&access, data("public", false)).unwrap();
    token.create(&access, data("private", true)).unwrap();

    let second = home.open(Policy::Default);
    let tokens = second.tokens().unwrap();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].describe().unwrap().serial, token.describe().unwrap().serial);
    let public = Access::public(SCOPE, true);
    assert_eq!(tokens[0].find(&public, &labelled("public")).unwrap().len(), 1);
    assert_eq!(tokens[0].find(&public, &labelled("private")).unwrap().len(), 0);
    let access = user(&*tokens[0]);
    assert_eq!(tokens[0].find(&access, &labelled("private")).unwrap().len(), 1);
    assert_eq!(tokens[0].find(&access, &Template::new()).unwrap().len(), 2);
}

#[test]
fn changes_of_one_process_are_seen_by_the_next_call_of_another() {
    let home = Home::new("seen");
    let (first, second) = (home.open(Policy::Default), home.open(Policy::Default));
    let ours = ready_token(&first);
    let theirs = second.tokens().unwrap().remove(0);
    let (access, other) = (user(&*ours), user(&*theirs));
    let object = ours.create(&access, data("before", true)).unwrap();
    let read = |token: &dyn Token, access: &Access| match token.read(access, object.id, &[A::LABEL]) {
        Ok(readings) => match &readings[0] {
            Reading::Value(Value::Bytes(label)) => Ok(label.clone()),
            other => panic!("{other:?}"),
        },
        Err(error) => Err(error.code()),
    };
    assert_eq!(read(&*theirs, &other), Ok(b"before".to_vec()));
    ours.update(&access, object.id, labelled("after")).unwrap();
    assert_eq!(read(&*theirs, &other), Ok(b"after".to_vec()));
    ours.destroy(&access, object.id).unwrap();
    assert_eq!(read(&*theirs, &other), Err(Code::ObjectHandleInvalid));
    assert_eq!(read(&*ours, &access), Err(Code::ObjectHandleInvalid));
}

/// What happens once.
type Once = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A log in which something else happens right before a proposal.
struct Overtaken {
    log: Solo,
    first: Once,
}

impl Log for Overtaken {
    fn propose(&self, proposal: Proposal) -> Result<Outcome> {
        let first = self.first.lock().take();
        if let Some(first) = first {
            first();
        }
        self.log.propose(proposal)
    }

    fn version(&self) -> Version {
        self.log.version()
    }
}

#[test]
fn a_request_that_is_carried_out_twice_at_once_makes_one_key_and_both_use_that() {
    let home = Home::new("twice");
    let before = Once::default();
    let first = home.open(Policy::Default);
    let second = home.open_with(Policy::Default, |log| Arc::new(Overtaken { log, first: before.clone() }));
    let id = ready_token(&first).describe().map(|_| first.0.token_ids().unwrap()[0]).unwrap();
    let origin =
        Origin { scope: SCOPE, sequence: Some(7), since: None, use_number: None, client: Arc::from("app"), held: Vec::new() };
    let (ours, theirs) = (first.0.token_on_behalf(id, origin.clone()), second.0.token_on_behalf(id, origin.clone()));
    let (access, other) = (user(&*first.tokens().unwrap()[0]), user(&*second.tokens().unwrap()[0]));
    let generate = Mechanism { kind: MechanismType::GENERIC_SECRET_KEY_GEN, params: Params::None };
    let template =
        || Template::from_iter([(A::TOKEN, Value::Bool(true)), (A::VALUE_LEN, Value::Ulong(32)), (A::SIGN, Value::Bool(true))]);
    let made = Arc::new(Mutex::new(None));
    let (result, of_first) = (made.clone(), generate.clone());
    let (ours_too, access_too) = (first.0.token_on_behalf(id, origin.clone()), access.clone());
    *before.lock() =
        Some(Box::new(move || *result.lock() = Some(ours_too.generate(&access_too, &of_first, template()).unwrap())));
    let key = theirs.generate(&other, &generate, template()).unwrap();
    assert_eq!(made.lock().take().map(|first| first.id), Some(key.id), "the same request, the same object");
    let mac = |token: &LocalToken, access: &Access| {
        let hmac = Mechanism { kind: MechanismType::SHA256_HMAC, params: Params::None };
        let mut mac = [0; 32];
        token.sign(access, &hmac, key.id).unwrap().operation.single(b"data", &mut mac).unwrap();
        mac
    };
    assert_eq!(mac(&ours, &access), mac(&theirs, &other));
}

#[test]
fn a_pair_half_of_which_is_the_session_s_belongs_together_though_its_request_arrives_twice_at_once() {
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let mechanism = |kind| Mechanism { kind, params: Params::None };
    for is_public_kept in [false, true] {
        let home = Home::new(&format!("halves-{is_public_kept}"));
        let before = Once::default();
        let first = home.open(Policy::Default);
        let second = home.open_with(Policy::Default, |log| Arc::new(Overtaken { log, first: before.clone() }));
        ready_token(&first);
        let id = first.0.token_ids().unwrap()[0];
        let origin =
            Origin { scope: SCOPE, sequence: Some(7), since: None, use_number: None, client: Arc::from("app"), held: Vec::new() };
        let make = move |admin: &LocalAdmin, access: &Access| {
            let kept = |kept| (A::TOKEN, Value::Bool(kept));
            let params = (A::EC_PARAMS, Value::Bytes(P256.to_vec()));
            let public = Template::from_iter([kept(is_public_kept), params, (A::VERIFY, Value::Bool(true))]);
            let private = Template::from_iter([kept(!is_public_kept), (A::SIGN, Value::Bool(true))]);
            let token = admin.0.token_on_behalf(id, origin.clone());
            token.generate_pair(access, &mechanism(MechanismType::EC_KEY_PAIR_GEN), public, private)
        };
        let (ours, theirs) = (first.tokens().unwrap().remove(0), second.tokens().unwrap().remove(0));
        let (access, other) = (user(&*ours), user(&*theirs));
        let (of_first, access_too, make_too) = (LocalAdmin(first.0.clone()), access.clone(), make.clone());
        *before.lock() = Some(Box::new(move || assert!(make_too(&of_first, &access_too).is_ok())));
        let (overtaken, again) = (make(&second, &other), make(&first, &access));
        if is_public_kept {
            assert_eq!((code(overtaken), code(again)), (Some(Code::FunctionFailed), Some(Code::FunctionFailed)));
            let private = Template::from_iter([(A::CLASS, Value::Ulong(ObjectClass::PRIVATE_KEY.0))]);
            assert_eq!(theirs.find(&other, &private).unwrap().len(), 0);
            continue;
        }
        for (token, access, (public, private)) in [(&theirs, &other, overtaken.unwrap()), (&ours, &access, again.unwrap())] {
            assert_eq!((public.token, private.token), (false, true));
            let (ecdsa, mut signature) = (mechanism(MechanismType::ECDSA), [0; 64]);
            token.sign(access, &ecdsa, private.id).unwrap().operation.single(&[7; 32], &mut signature).unwrap();
            token.verify(access, &ecdsa, public.id).unwrap().operation.single(&[7; 32], &signature).unwrap();
        }
    }
}

/// A log that cannot say whether what is applied here is safe.
struct Unsure(Solo);

impl Log for Unsure {
    fn propose(&self, proposal: Proposal) -> Result<Outcome> {
        self.0.propose(proposal)
    }

    fn confirm(&self, _: Proposal) -> Result<()> {
        Err(refuse(Code::DeviceError, "one zone has it"))
    }

    fn version(&self) -> Version {
        self.0.version()
    }
}

#[test]
fn a_request_that_comes_again_is_acknowledged_only_when_its_change_is_safe() {
    let home = Home::new("again");
    let (first, unsure) = (home.open(Policy::Default), home.open_with(Policy::Default, |log| Arc::new(Unsure(log))));
    ready_token(&first);
    let id = first.0.token_ids().unwrap()[0];
    let origin =
        Origin { scope: SCOPE, sequence: Some(7), since: None, use_number: None, client: Arc::from("app"), held: Vec::new() };
    let make = |admin: &LocalAdmin| {
        let access = user(&*admin.tokens().unwrap()[0]);
        let template = Template::from_iter([(A::TOKEN, Value::Bool(true)), (A::VALUE_LEN, Value::Ulong(32))]);
        let generate = Mechanism { kind: MechanismType::GENERIC_SECRET_KEY_GEN, params: Params::None };
        admin.0.token_on_behalf(id, origin.clone()).generate(&access, &generate, template).map(|key| key.id)
    };
    let made = make(&first).unwrap();
    assert_eq!(code(make(&unsure)), Some(Code::DeviceError));
    assert_eq!(make(&first).ok(), Some(made));
}

#[test]
fn a_destroyed_key_signs_nowhere_any_more() {
    let home = Home::new("destroyed");
    let (first, second) = (home.open(Policy::Default), home.open(Policy::Default));
    let ours = ready_token(&first);
    let theirs = second.tokens().unwrap().remove(0);
    let (access, other) = (user(&*ours), user(&*theirs));
    let template =
        Template::from_iter([(A::TOKEN, Value::Bool(true)), (A::VALUE_LEN, Value::Ulong(32)), (A::SIGN, Value::Bool(true))]);
    let generate = Mechanism { kind: MechanismType::GENERIC_SECRET_KEY_GEN, params: Params::None };
    let key = ours.generate(&access, &generate, template).unwrap();
    let hmac = Mechanism { kind: MechanismType::SHA256_HMAC, params: Params::None };
    theirs.sign(&other, &hmac, key.id).unwrap();
    ours.destroy(&access, key.id).unwrap();
    assert_eq!(code(theirs.sign(&other, &hmac, key.id)), Some(Code::KeyHandleInvalid));
}

#[test]
fn a_session_object_that_was_used_is_changed_again_and_again_and_is_gone_for_all_threads() {
    let home = Home::new("session-object");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let access = user(&*token);
    let template = Template::from_iter([(A::VALUE_LEN, Value::Ulong(32)), (A::SIGN, Value::Bool(true))]);
    let generate = Mechanism { kind: MechanismType::GENERIC_SECRET_KEY_GEN, params: Params::None };
    let hmac = Mechanism { kind: MechanismType::SHA256_HMAC, params: Params::None };
    let key = token.generate(&access, &generate, template).unwrap();
    let signs = || token.sign(&access, &hmac, key.id).map(drop);
    let elsewhere = || std::thread::scope(|scope| scope.spawn(signs).join().unwrap());
    for may_sign in [true, false, true, false] {
        let changes = Template::from_iter([(A::SIGN, Value::Bool(may_sign))]);
        token.update(&access, key.id, changes).unwrap();
        let expected = (!may_sign).then_some(Code::KeyFunctionNotPermitted);
        assert_eq!((code(signs()), code(elsewhere())), (expected, expected));
    }
    token.destroy(&access, key.id).unwrap();
    assert_eq!(code(signs()), Some(Code::KeyHandleInvalid));
    assert_eq!(code(elsewhere()), Some(Code::KeyHandleInvalid));
}

#[test]
fn a_login_that_is_over_uses_no_key_that_a_thread_has_at_hand() {
    let home = Home::new("over");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let (ours, other) = (user(&*token), token.login(&Scope([2; 16]), Role::User, &pin("user-pin")).unwrap());
    let object = token.create(&ours, data("private", true)).unwrap();
    let read = |access: &Access| code(token.read(access, object.id, &[A::LABEL]).map(drop));
    let (so, public) = (token.login(&SCOPE, Role::SecurityOfficer, &pin("so-pin")).unwrap(), Access::public(SCOPE, true));
    for _ in 0..2 {
        assert_eq!((read(&ours), read(&other)), (None, None));
        assert_eq!((read(&so), read(&public)), (Some(Code::ObjectHandleInvalid), Some(Code::ObjectHandleInvalid)));
        let forged = Access { scope: Scope([2; 16]), ..ours.clone() };
        assert_eq!(read(&forged), Some(Code::UserNotLoggedIn), "another application's login");
    }
    token.logout(&ours).unwrap();
    assert_eq!((read(&ours), read(&other)), (Some(Code::UserNotLoggedIn), None));
    token.leave(&Scope([2; 16]));
    assert_eq!(read(&other), Some(Code::UserNotLoggedIn));
}

#[test]
fn wrong_pins_are_counted_across_processes_and_lock_and_the_so_unlocks() {
    let home = Home::new("locks");
    let (first, second) = (home.open(Policy::Default), home.open(Policy::Default));
    let token = ready_token(&first);
    let other = second.tokens().unwrap().remove(0);
    assert_eq!(token.describe().unwrap().user_pin, PinState::Good);
    for (token, state) in [(&token, PinState::CountLow), (&other, PinState::FinalTry), (&token, PinState::Locked)] {
        assert_eq!(code(token.login(&SCOPE, Role::User, &pin("wrong"))), Some(Code::PinIncorrect));
        assert_eq!(token.describe().unwrap().user_pin, state);
    }
    assert_eq!(code(other.login(&SCOPE, Role::User, &pin("user-pin"))), Some(Code::PinLocked), "even with the right PIN");
    let so = other.login(&SCOPE, Role::SecurityOfficer, &pin("so-pin")).unwrap();
    other.init_pin(&so, &pin("new-user-pin")).unwrap();
    token.login(&SCOPE, Role::User, &pin("new-user-pin")).unwrap();
    assert_eq!(token.describe().unwrap().user_pin, PinState::Good);
}

#[test]
fn a_changed_pin_ends_other_logins_and_keeps_the_objects() {
    let home = Home::new("changed");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let (ours, theirs) = (user(&*token), token.login(&Scope([2; 16]), Role::User, &pin("user-pin")).unwrap());
    token.create(&ours, data("kept", true)).unwrap();
    token.set_pin(&ours, &pin("user-pin"), &pin("other-pin")).unwrap();
    assert_eq!(token.find(&ours, &labelled("kept")).unwrap().len(), 1);
    assert_eq!(code(token.find(&theirs, &labelled("kept"))), Some(Code::UserNotLoggedIn));
    assert_eq!(code(token.login(&SCOPE, Role::User, &pin("user-pin"))), Some(Code::PinIncorrect));
    let again = token.login(&Scope([2; 16]), Role::User, &pin("other-pin")).unwrap();
    assert_eq!(token.find(&again, &labelled("kept")).unwrap().len(), 1);
}

/// When somebody else comes in between, while a PIN is proven at a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// The partition catches up, as it was behind.
    CatchingUp,
    /// Before its so-manieth proposal.
    Before(usize),
    /// After it.
    After(usize),
}

/// A log in which something else happens then.
struct Interrupted {
    log: Solo,
    when: When,
    proposals: AtomicUsize,
    then: Once,
}

impl Interrupted {
    fn is_time(&self, now: When) {
        if self.when == now
            && let Some(then) = self.then.lock().take()
        {
            then();
        }
    }
}

impl Log for Interrupted {
    fn propose(&self, proposal: Proposal) -> Result<Outcome> {
        let number = self.proposals.fetch_add(1, Ordering::Relaxed) + 1;
        self.is_time(When::Before(number));
        let outcome = self.log.propose(proposal);
        self.is_time(When::After(number));
        outcome
    }

    fn standing(&self) -> Standing {
        if self.when == When::CatchingUp { Standing::Behind } else { Standing::Ordinary }
    }

    fn barrier(&self) -> Result<()> {
        self.is_time(When::CatchingUp);
        Ok(())
    }

    fn version(&self) -> Version {
        self.log.version()
    }
}

/// A token with an object, and the same token at a partition at which somebody else replaces a PIN then, while one is proven.
fn replaced_meanwhile(home: &Home, role: Role, when: When) -> (Arc<dyn Token>, LocalAdmin) {
    let first = home.open(Policy::Default);
    let token = ready_token(&first);
    token.create(&user(&*token), data("kept", true)).unwrap();
    let old = if role == Role::User { "user-pin" } else { "so-pin" };
    let access = token.login(&SCOPE, role, &pin(old)).unwrap();
    let changer = token.clone();
    let change: Box<dyn FnOnce() + Send> = Box::new(move || changer.set_pin(&access, &pin(old), &pin("new-pin")).unwrap());
    let (proposals, then) = (AtomicUsize::new(0), Arc::new(Mutex::new(Some(change))));
    (token, home.open_with(Policy::Default, |log| Arc::new(Interrupted { log, when, proposals, then })))
}

#[test]
fn a_pin_that_was_replaced_meanwhile_logs_nobody_in_and_the_new_one_does() {
    use When::{Before, CatchingUp};
    // The first proposal counts the attempt, the second ends the count.
    for (at, when) in [CatchingUp, Before(1), Before(2)].into_iter().enumerate() {
        for role in [Role::User, Role::SecurityOfficer] {
            let home = Home::new(&format!("old-pin-{at}-{role:?}"));
            let (token, second) = replaced_meanwhile(&home, role, when);
            let there = second.tokens().unwrap().remove(0);
            let old = if role == Role::User { "user-pin" } else { "so-pin" };
            assert_eq!(code(there.login(&SCOPE, role, &pin(old))), Some(Code::PinIncorrect), "{role:?}, {when:?}");
            token.login(&SCOPE, role, &pin("new-pin")).unwrap();
        }
    }
    for (at, when) in [CatchingUp, Before(1)].into_iter().enumerate() {
        let home = Home::new(&format!("new-pin-{at}"));
        let (token, second) = replaced_meanwhile(&home, Role::User, when);
        let there = second.tokens().unwrap().remove(0);
        there.login(&SCOPE, Role::User, &pin("new-pin")).unwrap();
        assert_eq!(token.describe().unwrap().user_pin, PinState::Good, "{when:?}: no attempt is counted");
    }
}

#[test]
fn a_token_is_not_emptied_by_a_pin_that_was_replaced_meanwhile() {
    use When::{After, Before, CatchingUp};
    for (at, when) in [CatchingUp, Before(1), Before(2), After(2)].into_iter().enumerate() {
        let home = Home::new(&format!("emptied-{at}"));
        let (token, second) = replaced_meanwhile(&home, Role::SecurityOfficer, when);
        let id = second.0.token_ids().unwrap()[0];
        let emptied = second.init_token(Some(id), &pin("so-pin"), *b"emptied                         ");
        assert_eq!(code(emptied), Some(Code::PinIncorrect), "{when:?}");
        assert_eq!(token.find(&user(&*token), &labelled("kept")).unwrap().len(), 1, "{when:?}");
        token.login(&SCOPE, Role::SecurityOfficer, &pin("new-pin")).unwrap();
        let again = second.init_token(Some(id), &pin("new-pin"), *b"emptied                         ");
        assert_eq!(code(again), None, "{when:?}: the new PIN allows it");
    }
}

#[test]
fn a_token_that_is_initialised_again_is_empty_keeps_its_serial_and_its_old_logins_are_dead() {
    let home = Home::new("again");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let access = user(&*token);
    token.create(&access, data("gone", true)).unwrap();
    let before = token.describe().unwrap();
    assert_eq!(code(admin.init_token(Some(before.id), &pin("wrong-so"), before.label)), Some(Code::PinIncorrect));
    assert_eq!(token.find(&access, &labelled("gone")).unwrap().len(), 1, "a refused initialisation changes nothing");
    let token = admin.init_token(Some(before.id), &pin("so-pin"), *b"another label                   ").unwrap();
    let after = token.describe().unwrap();
    assert_eq!((after.id, after.serial, after.user_pin_set), (before.id, before.serial, false));
    assert_eq!(token.find(&Access::public(SCOPE, false), &Template::new()).unwrap().len(), 0);
    assert_eq!(code(token.create(&access, data("x", true))), Some(Code::UserNotLoggedIn));
    assert_eq!(code(token.login(&SCOPE, Role::User, &pin("user-pin"))), Some(Code::UserPinNotInitialized));
}

#[test]
fn nothing_readable_is_on_the_disk() {
    let home = Home::new("sealed");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let access = user(&*token);
    for private in [false, true] {
        let mut template = data("a-label-to-look-for", private);
        template.set(A::VALUE, Value::Bytes(b"a-value-to-look-for".to_vec()));
        token.create(&access, template).unwrap();
    }
    let key = Template::from_iter([
        (A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
        (A::KEY_TYPE, Value::Ulong(KeyType::AES.0)),
        (A::TOKEN, Value::Bool(true)),
        (A::VALUE, Value::Secret(Secret::copy_of(b"0123456789abcdef"))),
    ]);
    token.create(&access, key).unwrap();
    drop(token);
    for entry in std::fs::read_dir(&home.directory).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for needle in ["to-look-for", "0123456789abcdef", "user-pin", "so-pin"] {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{} holds {needle:?} in clear", path.display());
        }
    }
}

#[test]
fn a_read_only_session_and_the_public_change_nothing_that_lasts() {
    let home = Home::new("read-only");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let access = user(&*token);
    let object = token.create(&access, data("stays", true)).unwrap();
    let read_only = access.with_write(false);
    assert_eq!(code(token.create(&read_only, data("x", true))), Some(Code::SessionReadOnly));
    assert_eq!(code(token.update(&read_only, object.id, labelled("x"))), Some(Code::SessionReadOnly));
    assert_eq!(code(token.destroy(&read_only, object.id)), Some(Code::SessionReadOnly));
    let public = Access::public(SCOPE, true);
    assert_eq!(code(token.create(&public, data("x", true))), Some(Code::UserNotLoggedIn));
    assert_eq!(code(token.destroy(&public, object.id)), Some(Code::ObjectHandleInvalid));
    assert_eq!(token.find(&access, &labelled("stays")).unwrap().len(), 1);
}

#[test]
fn a_store_that_is_not_as_its_owner_left_it_is_refused() {
    let home = Home::new("stamped");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let access = user(&*token);
    token.create(&access, data("kept", true)).unwrap();
    drop((token, admin));
    let refused = |root_key: RootKey| {
        let store = Store::open(&home.directory).unwrap();
        let error = store.authenticate(root_key.stamper().unwrap()).unwrap_err();
        assert_eq!(error.code(), Code::StoreRefused);
        assert!(error.to_string().contains("hsmpool.db"), "{error}");
    };
    refused(RootKey::new(seal::Key32::from_bytes(&[9; 32])));
    refused(RootKey::new(None));
    home.open(Policy::Default).tokens().unwrap();
}

#[test]
fn an_object_is_found_by_its_unique_id_whichever_request_made_it() {
    let home = Home::new("unique-ids");
    let admin = home.open(Policy::default());
    let token = ready_token(&admin);
    let (access, id) = (user(&*token), token.describe().unwrap().id);
    let origin =
        Origin { scope: SCOPE, sequence: Some(7), since: None, use_number: None, client: Arc::from("app"), held: Vec::new() };
    let making = |number: u32| {
        let template = data("one", number > 0);
        Making { number, what: New::Created { template } }
    };
    let makings: Vec<Making> = (0..3).map(making).collect();
    let Made::All(made) = admin.0.token_on_behalf(id, origin).make(&access, &makings).unwrap() else { panic!("all are made") };
    let of_session = {
        let mut template = data("one", true);
        template.set(A::TOKEN, Value::Bool(false));
        token.create(&access, template).unwrap()
    };
    let others = [token.create(&access, data("one", true)).unwrap(), of_session];
    let found = |access: &Access, digits: &str, label: &str| {
        let mut template = labelled(label);
        template.set(A::UNIQUE_ID, Value::Bytes(digits.as_bytes().to_vec()));
        token.find(access, &template).unwrap().iter().map(|one| one.id).collect::<Vec<_>>()
    };
    for object in made.iter().chain(&others) {
        let digits = object.id.to_string();
        assert_eq!(found(&access, &digits, "one"), [object.id]);
        assert_eq!(found(&access, &digits, "two"), []);
        let capitals = digits.to_uppercase();
        assert_ne!(capitals, digits, "some of 32 random digits are letters");
        for wrong in [capitals, digits[1..].to_string(), format!("+{}", &digits[1..]), format!("{digits}0")] {
            assert_eq!(found(&access, &wrong, "one"), [], "{wrong}");
        }
    }
    let public = Access::public(SCOPE, false);
    assert_eq!(found(&public, &made[0].id.to_string(), "one"), [made[0].id]);
    assert_eq!(found(&public, &made[1].id.to_string(), "one"), [], "it is private");
    assert_eq!(admin.0.token(id).check(&access).unwrap(), 4);
    let is_indexed = |object: &Reference| {
        let row = admin.0.store.object(id, object.id).unwrap().unwrap();
        row.tags.iter().any(|tag| tag.attribute == A::UNIQUE_ID)
    };
    assert_eq!((is_indexed(&made[1]), is_indexed(&others[0])), (false, true));
    token.destroy(&access, made[1].id).unwrap();
    assert_eq!(found(&access, &made[1].id.to_string(), "one"), []);
}
