//! What is acknowledged survives the loss of a zone, of most members, and of a disk that lies.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::super::Group;
use super::super::codec::{self, LogIdRow};
use super::super::types::LogId;
use super::{Cluster, eventually, member};
use crate::error::Code;
use crate::log::{Log, Standing};
use crate::store::tests::fixtures::{create, row};
use crate::store::{Journal, JournalFact, Outcome};

#[test]
fn a_write_waits_for_a_second_zone_even_where_one_holds_a_forced_quorum() {
    let cluster = Cluster::new(&["a", "a", "b"]);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    let leader = cluster.leader(&[1, 2, 3]);
    if leader == 3 {
        cluster.get(1).transfer_leader(1).unwrap();
    }
    cluster.net.isolate(3, true);
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| cluster.create(2, 1));
        // Zone a commits by itself, but says nothing.
        eventually("commit", || (cluster.count(1) == 2).then_some(()));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!waiting.is_finished());
        cluster.net.isolate(3, false);
        let start = Instant::now();
        assert_eq!(waiting.join().unwrap(), Outcome::Done);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    });
    eventually("zone b", || (cluster.count(3) == 2).then_some(()));
    cluster.assert_same();
}

/// As a power failure leaves it where others had committed an entry that was still on its way to the disk here.
#[test]
fn a_member_starts_whose_log_ends_before_what_it_knows_to_be_committed() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    (0..4).for_each(|number| assert_eq!(cluster.create(1, number), Outcome::Done));
    cluster.assert_same();
    cluster.kill(3);
    let mut journal = Journal::open(&cluster.directory(3)).unwrap();
    let (_, last) = journal.ends().unwrap().unwrap();
    let entry = codec::decode_entry(&journal.read(last..last + 1, usize::MAX).unwrap()[0].1).unwrap();
    let beyond = LogId { index: last + 2, ..entry.log_id };
    journal.write(|write| write.set(JournalFact::Committed, &codec::encode(&LogIdRow::from(beyond)))).unwrap();
    drop(journal);
    cluster.start(3);
    assert_eq!(cluster.create(3, 4), Outcome::Done);
    cluster.assert_same();
}

#[test]
fn a_survivor_goes_on_alone_and_the_old_group_is_fenced() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    (0..10).for_each(|number| assert_eq!(cluster.create(1, number), Outcome::Done));
    cluster.assert_same();
    let old = cluster.get(3).status();
    let error = Group::force_new(&cluster.directory(3), 3, member("c")).unwrap_err();
    assert_eq!(error.code(), Code::DeviceError, "it is running: {error}");
    cluster.kill(3);
    let error = Group::force_new(&cluster.directory(3), 2, member("c")).unwrap_err();
    assert_eq!(error.code(), Code::ArgumentsBad);
    Group::force_new(&cluster.directory(3), 3, member("c")).unwrap();
    cluster.start(3);
    assert_eq!(cluster.create(3, 10), Outcome::Done);
    let status = cluster.get(3).status();
    assert_eq!(status.voters.keys().copied().collect::<Vec<_>>(), [3]);
    assert!(status.term > old.term && status.group != old.group);
    assert_eq!(cluster.count(3), 11);
    // The two others still are a quorum of the old group. They have reached the survivor: neither group changes the other, and only one goes on.
    for node in [1, 2] {
        eventually("end of the old group", || (cluster.get(node).standing() == Standing::Expelled).then_some(()));
        assert!(cluster.get(node).status().expelled.unwrap().contains("formed anew"));
        let error = cluster.try_propose(node, create(vec![row(500)])).unwrap_err();
        assert!(error.to_string().contains("formed anew"), "{error}");
        assert_eq!(cluster.count(node), 10);
    }
    assert_eq!(cluster.create(3, 11), Outcome::Done);
    assert_eq!(cluster.count(3), 12);
    [1, 2].into_iter().for_each(|node| cluster.kill(node));
    // The new group grows by new members.
    cluster.add(11, "a");
    cluster.get(3).add_learner(11, member("a")).unwrap();
    cluster.get(3).change_voters(BTreeSet::from([3, 11]), false).unwrap();
    assert_eq!(cluster.create(11, 12), Outcome::Done);
    cluster.assert_same();
}

/// Two zones that were taken for lost come back, and only one of them reaches the survivor.
#[test]
fn one_member_that_hears_of_the_survivor_ends_the_old_group_for_good() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    cluster.assert_same();
    cluster.kill(3);
    Group::force_new(&cluster.directory(3), 3, member("c")).unwrap();
    cluster.net.isolate(3, true);
    cluster.start(3);
    assert_eq!(cluster.create(1, 500), Outcome::Done, "nobody has heard of the survivor");
    eventually("lease", || (cluster.get(2).standing() == Standing::Ordinary).then_some(()));
    cluster.net.cut(1, 3, false);
    for node in [1, 2] {
        eventually("end of the old group", || (cluster.get(node).standing() == Standing::Expelled).then_some(()));
        assert!(cluster.try_propose(node, create(vec![row(501)])).is_err());
    }
    // It is written down, and the two alone are no quorum of anything any more.
    cluster.net.cut(1, 3, true);
    for node in [1, 2] {
        let is_kept = || cluster.get(node).is_fence_kept().then_some(());
        eventually("record of it", is_kept);
    }
    [1, 2].into_iter().for_each(|node| cluster.kill(node));
    cluster.net.isolate(3, true);
    [1, 2].into_iter().for_each(|node| cluster.start(node));
    for node in [1, 2] {
        assert_eq!(cluster.get(node).standing(), Standing::Expelled);
        assert!(cluster.try_propose(node, create(vec![row(502)])).is_err());
        assert_eq!(cluster.count(node), 2);
    }
    assert_eq!(cluster.create(3, 1), Outcome::Done);
    assert_eq!(cluster.count(3), 2);
}

#[test]
fn a_survivor_that_begins_anew_twice_is_heard_by_the_first_group_too_and_may_be_of_those_that_were_given_up() {
    let mut cluster = Cluster::new(&["a", "b"]);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    cluster.assert_same();
    [1, 2].into_iter().for_each(|node| cluster.kill(node));
    for _ in 0..2 {
        Group::force_new(&cluster.directory(2), 2, member("b")).unwrap();
    }
    [1, 2].into_iter().for_each(|node| cluster.start(node));
    eventually("record of it", || cluster.get(1).is_fence_kept().then_some(()));
    [1, 2].into_iter().for_each(|node| cluster.kill(node));
    // The operator has another mind: it is the other one that goes on.
    Group::force_new(&cluster.directory(1), 1, member("a")).unwrap();
    cluster.start(1);
    assert_eq!(cluster.create(1, 1), Outcome::Done);
    eventually("lease", || (cluster.get(1).standing() == Standing::Ordinary).then_some(()));
}

#[test]
fn without_a_quorum_writes_are_refused_and_reads_go_on() {
    let mut cluster = Cluster::new(&["a", "b"]);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    cluster.kill(1);
    cluster.call_deadline = Duration::from_secs(4);
    cluster.start(1);
    cluster.get(1).barrier().unwrap();
    cluster.kill(2);
    let start = Instant::now();
    let error = cluster.try_propose(1, create(vec![row(1)])).unwrap_err();
    assert_eq!(error.code(), Code::DeviceError);
    assert!(error.to_string().contains("no quorum"), "{error}");
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(15), "{took:?}");
    assert_eq!(cluster.count(1), 1);
    let age = cluster.get(1).status().contact_age;
    assert!(age.is_none_or(|age| age > Duration::from_secs(3)), "{age:?}");
}

#[test]
fn a_member_whose_state_lost_its_last_changes_applies_them_again() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    (0..5).for_each(|number| assert_eq!(cluster.create(1, number), Outcome::Done));
    cluster.kill(2);
    let path = cluster.directory(2);
    let kept = std::fs::read(path.join("hsmpool.db")).unwrap();
    cluster.start(2);
    (5..60).for_each(|number| assert_eq!(cluster.create(2, number), Outcome::Done));
    cluster.kill(2);
    // As after a power failure: the log is as it was, the store is older.
    let _ = std::fs::remove_file(path.join("hsmpool.db-wal"));
    std::fs::write(path.join("hsmpool.db"), kept).unwrap();
    cluster.start(2);
    cluster.get(2).barrier().unwrap();
    assert_eq!(cluster.count(2), 60);
    cluster.assert_same();
}

/// Checks that others lead and take changes while the leader's disk hangs, which `hang` sees to until what it gives is dropped.
fn another_leads_while_the_disk_hangs<T>(hang: impl Fn(&Group) -> T) {
    let cluster = Cluster::new(&["a", "b", "c"]);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    let leader = cluster.leader(&[1, 2, 3]);
    let others: Vec<_> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    let hanging = hang(cluster.get(leader));
    std::thread::scope(|threads| {
        // It is found out by its next change.
        let asked = threads.spawn(|| cluster.try_propose(leader, create(vec![row(1)])));
        let begun = Instant::now();
        assert_eq!(cluster.create(others[0], 2), Outcome::Done);
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        assert_ne!(cluster.leader(&others), leader);
        eventually("word of it", || cluster.get(leader).status().stalled);
        assert_eq!(cluster.create(others[1], 3), Outcome::Done);
        drop(hanging);
        asked.join().unwrap().unwrap();
    });
    eventually("a disk that goes on", || cluster.get(leader).status().stalled.is_none().then_some(()));
    cluster.get(leader).barrier().unwrap();
    assert_eq!(cluster.count(leader), 4);
    cluster.assert_same();
}

#[test]
fn a_leader_whose_store_hangs_lets_another_lead() {
    another_leads_while_the_disk_hangs(|group| {
        let ((end, until), (held, is_held)) = (channel::<()>(), channel());
        let applying = group.applying().clone();
        std::thread::spawn(move || {
            let _stuck = applying.stuck.lock();
            held.send(()).unwrap();
            // Nothing is sent.
            let _ = until.recv();
        });
        is_held.recv().unwrap();
        end
    });
}

#[test]
fn a_leader_whose_log_hangs_lets_another_lead() {
    another_leads_while_the_disk_hangs(|group| {
        let (end, until) = channel();
        group.log().hang_disk(until);
        end
    });
}

#[test]
fn a_member_whose_disk_fails_stops_and_the_others_go_on() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    for (broken, number) in [(2, 1), (1, 10)] {
        cluster.get(broken).break_disk();
        // A broken leader is found out by its next write, which the next leader makes.
        let other = if broken == 2 { 1 } else { 3 };
        assert_eq!(cluster.create(other, number), Outcome::Done);
        eventually("poison", || cluster.get(broken).status().poisoned);
        let error = cluster.try_propose(broken, create(vec![row(99)])).unwrap_err();
        assert_eq!(error.code(), Code::DeviceError);
        assert!(error.to_string().contains("has stopped"), "{error}");
        eventually("end of key use", || (!cluster.get(broken).standing().uses_keys()).then_some(()));
        assert_eq!(cluster.create(other, number + 1), Outcome::Done);
        // Started anew, on a disk that works, it is as good as the others.
        cluster.kill(broken);
        cluster.start(broken);
        cluster.get(broken).barrier().unwrap();
        cluster.assert_same();
    }
    assert_eq!(cluster.count(1), 5);
}
