//! `kill -9` in a write loop: every acknowledged object is there afterwards, and no half object.

use std::io::Write;
use std::time::Duration;

use cryptoki_sys::*;

use crate::abi::Template;
use crate::harness::{Jobs, LABEL, PIN, Token, child, full, loaded_module, our_promises, wait_until};
use crate::processes::{key_pair, use_pair};

// SoftHSM writes its files in place and loses this.
our_promises!(a_killed_writer_leaves_what_it_acknowledged_and_nothing_half);

pub const JOBS: Jobs = &[("write until killed", write_until_killed), ("check what was written", check)];

const ROUND: &str = "HSMPOOL_IT_ROUND";
const ACKNOWLEDGED: &str = "acknowledged.txt";

/// Long enough that the value spans pages of the database.
const VALUE_LEN: usize = 10_000;

fn a_killed_writer_leaves_what_it_acknowledged_and_nothing_half(token: &Token) {
    let rounds = if full() { 1000 } else { 20 };
    let mut acknowledged = String::new();
    for round in 0..rounds {
        let mut writer = child(token, "write until killed").env(ROUND, round.to_string()).spawn();
        wait_until("the writer has acknowledged an object", || {
            assert!(!writer.has_ended(), "the writer of round {round} gave up:\n{}", writer.said_so_far());
            acknowledgements(&writer.said_so_far()).next().is_some()
        });
        // A different moment of the loop each round.
        std::thread::sleep(Duration::from_micros(round * 977 % 20_000));
        writer.kill();
        acknowledged += &writer.said_so_far();
    }
    let lines: Vec<&str> = acknowledgements(&acknowledged).collect();
    assert!(lines.len() >= rounds as usize);
    token.write(ACKNOWLEDGED, lines.join("\n"));
    child(token, "check what was written").ok();
}

/// Whole ones: the writer may have been killed in the middle of a line.
fn acknowledgements(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter(|line| line.starts_with("ack ") && line.ends_with('.'))
}

/// Data objects and key pairs in turn, each line printed after the call that made the object returned.
fn write_until_killed() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let round = std::env::var(ROUND).expect("set by the test");
    let mut out = std::io::stdout();
    for number in 0.. {
        let label = format!("{round}/{number}");
        let data = Template::new().number(CKA_CLASS, CKO_DATA).truth(CKA_TOKEN, true).bytes(CKA_LABEL, label.as_str());
        session.create(data.bytes(CKA_VALUE, value(&label))).expect("a data object is made");
        writeln!(out, "ack data {label}.").and_then(|()| out.flush()).expect("the test reads us");
        key_pair(&session, &label);
        writeln!(out, "ack pair {label}.").and_then(|()| out.flush()).expect("the test reads us");
    }
}

/// Bytes that follow from the label, so that a half or mixed-up value is noticed.
fn value(label: &str) -> Vec<u8> {
    let mut state = label.bytes().fold(1_u32, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..VALUE_LEN).map(|_| next()).collect()
}

fn check() {
    let module = loaded_module();
    module.initialize().expect("the store opens after the kills");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let of = |class, label: &str| {
        session.find(Template::new().number(CKA_CLASS, class).bytes(CKA_LABEL, label)).expect("a search works")
    };
    for line in std::fs::read_to_string(ACKNOWLEDGED).expect("written by the test").lines() {
        let label = line.rsplit(' ').next().expect("a line ends with its label").trim_end_matches('.');
        if line.starts_with("ack data") {
            assert_eq!(of(CKO_DATA, label).len(), 1, "{label} was acknowledged");
        } else {
            assert_eq!((of(CKO_PUBLIC_KEY, label).len(), of(CKO_PRIVATE_KEY, label).len()), (1, 1), "{label} was acknowledged");
        }
    }
    // Everything that is there, acknowledged or not, is whole.
    let all = |class| session.find(Template::new().number(CKA_CLASS, class)).expect("a search works");
    for object in all(CKO_DATA) {
        let label = String::from_utf8(session.attribute(object, CKA_LABEL).expect("has a label")).expect("ASCII");
        assert!(session.attribute(object, CKA_VALUE).expect("has a value") == value(&label), "{label} is half written");
    }
    let private = all(CKO_PRIVATE_KEY);
    assert_eq!(private.len(), all(CKO_PUBLIC_KEY).len(), "a pair is made whole or not at all");
    for key in private {
        let label = String::from_utf8(session.attribute(key, CKA_LABEL).expect("has a label")).expect("ASCII");
        let public = of(CKO_PUBLIC_KEY, &label);
        assert_eq!(public.len(), 1, "{label}: a pair is made whole or not at all");
        use_pair(&session, public[0], key);
    }
}
