//! What a member may do that is cut off, and what a revocation promises when some are.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::Group;
use super::{Cluster, eventually, member};
use crate::limits::{SERVING_LEASE_MARGIN_MILLISECONDS, SERVING_LEASE_MILLISECONDS};
use crate::log::{Log, Standing};
use crate::store::Outcome;
use crate::store::tests::fixtures::Directory;

const ZONES: [&str; 3] = ["a", "b", "c"];
const LEASE: Duration = Duration::from_millis(SERVING_LEASE_MILLISECONDS);

/// Members in three zones, which use keys without contact for so long.
fn cluster(isolated_use: Duration) -> Cluster {
    let mut cluster = Cluster::stopped(Directory::new(), (8192, 8192));
    cluster.isolated_use = isolated_use;
    cluster.form(&ZONES);
    cluster
}

fn becomes(cluster: &Cluster, node: u64, what: &str, is_so: impl Fn(Standing) -> bool) -> Standing {
    eventually(&format!("member {node} that is {what}"), || Some(cluster.get(node).standing()).filter(|now| is_so(*now)))
}

fn ordinary(cluster: &Cluster, node: u64) {
    becomes(cluster, node, "in its lease", |now| now == Standing::Ordinary);
}

fn is_isolated(now: Standing) -> bool {
    matches!(now, Standing::Isolated { .. })
}

#[test]
fn a_cut_off_member_uses_keys_for_its_time_and_comes_back_by_itself() {
    let cluster = cluster(Duration::from_secs(3));
    (1..=3).for_each(|node| ordinary(&cluster, node));
    let cut = Instant::now();
    cluster.net.isolate(3, true);
    becomes(&cluster, 3, "isolated", is_isolated);
    // Nothing in between: keys are used from the lease's end to the end of the time.
    becomes(&cluster, 3, "stopped", |now| {
        assert!(is_isolated(now) || now == Standing::Stopped, "{now:?}");
        now == Standing::Stopped
    });
    let lasted = cut.elapsed();
    assert!(lasted > Duration::from_secs(3) && lasted < LEASE + Duration::from_secs(5), "{lasted:?}");
    assert_eq!(cluster.create(1, 1), Outcome::Done);
    assert!(cluster.get(1).standing().uses_keys() && cluster.get(2).standing().uses_keys());
    cluster.net.isolate(3, false);
    ordinary(&cluster, 3);
    // It holds its lease only with all that was committed meanwhile.
    assert_eq!(cluster.count(3), 1);
}

#[test]
fn the_leader_knows_how_long_a_member_has_been_silent_and_nobody_else_says_so() {
    let cluster = cluster(Duration::ZERO);
    (1..=3).for_each(|node| ordinary(&cluster, node));
    let ago = |node: u64| cluster.get(1).status().heard_ago.get(&node).copied();
    let at_hand = Duration::from_millis(1500);
    eventually("all are heard of", || (2..=3).all(|node| ago(node).is_some_and(|ago| ago < at_hand)).then_some(()));
    cluster.net.isolate(3, true);
    eventually("member 3 is silent", || ago(3).filter(|ago| *ago > 2 * at_hand));
    assert!(ago(2).is_some_and(|ago| ago < at_hand), "{:?}", ago(2));
    assert!(cluster.get(2).status().heard_ago.is_empty(), "only the leader knows");
    cluster.net.isolate(3, false);
    eventually("member 3 is heard of again", || ago(3).filter(|ago| *ago < at_hand));
}

#[test]
fn without_isolated_use_keys_are_used_up_to_the_leases_end_only() {
    let cluster = cluster(Duration::ZERO);
    ordinary(&cluster, 2);
    [1, 3].into_iter().for_each(|node| cluster.net.isolate(node, true));
    for node in cluster.nodes() {
        becomes(&cluster, node, "stopped", |now| {
            assert!(!is_isolated(now), "{now:?}");
            now == Standing::Stopped
        });
    }
    [1, 3].into_iter().for_each(|node| cluster.net.isolate(node, false));
    cluster.nodes().into_iter().for_each(|node| ordinary(&cluster, node));
}

#[test]
fn a_restart_does_not_make_the_isolated_use_longer() {
    let mut cluster = cluster(Duration::from_secs(12));
    ordinary(&cluster, 3);
    // Until a contact has been written down.
    std::thread::sleep(Duration::from_millis(3500));
    cluster.kill(3);
    let gone = Instant::now();
    cluster.net.isolate(3, true);
    std::thread::sleep(Duration::from_secs(4));
    cluster.start(3);
    let left = becomes(&cluster, 3, "isolated", is_isolated);
    let Standing::Isolated { left } = left else { unreachable!() };
    assert!(left + gone.elapsed() < Duration::from_secs(15), "{left:?}");
    becomes(&cluster, 3, "stopped", |now| now == Standing::Stopped);
    assert!(gone.elapsed() < Duration::from_secs(18), "{:?}", gone.elapsed());
    cluster.net.isolate(3, false);
    ordinary(&cluster, 3);
}

#[test]
fn a_member_that_was_never_in_contact_uses_no_key() {
    let mut cluster = cluster(Duration::from_secs(3600));
    cluster.net.isolate(4, true);
    cluster.add(4, "a");
    let begun = Instant::now();
    while begun.elapsed() < LEASE + Duration::from_secs(1) {
        let now = cluster.get(4).standing();
        assert!(!now.uses_keys(), "{now:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(cluster.get(4).standing(), Standing::Stopped);
}

#[test]
fn no_member_that_holds_a_lease_lacks_an_acknowledged_revocation() {
    let cluster = cluster(Duration::ZERO);
    (1..=3).for_each(|node| ordinary(&cluster, node));
    // The one who revokes cannot reach member 3, but the leader can; then nobody can; then the leader is the one that is cut off.
    for (number, links) in (0..).zip([vec![(2, 3)], vec![(1, 3), (2, 3)], vec![(1, 2), (1, 3)]]) {
        links.iter().for_each(|(one, other)| cluster.net.cut(*one, *other, true));
        assert_eq!(cluster.create(2, number), Outcome::Done);
        let begun = Instant::now();
        cluster.get(2).spread(Duration::ZERO).unwrap();
        assert!(begun.elapsed() < LEASE + Duration::from_secs(4), "{:?}", begun.elapsed());
        for node in cluster.nodes() {
            // In this order: a lease that is granted in between is granted with the change.
            let standing = cluster.get(node).standing();
            let has_it = cluster.count(node) > number;
            assert!(has_it || !standing.uses_keys(), "member {node} is {standing:?} after cut {number}");
        }
        links.iter().for_each(|(one, other)| cluster.net.cut(*one, *other, false));
        (1..=3).for_each(|node| ordinary(&cluster, node));
        cluster.assert_same();
    }
}

#[test]
fn a_revocation_waits_for_the_lease_of_a_member_that_was_just_removed() {
    let mut cluster = cluster(Duration::ZERO);
    cluster.add(4, "a");
    cluster.get(1).add_learner(4, member("a")).unwrap();
    (1..=4).for_each(|node| ordinary(&cluster, node));
    // Whoever has just begun waits in any case.
    std::thread::sleep(2 * LEASE);
    ordinary(&cluster, 4);
    cluster.net.isolate(4, true);
    cluster.get(1).remove(4).unwrap();
    assert_eq!(cluster.create(2, 0), Outcome::Done);
    cluster.get(2).spread(Duration::ZERO).unwrap();
    let standing = cluster.get(4).standing();
    assert!(!standing.uses_keys(), "member 4 is {standing:?}, and lacks what was revoked");
    // Later ones do not wait any more.
    let begun = Instant::now();
    assert_eq!(cluster.create(2, 1), Outcome::Done);
    cluster.get(2).spread(Duration::ZERO).unwrap();
    assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
}

#[test]
fn the_one_who_revokes_is_told_who_had_not_applied_it() {
    let cluster = cluster(Duration::from_secs(3600));
    (1..=3).for_each(|node| ordinary(&cluster, node));
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    cluster.get(1).spread(Duration::ZERO).unwrap();
    assert!(cluster.get(1).status().unreached.is_empty());
    cluster.net.isolate(3, true);
    assert_eq!(cluster.create(2, 1), Outcome::Done);
    let begun = Instant::now();
    cluster.get(2).spread(Duration::ZERO).unwrap();
    let took = begun.elapsed();
    assert!(took >= LEASE + Duration::from_millis(SERVING_LEASE_MARGIN_MILLISECONDS), "{took:?}");
    assert_eq!(cluster.get(2).status().unreached, [3]);
    assert!(is_isolated(cluster.get(3).standing()));
    cluster.net.isolate(3, false);
    eventually("the last member's word", || cluster.get(2).status().unreached.is_empty().then_some(()));
    assert_eq!(cluster.count(3), 2);
}

#[test]
fn many_revocations_ask_a_member_that_is_gone_together() {
    let cluster = cluster(Duration::from_secs(3600));
    (1..=3).for_each(|node| ordinary(&cluster, node));
    cluster.net.isolate(3, true);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    let (begun, calls) = (Instant::now(), cluster.net.calls.load(Ordering::Relaxed));
    std::thread::scope(|threads| {
        for _ in 0..64 {
            threads.spawn(|| cluster.get(1).spread(Duration::ZERO).unwrap());
        }
    });
    let (took, calls) = (begun.elapsed(), cluster.net.calls.load(Ordering::Relaxed) - calls);
    assert!(took >= LEASE && took < LEASE + Duration::from_secs(4), "{took:?}");
    assert!(calls < 64 * 10, "{calls} calls");
    assert_eq!(cluster.get(1).status().unreached, [3]);
    // Nobody asks any more, and the next one has it asked again.
    cluster.net.isolate(3, false);
    eventually("the last member's word", || cluster.get(1).status().unreached.is_empty().then_some(()));
    assert_eq!(cluster.create(1, 1), Outcome::Done);
    let begun = Instant::now();
    cluster.get(1).spread(Duration::ZERO).unwrap();
    assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
}

#[test]
fn a_new_leader_leaves_no_lease_behind() {
    let mut cluster = cluster(Duration::ZERO);
    (1..=3).for_each(|node| ordinary(&cluster, node));
    for number in 0..3 {
        let nodes = cluster.nodes();
        let leader = cluster.leader(&nodes);
        cluster.kill(leader);
        let other = *nodes.iter().find(|node| **node != leader).unwrap();
        assert_eq!(cluster.create(other, number), Outcome::Done);
        cluster.get(other).spread(Duration::ZERO).unwrap();
        for node in cluster.nodes() {
            assert_eq!(cluster.count(node), number + 1, "member {node}");
        }
        cluster.start(leader);
        (1..=3).for_each(|node| ordinary(&cluster, node));
    }
}

#[test]
fn a_removed_member_and_one_of_the_old_group_use_no_key_once_they_hear_of_it() {
    let mut cluster = cluster(Duration::from_secs(3600));
    cluster.add(4, "a");
    cluster.get(1).add_learner(4, member("a")).unwrap();
    ordinary(&cluster, 4);
    cluster.get(1).remove(4).unwrap();
    becomes(&cluster, 4, "expelled", |now| now == Standing::Expelled);
    assert!(cluster.get(4).status().expelled.unwrap().contains("removed"));
    cluster.kill(4);
    // Members 1 and 2 are lost; later one of them comes back.
    [1, 2, 3].into_iter().for_each(|node| cluster.kill(node));
    Group::force_new(&cluster.directory(3), 3, member("c")).unwrap();
    cluster.start(3);
    ordinary(&cluster, 3);
    cluster.start(1);
    becomes(&cluster, 1, "expelled", |now| now == Standing::Expelled);
    assert!(cluster.get(1).status().expelled.unwrap().contains("formed anew"));
    assert_eq!(cluster.create(3, 5), Outcome::Done);
    assert_eq!(cluster.count(1), 0);
}
