//! What a server answers, by what its partition may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::server::{Caller, Server, Standing as Whereabouts};
use crate::ck::{AttributeType, KeyType, MechanismType, ObjectClass, Rv};
use crate::error::{Code, Result, refuse};
use crate::limits::{REQUESTS_KEPT_CHANGES, REQUESTS_OVERTAKING_MAX};
use crate::log::{Log, Proposal, Solo, Standing, Version};
use crate::mechanism::{Mechanism, Params};
use crate::object::policy::Policy;
use crate::object::{ObjectId, Template, Value};
use crate::partition::{Partition, RootKeySource, Settings, load_root_key};
use crate::secret::Secret;
use crate::store::tests::fixtures::Directory;
use crate::store::{Outcome, Store};
use crate::token::message::{Answer, Ask, Blob, Duty, Reply, Request, Use, Verb, Verdict, Who, decode, encode};
use crate::token::{Access, PinState, Role, Scope, TokenId};
use crate::world::{Real, World};

/// Names the group of the log.
const GROUP: u64 = 7;

/// A single member's log that says of itself what the test wants.
pub struct Posed {
    solo: Solo,
    standing: Mutex<Standing>,
    mark: AtomicU64,
    /// What the mark is once it has caught up.
    latest: AtomicU64,
}

impl Log for Posed {
    fn propose(&self, proposal: Proposal) -> Result<Outcome> {
        self.solo.propose(proposal)
    }

    fn version(&self) -> Version {
        self.solo.version()
    }

    fn standing(&self) -> Standing {
        *self.standing.lock()
    }

    fn at_hand(&self) -> u64 {
        41
    }

    /// Nothing was changed yet, and nothing comes.
    fn reach(&self, mark: u64) -> Result<()> {
        if mark == 0 { Ok(()) } else { Err(refuse(Code::DeviceError, "it does not come so far")) }
    }

    fn epoch(&self) -> Option<u64> {
        Some(GROUP)
    }

    fn mark(&self) -> u64 {
        self.mark.load(Ordering::Relaxed)
    }

    fn barrier(&self) -> Result<()> {
        self.mark.fetch_max(self.latest.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }
}

pub fn server(directory: &Directory) -> (Server, Arc<Posed>) {
    let world: Arc<dyn World> = Arc::new(Real);
    let store = Arc::new(Store::open(directory.path()).unwrap());
    let root_key = load_root_key(&RootKeySource::File(directory.path().join("hsmpool.key")), true, &*world).unwrap();
    let (solo, standing) = (Solo::new(store.clone()), Mutex::new(Standing::Ordinary));
    let log = Arc::new(Posed { solo, standing, mark: AtomicU64::new(0), latest: AtomicU64::new(0) });
    let settings = Settings { pin_attempts_max: 3, policy: Policy::Default, root_key, tickets: true };
    let partition = Partition::new(store, log.clone(), world.clone(), settings).unwrap();
    let whereabouts = Whereabouts { node: 1, zone: "a".to_string() };
    (Server::new(partition, log.clone(), world, whereabouts, Box::new(|| None)), log)
}

fn public() -> Who {
    Who::from(&Access::public(Scope([7; 16]), true))
}

fn ask(server: &Server, token: Option<TokenId>, ask: Ask, sequence: Option<u64>, alone: Option<bool>) -> Answer {
    let caller = Caller { name: "test".into(), tokens: None, operates: false };
    let request = Request { sequence, alone, ..Request::new(token, public(), 0, ask) };
    decode(server.answer(&caller, encode(&request).expose()).expose()).unwrap()
}

fn new_token(server: &Server, sequence: u64) -> Answer {
    let so_pin = Secret::new(b"12345678".to_vec());
    ask(server, None, Ask::InitToken { existing: None, so_pin, label: [b' '; 32] }, Some(sequence), None)
}

#[test]
fn a_node_answers_what_its_standing_allows_and_says_so() {
    let directory = Directory::new();
    let (server, log) = server(&directory);
    let Verdict::Done(Reply::Token(token)) = new_token(&server, 0).verdict else { panic!("a new token") };
    let left = Duration::from_secs(60);
    // The standing; a change; a search by a client who knows of other nodes, who knows of none, and an older one; what its health says.
    for (number, (standing, change, others, alone, older, duty)) in (1..).zip([
        (Standing::Ordinary, true, true, true, true, Duty::Ordinary),
        (Standing::Behind, true, true, true, true, Duty::Behind),
        (Standing::Isolated { left }, false, false, true, true, Duty::Isolated(60)),
        (Standing::Stopped, false, false, false, false, Duty::Stopped),
        (Standing::Expelled, false, false, false, false, Duty::Expelled),
    ]) {
        *log.standing.lock() = standing;
        let is_done = |answer: Answer| match answer.verdict {
            Verdict::Done(_) => true,
            Verdict::Elsewhere(why) => {
                assert!(why.contains(&standing.to_string()), "{why}");
                false
            }
            _ => panic!("{standing:?}: neither done nor sent elsewhere"),
        };
        let search = |alone| is_done(ask(&server, Some(token), Ask::Find { template: Template::new() }, None, alone));
        assert_eq!(is_done(new_token(&server, number * 100)), change, "{standing:?}: a change");
        assert_eq!((search(Some(false)), search(Some(true)), search(None)), (others, alone, older), "{standing:?}");
        let answer = ask(&server, None, Ask::Health, None, None);
        assert_eq!(answer.isolated, matches!(standing, Standing::Isolated { .. }).then_some(true));
        let Verdict::Done(Reply::Health(health)) = answer.verdict else { panic!("a node always says how it is") };
        assert_eq!(health.applied, 41, "what is held counts");
        assert_eq!(health.changes_applied(), log.mark(), "but not where people are told");
        assert_eq!((health.duty, health.in_contact), (Some(duty), standing.in_contact()));
        assert_eq!(health.is_useful(), standing.uses_keys());
    }
}

#[test]
fn an_operation_in_parts_ends_with_its_key_and_with_the_key_s_permission() {
    let directory = Directory::new();
    let (server, _) = server(&directory);
    let Verdict::Done(Reply::Token(token)) = new_token(&server, 0).verdict else { panic!("a new token") };
    let key = Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
        (AttributeType::KEY_TYPE, Value::Ulong(KeyType::GENERIC_SECRET.0)),
        (AttributeType::TOKEN, Value::Bool(true)),
        (AttributeType::PRIVATE, Value::Bool(false)),
        (AttributeType::SIGN, Value::Bool(true)),
        (AttributeType::VALUE, Value::Bytes(vec![7; 32])),
    ]);
    let told = |sequence, what| ask(&server, Some(token), what, sequence, None).verdict;
    let Verdict::Done(Reply::Objects(made)) = told(Some(100), Ask::Create { template: key }) else { panic!("a new key") };
    let key = made[0].id;
    let part = |stream, after| {
        let mechanism = Mechanism { kind: MechanismType::SHA256_HMAC, params: Params::None };
        let what = Use { verb: Verb::Sign, mechanism, key, permit: Blob::default() };
        let input = Secret::new(b"part".to_vec());
        told(None, Ask::Part { what, stream: [stream; 16], after, input, ends: false, signature: Vec::new() })
    };
    let refused = |verdict| match verdict {
        Verdict::Refused(refusal) => crate::error::Error::from(refusal).code(),
        _ => panic!("it goes on"),
    };
    let sign = |may| Ask::Update { id: key, changes: Template::from_iter([(AttributeType::SIGN, Value::Bool(may))]) };
    for stream in [1, 2] {
        assert!(matches!(part(stream, 0), Verdict::Done(_)) && matches!(part(stream, 1), Verdict::Done(_)));
    }
    assert!(matches!(told(Some(200), sign(false)), Verdict::Done(_)));
    assert_eq!(refused(part(1, 2)), Code::KeyFunctionNotPermitted);
    assert!(matches!(told(Some(300), sign(true)), Verdict::Done(_)));
    assert!(matches!(part(2, 2), Verdict::Done(_)), "one that was not asked for meanwhile goes on");
    assert!(matches!(told(Some(400), Ask::Destroy { id: key }), Verdict::Done(_)));
    assert_eq!(refused(part(2, 3)), Code::KeyHandleInvalid);
}

#[test]
fn what_a_client_has_seen_of_another_group_is_not_waited_for() {
    let directory = Directory::new();
    let (server, _log) = server(&directory);
    let Verdict::Done(Reply::Token(token)) = new_token(&server, 0).verdict else { panic!("a new token") };
    let caller = Caller { name: "test".into(), tokens: None, operates: false };
    for (epoch, is_answered) in [(Some(GROUP), false), (None, false), (Some(GROUP + 1), true)] {
        for ask in [Ask::Describe, Ask::Find { template: Template::new() }] {
            let request = Request { epoch, mark_is_enough: Some(true), ..Request::new(Some(token), public(), 600, ask) };
            let bytes = encode(&request);
            assert!(server.at_once(&caller, bytes.expose()).is_none(), "the log, or the leader, is asked first");
            let answer: Answer = decode(server.answer(&caller, bytes.expose()).expose()).unwrap();
            assert_eq!(answer.epoch, Some(GROUP));
            match answer.verdict {
                Verdict::Done(_) => assert!(is_answered, "{epoch:?}"),
                Verdict::Elsewhere(why) => assert!(!is_answered && why.contains("does not come so far"), "{epoch:?}: {why}"),
                _ => panic!("{epoch:?}: neither done nor sent elsewhere"),
            }
        }
    }
}

#[test]
fn at_once_a_node_answers_what_waits_for_nobody_and_in_its_lease_only() {
    let directory = Directory::new();
    let (server, log) = server(&directory);
    let Verdict::Done(Reply::Token(token)) = new_token(&server, 0).verdict else { panic!("a new token") };
    let caller = Caller { name: "test".into(), tokens: None, operates: false };
    let find = || Ask::Find { template: Template::new() };
    let told = |request: Request| server.at_once(&caller, encode(&request).expose());
    let request = |mark, ask| Request::new(Some(token), public(), mark, ask);
    let session = |mark| Request { mark_is_enough: Some(true), ..request(mark, find()) };
    let answer = told(session(0)).expect("what the client has seen is enough");
    assert!(matches!(decode::<Answer>(answer.expose()).unwrap().verdict, Verdict::Done(Reply::Objects(_))));
    assert!(told(request(0, find())).is_none(), "the leader is asked first");
    assert!(told(session(1)).is_none(), "the log must come so far first");
    let create = Request { sequence: Some(7), ..request(0, Ask::Create { template: Template::new() }) };
    assert!(told(create).is_none(), "a change waits for the log");
    assert!(server.at_once(&caller, b"no request").is_none());
    for standing in [Standing::Behind, Standing::Isolated { left: Duration::from_secs(9) }, Standing::Stopped, Standing::Expelled]
    {
        *log.standing.lock() = standing;
        assert!(told(session(0)).is_none(), "{standing:?}");
    }
    *log.standing.lock() = Standing::Ordinary;
    server.drain();
    assert!(told(session(0)).is_none(), "it is being stopped");
}

/// A request that was in a node that stood still comes to itself when the log has forgotten that another node carried it out.
#[test]
fn a_change_whose_answer_may_be_forgotten_is_not_carried_out() {
    let directory = Directory::new();
    let (server, log) = server(&directory);
    let is_made = |sequence: u64, since: Option<u64>| {
        let so_pin = Secret::new(b"12345678".to_vec());
        let ask = Ask::InitToken { existing: None, so_pin, label: [b' '; 32] };
        let caller = Caller { name: "test".into(), tokens: None, operates: false };
        let request = Request { sequence: Some(sequence), since, ..Request::new(None, public(), 0, ask) };
        match decode::<Answer>(server.answer(&caller, encode(&request).expose()).expose()).unwrap().verdict {
            Verdict::Done(Reply::Token(_)) => true,
            Verdict::Elsewhere(why) => {
                assert!(why.contains("too old"), "{why}");
                false
            }
            _ => panic!("neither done nor sent elsewhere"),
        }
    };
    let longest = REQUESTS_KEPT_CHANGES - REQUESTS_OVERTAKING_MAX;
    assert!(is_made(0, Some(5)));
    log.mark.store(5 + longest, Ordering::Relaxed);
    assert!(is_made(1, Some(5)));
    assert!(!is_made(2, Some(4)));
    assert!(is_made(2, None), "an older module does not say from when its request is");
    // The node was asleep: what it has is as old as the request.
    log.latest.store(6 + longest, Ordering::Relaxed);
    assert!(is_made(3, Some(5)));
    *log.standing.lock() = Standing::Behind;
    assert!(!is_made(4, Some(5)), "it catches up first");
}

#[test]
fn nobody_ends_a_login_without_its_ticket() {
    let directory = Directory::new();
    // Two nodes, over one store: what each has in memory the other one has not.
    let ((first, _), (second, _)) = (server(&directory), server(&directory));
    let Verdict::Done(Reply::Token(token)) = new_token(&first, 0).verdict else { panic!("a new token") };
    let told = |server: &Server, name: &str, who: &Who, sequence: Option<u64>, ask: Ask| {
        let caller = Caller { name: name.into(), tokens: None, operates: false };
        let request = Request { sequence, ..Request::new(Some(token), who.clone(), 0, ask) };
        decode::<Answer>(server.answer(&caller, encode(&request).expose()).expose()).unwrap().verdict
    };
    let log_in = Ask::Login { role: Role::SecurityOfficer, pin: Secret::new(b"12345678".to_vec()) };
    let Verdict::Done(Reply::Who(who)) = told(&first, "owner", &public(), Some(1), log_in) else { panic!("a login") };
    let is_in = |server: &Server| match told(server, "owner", &who, None, Ask::Find { template: Template::new() }) {
        Verdict::Done(_) => true,
        Verdict::Refused(refusal) => {
            assert_eq!(refusal.code, Rv::USER_NOT_LOGGED_IN);
            false
        }
        _ => panic!("neither done nor refused"),
    };
    let no_ticket = Who { ticket: Blob::default(), ..who.clone() };
    let elsewhere = Who { scope: Scope([8; 16]), ..who.clone() };
    for (name, of) in [("owner", &no_ticket), ("stranger", &no_ticket), ("stranger", &who), ("owner", &elsewhere)] {
        assert!(matches!(told(&second, name, of, None, Ask::Logout), Verdict::Done(Reply::Nothing)));
    }
    assert!(is_in(&second), "by its ticket, as this node has not heard of it before");
    for (name, of) in [("stranger", &who), ("owner", &elsewhere)] {
        told(&second, name, of, None, Ask::Logout);
    }
    assert!(is_in(&second), "nor one that the node has");
    told(&second, "owner", &who, None, Ask::Logout);
    assert!(!is_in(&second));
    // This one was not told, and no login is here any more: the ticket is proof enough.
    let (third, _) = server(&directory);
    told(&third, "owner", &who, None, Ask::Logout);
    assert!(!is_in(&third));
}

/// What a node says to a client's request about the token.
fn told(server: &Server, name: &str, token: TokenId, who: &Who, sequence: Option<u64>, ask: Ask) -> Answer {
    let caller = Caller { name: name.into(), tokens: None, operates: false };
    let request = Request { sequence, ..Request::new(Some(token), who.clone(), 0, ask) };
    decode(server.answer(&caller, encode(&request).expose()).expose()).unwrap()
}

fn pin(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// The refusal, which brings no ticket.
fn refused(answer: Answer) -> Rv {
    assert!(answer.ticket.is_none());
    match answer.verdict {
        Verdict::Refused(refusal) => refusal.code,
        _ => panic!("not refused"),
    }
}

fn who(answer: Answer) -> Who {
    match answer.verdict {
        Verdict::Done(Reply::Who(who)) => who,
        Verdict::Refused(refusal) => panic!("{}", refusal.told),
        _ => panic!("no login"),
    }
}

/// A login of that role.
fn log_in(server: &Server, token: TokenId, role: Role, text: &str, sequence: u64) -> Who {
    let who = who(told(server, "owner", token, &public(), Some(sequence), Ask::Login { role, pin: pin(text) }));
    Who { write: true, ..who }
}

#[test]
fn a_login_that_set_the_user_s_pin_ends_with_the_so_s_pin_although_it_says_so_again() {
    let directory = Directory::new();
    let ((first, _), (second, _)) = (server(&directory), server(&directory));
    let Verdict::Done(Reply::Token(token)) = new_token(&first, 0).verdict else { panic!("a new token") };
    let so = log_in(&first, token, Role::SecurityOfficer, "12345678", 1);
    let init = || Ask::InitPin { new: pin("user-pin") };
    who(told(&first, "owner", token, &so, Some(2), init()));
    who(told(&second, "owner", token, &so, Some(2), init()));
    let other = log_in(&first, token, Role::SecurityOfficer, "12345678", 3);
    let change = Ask::SetPin { old: pin("12345678"), new: pin("so-pin-2") };
    who(told(&first, "owner", token, &other, Some(4), change));
    let (third, _) = server(&directory);
    for server in [&first, &second, &third] {
        assert_eq!(refused(told(server, "owner", token, &so, Some(2), init())), Rv::USER_NOT_LOGGED_IN);
        // The number is of a request that has changed a PIN: not this one.
        for new in ["user-pin", "12345678", "another"] {
            let change = Ask::SetPin { old: pin("12345678"), new: pin(new) };
            assert_eq!(refused(told(server, "owner", token, &so, Some(2), change)), Rv::USER_NOT_LOGGED_IN, "{new}");
        }
    }
}

#[test]
fn a_login_outlives_its_own_change_of_the_pin_and_no_other_although_it_says_so_again() {
    let directory = Directory::new();
    let ((first, _), (second, _)) = (server(&directory), server(&directory));
    let Verdict::Done(Reply::Token(token)) = new_token(&first, 0).verdict else { panic!("a new token") };
    let so = log_in(&first, token, Role::SecurityOfficer, "12345678", 1);
    who(told(&first, "owner", token, &so, Some(2), Ask::InitPin { new: pin("user-pin") }));
    let user = log_in(&first, token, Role::User, "user-pin", 3);
    let change = |new: &str| Ask::SetPin { old: pin("user-pin"), new: pin(new) };
    let newer = who(told(&first, "owner", token, &user, Some(4), change("user-pin-2")));
    // The answer was lost: another node is asked, which knows the login by its old ticket.
    let at_second = who(told(&second, "owner", token, &user, Some(4), change("user-pin-2")));
    let is_good = |server: &Server, who: &Who| {
        let find = Ask::Find { template: Template::new() };
        matches!(told(server, "owner", token, who, None, find).verdict, Verdict::Done(_))
    };
    let (third, _) = server(&directory);
    assert!(is_good(&third, &at_second) && is_good(&second, &newer) && !is_good(&server(&directory).0, &user));
    who(told(&first, "owner", token, &so, Some(5), Ask::InitPin { new: pin("user-pin-3") }));
    let state = || match told(&first, "owner", token, &public(), None, Ask::Describe).verdict {
        Verdict::Done(Reply::Described(description)) => crate::token::Description::from(description).user_pin,
        _ => panic!("a token"),
    };
    for (server, who) in [(&first, &user), (&first, &newer), (&second, &newer)] {
        assert_eq!(refused(told(server, "owner", token, who, Some(4), change("user-pin-2"))), Rv::USER_NOT_LOGGED_IN);
    }
    assert_eq!(state(), PinState::FinalTry, "two of them have tried a PIN");
    assert_eq!(refused(told(&second, "owner", token, &newer, Some(4), change("guess"))), Rv::USER_NOT_LOGGED_IN);
    let right = told(&second, "owner", token, &newer, Some(4), change("user-pin-3"));
    assert_eq!(refused(right), Rv::PIN_LOCKED, "as many guesses as at a login");
}

/// The name of a new AES key that encrypts.
fn aes_key(server: &Server, token: TokenId, who: &Who, sequence: u64) -> ObjectId {
    let template = Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
        (AttributeType::KEY_TYPE, Value::Ulong(KeyType::AES.0)),
        (AttributeType::TOKEN, Value::Bool(true)),
        (AttributeType::ENCRYPT, Value::Bool(true)),
        (AttributeType::VALUE, Value::Bytes(vec![sequence as u8; 32])),
    ]);
    match told(server, "owner", token, who, Some(sequence), Ask::Create { template }).verdict {
        Verdict::Done(Reply::Objects(made)) => made[0].id,
        _ => panic!("a new key"),
    }
}

#[test]
fn an_operation_in_parts_goes_on_with_its_own_key_login_and_client_alone() {
    let directory = Directory::new();
    let (server, _) = server(&directory);
    let Verdict::Done(Reply::Token(token)) = new_token(&server, 0).verdict else { panic!("a new token") };
    let so = log_in(&server, token, Role::SecurityOfficer, "12345678", 1);
    who(told(&server, "owner", token, &so, Some(2), Ask::InitPin { new: pin("user-pin") }));
    let user = log_in(&server, token, Role::User, "user-pin", 3);
    let other_login = log_in(&server, token, Role::User, "user-pin", 4);
    let (key, other) = (aes_key(&server, token, &user, 5), aes_key(&server, token, &user, 6));
    let part = |who: &Who, key: ObjectId, verb: Verb, after: u64| {
        let mechanism = Mechanism { kind: MechanismType::AES_ECB, params: Params::None };
        let what = Use { verb, mechanism, key, permit: Blob::default() };
        let input = Secret::new(vec![7; 16]);
        let ask = Ask::Part { what, stream: [9; 16], after, input, ends: false, signature: Vec::new() };
        told(&server, "owner", token, who, None, ask).verdict
    };
    let is_unknown = |verdict: Verdict| matches!(verdict, Verdict::Unknown(ids) if ids.is_empty());
    let goes_on = |after| matches!(part(&user, key, Verb::Encrypt, after), Verdict::Done(_));
    assert!(goes_on(0) && goes_on(1));
    assert!(is_unknown(part(&user, other, Verb::Encrypt, 2)), "another key");
    assert!(is_unknown(part(&other_login, key, Verb::Encrypt, 2)), "another login");
    told(&server, "thief", token, &public(), None, Ask::Drop { stream: [9; 16] });
    told(&server, "thief", token, &user, None, Ask::Logout);
    assert!(goes_on(2), "it was left alone");
    assert!(matches!(told(&server, "owner", token, &user, Some(7), Ask::Destroy { id: key }).verdict, Verdict::Done(_)));
    assert!(is_unknown(part(&user, other, Verb::Encrypt, 3)), "the key is destroyed, and another one lends it nothing");
    assert!(matches!(part(&user, key, Verb::Encrypt, 3), Verdict::Refused(_)));
    assert_eq!(server.load().1, 1);
    told(&server, "owner", token, &user, None, Ask::Logout);
    assert_eq!(server.load().1, 0, "it ends with its login");
}

#[test]
fn a_permit_that_begins_an_operation_in_parts_is_spent_on_what_was_sent_first() {
    let directory = Directory::new();
    let (server, _) = server(&directory);
    let Verdict::Done(Reply::Token(token)) = new_token(&server, 0).verdict else { panic!("a new token") };
    let so = log_in(&server, token, Role::SecurityOfficer, "12345678", 1);
    who(told(&server, "owner", token, &so, Some(2), Ask::InitPin { new: pin("user-pin") }));
    let user = log_in(&server, token, Role::User, "user-pin", 3);
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let kept = || (AttributeType::TOKEN, Value::Bool(true));
    let make = Ask::GeneratePair {
        mechanism: Mechanism { kind: MechanismType::EC_KEY_PAIR_GEN, params: Params::None },
        public: Template::from_iter([kept(), (AttributeType::EC_PARAMS, Value::Bytes(P256.to_vec()))]),
        private: Template::from_iter([
            kept(),
            (AttributeType::SIGN, Value::Bool(true)),
            (AttributeType::ALWAYS_AUTHENTICATE, Value::Bool(true)),
        ]),
    };
    let Verdict::Done(Reply::Objects(pair)) = told(&server, "owner", token, &user, Some(4), make).verdict else {
        panic!("a pair")
    };
    let proven = told(&server, "owner", token, &user, Some(5), Ask::Authenticate { pin: pin("user-pin") });
    let Verdict::Done(Reply::Permit(permit)) = proven.verdict else { panic!("a permit") };
    let sign = |text: &str| {
        let mechanism = Mechanism { kind: MechanismType::ECDSA_SHA256, params: Params::None };
        let what = Use { verb: Verb::Sign, mechanism, key: pair[1].id, permit: permit.clone() };
        let (stream, input, signature) = ([9; 16], pin(text), Vec::new());
        told(&server, "owner", token, &user, None, Ask::Part { what, stream, after: 0, input, ends: true, signature })
    };
    for _ in 0..2 {
        assert!(matches!(sign("one").verdict, Verdict::Done(Reply::Bytes(_))), "it comes again, as its answer was lost");
    }
    assert_eq!(refused(sign("two")), Rv::USER_NOT_LOGGED_IN);
}
