//! All nodes of a pool are replaced while applications go on, which were told of none of the new ones when they began.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::abi::{Mechanism, Template};
use crate::harness::{Jobs, LABEL, PIN, loaded_module, wait_until};
use crate::pool::{ACKNOWLEDGED, ENOUGH, LocalPool, SECONDS, acknowledged, acknowledged_labels, goes_on};
use crate::processes::key_pair;

pub const JOBS: Jobs = &[("rest while the pool becomes another one", rest)];

/// A file that wakes the application that rests.
const AWAKE: &str = "awake";

#[test]
fn all_nodes_are_replaced_under_applications_that_go_on() {
    let pool = LocalPool::create("");
    pool.make_token();
    let resting = pool.application("rest while the pool becomes another one").deadline(Duration::from_secs(900)).spawn();
    wait_until("the other application rests", || acknowledged(&resting) > 0);
    let application = pool.application("work on a pool").env(SECONDS, "600").deadline(Duration::from_secs(900)).spawn();
    wait_until("the application works", || acknowledged(&application) > 0);
    for (old, zone) in [(1, "a"), (2, "b"), (3, "c")] {
        pool.command(&format!("add-node --zone {zone}")).ok();
        pool.command(&format!("promote {}", old + 3)).ok();
        pool.command(&format!("remove-node {old} --yes")).ok();
        goes_on(&application, 10);
        wait_until("all nodes are well", || pool.health() == ["well"; 3]);
    }
    let numbers: Vec<_> = pool.nodes().iter().map(|node| node["node"].as_u64()).collect();
    assert_eq!(numbers, [Some(4), Some(5), Some(6)], "none of those that both began with is left");
    goes_on(&application, 20);
    // A zone dies of the new ones: the others are known as well.
    pool.signal(libc::SIGKILL, 3);
    goes_on(&application, 20);
    pool.token().write(AWAKE, "");
    let rested = resting.wait();
    assert!(rested.status.success() && rested.text().contains("the session outlived them"), "{}", rested.all());
    pool.token().write(ENOUGH, "");
    let ended = application.wait();
    assert!(ended.status.success(), "{}", ended.all());
    pool.token().write(ACKNOWLEDGED, acknowledged_labels(&ended.text()).join("\n"));
    pool.application("check what the pool acknowledged").ok();
}

/// Holds a login, a session key and a running signature, and makes no call until it is woken.
fn rest() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let (public, private) = key_pair(&session, "resting");
    let template = Template::key(CKO_SECRET_KEY, CKK_AES).truth(CKA_TOKEN, false).number(CKA_VALUE_LEN, 32);
    let key = session.generate_key(CKM_AES_KEY_GEN, template.yes(&[CKA_ENCRYPT, CKA_SIGN])).expect("a session key");
    let cbc = Mechanism::with_bytes(CKM_AES_CBC_PAD, &[1; 16]);
    let first = session.encrypt(&cbc, key, &[5; 100]).expect("encrypts");
    let (cmac, begun) = (Mechanism::plain(CKM_AES_CMAC), Instant::now());
    let whole = session.sign(&cmac, key, b"before, and after").expect("signs at once");
    // Its state is a node's, and the first part there.
    session.begin_signing(&cmac, key).expect("begins to sign");
    session.sign_part(b"before, ").expect("a part");
    // On a line of its own, after what the harness says.
    println!("\nack rest.");
    std::io::stdout().flush().expect("the test reads us");
    while !Path::new(AWAKE).exists() {
        assert!(begun.elapsed() < Duration::from_secs(600), "the test wakes us");
        std::thread::sleep(Duration::from_millis(50));
    }
    // A change first: it asks somebody from when on it is.
    let data = Template::new().number(CKA_CLASS, CKO_DATA).truth(CKA_TOKEN, true).bytes(CKA_LABEL, "made after all");
    session.create(data).expect("a data object is made");
    session.sign_part(b"and after").expect("a part, of which the new nodes know nothing yet");
    assert_eq!(session.end_signing().expect("signs"), whole);
    let (ecdsa, digest) = (Mechanism::plain(CKM_ECDSA), [7; 32]);
    let signature = session.sign(&ecdsa, private, &digest).expect("signs by a token's key");
    session.verify(&ecdsa, public, &digest, &signature).expect("the signature is good");
    assert_eq!(session.encrypt(&cbc, key, &[5; 100]).expect("encrypts"), first, "the same session key");
    println!("the session outlived them");
}
