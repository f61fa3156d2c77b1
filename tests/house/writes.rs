//! Changes happen once, however often their requests arrive.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use hsmpool::ck::{AttributeType, MechanismType, ObjectClass};
use hsmpool::error::Code;
use hsmpool::limits::{REQUEST_STEPS, REQUESTS_KEPT_PER_CLIENT};
use hsmpool::object::{Template, Value};
use hsmpool::token::{Admin, Role};

use crate::faults::SLOW;
use crate::house::{House, SCOPE, aes, ec_pair, mechanism, pin};

fn labelled(label: &str) -> Template {
    Template::from_iter([(AttributeType::LABEL, Value::Bytes(label.as_bytes().to_vec()))])
}

#[test]
fn objects_are_made_changed_and_destroyed_once_though_answers_are_lost() {
    for seed in 20..26 {
        let house = House::new(seed);
        let (token, user) = house.token();
        house.network.lose(15, 35);
        let mut made = Vec::new();
        for number in 0..12 {
            let mut template = aes(true);
            template.set(AttributeType::LABEL, Value::Bytes(format!("key {number}").into_bytes()));
            made.push(token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), template).unwrap().id);
        }
        let (public, private) = ec_pair(true);
        let pair = token.generate_pair(&user, &mechanism(MechanismType::EC_KEY_PAIR_GEN), public, private).unwrap();
        let different: HashSet<_> = made.iter().chain([&pair.0.id, &pair.1.id]).collect();
        assert_eq!(different.len(), 14);
        assert_eq!(token.find(&user, &Template::new()).unwrap().len(), 14, "seed {seed}: none is doubled");
        for (number, id) in made.iter().enumerate() {
            token.update(&user, *id, labelled(&format!("renamed {number}"))).unwrap();
            let found = token.find(&user, &labelled(&format!("renamed {number}"))).unwrap();
            assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [*id]);
        }
        for id in &made {
            token.destroy(&user, *id).unwrap();
            let gone = token.destroy(&user, *id).unwrap_err();
            assert_eq!(gone.code(), Code::ObjectHandleInvalid, "a second destruction is a request of its own");
        }
        assert_eq!(token.find(&user, &Template::new()).unwrap().len(), 2);
    }
}

#[test]
fn a_change_that_is_long_on_its_way_is_not_too_old_for_what_others_did_meanwhile() {
    let house = House::new(60);
    let (token, user) = house.token();
    let (public, private) = ec_pair(true);
    let (_, key) = token.generate_pair(&user, &mechanism(MechanismType::EC_KEY_PAIR_GEN), public, private).unwrap();
    let (ecdsa, mut signature) = (mechanism(MechanismType::ECDSA), [0; 64]);
    house.network.delays.store(true, Ordering::Release);
    std::thread::scope(|scope| {
        let make = || token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).map(|made| made.id);
        let slow = std::thread::Builder::new().name(SLOW.into()).spawn_scoped(scope, make).unwrap();
        while house.network.delayed.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..300 {
            token.sign(&user, &ecdsa, key.id).unwrap().operation.single(&[7; 32], &mut signature).unwrap();
        }
        for _ in 0..100 {
            make().unwrap();
        }
        house.network.delays.store(false, Ordering::Release);
        let made = slow.join().unwrap().unwrap();
        token.read(&user, made, &[AttributeType::LABEL]).unwrap();
    });
    assert_eq!(token.find(&user, &Template::new()).unwrap().len(), 103);
}

#[test]
fn a_change_that_is_sent_again_is_never_too_old_however_many_others_are_made() {
    let house = House::new(61);
    let (token, user) = house.token();
    let make = |label: &str| {
        let template = labelled(label).into_iter().chain([(AttributeType::CLASS, Value::Ulong(ObjectClass::DATA.0))]);
        let template = template.chain([(AttributeType::TOKEN, Value::Bool(true))]);
        token.create(&user, Template::from_iter(template)).map(|made| made.id)
    };
    house.network.delays.store(true, Ordering::Release);
    let made = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let slow = std::thread::Builder::new().name(SLOW.into()).spawn_scoped(scope, || make("slow")).unwrap();
        while house.network.delayed.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..400 {
                    make("quick").unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // They wait for the slow one when they are as far ahead as the log keeps answers.
        let ahead = REQUESTS_KEPT_PER_CLIENT / REQUEST_STEPS - 1;
        while made.load(Ordering::Relaxed) < ahead {
            std::thread::yield_now();
        }
        (0..1000).for_each(|_| std::thread::yield_now());
        assert_eq!(made.load(Ordering::Relaxed), ahead, "nobody waited");
        house.network.delays.store(false, Ordering::Release);
        assert!(slow.join().unwrap().is_ok());
    });
    assert_eq!(token.find(&user, &labelled("quick")).unwrap().len(), 1600);
    assert_eq!(token.find(&user, &labelled("slow")).unwrap().len(), 1);
}

#[test]
fn threads_of_one_application_lose_none_of_their_session_objects_to_each_other() {
    for (seed, lost) in [(70, 0), (71, 8)] {
        let house = House::new(seed);
        let (token, user) = house.token();
        house.network.lose(lost, lost);
        let make = |label: &str| {
            let label = (AttributeType::LABEL, Value::Bytes(label.as_bytes().to_vec()));
            token.create(&user, Template::from_iter([(AttributeType::CLASS, Value::Ulong(ObjectClass::DATA.0)), label]))
        };
        std::thread::scope(|scope| {
            for label in ["one", "two", "three", "four"] {
                let (token, user, make) = (&token, &user, &make);
                scope.spawn(move || {
                    for round in 1..=30 {
                        let (kept, lost) = (make(label).unwrap().id, make(label).unwrap().id);
                        token.destroy(user, lost).unwrap();
                        let found = token.find(user, &labelled(label)).unwrap();
                        assert_eq!(found.len(), round, "seed {seed}: {label}");
                        assert!(found.iter().any(|found| found.id == kept));
                        token.read(user, kept, &[AttributeType::LABEL]).unwrap();
                    }
                });
            }
        });
    }
}

#[test]
fn wrong_pins_are_counted_once_each_though_answers_are_lost() {
    for seed in 30..34 {
        let house = House::new(seed);
        let (token, user) = house.token();
        token.logout(&user).unwrap();
        house.network.lose(10, 40);
        let login = |text: &str| token.login(&SCOPE, Role::User, &pin(text)).map_err(|error| error.code());
        for _ in 0..2 {
            assert_eq!(login("wrong").err(), Some(Code::PinIncorrect));
        }
        assert!(login("user-pin").is_ok(), "seed {seed}: two wrong ones are below the three that lock");
        for _ in 0..3 {
            assert_eq!(login("wrong").err(), Some(Code::PinIncorrect));
        }
        assert_eq!(login("user-pin").err(), Some(Code::PinLocked), "seed {seed}");
    }
}

#[test]
fn a_changed_pin_keeps_its_own_login_and_ends_the_others() {
    for seed in 40..44 {
        let house = House::new(seed);
        let (token, user) = house.token();
        let other = house.other("other").tokens().unwrap().remove(0);
        let other_user = other.login(&hsmpool::token::Scope([8; 16]), Role::User, &pin("user-pin")).unwrap();
        let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap();
        house.network.lose(10, 40);
        token.set_pin(&user, &pin("user-pin"), &pin("new-pin")).unwrap();
        for node in 0..3 {
            house.network.kill_only(node);
            token.read(&user, key.id, &[AttributeType::LABEL]).unwrap();
            let refused = other.read(&other_user, key.id, &[AttributeType::LABEL]).unwrap_err();
            assert_eq!(refused.code(), Code::UserNotLoggedIn, "seed {seed}");
        }
    }
}

#[test]
fn a_certificate_that_names_tokens_shows_no_others() {
    let house = House::new(52);
    house.admin.init_token(None, &pin("so-pin"), *b"hidden                          ").unwrap();
    let (token, _) = house.token();
    let serial = String::from_utf8(token.describe().unwrap().serial.to_vec()).unwrap();
    let seen = |tokens: &[&str]| house.restricted(tokens).tokens().unwrap().len();
    assert_eq!((seen(&["pool"]), seen(&[&serial]), seen(&["nothing"]), seen(&["pool", "hidden"])), (1, 1, 0, 2));
    let stranger = house.restricted(&["hidden"]);
    let made = stranger.init_token(None, &pin("so-pin"), *b"more                            ").err().map(|error| error.code());
    assert_eq!(made, Some(Code::FunctionRejected));
    let emptied = stranger.init_token(Some(token.describe().unwrap().id), &pin("so-pin"), [b' '; 32]).err();
    assert_eq!(emptied.map(|error| error.code()), Some(Code::TokenNotPresent), "as if it were not there");
}

#[test]
fn only_an_operator_removes_a_token() {
    let house = House::new(51);
    let (token, _) = house.token();
    let id = token.describe().unwrap().id;
    assert_eq!(house.admin.delete_token(id).unwrap_err().code(), Code::FunctionRejected);
    assert_eq!(house.admin.tokens().unwrap().len(), 1);
    house.network.lose(10, 40);
    house.other("operator").delete_token(id).unwrap();
    assert!(house.admin.tokens().unwrap().is_empty());
}

#[test]
fn a_token_is_made_once_and_seen_by_all() {
    let house = House::new(50);
    house.network.lose(10, 50);
    for number in 1..6 {
        house.admin.init_token(None, &pin("so-pin"), *b"another one                     ").unwrap();
        assert_eq!(house.other("other").tokens().unwrap().len(), number);
    }
}
