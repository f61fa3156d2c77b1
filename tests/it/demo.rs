//! The README's demonstrations, from their beginning to their end: `tests/demo`, and `hsmpool demo`.

use std::path::Path;
use std::time::Duration;

use crate::harness::{Module, Run, Token, program, wait_until};

#[test]
fn the_demonstration_shows_the_main_job() {
    let token = Token::fresh(Module::Ours);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/demo");
    // In the caller's own environment, as a person runs it.
    let run = Run::new(&program("bash"), token.directory()).arg(script).without_env("HSMPOOL_CONF").without_env("SOFTHSM2_CONF");
    run.deadline(Duration::from_secs(900)).ok().says("certificate.pem: OK").says("The main job is done");
}

#[test]
fn no_call_fails_in_the_demonstration_of_a_pool_and_nothing_is_left_of_it() {
    assert!(include_str!("../../README.md").contains("\ntarget/release/hsmpool demo\n"));
    let token = Token::by_default("");
    // Where temporary directories are made: nothing else is in it.
    let temporary = token.file("temporary");
    std::fs::create_dir(&temporary).expect("the test directory is writable");
    let demo = |words: &str| {
        let program = Module::Ours.path().with_file_name("hsmpool");
        token.run_file(&program).words(words).env("TMPDIR", &temporary).deadline(Duration::from_secs(240))
    };
    let said = demo("demo --seconds 8 --json").ok();
    let tally: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON was asked for");
    assert_eq!((&tally["failed_calls"], &tally["good"]), (&0.into(), &true.into()), "{tally:#}");
    for nothing in ["objects_lost", "objects_doubled", "objects_unseen", "wrong"] {
        assert_eq!(tally[nothing], 0, "{nothing}: {tally:#}");
    }
    for something in ["calls", "signatures", "objects", "verified"] {
        assert!(tally[something].as_u64() > Some(0), "{something}: {tally:#}");
    }
    assert!(tally["verified_by"].as_str().is_some_and(|by| by.starts_with("OpenSSL")), "{tally:#}");
    let tool = &tally["pkcs11_tool"];
    assert_eq!([&tool["failed"], &tool["wrong"]], [0, 0], "{tally:#}");
    assert!(tool["signatures"].as_u64() > Some(0) && tool["verified_by"] == tally["verified_by"], "{tally:#}");
    let killed = tally["killed"].as_array().expect("a list");
    assert!(killed.len() == 2 && killed.iter().all(|killed| killed["well_again_at_ms"].is_number()), "{tally:#}");
    assert!(killed.iter().any(|killed| killed["led"] == true), "the leader's zone was killed: {tally:#}");
    assert_eq!(std::fs::read_dir(&temporary).expect("the directory is there").count(), 0, "nothing is left");
    demo("demo --seconds 1").fails();
}

#[test]
fn an_interrupted_demonstration_cleans_up() {
    let token = Token::by_default("");
    let program = Module::Ours.path().with_file_name("hsmpool");
    let demo = token.run_file(&program).words("demo --seconds 600").env("TMPDIR", token.directory()).spawn();
    wait_until("a zone is killed", || demo.said_so_far().contains("is killed") || demo.said_so_far().contains("calls,"));
    let ended = demo.terminate();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.all());
    let left = std::fs::read_dir(token.directory()).expect("the directory is there").flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("hsmpool-demo")).collect();
    assert!(left.is_empty(), "{left:?}");
}
