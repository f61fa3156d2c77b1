//! What a pool believes of nodes that it looks at and tells things, over a link that notes what goes by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::call::{Failure, Link, Pool};
use super::health::Health;
use super::pace::Work;
use super::retry::{CALL_DEADLINE, patience, probe_patience};
use super::token::PooledToken;
use super::view::{Place, View};
use crate::ck::{AttributeType, MechanismType};
use crate::error::{Code, refuse};
use crate::mechanism::{Mechanism, Params};
use crate::object::{ObjectId, Template, Value};
use crate::secret::Secret;
use crate::token::message::{Answer, Ask, Blob, Capsule, Named, Reply, Request, Verdict, Who, decode, encode};
use crate::token::{Access, Scope, Token, TokenId};
use crate::world::Real;

/// Notes for how long it would have waited for which verb.
#[derive(Default)]
struct Notes {
    waited: Mutex<Vec<(&'static str, Duration)>>,
    /// The numbers of the changes among them.
    numbers: Mutex<Vec<u64>>,
    /// What was to be forgotten.
    forgotten: Mutex<Vec<Vec<ObjectId>>>,
    is_silent: AtomicBool,
    /// Silent to so many more requests.
    silences: AtomicU32,
    /// Whether a silence takes as long as it is waited for.
    takes_time: AtomicBool,
}

struct Noting(Arc<Notes>);

impl Link for Noting {
    fn call(&self, _: usize, request: &[u8], patience: Duration) -> Result<Secret, Failure> {
        let Request { ask, sequence, .. } = decode(request).map_err(Failure)?;
        self.0.numbers.lock().extend(sequence);
        if let Ask::Forget { ids } = &ask {
            self.0.forgotten.lock().push(ids.clone());
        }
        self.0.waited.lock().push((ask.verb(), patience));
        let silences = &self.0.silences;
        let is_one = silences.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let is_silent = is_one || self.0.is_silent.load(Ordering::Relaxed);
        if is_silent && self.0.takes_time.load(Ordering::Relaxed) {
            std::thread::sleep(patience);
        }
        match is_silent {
            true => Err(Failure(refuse(Code::DeviceError, "silent"))),
            false => {
                Ok(encode(&Answer { mark: 0, ticket: None, verdict: Verdict::Done(Reply::Nothing), isolated: None, epoch: None }))
            }
        }
    }
}

fn pool() -> (Arc<Pool>, Arc<Notes>) {
    pool_of(1)
}

fn pool_of(nodes: usize) -> (Arc<Pool>, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let places = (0..nodes).map(|_| Place { zone: "a".to_string(), name: "node".to_string() }).collect();
    (Pool::new(View::new("a".to_string(), places), Box::new(Noting(notes.clone())), Arc::new(Real)), notes)
}

#[test]
fn a_node_that_is_told_something_too_late_is_not_left_and_is_spared_for_a_while() {
    let (pool, notes) = pool();
    notes.is_silent.store(true, Ordering::Relaxed);
    let access = Access::public(Scope([1; 16]), false);
    let tell = |ask: fn() -> Ask| pool.tell(TokenId([2; 16]), &access, &ask);
    let forget = || Ask::Forget { ids: Vec::new() };
    tell(forget);
    tell(forget);
    tell(|| Ask::Leave);
    assert_eq!(*notes.waited.lock(), [("Forget", patience(&forget(), 0))], "it did not hear the first");
    tell(|| Ask::Logout);
    assert_eq!(notes.waited.lock().last().map(|(verb, _)| *verb), Some("Logout"), "that one counts");
    assert!(pool.view.node(0).health.lock().is_up());
}

#[test]
fn a_node_is_looked_at_as_long_as_is_known_of_it_to_be_far() {
    let (pool, notes) = pool();
    let last = || notes.waited.lock().last().copied();
    notes.is_silent.store(true, Ordering::Relaxed);
    for failed in 0..8 {
        let mut health = pool.view.node(0).health.lock();
        *health = health.failed(Duration::ZERO, 0);
        drop(health);
        assert!(pool.health_of(0).is_err());
        assert_eq!(last(), Some(("Health", probe_patience(failed, None))));
    }
    let far = Duration::from_millis(200);
    pool.view.node(0).pace.took(Work::Nothing, far, pool.world.elapsed());
    assert!(pool.health_of(0).is_err());
    assert!(last().is_some_and(|(_, waited)| waited >= far * 4));
}

fn is_token(is: bool) -> Template {
    Template::from_iter([(AttributeType::TOKEN, Value::Bool(is))])
}

fn generate(of_token: bool) -> Ask {
    let mechanism = Mechanism { kind: MechanismType::AES_KEY_GEN, params: Params::None };
    Ask::Generate { mechanism, template: is_token(of_token) }
}

#[test]
fn a_use_of_a_key_looks_at_a_silent_node_as_shortly_as_its_distance_allows() {
    let (pool, notes) = pool();
    notes.is_silent.store(true, Ordering::Relaxed);
    let mechanism = Mechanism { kind: MechanismType::SHA256, params: Params::None };
    let used = Ask::Digest { mechanism, state: None, parts: Vec::new() };
    let looked = |ask: &Ask| {
        *pool.view.node(0).health.lock() = Health::Down { failed: 3, good: 0, next: Duration::ZERO };
        notes.waited.lock().clear();
        pool.probe_one(ask, pool.world.elapsed() + CALL_DEADLINE);
        notes.waited.lock().iter().map(|(verb, waited)| (*verb, waited.as_millis())).collect::<Vec<_>>()
    };
    assert_eq!(looked(&used), [("Health", 40)]);
    assert_eq!(looked(&Ask::Tokens), [("Health", 640)]);
    // It is known to be far, however long ago it was measured.
    pool.view.node(0).pace.took(Work::Nothing, Duration::from_millis(50), Duration::ZERO);
    assert_eq!(looked(&used), [("Health", 200)]);
}

#[test]
fn a_change_of_the_session_waits_for_no_leader_and_one_of_the_token_does() {
    let (pool, notes) = pool();
    let access = Access::public(Scope([1; 16]), false);
    pool.view.node(0).pace.took(Work::Use, Duration::from_micros(100), pool.world.elapsed());
    let waited = |of_token| {
        let mut request = Request::new(Some(TokenId([2; 16])), Who::from(&access), 0, generate(of_token));
        request.since = Some(0);
        notes.silences.store(1, Ordering::Relaxed);
        notes.waited.lock().clear();
        let mut number = pool.number(&request.ask).unwrap();
        let deadline = pool.world.elapsed() + CALL_DEADLINE;
        assert!(pool.deliver_as(&mut request, &mut number, None, deadline).is_ok());
        let waited = notes.waited.lock();
        let milliseconds = waited.iter().filter(|(verb, _)| *verb == "Generate").map(|(_, waited)| waited.as_millis());
        milliseconds.collect::<Vec<_>>()
    };
    assert_eq!(waited(false), [75, 150]);
    // Each node of a race is waited for until its end.
    assert_eq!(waited(true), [2000, 4000]);
}

#[test]
fn a_change_that_is_repeated_keeps_its_number_and_another_one_has_another() {
    let (pool, notes) = pool();
    let access = Access::public(Scope([1; 16]), false);
    let numbers = |of_token| {
        let mut request = Request::new(Some(TokenId([2; 16])), Who::from(&access), 0, generate(of_token));
        request.since = Some(0);
        notes.silences.store(2, Ordering::Relaxed);
        notes.numbers.lock().clear();
        let mut number = pool.number(&request.ask).unwrap();
        let deadline = pool.world.elapsed() + CALL_DEADLINE;
        assert!(pool.deliver_as(&mut request, &mut number, None, deadline).is_ok());
        notes.numbers.lock().clone()
    };
    let (of_token, of_session) = (numbers(true), numbers(false));
    // Some silences are of looks at the node that failed.
    assert!(of_token.len() >= 2 && of_token.iter().all(|number| *number == of_token[0]), "{of_token:?}");
    assert!(of_session.len() >= 2 && of_session.iter().all(|number| *number == of_session[0]), "{of_session:?}");
    assert_ne!(of_token[0], of_session[0]);
}

#[test]
fn what_each_node_makes_by_itself_goes_to_one_after_the_other_and_all_else_may_race() {
    let (pool, _) = pool();
    let (token, scope) = (TokenId([2; 16]), Scope([1; 16]));
    let (held, other) = (ObjectId([7; 16]), ObjectId([8; 16]));
    let capsule = Some(Capsule { version: 1, sealed: Blob(vec![1]) });
    pool.belongings.keep(token, &Named { id: held, token: false, private: false, capsule }, scope);
    let pair = |public, private| {
        let mechanism = Mechanism { kind: MechanismType::EC_KEY_PAIR_GEN, params: Params::None };
        Ask::GeneratePair { mechanism, public: is_token(public), private: is_token(private) }
    };
    let derived = |of_token| {
        let mechanism = Mechanism { kind: MechanismType::ECDH1_DERIVE, params: Params::None };
        Ask::Derive { mechanism, base: other, template: is_token(of_token) }
    };
    for (ask, is_of_session) in [
        (generate(false), true),
        (generate(true), false),
        (pair(false, false), true),
        (pair(true, false), true),
        (pair(true, true), false),
        (Ask::Destroy { id: held }, true),
        (Ask::Destroy { id: other }, false),
        (Ask::Update { id: held, changes: Template::new() }, true),
        (Ask::Update { id: other, changes: Template::new() }, false),
        (Ask::Copy { id: held, changes: Template::new() }, true),
        (Ask::Copy { id: held, changes: is_token(true) }, false),
        (Ask::Copy { id: other, changes: Template::new() }, false),
        (Ask::Copy { id: other, changes: is_token(false) }, true),
        (Ask::Create { template: Template::new() }, true),
        (derived(false), true),
        (derived(true), false),
        (Ask::Tokens, false),
    ] {
        let request = Request::new(Some(token), Who::from(&Access::public(scope, false)), 0, ask);
        assert_eq!(pool.is_of_session(&request), is_of_session, "{}", request.ask.verb());
        let is_mixed = matches!(&request.ask, Ask::GeneratePair { public, private, .. } if !public.same_as(private));
        assert_eq!(pool.is_of_session_only(&request), is_of_session && !is_mixed, "{}", request.ask.verb());
    }
}

#[test]
fn a_quick_change_of_the_session_that_takes_longer_once_takes_no_node_out_and_tells_nothing_to_the_log() {
    let (pool, notes) = pool();
    let access = Access::public(Scope([1; 16]), false);
    notes.takes_time.store(true, Ordering::Relaxed);
    let carry_out = |ask: Ask, silences| {
        let mut request = Request::new(Some(TokenId([2; 16])), Who::from(&access), 0, ask);
        notes.silences.store(silences, Ordering::Relaxed);
        notes.waited.lock().clear();
        let mut number = pool.number(&request.ask).unwrap();
        let deadline = pool.world.elapsed() + CALL_DEADLINE;
        assert!(pool.deliver_as(&mut request, &mut number, None, deadline).is_ok());
        assert_eq!(request.since, None);
        notes.waited.lock().iter().map(|(verb, _)| *verb).collect::<Vec<_>>()
    };
    // Nobody is asked how many changes there are.
    assert_eq!(carry_out(generate(false), 1), ["Generate", "Generate"]);
    assert!(pool.view.node(0).health.lock().is_up());
    carry_out(generate(false), 3);
    assert!(!pool.view.node(0).health.lock().is_up(), "three in a row do");
}

#[test]
fn nodes_that_may_have_a_destroyed_session_object_are_told_and_many_at_once_together() {
    let (pool, notes) = pool_of(3);
    let (id, scope) = (TokenId([2; 16]), Scope([1; 16]));
    let (token, access) = (PooledToken::new(pool.clone(), id), Access::public(scope, true));
    let object = |number: u8| ObjectId([number; 16]);
    let destroy = |number: u8| {
        let capsule = Some(Capsule { version: 1, sealed: Blob(vec![0; 9]) });
        pool.belongings.keep(id, &Named { id: object(number), token: false, private: false, capsule }, scope);
        token.destroy(&access, object(number)).unwrap();
        std::mem::take(&mut *notes.forgotten.lock())
    };
    assert_eq!(destroy(0), vec![vec![object(0)]; 3], "at once");
    // However long it took: it is not time yet.
    token.put_off_telling(Duration::from_secs(3600));
    assert_eq!(destroy(1), Vec::<Vec<ObjectId>>::new());
    assert_eq!(destroy(2), Vec::<Vec<ObjectId>>::new());
    token.put_off_telling(Duration::ZERO);
    assert_eq!(destroy(3), vec![vec![object(1), object(2), object(3)]; 3]);
    token.put_off_telling(Duration::from_secs(3600));
    destroy(4);
    token.forget(&scope, &[object(5)]);
    assert_eq!(*notes.forgotten.lock(), vec![vec![object(4), object(5)]; 3], "with what goes with a session");
}
