//! The harness held against known faults: with each of them switched on, some seed must fail, or some program, or the test that is there for it. A fault that
//! nothing finds is a hole in the harness.

use std::process::{Command, ExitCode, Output};
use std::time::Instant;

use hsmpool::faults::Fault;

/// What must find a fault.
enum Finder {
    /// So many seeds of this cast, from the first on.
    Seeds(&'static str, u64),
    /// So many programs of calls, whose answers must be those of an embedded token.
    Programs(u64),
    /// A test: what cargo calls its program, and its name.
    Test(&'static [&'static str], &'static str),
}

use Finder::{Programs, Seeds, Test};

const REQUESTS: &[&str] = &["--test", "requests"];
const UNITS: &[&str] = &["--lib"];

/// Faults of the log, the store and the pool, and what must find them.
const FAULTS: &[(Fault, Finder)] = &[
    (Fault::AcknowledgeBeforeSync, Seeds("log", 4)),
    (Fault::PurgeBeforeDurable, Seeds("log", 4)),
    (Fault::RequestNotRecorded, Seeds("pool", 4)),
    (Fault::PlaceNotRecorded, Seeds("log", 4)),
    (Fault::VoteNotKept, Seeds("log", 8)),
    (Fault::ReadsAreStale, Seeds("log", 12)),
    (Fault::DestroyDoesNotWait, Seeds("log", 4)),
    (Fault::CommitsInOneZone, Seeds("log", 12)),
    (Fault::RetriesAreRenumbered, Seeds("pool", 4)),
    (Fault::RequestNotRecorded, Programs(12)),
    (Fault::RetriesAreRenumbered, Programs(24)),
    (Fault::TicketOutlivesPin, Seeds("pool", 8)),
    (Fault::TicketForAnyone, Test(REQUESTS, "security::requests_that_were_overheard_give_another_client_nothing")),
    (Fault::CapsuleForAnyone, Test(REQUESTS, "security::a_capsule_opens_unaltered_for_its_own_login_alone")),
    (Fault::ForkedStateReused, Test(UNITS, "sys::process::tests::")),
];

/// Breaks each rule in turn, in processes of their own.
pub fn gate() -> ExitCode {
    if !cfg!(feature = "faults") {
        println!("this build has no faults: cargo test --features faults --test sim -- --gate");
        return ExitCode::from(2);
    }
    let begun = Instant::now();
    let mut missed = Vec::new();
    for (fault, finder) in FAULTS {
        let name = fault.name();
        match find(name, finder) {
            Ok(found) => println!("{name}: found, {found}"),
            Err(told) => {
                println!("{name}: MISSED: {told}");
                missed.push(name);
            }
        }
    }
    let (found, took) = (FAULTS.len() - missed.len(), begun.elapsed().as_secs());
    println!("{found} of {} faults found in {took} s (some by two ways, and counted twice); missed: {missed:?}", FAULTS.len());
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lets a fault be found. Gives what was seen of it. Error: that it was not, or could not be looked for.
fn find(fault: &str, finder: &Finder) -> Result<String, String> {
    // Cargo builds each program once for all, with the same features as this one.
    let of_cargo = |program: &[&str], words: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--locked", "--features", "faults"]).args(program).arg("--").args(words);
        cargo
    };
    let (told, is_finding): (_, fn(&str) -> bool) = match finder {
        Seeds(cast, seeds) => {
            let me = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(me);
            command.args(["--cast", cast, "--seeds", &seeds.to_string()]);
            (run(command.env("HSMPOOL_FAULT", fault))?, |line| line.starts_with("seed "))
        }
        Programs(count) => {
            let mut command = of_cargo(&["--test", "differential"], &["--seeds", &count.to_string()]);
            (run(command.env("HSMPOOL_FAULT", fault))?, |line| line.starts_with("seed "))
        }
        Test(program, test) => {
            let (told, failed) = run(&mut of_cargo(program, &[test]))?;
            if failed || told.contains(" 0 passed") {
                return Err(format!("{test} does not pass without any fault"));
            }
            (run(of_cargo(program, &[test]).env("HSMPOOL_FAULT", fault))?, |line| line.ends_with("FAILED"))
        }
    };
    let (told, failed) = told;
    let line = told.lines().find(|line| is_finding(line)).filter(|_| failed);
    line.map(str::to_string).ok_or_else(|| "nothing was seen".to_string())
}

fn run(command: &mut Command) -> Result<(String, bool), String> {
    let Output { status, stdout, .. } = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    Ok((String::from_utf8_lossy(&stdout).into_owned(), !status.success()))
}
