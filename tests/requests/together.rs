//! Calls that make token objects and come together: each gets what it asked for, once, whatever becomes of the request that carries them.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use hsmpool::ck::{AttributeType, MechanismType, ObjectClass, Rv};
use hsmpool::error::{Code, refuse};
use hsmpool::limits::MAKINGS_MAX;
use hsmpool::node::Server;
use hsmpool::object::{ObjectId, Template, Value};
use hsmpool::pool::{Failure, Link};
use hsmpool::secret::Secret;
use hsmpool::token::message::{Answer, Ask, Making, New, Reply, Request, Verdict, Who, decode, encode};
use hsmpool::token::{Access, Admin, Reading, Role, Token};

use crate::house::{House, aes, behind, caller, ec_pair, mechanism, pin};

/// Threads, each of which makes so many objects.
const THREADS: usize = 24;
const EACH: usize = 6;

/// A way on which requests take a while, so that others come meanwhile.
struct Busy {
    servers: Vec<Arc<Server>>,
    /// The newest set of messages that each node speaks.
    minor: u32,
    /// What is done to the `n`th request that carries several calls, before it goes to a node and after that.
    meddle: Box<dyn Fn(usize) -> Meddling + Send + Sync>,
    carried: Arc<Carried>,
}

/// What went by.
#[derive(Default)]
struct Carried {
    /// How many calls each request carried.
    calls: Mutex<Vec<usize>>,
    singles: AtomicUsize,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meddling {
    Nothing,
    LosesTheAnswer,
    Panics,
}

impl Link for Busy {
    fn call(&self, node: usize, request: &[u8], _patience: Duration) -> Result<Secret, Failure> {
        let ask = decode::<Request>(request).unwrap().ask;
        let mut meddling = Meddling::Nothing;
        match &ask {
            Ask::Make { makings } => {
                let mut calls = self.carried.calls.lock().unwrap();
                calls.push(makings.len());
                meddling = (self.meddle)(calls.len());
            }
            Ask::Create { .. } | Ask::Generate { .. } | Ask::GeneratePair { .. } => {
                self.carried.singles.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(3));
        assert!(meddling != Meddling::Panics, "on purpose");
        let answer = self.servers[node].answer(&caller("app"), request);
        if meddling == Meddling::LosesTheAnswer {
            return Err(Failure(refuse(Code::DeviceError, "the answer was lost")));
        }
        Ok(answer)
    }

    fn minor(&self, node: usize) -> Option<u32> {
        // The last node is the one that has not been upgraded.
        Some(if node == 2 { self.minor } else { self.minor.max(2) })
    }
}

fn label(text: &str) -> Template {
    Template::from_iter([(AttributeType::LABEL, Value::Bytes(text.as_bytes().to_vec()))])
}

fn labelled(mut template: Template, text: &str) -> Template {
    template.set(AttributeType::LABEL, Value::Bytes(text.as_bytes().to_vec()));
    template
}

fn data(text: &str) -> Template {
    let mut template = labelled(Template::new(), text);
    template.set(AttributeType::CLASS, Value::Ulong(ObjectClass::DATA.0));
    template.set(AttributeType::TOKEN, Value::Bool(true));
    template.set(AttributeType::VALUE, Value::Bytes(text.as_bytes().to_vec()));
    template
}

/// A logged-in application behind such a way.
fn application(
    house: &House,
    minor: u32,
    meddle: impl Fn(usize) -> Meddling + Send + Sync + 'static,
) -> (Arc<dyn Token>, Access, Arc<Carried>) {
    let (token, _) = house.token();
    let id = token.describe().unwrap().id;
    let carried = Arc::<Carried>::default();
    let link = Busy { servers: house.servers.clone(), minor, meddle: Box::new(meddle), carried: carried.clone() };
    let admin = behind(Box::new(link));
    let token = admin.tokens().unwrap().into_iter().find(|token| token.describe().unwrap().id == id).unwrap();
    let user = token.login(&crate::house::SCOPE, Role::User, &pin("user-pin")).unwrap().with_write(true);
    (token, user, carried)
}

/// What each of many threads does, all at the same time.
fn at_once<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let begin = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (begin, work) = (&begin, &work);
                scope.spawn(move || {
                    begin.wait();
                    work(thread)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Keys, pairs and data, by many threads; each object is found by its own label, once, and can be read.
fn all_are_made(house: &House, token: &dyn Token, user: &Access) {
    let made = at_once(|thread| {
        let make = |number: usize| {
            let text = format!("{thread}-{number}");
            match number % 3 {
                0 => vec![token.generate(user, &mechanism(MechanismType::AES_KEY_GEN), labelled(aes(true), &text)).unwrap()],
                1 => {
                    let (public, private) = ec_pair(true);
                    let (public, private) = (labelled(public, &text), labelled(private, &text));
                    let pair = token.generate_pair(user, &mechanism(MechanismType::EC_KEY_PAIR_GEN), public, private).unwrap();
                    vec![pair.0, pair.1]
                }
                _ => vec![token.create(user, data(&text)).unwrap()],
            }
        };
        (0..EACH).map(make).collect::<Vec<_>>()
    });
    let ids: HashSet<ObjectId> = made.iter().flatten().flatten().map(|reference| reference.id).collect();
    assert_eq!(ids.len(), THREADS * (EACH + EACH / 3), "each object has an id of its own");
    // By another application, which was told nothing.
    let other = house.other("other").tokens().unwrap().remove(0);
    let other_user = other.login(&hsmpool::token::Scope([9; 16]), Role::User, &pin("user-pin")).unwrap();
    for (thread, of_thread) in made.iter().enumerate() {
        for (number, references) in of_thread.iter().enumerate() {
            let mut found: Vec<_> = other.find(&other_user, &label(&format!("{thread}-{number}"))).unwrap();
            found.sort_by_key(|reference| reference.id);
            let mut expected = references.clone();
            expected.sort_by_key(|reference| reference.id);
            let ids = |references: &[hsmpool::token::Reference]| references.iter().map(|one| one.id).collect::<Vec<_>>();
            assert_eq!(ids(&found), ids(&expected), "{thread}-{number}");
            let read = token.read(user, references[0].id, &[AttributeType::LABEL]).unwrap().remove(0);
            let Reading::Value(Value::Bytes(text)) = read else { panic!("a label") };
            assert_eq!(text, format!("{thread}-{number}").into_bytes());
        }
    }
}

#[test]
fn many_threads_share_requests_and_each_gets_its_own_objects() {
    let house = House::new(160);
    let (token, user, carried) = application(&house, 2, |_| Meddling::Nothing);
    all_are_made(&house, &*token, &user);
    let calls = carried.calls.lock().unwrap();
    let singles = carried.singles.load(Ordering::Relaxed);
    assert_eq!(calls.iter().sum::<usize>() + singles, THREADS * EACH, "each call is carried once");
    assert!(calls.iter().any(|calls| *calls > 4), "{calls:?}");
    assert!(calls.len() + singles < THREADS * EACH / 2, "{} and {singles}", calls.len());
}

#[test]
fn a_request_whose_answer_is_lost_makes_nothing_twice() {
    let house = House::new(161);
    let (token, user, carried) = application(&house, 2, |number| match number % 2 {
        0 => Meddling::Nothing,
        _ => Meddling::LosesTheAnswer,
    });
    all_are_made(&house, &*token, &user);
    assert!(carried.calls.lock().unwrap().len() > 2);
}

#[test]
fn nothing_goes_together_while_one_node_does_not_know_how() {
    let house = House::new(162);
    let (token, user, carried) = application(&house, 1, |_| Meddling::Nothing);
    all_are_made(&house, &*token, &user);
    assert_eq!(carried.calls.lock().unwrap().len(), 0);
    assert_eq!(carried.singles.load(Ordering::Relaxed), THREADS * EACH);
}

#[test]
fn a_call_that_is_refused_among_others_is_told_its_own_refusal_and_the_others_are_made() {
    let house = House::new(163);
    // The answer that tells of the refusals is lost now and then, too.
    let (token, user, carried) = application(&house, 2, |number| match number % 3 {
        0 => Meddling::LosesTheAnswer,
        _ => Meddling::Nothing,
    });
    let told = at_once(|thread| {
        let make = |number: usize| {
            let mut template = labelled(aes(true), &format!("{thread}-{number}"));
            match (thread + number) % 4 {
                0 => drop(template.set(AttributeType::VALUE_LEN, Value::Ulong(17))),
                1 => drop(template.set(AttributeType::MODULUS, Value::Bytes(vec![1]))),
                _ => {}
            }
            token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), template).map_err(|error| error.code())
        };
        (0..EACH).map(make).collect::<Vec<_>>()
    });
    // What each is told when it is alone.
    let alone = |kind, value| {
        let mut template = aes(true);
        template.set(kind, value);
        token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), template).err().map(|error| error.code())
    };
    let by_length = alone(AttributeType::VALUE_LEN, Value::Ulong(17));
    let by_kind = alone(AttributeType::MODULUS, Value::Bytes(vec![1]));
    assert!(by_length.is_some() && by_kind.is_some());
    for (thread, of_thread) in told.iter().enumerate() {
        for (number, told) in of_thread.iter().enumerate() {
            let found = token.find(&user, &label(&format!("{thread}-{number}"))).unwrap();
            match (thread + number) % 4 {
                0 => assert_eq!((told.as_ref().err().copied(), found.len()), (by_length, 0)),
                1 => assert_eq!((told.as_ref().err().copied(), found.len()), (by_kind, 0)),
                _ => assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), [told.as_ref().unwrap().id]),
            }
        }
    }
    assert!(carried.calls.lock().unwrap().iter().any(|calls| *calls > 1));
}

#[test]
fn calls_whose_carrier_breaks_off_are_told_so_and_later_ones_go_on() {
    let house = House::new(164);
    let (token, user, _) = application(&house, 2, |number| match number {
        1 => Meddling::Panics,
        _ => Meddling::Nothing,
    });
    let panicked = AtomicBool::new(false);
    let told = at_once(|thread| {
        let generate = |number: usize| {
            let template = labelled(aes(true), &format!("{thread}-{number}"));
            token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), template)
        };
        let of_calls = (0..EACH).map(|number| match catch_unwind(AssertUnwindSafe(|| generate(number))) {
            Ok(made) => made.map(drop).map_err(|error| error.code()),
            Err(_) => {
                panicked.store(true, Ordering::Relaxed);
                // Stands for the panic.
                Err(Code::HostMemory)
            }
        });
        of_calls.collect::<Vec<_>>()
    });
    assert!(panicked.load(Ordering::Relaxed), "the carrier's own call");
    let refused: Vec<Code> = told.iter().flatten().filter_map(|told| told.as_ref().err().copied()).collect();
    assert!(refused.iter().all(|code| [Code::FunctionFailed, Code::HostMemory].contains(code)), "{refused:?}");
    assert_eq!(refused.iter().filter(|code| **code == Code::HostMemory).count(), 1);
    let last: Vec<_> = told.iter().filter_map(|told| told.last()).collect();
    assert!(last.iter().all(|told| told.is_ok()), "{last:?}");
}

/// What a node says to a request for several calls.
fn ask(house: &House, node: usize, token: &dyn Token, user: &Access, sequence: u64, makings: Vec<Making>) -> Verdict {
    let ask = Ask::Make { makings };
    let request = Request::new(Some(token.describe().unwrap().id), Who::from(user), 0, ask);
    let request = Request { sequence: Some(sequence), ..request };
    decode::<Answer>(house.servers[node].answer(&caller("app"), encode(&request).expose()).expose()).unwrap().verdict
}

fn generated(number: u32, template: Template) -> Making {
    Making { number, what: New::Generated { mechanism: mechanism(MechanismType::AES_KEY_GEN), template } }
}

#[test]
fn one_number_makes_the_same_objects_at_every_node_also_when_some_are_left_out() {
    let house = House::new(165);
    let (token, user) = house.token();
    let all = || (0..5).map(|number| generated(number, aes(true))).collect::<Vec<_>>();
    let objects = |node, makings| match ask(&house, node, &*token, &user, 900, makings) {
        Verdict::Done(Reply::Objects(objects)) => objects.iter().map(|object| object.id).collect::<Vec<_>>(),
        _ => panic!("objects"),
    };
    let first = objects(0, all());
    assert_eq!(first.len(), 5);
    assert_eq!(objects(1, all()), first);
    let some = all().into_iter().filter(|making| making.number != 2).collect();
    assert_eq!(objects(2, some), [first[0], first[1], first[3], first[4]]);
    // One that is refused now was made then: nobody is told otherwise.
    let mut bent = all();
    bent[3] = generated(3, labelled(Template::new(), "without CKA_TOKEN"));
    assert!(matches!(ask(&house, 0, &*token, &user, 900, bent), Verdict::Refused(refusal) if refusal.code == Rv::ARGUMENTS_BAD));
    let mut bent = all();
    bent[3] = generated(3, {
        let mut bad = aes(true);
        bad.set(AttributeType::VALUE_LEN, Value::Ulong(3));
        bad
    });
    assert_eq!(objects(0, bent), first);
    assert_eq!(token.find(&user, &Template::new()).unwrap().len(), 5);
}

#[test]
fn a_node_takes_no_more_calls_than_it_says_each_once_and_for_token_objects_only() {
    let house = House::new(166);
    let (token, user) = house.token();
    let many = |count: usize| (0..count as u32).map(|number| generated(number, aes(true))).collect::<Vec<_>>();
    let twice = vec![generated(1, aes(true)), generated(1, aes(true))];
    let pair_of_the_session = {
        let (public, private) = ec_pair(false);
        let what = New::Pair { mechanism: mechanism(MechanismType::EC_KEY_PAIR_GEN), public, private };
        vec![generated(0, aes(true)), Making { number: 1, what }]
    };
    for (at, makings) in
        [many(MAKINGS_MAX + 1), twice, vec![generated(u32::MAX, aes(true))], vec![generated(0, aes(false))], pair_of_the_session]
            .into_iter()
            .enumerate()
    {
        let Verdict::Refused(refusal) = ask(&house, 0, &*token, &user, 50 + at as u64, makings) else {
            panic!("{at} is refused")
        };
        assert_eq!(refusal.code, Rv::ARGUMENTS_BAD, "{at}: {}", refusal.told);
    }
    assert_eq!(token.find(&user, &Template::new()).unwrap().len(), 0);
    let Verdict::Done(Reply::Objects(objects)) = ask(&house, 0, &*token, &user, 60, many(MAKINGS_MAX)) else {
        panic!("they are made")
    };
    assert_eq!(objects.len(), MAKINGS_MAX);
    // Without a login there are no private objects, and none of the others either.
    let public = Access::public(user.scope, true);
    let verdict = ask(&house, 0, &*token, &public, 61, many(2));
    assert!(
        matches!(verdict, Verdict::Done(Reply::Apart(refused)) if refused.len() == 2 && refused.iter().all(|one| one.refusal.code == Rv::USER_NOT_LOGGED_IN))
    );
    let thief = Request::new(Some(token.describe().unwrap().id), Who::from(&user), 0, Ask::Make { makings: many(1) });
    let answer = house.servers[0].answer(&caller("thief"), encode(&Request { sequence: Some(1), ..thief }).expose());
    let Verdict::Refused(refusal) = decode::<Answer>(answer.expose()).unwrap().verdict else { panic!("another client's ticket") };
    assert_eq!(refusal.code, Rv::USER_NOT_LOGGED_IN);
    assert_eq!(token.find(&user, &Template::new()).unwrap().len(), MAKINGS_MAX);
}
