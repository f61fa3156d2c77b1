//! What others can have of a partition is bounded: its memory, and guesses at the SO's PIN.

use std::time::Duration;

use super::super::origin;
use super::*;
use crate::limits::{NONCES_LOOKED_THROUGH_FROM, SO_DELAY_MAX_MILLISECONDS, TOKENS_MAX};
use crate::object::ObjectId;
use crate::world::World;

fn origin(sequence: Option<u64>) -> Origin {
    Origin { scope: SCOPE, sequence, since: None, use_number: None, client: Arc::from("app"), held: Vec::new() }
}

fn made_up(number: usize) -> [u8; 16] {
    std::array::from_fn(|at| number.to_be_bytes().get(at).copied().unwrap_or(1))
}

fn kept_states(admin: &LocalAdmin) -> Vec<TokenId> {
    admin.0.states.read().keys().copied().collect()
}

#[test]
fn ids_that_somebody_makes_up_and_deleted_tokens_leave_no_state_behind() {
    let home = Home::new("made-up");
    let admin = home.open(Policy::Default);
    let token = ready_token(&admin);
    let real = token.describe().unwrap().id;
    for number in 0..10_000 {
        let token = admin.0.token_on_behalf(TokenId(made_up(number)), origin(None));
        match number % 4 {
            0 => assert_eq!(code(token.describe()), Some(Code::TokenNotPresent)),
            1 => token.leave(&SCOPE),
            2 => token.forget(&SCOPE, &[ObjectId([1; 16])]),
            _ => {
                let refused = token.login(&SCOPE, Role::SecurityOfficer, &pin("so-pin"));
                assert_eq!(code(refused), Some(Code::TokenNotPresent));
            }
        }
    }
    assert_eq!(kept_states(&admin), [real]);
    home.open(Policy::Default).delete_token(real).unwrap();
    assert_eq!(code(token.describe()), Some(Code::TokenNotPresent));
    assert_eq!(kept_states(&admin), []);
}

#[test]
fn states_of_tokens_that_others_deleted_make_room() {
    let home = Home::new("room");
    let admin = home.open(Policy::Default);
    let id = ready_token(&admin).describe().unwrap().id;
    for number in kept_states(&admin).len()..TOKENS_MAX {
        admin.0.keep_state(TokenState::new(TokenId(made_up(number))));
    }
    assert_eq!(kept_states(&admin).len(), TOKENS_MAX);
    let one_more = ready_token(&admin).describe().unwrap().id;
    let mut left = kept_states(&admin);
    left.sort();
    let mut both = [id, one_more];
    both.sort();
    assert_eq!(left, both);
}

#[test]
fn a_token_that_comes_while_two_look_for_it_has_one_state() {
    let home = Home::new("comes");
    let (first, second) = (home.open(Policy::Default), home.open(Policy::Default));
    let maker = origin(Some(7));
    let id = TokenId(first.0.new_id(Some(&maker), origin::Place::Alone(0)).unwrap());
    let early = [first.0.token(id), first.0.token(id)];
    for token in &early {
        assert_eq!(code(token.describe()), Some(Code::TokenNotPresent));
    }
    second.0.init_token_for(&maker, None, &pin("so-pin"), [b' '; 32]).unwrap();
    let so = early[0].login(&SCOPE, Role::SecurityOfficer, &pin("so-pin")).unwrap();
    assert_eq!(code(early[1].describe()), Some(Code::DeviceError), "its module asks again");
    first.0.token(id).init_pin(&so, &pin("user-pin")).unwrap();
    assert_eq!(kept_states(&first), [id]);
}

#[test]
fn keys_that_are_gone_take_the_nonces_with_them_and_others_keep_theirs() {
    let home = Home::new("nonces");
    let (admin, other) = (home.open(Policy::Strict), home.open(Policy::Strict));
    let token = ready_token(&admin);
    let theirs = other.tokens().unwrap().remove(0);
    let (access, their_access) = (user(&*token), user(&*theirs));
    let gcm = Mechanism {
        kind: MechanismType::AES_GCM,
        params: Params::Gcm { iv: b"nonce-nonce-".to_vec(), aad: Vec::new(), tag_bits: 128 },
    };
    let generate = |is_token: bool| {
        let template = Template::from_iter([
            (A::TOKEN, Value::Bool(is_token)),
            (A::VALUE_LEN, Value::Ulong(32)),
            (A::ENCRYPT, Value::Bool(true)),
        ]);
        let mechanism = Mechanism { kind: MechanismType::AES_KEY_GEN, params: Params::None };
        token.generate(&access, &mechanism, template).unwrap().id
    };
    let encrypt = |key: ObjectId| token.encrypt(&access, &gcm, key).map(drop);
    let [kept, kept_too, destroyed, destroyed_there, last] = [true, false, false, true, false].map(generate);
    for key in [kept, kept_too, destroyed, destroyed_there] {
        encrypt(key).unwrap();
    }
    token.destroy(&access, destroyed).unwrap();
    theirs.destroy(&their_access, destroyed_there).unwrap();
    let state = admin.0.state(admin.0.token_ids().unwrap()[0]);
    for number in 4..NONCES_LOOKED_THROUGH_FROM - 1 {
        state.nonces.spend(ObjectId(made_up(number)), || number % 64 != 0, &gcm, None).unwrap();
    }
    assert_eq!(state.nonces.total(), NONCES_LOOKED_THROUGH_FROM - 1);
    encrypt(last).unwrap();
    assert_eq!(state.nonces.total(), 3, "of those that are there");
    for key in [kept, kept_too, last] {
        assert_eq!(code(encrypt(key)), Some(Code::MechanismParamInvalid));
    }
}

/// Waits are shorter than they say, and told.
struct Hurried {
    /// How much faster the clock runs than it should.
    clock: u32,
    waiting: AtomicUsize,
    most: AtomicUsize,
    longest: Mutex<Duration>,
}

/// How much shorter waits are.
const HURRY: u32 = 50;

impl Hurried {
    fn new(clock: u32) -> Arc<Self> {
        Arc::new(Self { clock, waiting: AtomicUsize::new(0), most: AtomicUsize::new(0), longest: Mutex::default() })
    }

    /// The longest wait since this was asked last.
    fn take_longest(&self) -> Duration {
        std::mem::take(&mut self.longest.lock())
    }
}

impl World for Hurried {
    fn now(&self) -> Duration {
        Real.now()
    }

    fn elapsed(&self) -> Duration {
        Real.elapsed() * self.clock
    }

    fn sleep(&self, time: Duration) {
        // Others only look whether it is their turn.
        let is_delay = time >= Duration::from_millis(100);
        if is_delay {
            self.most.fetch_max(self.waiting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let mut longest = self.longest.lock();
            *longest = longest.max(time);
        }
        std::thread::sleep(time / HURRY);
        if is_delay {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<()> {
        Real.fill_random(out)
    }
}

/// A token whose SO's PIN was wrong often enough for the longest delay.
fn guessed_at(home: &Home, world: &Arc<Hurried>) -> (LocalAdmin, TokenId) {
    let admin = home.open_in(Policy::Default, world.clone());
    let id = ready_token(&admin).describe().unwrap().id;
    assert_eq!(world.take_longest(), Duration::ZERO);
    for _ in 0..30 {
        admin.0.propose(Change::ReserveAttempt { token: id, role: 0 }).unwrap();
    }
    (admin, id)
}

#[test]
fn guesses_at_the_sos_pin_are_delayed_one_after_the_other_and_the_right_one_is_taken() {
    let home = Home::new("guesses");
    let world = Hurried::new(1);
    let (admin, id) = guessed_at(&home, &world);
    let token = admin.0.token(id);
    let login = |text: &str| token.login(&SCOPE, Role::SecurityOfficer, &pin(text));
    std::thread::scope(|threads| {
        for _ in 0..6 {
            threads.spawn(|| assert_eq!(code(login("wrong")), Some(Code::PinIncorrect)));
        }
    });
    assert_eq!(world.most.load(Ordering::SeqCst), 1);
    assert_eq!(world.take_longest(), Duration::from_millis(SO_DELAY_MAX_MILLISECONDS));
    user(&*token);
    assert_eq!(world.take_longest(), Duration::ZERO, "the user is not delayed");
    login("so-pin").unwrap();
    assert_eq!(world.take_longest(), Duration::from_millis(SO_DELAY_MAX_MILLISECONDS));
    login("so-pin").unwrap();
    assert_eq!(world.take_longest(), Duration::ZERO);
}

#[test]
fn who_waits_in_vain_for_others_guesses_is_told_and_may_come_again() {
    let home = Home::new("in-vain");
    let (admin, id) = guessed_at(&home, &Hurried::new(HURRY));
    let login = |sequence: u64, text: &str| {
        admin.0.token_on_behalf(id, origin(Some(sequence))).login(&SCOPE, Role::SecurityOfficer, &pin(text))
    };
    let state = admin.0.state(id);
    let turn = state.so_turns.get().enter(&Real).unwrap();
    let refused = login(1, "so-pin").map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::DeviceError);
    assert!(refused.to_string().contains("try again later"), "{refused}");
    drop(turn);
    assert_eq!(code(login(2, "wrong")), Some(Code::PinIncorrect));
    login(1, "so-pin").unwrap();
}
