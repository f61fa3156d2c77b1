//! Many threads, many processes, many copies: nothing lost, nothing corrupt, nobody refused.

use std::time::Duration;

use cryptoki_sys::*;

use crate::abi::{Loaded, Mechanism, Session, Template, TokenFacts};
use crate::harness::{Jobs, LABEL, PIN, Token, child, loaded_module, module_of_job, our_promises, promises};

promises!(eight_threads_on_their_own_sessions, the_module_is_loaded_again_and_again);
// SoftHSM refuses some of eight processes with CKR_GENERAL_ERROR, and of thirty that log in at once some find no token.
our_promises!(
    eight_processes_lose_nothing,
    many_that_log_in_at_once_are_all_let_in,
    two_copies_in_one_process,
    a_token_made_meanwhile_appears
);

pub const JOBS: Jobs = &[
    ("log in and out", log_in_and_out),
    ("make keys", make_keys),
    ("count keys", count_keys),
    ("threads", threads),
    ("reopen", reopen),
    ("two copies", two_copies),
    ("watch for a token", watch_for_a_token),
];

const PROCESSES: usize = 8;
const KEYS_EACH: usize = 20;
const WHO: &str = "HSMPOOL_IT_WHO";
const EXPECTED: &str = "HSMPOOL_IT_EXPECTED";

/// A token key pair on P-256 with this label.
pub fn key_pair(session: &Session, label: &str) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let both = || Template::new().truth(CKA_TOKEN, true).bytes(CKA_LABEL, label).bytes(CKA_ID, label);
    let public = both().bytes(CKA_EC_PARAMS, P256).truth(CKA_VERIFY, true);
    let private = both().truth(CKA_PRIVATE, true).truth(CKA_SIGN, true);
    session.generate_pair(CKM_EC_KEY_PAIR_GEN, public, private).unwrap_or_else(|rv| panic!("key pair {label}: {rv:?}"))
}

/// The object identifier of P-256, in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Signs with the private and verifies with the public key.
pub fn use_pair(session: &Session, public: CK_OBJECT_HANDLE, private: CK_OBJECT_HANDLE) {
    let (mechanism, digest) = (Mechanism::plain(CKM_ECDSA), [7; 32]);
    let signature = session.sign(&mechanism, private, &digest).expect("a fresh key signs");
    session.verify(&mechanism, public, &digest, &signature).expect("its public key verifies");
    let refused = session.verify(&mechanism, public, &[8; 32], &signature);
    assert_eq!(refused.expect_err("another digest does not verify").0, CKR_SIGNATURE_INVALID);
}

fn objects(session: &Session, class: CK_OBJECT_CLASS) -> Vec<CK_OBJECT_HANDLE> {
    session.find(Template::new().number(CKA_CLASS, class)).expect("a search without limits works")
}

fn eight_processes_lose_nothing(token: &Token) {
    let children: Vec<_> = (0..PROCESSES).map(|who| child(token, "make keys").env(WHO, who.to_string()).spawn()).collect();
    for child in children {
        let output = child.wait();
        assert!(output.status.success(), "{}", output.all());
    }
    child(token, "count keys").env(EXPECTED, (PROCESSES * KEYS_EACH).to_string()).ok();
}

/// More than there are wrong PINs until one is locked: an attempt counts as a wrong one while its PIN is looked at.
const AT_ONCE: usize = 30;

fn many_that_log_in_at_once_are_all_let_in(token: &Token) {
    let children: Vec<_> = (0..AT_ONCE).map(|_| child(token, "log in and out").spawn()).collect();
    for child in children {
        let output = child.wait();
        assert!(output.status.success(), "{}", output.all());
    }
}

fn log_in_and_out() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    for _ in 0..4 {
        let session = module.user_session(LABEL, PIN).expect("logs in");
        session.logout().expect("logs out");
    }
    module.finalize().expect("finalises");
}

fn make_keys() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let who = std::env::var(WHO).expect("set by the test");
    for number in 0..KEYS_EACH {
        let (public, private) = key_pair(&session, &format!("key {who}.{number}"));
        use_pair(&session, public, private);
    }
    // Somebody else's keys are found and used while their owners still write.
    let theirs = objects(&session, CKO_PRIVATE_KEY);
    assert!(theirs.len() >= KEYS_EACH);
    session.sign(&Mechanism::plain(CKM_ECDSA), theirs[0], &[7; 32]).expect("a found key signs");
    module.finalize().expect("finalises");
}

fn count_keys() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let expected: usize = std::env::var(EXPECTED).expect("set by the test").parse().expect("a number");
    assert_eq!(objects(&session, CKO_PUBLIC_KEY).len(), expected);
    let private = objects(&session, CKO_PRIVATE_KEY);
    assert_eq!(private.len(), expected);
    for key in private {
        let id = session.attribute(key, CKA_ID).expect("a key has an id");
        let public = session.find(Template::new().number(CKA_CLASS, CKO_PUBLIC_KEY).bytes(CKA_ID, id)).expect("a search works");
        assert_eq!(public.len(), 1, "one public key a private key");
        use_pair(&session, public[0], key);
    }
}

fn eight_threads_on_their_own_sessions(token: &Token) {
    child(token, "threads").ok();
    child(token, "count keys").env(EXPECTED, "8").ok();
}

fn threads() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let _login = module.user_session(LABEL, PIN).expect("logs in");
    std::thread::scope(|scope| {
        for who in 0..8 {
            let module = &module;
            scope.spawn(move || {
                let session = module.user_session(LABEL, PIN).expect("a second session is logged in too");
                let (public, private) = key_pair(&session, &format!("thread {who}"));
                for _ in 0..50 {
                    use_pair(&session, public, private);
                }
                let (public, private) = key_pair(&session, &format!("gone {who}"));
                session.destroy(public).expect("a key can be destroyed");
                session.destroy(private).expect("a key can be destroyed");
            });
        }
    });
    module.finalize().expect("finalises");
}

fn the_module_is_loaded_again_and_again(token: &Token) {
    child(token, "reopen").ok();
}

/// `dlopen`, use from threads that outlive the module's unloading, `dlclose`, and again.
fn reopen() {
    for round in 0..10 {
        let (unloaded, wait_for_unload) = std::sync::mpsc::channel::<()>();
        let module = loaded_module();
        module.initialize().expect("initialises");
        let session = module.user_session(LABEL, PIN).expect("logs in");
        let (public, private) = key_pair(&session, &format!("round {round}"));
        use_pair(&session, public, private);
        let (used, wait_for_use) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let module = &module;
            scope.spawn(move || module.user_session(LABEL, PIN).expect("logged in").random(&mut [0; 64]).expect("random"));
        });
        let address = module_of_job();
        // A thread that drew random bytes, and so has a destructor of the crypto library's, ends after dlclose.
        let late = std::thread::spawn(move || {
            let module = Loaded::open(&address);
            let session = module.open_session(module.slot_labelled(LABEL).expect("the token is there")).expect("a session opens");
            session.random(&mut [0; 64]).expect("random");
            drop(session);
            drop(module);
            used.send(()).expect("the main thread waits");
            let _ = wait_for_unload.recv();
        });
        wait_for_use.recv().expect("the thread used the module");
        drop(session);
        module.finalize().expect("finalises");
        drop(module);
        drop(unloaded);
        late.join().expect("the thread ends without a crash");
    }
}

fn two_copies_in_one_process(token: &Token) {
    let copy = token.file("copy.so");
    std::fs::copy(token.module.path(), &copy).expect("the test directory is writable");
    child(token, "two copies").env(WHO, copy).ok();
    child(token, "count keys").env(EXPECTED, (2 * KEYS_EACH).to_string()).ok();
}

/// Two copies of the code share the process's POSIX locks; closing one's file must not free the other's.
fn two_copies() {
    let copy = std::path::PathBuf::from(std::env::var_os(WHO).expect("set by the test"));
    let modules = [loaded_module(), Loaded::open(&copy)];
    std::thread::scope(|scope| {
        for (who, module) in modules.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..KEYS_EACH {
                    module.initialize().expect("initialises");
                    let session = module.user_session(LABEL, PIN).expect("logs in");
                    key_pair(&session, &format!("copy {who}.{number}"));
                    drop(session);
                    module.finalize().expect("finalises");
                }
            });
        }
    });
}

/// SoftHSM shows a token that another process made only after `C_Initialize`; ours at the next listing.
fn a_token_made_meanwhile_appears(token: &Token) {
    let watcher = child(token, "watch for a token").spawn();
    crate::harness::wait_until("the watcher has listed the slots", || watcher.said_so_far().contains("watching"));
    token.initialise("meanwhile");
    let output = watcher.wait();
    assert!(output.status.success(), "{}", output.all());
}

fn watch_for_a_token() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    // With its PIN set: the token and its user are made one after the other.
    let is_ready = |facts: TokenFacts, label: &str| facts.label == label && facts.flags & CKF_USER_PIN_INITIALIZED != 0;
    let has = |label: &str| {
        let slots = module.slots().expect("slots are listed");
        slots.iter().any(|slot| module.token_facts(*slot).is_ok_and(|facts| is_ready(facts, label)))
    };
    assert!(has(LABEL) && !has("meanwhile"));
    println!("watching");
    let begin = std::time::Instant::now();
    while !has("meanwhile") {
        assert!(begin.elapsed() < Duration::from_secs(60), "the new token does not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
    let session = module.user_session("meanwhile", PIN).expect("the new token takes a login");
    key_pair(&session, "first");
}
