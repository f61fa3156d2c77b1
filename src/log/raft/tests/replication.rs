//! Changes reach every member once, in one order, whoever is asked and whoever dies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::Group;
use super::{Cluster, eventually, member};
use crate::limits::{REQUESTS_KEPT_CHANGES, REQUESTS_OVERTAKING_MAX};
use crate::log::raft::message::Ask;
use crate::log::raft::progress::Mark;
use crate::log::{Log, Proposal};
use crate::store::tests::fixtures::{TOKEN, create, row};
use crate::store::{Change, Outcome};

const ZONES: [&str; 3] = ["a", "b", "c"];

fn attempt() -> Change {
    Change::ReserveAttempt { token: TOKEN, role: 0 }
}

#[test]
fn every_member_takes_changes_and_all_hold_the_same() {
    let cluster = Cluster::new(&ZONES);
    for number in 0..30 {
        let node = number % 3 + 1;
        assert_eq!(cluster.create(node, number), Outcome::Done);
        // Whoever was asked has it.
        assert_eq!(cluster.count(node), number + 1);
    }
    assert_eq!(cluster.create(2, 0), Outcome::Conflict);
    cluster.assert_same();
    let status = cluster.get(1).status();
    assert_eq!(status.voters.len(), 3);
    assert_eq!(status.voters[&2].zone, "b");
    assert!(status.poisoned.is_none() && status.contact_age.is_some());
    assert_eq!(status.held_before.len(), 3);
    assert_eq!(cluster.get(3).status().leader, Some(1));
}

#[test]
fn a_repeated_request_is_applied_once_and_answered_the_same_by_anybody() {
    let cluster = Cluster::new(&ZONES);
    let request = cluster.request();
    let proposal = || Proposal { request, change: attempt() };
    for node in [1, 2, 3, 1] {
        assert_eq!(cluster.get(node).propose(proposal()).unwrap(), Outcome::Attempt { attempts: 1 });
    }
    assert_eq!(cluster.propose(3, attempt()), Outcome::Attempt { attempts: 2 });
    cluster.assert_same();
}

#[test]
fn a_state_that_this_group_never_had_is_not_waited_for() {
    let mut cluster = Cluster::new(&ZONES);
    (0..5).for_each(|number| assert_eq!(cluster.create(1, number), Outcome::Done));
    let (mark, epoch) = (cluster.get(1).mark(), cluster.get(1).epoch());
    for node in cluster.nodes() {
        cluster.get(node).reach(mark).unwrap();
        assert!(epoch.is_some() && cluster.get(node).epoch() == epoch);
        let begun = Instant::now();
        let error = cluster.get(node).reach(mark + 1).unwrap_err();
        assert!(error.to_string().contains("another one") && begun.elapsed() < Duration::from_secs(3), "{error}");
    }
    // One that is cut off cannot know, and does not wait for long either.
    cluster.net.isolate(3, true);
    assert_eq!(cluster.create(1, 5), Outcome::Done);
    let begun = Instant::now();
    assert!(cluster.get(3).reach(mark + 1).is_err() && begun.elapsed() < Duration::from_secs(5));
    cluster.net.isolate(3, false);
    cluster.get(3).reach(mark + 1).unwrap();
    // A group that was formed anew counts for itself.
    cluster.nodes().into_iter().for_each(|node| cluster.kill(node));
    Group::force_new(&cluster.directory(3), 3, member("c")).unwrap();
    cluster.start(3);
    cluster.get(3).barrier().unwrap();
    assert_ne!(cluster.get(3).epoch(), epoch);
}

#[test]
fn writers_on_all_members_at_once_lose_nothing() {
    let cluster = Cluster::new(&ZONES);
    std::thread::scope(|threads| {
        for writer in 0..9 {
            let cluster = &cluster;
            threads.spawn(move || {
                for number in 0..20 {
                    assert_eq!(cluster.create(writer % 3 + 1, writer * 100 + number), Outcome::Done);
                }
            });
        }
    });
    assert_eq!(cluster.count(1), 180);
    cluster.assert_same();
}

#[test]
fn a_dead_leader_is_replaced_and_no_call_fails() {
    let mut cluster = Cluster::new(&ZONES);
    assert_eq!(cluster.create(2, 0), Outcome::Done);
    cluster.kill(1);
    let start = Instant::now();
    assert_eq!(cluster.create(2, 1), Outcome::Done);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_ne!(cluster.leader(&[2, 3]), 1);
    assert_eq!(cluster.create(3, 2), Outcome::Done);
    cluster.start(1);
    assert_eq!(cluster.create(1, 3), Outcome::Done);
    cluster.assert_same();
}

#[test]
fn a_cut_off_leader_is_replaced_and_follows_afterwards() {
    let cluster = Cluster::new(&ZONES);
    cluster.net.isolate(1, true);
    std::thread::scope(|threads| {
        // Proposed where it cannot be committed: it waits, and is done after the link is back.
        let waiting = threads.spawn(|| cluster.create(1, 0));
        assert_eq!(cluster.create(2, 1), Outcome::Done);
        let leader = cluster.leader(&[2, 3]);
        assert_eq!(cluster.count(leader), 1);
        cluster.net.isolate(1, false);
        assert_eq!(waiting.join().unwrap(), Outcome::Done);
    });
    cluster.assert_same();
    assert_eq!(cluster.count(1), 2);
}

#[test]
fn a_follower_that_was_away_comes_back_from_its_disk() {
    let mut cluster = Cluster::new(&ZONES);
    (0..5).for_each(|number| assert_eq!(cluster.create(1, number), Outcome::Done));
    cluster.kill(3);
    (5..50).for_each(|number| assert_eq!(cluster.create(2, number), Outcome::Done));
    cluster.start(3);
    cluster.get(3).barrier().unwrap();
    assert_eq!(cluster.count(3), 50);
    cluster.assert_same();
}

#[test]
fn all_members_may_stop_and_start() {
    let mut cluster = Cluster::new(&ZONES);
    (0..5).for_each(|number| assert_eq!(cluster.create(1, number), Outcome::Done));
    [1, 2, 3].into_iter().for_each(|node| cluster.kill(node));
    [3, 2, 1].into_iter().for_each(|node| cluster.start(node));
    assert_eq!(cluster.create(2, 5), Outcome::Done);
    cluster.get(1).barrier().unwrap();
    assert_eq!(cluster.count(1), 6);
    cluster.assert_same();
}

#[test]
fn a_member_whose_entries_are_gone_gets_a_copy() {
    let mut cluster = Cluster::cutting(&ZONES, (20, 0));
    cluster.kill(3);
    (0..100).for_each(|number| assert_eq!(cluster.create(1, number), Outcome::Done));
    cluster.start(3);
    cluster.get(3).barrier().unwrap();
    assert_eq!(cluster.count(3), 100);
    // And a new one, that never had any.
    cluster.add(4, "a");
    cluster.get(2).add_learner(4, super::member("a")).unwrap();
    eventually("copy", || (cluster.count(4) == 100).then_some(()));
    assert_eq!(cluster.create(4, 100), Outcome::Done);
    cluster.assert_same();
    cluster.kill(4);
    cluster.start(4);
    assert_eq!(cluster.create(4, 101), Outcome::Done);
    cluster.assert_same();
}

/// The log is cut after every tenth entry, and nothing is kept: without more, each copy would come too late for the next entries.
#[test]
fn a_member_that_needs_a_copy_catches_up_while_others_write() {
    let mut cluster = Cluster::cutting(&ZONES, (10, 0));
    (0..40).for_each(|number| assert_eq!(cluster.create(1, number), Outcome::Done));
    cluster.add(4, "a");
    cluster.get(1).add_learner(4, member("a")).unwrap();
    let (ends, cluster) = (AtomicBool::new(false), &cluster);
    std::thread::scope(|threads| {
        for writer in 1..=3 {
            let ends = &ends;
            threads.spawn(move || {
                for number in (0..).take_while(|_| !ends.load(Ordering::Relaxed)) {
                    assert_eq!(cluster.create(writer, writer * 100_000 + number), Outcome::Done);
                }
            });
        }
        // Of a moving target: what was there when it was looked at.
        for _ in 0..5 {
            let before = cluster.get(1).status().applied_before;
            eventually("what was written", || (cluster.get(4).status().applied_before >= before).then_some(()));
        }
        ends.store(true, Ordering::Relaxed);
    });
    let copies: u64 = [1, 2, 3].iter().map(|node| cluster.get(*node).copies_sent()).sum();
    assert!((1..=3).contains(&copies), "{copies} copies");
    cluster.assert_same();
    // Then it is cut again.
    let leader = cluster.leader(&[1, 2, 3]);
    eventually("end of the wait", || (!cluster.get(leader).holds_the_log()).then_some(()));
}

#[test]
fn drafts_of_a_process_that_was_killed_are_removed() {
    let mut cluster = Cluster::new(&ZONES);
    cluster.kill(3);
    let drafts = ["copy-12345-0", "arriving-12345-7"].map(|name| cluster.directory(3).join(name));
    drafts.iter().for_each(|draft| std::fs::write(draft, b"a part of a store").unwrap());
    let others = ["copy-of-mine", "arriving-1-2.txt"].map(|name| cluster.directory(3).join(name));
    others.iter().for_each(|other| std::fs::write(other, b"somebody's").unwrap());
    cluster.start(3);
    assert!(drafts.iter().all(|draft| !draft.exists()) && others.iter().all(|other| other.exists()));
}

#[test]
fn a_barrier_shows_what_was_committed_before_it() {
    let cluster = Cluster::new(&ZONES);
    for number in 0..40 {
        assert_eq!(cluster.create(1, number), Outcome::Done);
        let reader = cluster.get(number % 2 + 2);
        reader.barrier().unwrap();
        assert_eq!(reader.store().count(TOKEN).unwrap(), number + 1);
    }
}

#[test]
fn a_spread_change_is_everywhere_and_a_mark_can_be_waited_for() {
    let cluster = Cluster::new(&ZONES);
    for number in 0..10 {
        assert_eq!(cluster.create(2, number), Outcome::Done);
        cluster.get(2).spread(Duration::ZERO).unwrap();
        for node in cluster.nodes() {
            assert_eq!(cluster.count(node), number + 1, "member {node}");
        }
    }
    assert_eq!(cluster.create(1, 10), Outcome::Done);
    let mark = cluster.get(1).mark();
    cluster.get(3).reach(mark).unwrap();
    assert_eq!(cluster.get(3).mark(), mark);
    // One that is cut off is waited for as long as it may serve, and not longer.
    cluster.net.isolate(3, true);
    assert_eq!(cluster.create(1, 11), Outcome::Done);
    let start = Instant::now();
    cluster.get(1).spread(Duration::ZERO).unwrap();
    let took = start.elapsed();
    eventually("loss of contact", || (!cluster.get(3).standing().in_contact()).then_some(()));
    assert!(cluster.get(1).standing().in_contact() && cluster.get(2).standing().in_contact());
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_mark_is_waited_for_by_a_member_that_does_not_have_it_yet() {
    let cluster = Cluster::new(&ZONES);
    cluster.net.isolate(3, true);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    let mark = cluster.get(1).mark();
    assert!(cluster.get(3).mark() < mark);
    std::thread::scope(|threads| {
        let waits = threads.spawn(|| cluster.get(3).reach(mark));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!waits.is_finished(), "it does not have it");
        cluster.net.isolate(3, false);
        waits.join().unwrap().unwrap();
    });
    assert_eq!(cluster.get(3).mark(), mark);
}

#[test]
fn an_older_client_s_request_is_refused_by_all_alike() {
    let cluster = Cluster::new(&ZONES);
    let old = Proposal { request: crate::log::RequestId { client: [9; 16], sequence: u64::MAX }, change: attempt() };
    let error = cluster.get(2).propose(old).unwrap_err();
    assert!(error.to_string().contains("above all bounds"), "{error}");
    assert_eq!(cluster.propose(1, create(vec![row(1), row(2)])), Outcome::Done);
    cluster.assert_same();
}

/// Whoever proposes may have been asleep, so the leader judges.
#[test]
fn a_request_whose_answer_may_be_forgotten_does_not_come_into_the_log() {
    let cluster = Cluster::new(&ZONES);
    let leader = cluster.leader(&[1, 2, 3]);
    let progress = || cluster.get(leader).progress();
    let propose = |node, number, since| {
        let proposal = Proposal { request: cluster.request(), change: create(vec![row(number)]) };
        cluster.get(node).propose_since(proposal, since)
    };
    let since = cluster.get(leader).mark();
    for node in 1..=3 {
        assert_eq!(propose(node, node, since).unwrap(), Outcome::Done);
    }
    cluster.get(leader).show().unwrap();
    let mark = progress().mark();
    // As if so many had been made since.
    progress().show(Mark { changes: since + REQUESTS_KEPT_CHANGES - REQUESTS_OVERTAKING_MAX + 1, ..mark });
    for node in 1..=3 {
        let begun = Instant::now();
        let refused = propose(node, 10 + node, since).unwrap_err();
        assert!(refused.to_string().contains("too old"), "{refused}");
        assert!(begun.elapsed() < Duration::from_secs(5), "it is not tried again");
    }
    progress().show(mark);
    assert_eq!(propose(leader, 20, since).unwrap(), Outcome::Done);
    assert_eq!(cluster.count(leader), 4);
    cluster.assert_same();
}

/// What a member asks of a leader of an older version, or of a newer one, is read by it.
#[test]
fn proposals_are_read_by_members_of_other_versions() {
    let ask = |since| minicbor::to_vec(Ask::Propose { proposal: vec![7; 2], wait_milliseconds: 9, since }).unwrap();
    assert_eq!(ask(None), [0x82, 4, 0x82, 0x42, 7, 7, 9], "as it was before");
    assert_eq!(ask(Some(5)), [0x82, 4, 0x83, 0x42, 7, 7, 9, 5], "what comes last is skipped by who does not know it");
    let read: Ask = minicbor::decode(&ask(None)).unwrap();
    assert!(matches!(read, Ask::Propose { since: None, .. }));
}
