//! What was seen or taken on the way is of no use to others: tickets, capsules and requests, altered or sent again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hsmpool::ck::{AttributeType, MechanismType, Rv};
use hsmpool::error::Code;
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::node::Server;
use hsmpool::object::policy::Policy;
use hsmpool::object::{ObjectId, Template, Value};
use hsmpool::pool::{Failure, Link};
use hsmpool::secret::Secret;
use hsmpool::token::message::{Answer, Ask, Blob, Held, Reply, Request, Verdict, Who, decode, encode};
use hsmpool::token::{Access, Admin, LoginId, Role, Scope, Token};

use crate::house::{House, SCOPE, aes, behind, caller, mechanism, pin};

/// Bytes that are on their way.
type Seen = Arc<std::sync::Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

/// A way to the nodes on which somebody writes down what goes by.
struct Overheard {
    servers: Vec<Arc<Server>>,
    seen: Seen,
}

impl Link for Overheard {
    fn call(&self, node: usize, request: &[u8], _patience: Duration) -> Result<Secret, Failure> {
        let answer = self.servers[node].answer(&caller("app"), request);
        self.seen.lock().unwrap().push((request.to_vec(), answer.expose().to_vec()));
        Ok(answer)
    }
}

fn overheard(house: &House) -> (Arc<dyn Token>, Seen) {
    let seen = Seen::default();
    let admin = behind(Box::new(Overheard { servers: house.servers.clone(), seen: seen.clone() }));
    let token = admin.tokens().unwrap().remove(0);
    (token, seen)
}

/// The capsule of a new session key, as it came over the wire.
fn capsule(seen: &Seen, id: ObjectId) -> (u64, Blob) {
    let made = seen.lock().unwrap().iter().rev().find_map(|(_, answer)| match decode::<Answer>(answer).unwrap().verdict {
        Verdict::Done(Reply::Objects(objects)) => objects.into_iter().find(|object| object.id == id)?.capsule,
        _ => None,
    });
    made.map(|capsule| (capsule.version, capsule.sealed)).expect("a session object comes with its capsule")
}

/// What a node says to a reading of the session object, brought along in this capsule.
fn read_with(server: &Server, name: &str, token: &dyn Token, access: &Access, held: Held, capsule: &Blob) -> Rv {
    let ask = Ask::Read { id: held.id, wanted: vec![AttributeType::LABEL] };
    let (token, who) = (Some(token.describe().unwrap().id), Who::from(access));
    let capsules = vec![capsule.clone()];
    let request = Request { held: vec![held], capsules, ..Request::new(token, who, 0, ask) };
    code_of(server, name, &request)
}

/// What a node says to a request of that client.
fn code_of(server: &Server, name: &str, request: &Request) -> Rv {
    match decode::<Answer>(server.answer(&caller(name), encode(request).expose()).expose()).unwrap().verdict {
        Verdict::Done(_) => Rv::OK,
        Verdict::Refused(refusal) => refusal.code,
        Verdict::Elsewhere(_) | Verdict::Unknown(_) => Rv::DEVICE_ERROR,
    }
}

#[test]
fn a_capsule_opens_unaltered_for_its_own_login_alone() {
    let house = House::new(110);
    house.token();
    let (token, seen) = overheard(&house);
    let user = token.login(&SCOPE, Role::User, &pin("user-pin")).unwrap().with_write(true);
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(false)).unwrap();
    let (version, sealed) = capsule(&seen, key.id);
    let held = Held { id: key.id, version };
    // A node that has never heard of the object, asked by whom, with which capsule.
    let read = |name: &str, access: &Access, sealed: &Blob| read_with(&house.servers[2], name, &*token, access, held, sealed);
    for at in 0..sealed.0.len() {
        let mut bent = sealed.clone();
        bent.0[at] ^= 1;
        assert_eq!(read("app", &user, &bent), Rv::OBJECT_HANDLE_INVALID, "byte {at}");
    }
    assert_eq!(read("app", &user, &Blob(sealed.0[..sealed.0.len() - 1].to_vec())), Rv::OBJECT_HANDLE_INVALID);
    let other = house.other("thief").tokens().unwrap().remove(0);
    let own = other.login(&Scope([8; 16]), Role::User, &pin("user-pin")).unwrap();
    assert_eq!(read("thief", &own, &sealed), Rv::OBJECT_HANDLE_INVALID, "another application, logged in as the same user");
    assert_eq!(read("thief", &user, &sealed), Rv::USER_NOT_LOGGED_IN, "another client with the ticket");
    let nobody = Access::public(SCOPE, false);
    assert_eq!(read("app", &nobody, &sealed), Rv::OBJECT_HANDLE_INVALID, "without a login");
    assert_eq!(read("app", &user, &sealed), Rv::OK, "its own");
    token.logout(&user).unwrap();
    assert_eq!(read("app", &user, &sealed), Rv::USER_NOT_LOGGED_IN, "after the logout");
    let again = token.login(&SCOPE, Role::User, &pin("user-pin")).unwrap();
    assert_eq!(read("app", &again, &sealed), Rv::OBJECT_HANDLE_INVALID, "after a new login");
}

#[test]
fn requests_that_were_overheard_give_another_client_nothing() {
    let house = House::new(111);
    house.token();
    let (token, seen) = overheard(&house);
    let user = token.login(&SCOPE, Role::User, &pin("user-pin")).unwrap().with_write(true);
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
    seen.lock().unwrap().clear();
    let ecb = mechanism(MechanismType::AES_ECB);
    token.encrypt(&user, &ecb, key.id).unwrap().operation.single(&[1; 16], &mut [0; 16]).unwrap();
    token.read(&user, key.id, &[AttributeType::LABEL]).unwrap();
    token.update(&user, key.id, Template::from_iter([(AttributeType::LABEL, Value::Bytes(b"new".to_vec()))])).unwrap();
    token.destroy(&user, key.id).unwrap();
    let requests: Vec<_> = seen.lock().unwrap().iter().map(|(request, _)| request.clone()).collect();
    assert!(requests.len() >= 5, "{}", requests.len());
    for (at, request) in requests.iter().enumerate() {
        for server in &house.servers {
            let answer = decode::<Answer>(server.answer(&caller("thief"), request).expose()).unwrap();
            assert!(answer.ticket.is_none());
            let Verdict::Refused(refusal) = answer.verdict else { panic!("request {at} is refused") };
            assert_eq!(refusal.code, Rv::USER_NOT_LOGGED_IN, "request {at}: {}", refusal.told);
        }
    }
}

#[test]
fn a_change_that_is_sent_again_later_changes_nothing() {
    let house = House::new(112);
    house.token();
    let (token, seen) = overheard(&house);
    let user = token.login(&SCOPE, Role::User, &pin("user-pin")).unwrap().with_write(true);
    let label = |text: &str| Template::from_iter([(AttributeType::LABEL, Value::Bytes(text.as_bytes().to_vec()))]);
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
    seen.lock().unwrap().clear();
    token.update(&user, key.id, label("first")).unwrap();
    let made = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
    token.destroy(&user, made.id).unwrap();
    let requests: Vec<_> = seen.lock().unwrap().iter().map(|(request, _)| request.clone()).collect();
    token.update(&user, key.id, label("second")).unwrap();
    for request in requests.iter().rev().chain(&requests) {
        for server in &house.servers {
            // As the client itself, whose connection it would have to be.
            server.answer(&caller("app"), request);
        }
    }
    assert_eq!(token.find(&user, &label("second")).unwrap().len(), 1);
    assert_eq!(token.find(&user, &Template::new()).unwrap().len(), 1, "what was destroyed does not come back");
}

/// The count of wrong PINs goes by requests: one that says another PIN each time it arrives is still one guess.
#[test]
fn a_request_that_comes_again_with_another_pin_is_no_second_guess() {
    let house = House::new(114);
    let token = house.token().0.describe().unwrap().id;
    for role in [Role::User, Role::SecurityOfficer] {
        let number = 7_000 + u64::from(role == Role::User);
        let log_in = |server: &Server, text: &str, sequence: u64| {
            let ask = Ask::Login { role, pin: pin(text) };
            let who = Who::from(&Access::public(SCOPE, false));
            let request = Request { sequence: Some(sequence), ..Request::new(Some(token), who, 0, ask) };
            code_of(server, "app", &request)
        };
        let right = if role == Role::User { "user-pin" } else { "so-pin" };
        assert_eq!(log_in(&house.servers[0], "wrong-pin", number), Rv::PIN_INCORRECT);
        for server in &house.servers {
            assert_eq!(log_in(server, "wrong-pin", number), Rv::PIN_INCORRECT);
            assert_eq!(log_in(server, right, number), Rv::PIN_INCORRECT, "{role:?}: the same request tells nothing more");
        }
        assert_eq!(log_in(&house.servers[1], right, number + 100), Rv::OK);
    }
}

/// Its first answer was lost, and somebody else destroyed the object before the client could ask again: what was done was done.
#[test]
fn a_change_that_was_made_is_acknowledged_although_its_object_is_gone_by_now() {
    let house = House::new(113);
    house.token();
    let (token, seen) = overheard(&house);
    let user = token.login(&SCOPE, Role::User, &pin("user-pin")).unwrap().with_write(true);
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
    seen.lock().unwrap().clear();
    token.update(&user, key.id, Template::from_iter([(AttributeType::LABEL, Value::Bytes(b"new".to_vec()))])).unwrap();
    token.destroy(&user, key.id).unwrap();
    let requests: Vec<_> = seen.lock().unwrap().iter().map(|(request, _)| request.clone()).collect();
    assert_eq!(requests.len(), 2, "a change and a destruction");
    for (at, request) in requests.iter().enumerate() {
        for server in &house.servers {
            let answer = decode::<Answer>(server.answer(&caller("app"), request).expose()).unwrap();
            assert!(matches!(answer.verdict, Verdict::Done(_)), "request {at}");
        }
    }
    let again = token.update(&user, key.id, Template::new()).unwrap_err();
    assert_eq!(again.code(), Code::ObjectHandleInvalid, "a new request is told that it is gone");
}

#[test]
fn a_login_that_nobody_made_opens_nothing() {
    let house = House::new(113);
    let (token, user) = house.token();
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
    let code = |access: Access| token.read(&access, key.id, &[AttributeType::LABEL]).err().map(|error| error.code());
    assert_eq!(
        code(Access { login: Some(LoginId([9; 16])), ticket: Arc::from([]), ..user.clone() }),
        Some(Code::UserNotLoggedIn)
    );
    assert_eq!(code(Access { login: None, ticket: user.ticket.clone(), ..user.clone() }), Some(Code::UserNotLoggedIn));
    assert_eq!(code(Access { role: Some(Role::SecurityOfficer), login: None, ..user.clone() }), Some(Code::ObjectHandleInvalid));
    assert_eq!(code(user), None);
}

#[test]
fn under_the_strict_policy_a_nonce_is_spent_once_though_requests_are_repeated() {
    for seed in 114..118 {
        let house = House::with_policy(seed, Policy::Strict);
        let (token, user) = house.token();
        let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
        house.network.lose(15, 35);
        let gcm = |number: u8| Mechanism {
            kind: MechanismType::AES_GCM,
            params: Params::Gcm { iv: vec![number; 12], aad: Vec::new(), tag_bits: 128 },
        };
        let encrypt = |number: u8, text: &[u8]| {
            let mut out = vec![0; text.len() + 16];
            let started = token.encrypt(&user, &gcm(number), key.id)?;
            started.operation.single(text, &mut out).map(|_| out)
        };
        let first: Vec<_> = (0..12).map(|number| encrypt(number, b"text").expect("a new nonce")).collect();
        for (number, text) in first.iter().enumerate() {
            let mut back = [0; 20];
            let cipher = token.decrypt(&user, &gcm(number as u8), key.id).unwrap().operation;
            assert_eq!(cipher.single(text, &mut back).unwrap(), 4);
            assert_eq!(&back[..4], b"text");
        }
        // In parts, moved from node to node: each sees the same nonce with the same text.
        let mut cipher = token.encrypt(&user, &gcm(100), key.id).unwrap().operation;
        let mut parts = Vec::new();
        for part in [&b"one "[..], b"two ", b"three"] {
            let mut out = vec![0; cipher.update_len(part.len())];
            let len = cipher.update(part, &mut out).unwrap();
            parts.extend_from_slice(&out[..len]);
        }
        let mut out = vec![0; cipher.finish_len()];
        let len = cipher.finish(&mut out).unwrap();
        parts.extend_from_slice(&out[..len]);
        let mut back = vec![0; parts.len()];
        token.decrypt(&user, &gcm(100), key.id).unwrap().operation.single(&parts, &mut back).unwrap();
        assert_eq!(&back[..13], b"one two three");
        // A second use of the nonce is another use, which the node that carried the first one out refuses.
        house.network.lose(0, 0);
        for number in 0..12 {
            let is_refused_by = |node: usize| {
                (0..3).for_each(|other| house.network.dead[other].store(other != node, Ordering::Relaxed));
                encrypt(number, b"other").is_err_and(|error| error.code() == Code::MechanismParamInvalid)
            };
            assert!((0..3).any(is_refused_by), "seed {seed}: nonce {number}");
        }
    }
}
