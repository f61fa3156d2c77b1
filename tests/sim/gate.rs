//! The harness held against known faults: with each of them switched on, some seed must fail. A fault that no seed finds is a hole in the
//! harness.

use std::process::{Command, ExitCode};

use hsmpool::faults::Fault;

/// Faults of the log and the store, and how many seeds may be needed at most.
const FAULTS: &[(Fault, u64)] = &[
    (Fault::AcknowledgeBeforeSync, 10),
    (Fault::PurgeBeforeDurable, 20),
    (Fault::RequestNotRecorded, 10),
    (Fault::PlaceNotRecorded, 10),
    (Fault::VoteNotKept, 60),
    (Fault::ReadsAreStale, 40),
    (Fault::DestroyDoesNotWait, 40),
];

/// Plays seeds with each fault, in a process of its own.
pub fn gate() -> ExitCode {
    if !cfg!(feature = "faults") {
        println!("this build has no faults: cargo test --features faults --test sim -- --gate");
        return ExitCode::from(2);
    }
    let me = std::env::current_exe().expect("a running program has a file");
    let mut missed = Vec::new();
    for (fault, seeds) in FAULTS {
        let played = Command::new(&me).args(["--seeds", &seeds.to_string()]).env("HSMPOOL_FAULT", fault.name()).output();
        let played = played.expect("the harness can start itself");
        let told = String::from_utf8_lossy(&played.stdout);
        match told.lines().find(|line| line.starts_with("seed ")) {
            Some(found) if !played.status.success() => println!("{}: found, {found}", fault.name()),
            _ => missed.push(fault.name()),
        }
    }
    println!("{} of {} faults found; missed: {missed:?}", FAULTS.len() - missed.len(), FAULTS.len());
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
