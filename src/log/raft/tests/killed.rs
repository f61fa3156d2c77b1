//! All members die at once, again and again, in the midst of writes: what was acknowledged is there.
//!
//! The members run in this test program again, told by an environment variable where.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

use super::Cluster;
use crate::log::Log;
use crate::store::Outcome;
use crate::store::tests::fixtures::{Directory, TOKEN, id};

const DIRECTORY: &str = "HSMPOOL_TEST_GROUP_DIRECTORY";
const ROUND: &str = "HSMPOOL_TEST_GROUP_ROUND";
const ZONES: [&str; 3] = ["a", "b", "c"];
const ROUNDS: u64 = 4;
const WRITERS: u64 = 8;
/// Acknowledged writes after which a round's members are killed.
const WRITES: usize = 300;
/// Cut early, so that they die while they cut, too.
const CUT_AFTER: (u64, u64) = (64, 16);

/// The group in `base`: made in the first round, found in the others.
fn group(base: PathBuf, round: u64) -> Cluster {
    if round == 0 {
        return Cluster::found(Directory::of(base), &ZONES, CUT_AFTER);
    }
    let mut cluster = Cluster::stopped(Directory::of(base), CUT_AFTER);
    (1..).zip(ZONES).for_each(|(node, zone)| cluster.add(node, zone));
    cluster.sequence.store(round << 32, Ordering::Relaxed);
    cluster
}

/// Not a test by itself.
#[test]
fn members_that_are_killed() {
    let Some(base) = std::env::var_os(DIRECTORY) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let cluster = group(base.into(), round);
    std::thread::scope(|threads| {
        for writer in 0..WRITERS {
            let cluster = &cluster;
            threads.spawn(move || {
                for number in 0.. {
                    let object = round << 32 | writer << 24 | number;
                    assert_eq!(cluster.create(writer % 3 + 1, object), Outcome::Done);
                    std::io::stdout().write_all(format!("created {object}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

fn spawn(base: &Directory, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::raft::tests::killed::members_that_are_killed", "--nocapture"])
        .env(DIRECTORY, base.path())
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_acknowledged_survives_the_death_of_all_members() {
    let base = Directory::new();
    let mut acknowledged: Vec<u64> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = spawn(&base, round);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut created = lines.map(Result::unwrap).filter_map(|line| line.strip_prefix("created ")?.parse::<u64>().ok());
        acknowledged.extend(created.by_ref().take(WRITES));
        child.kill().unwrap();
        // What it had said before it died.
        acknowledged.extend(created);
        child.wait().unwrap();
    }
    assert!(acknowledged.len() >= WRITES * ROUNDS as usize);
    let cluster = group(base.path().into(), ROUNDS);
    for node in cluster.nodes() {
        cluster.get(node).barrier().unwrap();
        let store = cluster.get(node).store();
        let lost = acknowledged.iter().filter(|number| store.object_version(TOKEN, id(**number)).unwrap().is_none());
        assert_eq!(lost.collect::<Vec<_>>(), Vec::<&u64>::new(), "lost by member {node}");
    }
    cluster.assert_same();
}
