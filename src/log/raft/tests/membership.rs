//! Members come and go, and no zone can hold the group alone unless somebody insists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    let error = cluster.get(1).remove(2).map(|()| cluster.get(1).status());
    // Two voters of one zone only: a pool that is made, or unmade.
    assert_eq!(error.unwrap().voters.len(), 2);
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
