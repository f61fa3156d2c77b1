//! The harness held against known faults: with each of them switched on, some seed must fail, or some program, or the test that is there for it. A fault that
//! nothing finds is a hole in the harness; so is one that does not let its finder end. What fails must pass without the fault: a seed that fails anyway has
//! found something else.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hsmpool::faults::Fault;

/// What must find a fault.
enum Finder {
    /// So many seeds of this cast, from the first on.
    Seeds(&'static str, u64),
    /// So many programs of calls, whose answers must be those of an embedded token.
    Programs(u64),
    /// A test: its program, and its name.
    Test(&'static str, &'static str),
}

use Finder::{Programs, Seeds, Test};

/// What cargo calls the programs.
const DIFFERENTIAL: &str = "differential";
const HOUSE: &str = "house";
const REQUESTS: &str = "requests";
const UNITS: &str = "hsmpool";

/// Faults of the log, the store and the pool, and what must find them.
const FAULTS: &[(Fault, Finder)] = &[
    (Fault::AcknowledgeBeforeSync, Seeds("log", 4)),
    (Fault::PurgeBeforeDurable, Seeds("log", 4)),
    (Fault::RequestNotRecorded, Seeds("pool", 4)),
    (Fault::PlaceNotRecorded, Seeds("log", 4)),
    (Fault::VoteNotKept, Seeds("log", 8)),
    (Fault::ReadsAreStale, Seeds("log", 12)),
    (Fault::LooksMissWhatIsOpen, Test(UNITS, "log::raft::tests::open::what_is_new_is_seen_by_who_looks_and_by_everybody_soon")),
    (
        Fault::RevocationsStayOpen,
        Test(UNITS, "log::raft::tests::open::what_may_take_something_away_is_seen_before_anybody_hears_of_it"),
    ),
    (Fault::DestroyDoesNotWait, Seeds("log", 4)),
    (Fault::CommitsInOneZone, Seeds("log", 24)),
    (Fault::LateIsDone, Seeds("log", 8)),
    (Fault::RevocationsAreNotKept, Seeds("log", 6)),
    (Fault::LeasesAreLong, Seeds("log", 6)),
    (
        Fault::LeasesAreLong,
        Test(UNITS, "log::raft::tests::isolation::no_member_that_holds_a_lease_lacks_an_acknowledged_revocation"),
    ),
    (
        Fault::RemovedAreNotWaitedFor,
        Test(UNITS, "log::raft::tests::isolation::a_revocation_waits_for_the_lease_of_a_member_that_was_just_removed"),
    ),
    (Fault::IsolationNeverEnds, Seeds("log", 6)),
    (
        Fault::IsolationNeverEnds,
        Test(UNITS, "log::raft::tests::isolation::without_isolated_use_keys_are_used_up_to_the_leases_end_only"),
    ),
    (
        Fault::MarksAreIgnored,
        Test(UNITS, "log::raft::tests::replication::a_mark_is_waited_for_by_a_member_that_does_not_have_it_yet"),
    ),
    (Fault::CopiesAreNotChecked, Test(UNITS, "store::replica::tests::a_damaged_copy_changes_nothing")),
    (Fault::CopiesLackAnswers, Test(UNITS, "store::replica::tests::a_copy_replaces_everything_and_keeps_the_stamp")),
    (
        Fault::BrokenOffChangesStay,
        Test(UNITS, "log::raft::tests::membership::a_change_of_the_voters_that_broke_off_at_its_deadline_is_ended_all_the_same"),
    ),
    (
        Fault::BrokenOffChangesStay,
        Test(UNITS, "log::raft::tests::membership::a_change_of_the_voters_whose_leader_is_gone_is_ended_by_the_next_one"),
    ),
    (
        Fault::BrokenOffChangesStay,
        Test(UNITS, "log::raft::tests::membership::another_change_ends_the_one_that_broke_off_before_it"),
    ),
    (
        Fault::OneZoneHoldsQuorum,
        Test(UNITS, "log::raft::tests::membership::a_zone_that_would_hold_a_quorum_is_refused_unless_forced"),
    ),
    (
        Fault::OldGroupIsHeard,
        Test(UNITS, "log::raft::tests::isolation::a_removed_member_and_one_of_the_old_group_use_no_key_once_they_hear_of_it"),
    ),
    (
        Fault::StrangersPropose,
        Test(UNITS, "log::raft::tests::hostile::a_node_that_is_no_member_gets_nothing_done_and_none_speaks_for_another"),
    ),
    (
        Fault::RetriesAreRenumbered,
        Test(UNITS, "pool::tests::a_change_that_is_repeated_keeps_its_number_and_another_one_has_another"),
    ),
    (Fault::RequestNotRecorded, Programs(12)),
    // Nodes that race for a change are sent one and the same frame: only what outlives a race is ever numbered anew, in one program of twelve.
    (Fault::RetriesAreRenumbered, Programs(120)),
    (Fault::TicketOutlivesPin, Test(HOUSE, "writes::a_changed_pin_keeps_its_own_login_and_ends_the_others")),
    (Fault::TicketForAnyone, Test(REQUESTS, "security::requests_that_were_overheard_give_another_client_nothing")),
    (Fault::CapsuleForAnyone, Test(REQUESTS, "security::a_capsule_opens_unaltered_for_its_own_login_alone")),
    (Fault::TicketOutlivesLogout, Test(HOUSE, "uses::a_ticket_is_good_for_its_own_client_and_login_only")),
    (
        Fault::PermitsAreNotSpent,
        Test(HOUSE, "uses::a_context_specific_login_is_good_for_one_use_at_each_node_and_its_repetitions"),
    ),
    (Fault::WrongPinsAreNotCounted, Test(HOUSE, "writes::wrong_pins_are_counted_once_each_though_answers_are_lost")),
    (
        Fault::NoncesAreForgotten,
        Test(REQUESTS, "security::under_the_strict_policy_a_nonce_is_spent_once_though_requests_are_repeated"),
    ),
    (
        Fault::RepeatedUsesSpendTwice,
        Test(REQUESTS, "security::under_the_strict_policy_a_nonce_is_spent_once_though_requests_are_repeated"),
    ),
    (Fault::ForkedStateReused, Test(UNITS, "sys::process::tests::a_child_makes_its_own_value_and_the_parents_stays")),
];

/// The first of the faults that are looked for here; those before it are the conformance suite's (`tests/it/mutants.rs`).
const FIRST: Fault = Fault::AcknowledgeBeforeSync;
/// How long one finder may take, on a machine with much else to do. One that hangs is a failure with a name.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Breaks each rule in turn, in processes of their own; or one of them.
pub fn gate(only: Option<&str>) -> ExitCode {
    if !cfg!(feature = "faults") {
        println!("this build has no faults: cargo test --features faults --test sim -- --gate");
        return ExitCode::from(2);
    }
    let has_row = |fault: &Fault| FAULTS.iter().any(|row| row.0 == *fault);
    let mut missed: Vec<&str> = Fault::ALL
        .iter()
        .skip_while(|fault| **fault != FIRST)
        .filter(|fault| !has_row(fault))
        .map(|fault| fault.name())
        .collect();
    missed.iter().for_each(|name| println!("{name}: MISSED: nothing looks for it"));
    let programs = match Built::build() {
        Ok(programs) => programs,
        Err(told) => {
            println!("{told}");
            return ExitCode::FAILURE;
        }
    };
    let begun = Instant::now();
    let rows: Vec<_> = FAULTS.iter().filter(|row| only.is_none_or(|only| only == row.0.name())).collect();
    for (fault, finder) in &rows {
        let (name, begun) = (fault.name(), Instant::now());
        match programs.find(name, finder) {
            Ok(found) => println!("{name}: found in {:.1} s, {found}", begun.elapsed().as_secs_f64()),
            Err(told) => {
                println!("{name}: MISSED: {told}");
                missed.push(name);
            }
        }
    }
    let took = begun.elapsed().as_secs();
    println!("{} rules broken by {} ways, in {took} s; missed: {missed:?}", distinct(&rows), rows.len());
    if missed.is_empty() && !rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn distinct(rows: &[&(Fault, Finder)]) -> usize {
    let mut names: Vec<_> = rows.iter().map(|row| row.0.name()).collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

/// The files of the programs that find faults, by their names.
struct Built(BTreeMap<String, PathBuf>);

impl Built {
    /// Built once, with the same features as this one, so that no finder's time is spent on it.
    fn build() -> Result<Self, String> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--locked", "--features", "faults", "--no-run", "--message-format", "json", "--lib"]);
        cargo.args([DIFFERENTIAL, HOUSE, REQUESTS].iter().flat_map(|name| ["--test", name]));
        let output = cargo.stderr(Stdio::inherit()).output().map_err(|error| format!("{cargo:?}: {error}"))?;
        let mut files = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            if let (Some(name), Some(file), Some(true)) =
                (message["target"]["name"].as_str(), message["executable"].as_str(), message["profile"]["test"].as_bool())
            {
                files.insert(name.to_string(), file.into());
            }
        }
        match [DIFFERENTIAL, HOUSE, REQUESTS, UNITS].iter().find(|name| !files.contains_key(**name)) {
            Some(lacks) => Err(format!("cargo has not built {lacks}")),
            None => Ok(Self(files)),
        }
    }

    /// Lets a fault be found. Gives what was seen of it. Error: that it was not, or could not be looked for, or that its finder fails without it too.
    fn find(&self, fault: &str, finder: &Finder) -> Result<String, String> {
        let count = match finder {
            Seeds(_, count) | Programs(count) => *count,
            Test(_, test) => {
                let (told, status) = run(&mut self.command(finder, 1, 1)?)?;
                if !status.success() || !told.contains(" 1 passed") {
                    return Err(format!("{test} does not pass without any fault"));
                }
                1
            }
        };
        let (told, status) = run(self.command(finder, 1, count)?.env("HSMPOOL_FAULT", fault))?;
        let line = told.lines().find(|line| finder.is_finding(line)).filter(|_| !status.success());
        let line = line.ok_or_else(|| "nothing was seen".to_string())?;
        match seed_of(line) {
            Some(seed) => self.passes_without(finder, seed).map(|()| line.to_string()),
            None => Ok(line.to_string()),
        }
    }

    /// Plays a seed that was found once more, without any fault. Error: it fails all the same.
    fn passes_without(&self, finder: &Finder, seed: u64) -> Result<(), String> {
        let (told, status) = run(&mut self.command(finder, seed, 1)?)?;
        if status.success() {
            return Ok(());
        }
        let why = told.lines().find(|line| finder.is_finding(line)).unwrap_or("it ended without a word");
        Err(format!("seed {seed} does not pass without any fault: {why}"))
    }

    /// What looks for a fault: so many seeds from one on, or the test.
    fn command(&self, finder: &Finder, from: u64, count: u64) -> Result<Command, String> {
        let seeds = ["--from".to_string(), from.to_string(), "--seeds".to_string(), count.to_string()];
        let mut command = match finder {
            Seeds(cast, _) => {
                let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
                command.args(["--cast", cast]).args(seeds);
                command
            }
            Programs(_) => {
                let mut command = Command::new(&self.0[DIFFERENTIAL]);
                command.args(seeds);
                command
            }
            Test(program, test) => {
                let mut command = Command::new(&self.0[*program]);
                command.args(["--exact", test]);
                command
            }
        };
        command.env_remove("HSMPOOL_FAULT");
        Ok(command)
    }
}

impl Finder {
    /// Whether its program says by this line that it has found something.
    fn is_finding(&self, line: &str) -> bool {
        match self {
            Seeds(..) | Programs(_) => seed_of(line).is_some(),
            Test(..) => line.ends_with("FAILED"),
        }
    }
}

/// The seed that a line tells of.
fn seed_of(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("seed ")?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// Runs a program to its end. Error: it was ended, with all that it had started, because it took too long.
fn run(command: &mut Command) -> Result<(String, ExitStatus), String> {
    // A file, not a pipe: nobody has to read it meanwhile, and what the program leaves behind keeps no pipe open.
    let path = std::env::temp_dir().join(format!("hsmpool-gate-{}", std::process::id()));
    let told = |error: std::io::Error| error.to_string();
    let out = File::create(&path).map_err(told)?;
    let child = command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn().map_err(told)?;
    let status = wait(child);
    let text = std::fs::read(&path).map_err(told)?;
    std::fs::remove_file(&path).map_err(told)?;
    Ok((String::from_utf8_lossy(&text).into_owned(), status?))
}

fn wait(mut child: Child) -> Result<ExitStatus, String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => std::thread::sleep(LOOK_AGAIN),
            Err(error) => return Err(error.to_string()),
        }
    }
    // Its children are of its group. `kill` is everywhere; the standard library has nothing for groups.
    let group = format!("-{}", child.id());
    let ended = Command::new("kill").args(["-KILL", "--", &group]).status();
    let reaped = child.kill().and_then(|()| child.wait());
    Err(format!("it did not end in {} s, and was ended ({ended:?}, {reaped:?})", PATIENCE.as_secs()))
}
