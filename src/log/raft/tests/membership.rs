//! Members come and go, and no zone can hold the group alone unless somebody insists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::raft::Precondition;

use super::super::types::{Membership, Payload};
use super::super::{NodeId, Turnover};
use super::{Cluster, eventually, member};
use crate::error::Code;
use crate::store::tests::fixtures::{Directory, apply, create, filled, row};
use crate::store::{Outcome, Store};

#[test]
fn members_join_vote_and_leave_whoever_is_asked() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.add(4, "b");
    cluster.get(3).add_learner(4, member("b")).unwrap();
    assert_eq!(cluster.create(4, 0), Outcome::Done);
    let status = cluster.get(1).status();
    assert_eq!(status.learners.keys().copied().collect::<Vec<_>>(), [4]);
    cluster.get(4).change_voters(BTreeSet::from([1, 3, 4]), false).unwrap();
    eventually("new voters", || {
        let status = cluster.get(2).status();
        (status.voters.keys().copied().collect::<Vec<_>>() == [1, 3, 4] && status.learners.contains_key(&2)).then_some(())
    });
    cluster.get(2).remove(2).unwrap();
    let status = cluster.get(1).status();
    assert!(!status.learners.contains_key(&2) && !status.voters.contains_key(&2));
    cluster.get(1).remove(2).unwrap();
    cluster.kill(2);
    // The leader itself can be removed.
    let leader = cluster.leader(&[1, 3, 4]);
    cluster.get(leader).remove(leader).unwrap();
    cluster.kill(leader);
    let rest = cluster.nodes();
    assert_eq!(rest.len(), 2);
    assert_eq!(cluster.create(rest[0], 1), Outcome::Done);
    assert_eq!(cluster.create(rest[1], 2), Outcome::Done);
    cluster.assert_same();
}

#[test]
fn a_zone_that_would_hold_a_quorum_is_refused_unless_forced() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.add(4, "a");
    cluster.get(1).add_learner(4, member("a")).unwrap();
    for node in [1, 2] {
        let error = cluster.get(node).change_voters(BTreeSet::from([1, 4, 2]), false).unwrap_err();
        assert_eq!(error.code(), Code::ArgumentsBad);
        assert!(error.to_string().contains("zone a would hold a quorum"), "{error}");
    }
    let error = cluster.get(2).change_voters(BTreeSet::from([1, 9]), false).unwrap_err();
    assert!(error.to_string().contains("9 is no member"), "{error}");
    assert_eq!(cluster.get(2).change_voters(BTreeSet::new(), false).unwrap_err().code(), Code::ArgumentsBad);
    let error = cluster.get(3).add_learner(4, member("c")).unwrap_err();
    assert!(error.to_string().contains("a member 4 already"), "{error}");
    assert_eq!(cluster.get(1).status().voters.len(), 3);
    cluster.get(2).change_voters(BTreeSet::from([1, 2, 4]), true).unwrap();
    // A group that was of several zones does not become one of a single zone by the way.
    for shrunk in [cluster.get(1).remove(2), cluster.get(1).change_voters(BTreeSet::from([1, 4]), false)] {
        let error = shrunk.unwrap_err();
        assert!(error.to_string().contains("zone a would hold a quorum"), "{error}");
    }
    cluster.get(1).change_voters(BTreeSet::from([1, 4]), true).unwrap();
    cluster.get(1).remove(2).unwrap();
    assert_eq!(cluster.get(1).status().voters.len(), 2);
}

/// Waits until these members know that these ones vote, and that no change of them is under way.
fn assert_settled(cluster: &Cluster, among: &[NodeId], voters: &[NodeId]) {
    for node in among {
        eventually("voters that are so for good", || {
            let status = cluster.get(*node).status();
            (status.turnover.is_none() && status.voters.keys().eq(voters)).then_some(())
        });
    }
}

/// Takes the first step of a change of the voters at the leader, as a call does that breaks off before the second.
fn take_first_step(cluster: &Cluster, leader: NodeId, after: &[NodeId]) -> Turnover {
    let (group, after) = (cluster.get(leader), BTreeSet::from_iter(after.iter().copied()));
    let known = group.metrics().membership_config;
    let before: BTreeSet<NodeId> = known.voter_ids().collect();
    let nodes: BTreeMap<_, _> = known.nodes().map(|(node, member)| (*node, member.clone())).collect();
    let joint = Membership::new(vec![before.clone(), after.clone()], nodes).unwrap();
    let only_then = [Precondition::LastMembershipLogId { last_membership_log_id: *known.log_id() }];
    group.block_on(group.raft().append_membership(joint, Payload::Blank, only_then)).unwrap();
    Turnover { before, after }
}

#[test]
fn a_change_of_the_voters_that_broke_off_at_its_deadline_is_ended_all_the_same() {
    let mut cluster = Cluster::stopped(Directory::new(), (8192, 8192));
    cluster.call_deadline = Duration::from_secs(1);
    cluster.form(&["a"]);
    for (node, zone) in [(2, "b"), (3, "c")] {
        cluster.add(node, zone);
        cluster.get(1).add_learner(node, member(zone)).unwrap();
    }
    cluster.net.isolate(1, true);
    let error = cluster.get(1).change_voters(BTreeSet::from([1, 2, 3]), false).unwrap_err();
    assert!(error.to_string().contains("whether it was done is not known"), "{error}");
    let (before, after) = (BTreeSet::from([1]), BTreeSet::from([1, 2, 3]));
    assert_eq!(cluster.get(1).status().turnover, Some(Turnover { before, after }));
    cluster.net.isolate(1, false);
    assert_settled(&cluster, &[1, 2, 3], &[1, 2, 3]);
    // The first member is needed no more.
    cluster.kill(1);
    cluster.leader(&[2, 3]);
    eventually("a change without the first member", || cluster.try_propose(2, create(vec![row(0)])).ok());
}

#[test]
fn a_change_of_the_voters_whose_leader_is_gone_is_ended_by_the_next_one() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.add(4, "d");
    cluster.get(1).add_learner(4, member("d")).unwrap();
    let leader = cluster.leader(&[1, 2, 3]);
    let (gone, others): (_, Vec<NodeId>) = (leader, (1..5).filter(|node| *node != leader).collect());
    {
        // A call is at it, so that nobody else takes the second step.
        let _under_way = cluster.get(leader).changing.begin();
        let turnover = take_first_step(&cluster, leader, &others);
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(cluster.get(leader).status().turnover, Some(turnover), "a change that is under way was meddled with");
        cluster.net.isolate(gone, true);
    }
    cluster.leader(&others);
    assert_settled(&cluster, &others, &others);
    cluster.net.isolate(gone, false);
    assert_settled(&cluster, &[1, 2, 3, 4], &others);
    let status = cluster.get(gone).status();
    assert!(status.learners.contains_key(&gone), "who voted before follows on: {status:?}");
    cluster.create(gone, 0);
    cluster.assert_same();
}

#[test]
fn another_change_ends_the_one_that_broke_off_before_it() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.add(4, "d");
    cluster.get(1).add_learner(4, member("d")).unwrap();
    let leader = cluster.leader(&[1, 2, 3]);
    let [stays, goes] = [1, 2, 3].into_iter().filter(|node| *node != leader).collect::<Vec<_>>()[..] else { unreachable!() };
    // The thread that looks after such changes takes this one for a call's, and leaves it to the next call.
    let _under_way = cluster.get(leader).changing.begin();
    take_first_step(&cluster, leader, &[leader, stays, 4]);
    cluster.get(stays).remove(4).unwrap();
    let mut voters = [leader, stays];
    voters.sort_unstable();
    assert_settled(&cluster, &[leader, stays], &voters);
    let status = cluster.get(leader).status();
    assert_eq!(status.learners.into_keys().collect::<Vec<_>>(), [goes], "one that was to vote no more does not vote again");
}

#[test]
fn leadership_is_handed_over_and_a_leader_that_leaves_hands_over() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.get(2).transfer_leader(3).unwrap();
    assert_eq!(cluster.leader(&[1, 2, 3]), 3);
    let error = cluster.get(1).transfer_leader(8).unwrap_err();
    assert_eq!(error.code(), Code::ArgumentsBad);
    let start = Instant::now();
    cluster.get(3).shutdown();
    assert_ne!(cluster.leader(&[1, 2]), 3);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(cluster.try_propose(3, create(vec![row(1)])).unwrap_err().code(), Code::DeviceError);
    assert!(cluster.get(3).status().poisoned.is_some());
    cluster.kill(3);
}

#[test]
fn each_hand_over_is_one_election_that_the_named_member_wins() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    cluster.leader(&[1, 2, 3]);
    for heir in [2, 3, 1, 3, 2, 1] {
        let before = cluster.get(heir).status().term;
        cluster.get(heir % 3 + 1).transfer_leader(heir).unwrap();
        assert_eq!(cluster.leader(&[1, 2, 3]), heir);
        let raised = u64::from(before != cluster.get(heir).status().term);
        assert_eq!(cluster.get(heir).status().term, before + raised, "only the heir stood for election");
    }
}

#[test]
fn what_a_store_held_before_becomes_the_group_s() {
    use super::super::{Group, GroupSettings};
    let mut cluster = Cluster::new(&["z"]);
    let net = cluster.net.clone();
    let directory = Directory::new();
    drop(filled(&directory, 40));
    let wire = || Arc::new(super::Wire { net: net.clone(), from: 7 });
    let settings = || GroupSettings::new(7, member("a"), directory.path().into());
    let open = || Group::open(settings(), Arc::new(Store::open(directory.path()).unwrap()), wire());
    let group = open().unwrap();
    group.begin().unwrap();
    assert_eq!(group.begin().unwrap_err().code(), Code::ArgumentsBad);
    cluster.net.groups.lock().insert(7, Arc::downgrade(&group));
    cluster.add(8, "b");
    group.add_learner(8, member("b")).unwrap();
    eventually("copy", || (cluster.count(8) == 40).then_some(()));
    assert_eq!(cluster.get(8).store().set_hash().unwrap(), group.store().set_hash().unwrap());
    // Nobody writes beside the log any more, and nobody else may be this member.
    let beside = Store::open(directory.path()).unwrap();
    assert_eq!(apply(&beside, create(vec![row(50)])).unwrap_err().code(), Code::StoreRefused);
    let twice = open().map(|_| ()).unwrap_err();
    assert_eq!(twice.code(), Code::DeviceError, "{twice}");
    group.shutdown();
    let other = GroupSettings { node: 6, ..settings() };
    let error = Group::open(other, Arc::new(beside), wire()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("member 7's"), "{error}");
}
