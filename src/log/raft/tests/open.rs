//! New objects are applied and answered before reads see them; whoever looks sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Cluster, eventually};
use crate::limits::{APPLY_MAX_ENTRIES, APPLY_OPEN_MAX_BYTES, APPLY_OPEN_MAX_CHANGES};
use crate::log::decide::Decision;
use crate::log::raft::applying::Applying;
use crate::log::raft::codec;
use crate::log::raft::types::{Applied, Command, Entry, LeaderId, LogId, Payload};
use crate::log::{Log, Proposal, RequestId};
use crate::store::tests::fixtures::{Directory, TOKEN, create, init, row, token_row, user_row};
use crate::store::{Change, ObjectRow, Outcome, Sealed, Store};

const ZONES: [&str; 3] = ["a", "b", "c"];

#[test]
fn what_is_new_is_seen_by_who_looks_and_by_everybody_soon() {
    let cluster = Cluster::new(&ZONES);
    let group = cluster.get(1);
    let mut were_open = 0;
    for number in 0..50 {
        assert_eq!(cluster.create(1, number), Outcome::Done);
        let (mark, shown) = (group.mark(), group.shown());
        assert!(shown <= mark);
        were_open += u64::from(shown < mark);
        if number % 2 == 0 {
            // Who asks for the latest state at any member sees it.
            let node = number % 3 + 1;
            cluster.get(node).barrier().unwrap();
            assert_eq!(cluster.get(node).store().count(TOKEN).unwrap(), number + 1);
        }
    }
    assert!(were_open > 25, "{were_open} of 50 were answered before they were committed to the store");
    // Nobody looks.
    for node in 1..=3 {
        eventually("a store that shows all", || (cluster.get(node).store().count(TOKEN).unwrap() == 50).then_some(()));
        assert_eq!(cluster.get(node).shown(), cluster.get(node).mark());
    }
    assert!(!group.show().unwrap(), "there is nothing more");
    cluster.assert_same();
}

#[test]
fn what_may_take_something_away_is_seen_before_anybody_hears_of_it() {
    let cluster = Cluster::new(&ZONES);
    let group = cluster.get(1);
    for number in 0..20 {
        assert_eq!(cluster.create(1, number), Outcome::Done);
        let id = row(number).id;
        assert_eq!(cluster.propose(1, Change::DeleteObject { token: TOKEN, id, expected_version: 1 }), Outcome::Done);
        assert_eq!(group.shown(), group.mark());
        assert!(group.store().object(TOKEN, id).unwrap().is_none());
        let attempted = cluster.propose(1, Change::ReserveAttempt { token: TOKEN, role: 0 });
        assert_eq!(attempted == Outcome::Locked, number >= 3, "{attempted:?}");
        assert_eq!(group.shown(), group.mark());
    }
    cluster.assert_same();
}

#[test]
fn readers_and_writers_at_once_never_miss_what_they_were_told_of() {
    let cluster = Cluster::new(&ZONES);
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let cluster = &cluster;
                threads.spawn(move || {
                    for number in 0..60 {
                        let (node, id) = (writer % 3 + 1, writer * 1000 + number);
                        assert_eq!(cluster.create(node, id), Outcome::Done);
                        cluster.get(node).show().unwrap();
                        assert!(cluster.get(node).store().object(TOKEN, row(id).id).unwrap().is_some());
                    }
                })
            })
            .collect();
        let (cluster, ended) = (&cluster, &ended);
        threads.spawn(move || {
            while !ended.load(Ordering::Acquire) {
                for node in 1..=3 {
                    let mark = cluster.get(node).mark();
                    cluster.get(node).show().unwrap();
                    assert!(cluster.get(node).store().set_hash().unwrap().0 >= mark);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        ended.store(true, Ordering::Release);
    });
    cluster.assert_same();
}

#[test]
fn a_store_that_cannot_be_written_later_ends_its_member_though_nothing_comes() {
    let cluster = Cluster::new(&ZONES);
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    // Nothing is open whose time might come before the next one is answered.
    cluster.get(1).show().unwrap();
    cluster.get(1).applying().broken.store(true, Ordering::Release);
    // The log has it on all disks.
    assert_eq!(cluster.create(1, 1), Outcome::Done);
    eventually("an end", || cluster.get(1).status().poisoned);
    assert!(cluster.get(1).status().poisoned.unwrap().contains("full"));
    assert!(cluster.get(1).show().is_err());
    let leader = cluster.leader(&[2, 3]);
    cluster.get(leader).barrier().unwrap();
    assert_eq!(cluster.count(leader), 2);
    assert_eq!(cluster.create(leader, 2), Outcome::Done);
}

#[test]
fn a_member_that_is_stopped_in_order_has_put_down_what_was_open() {
    let mut cluster = Cluster::new(&ZONES);
    for number in 0..10 {
        assert_eq!(cluster.create(1, number), Outcome::Done);
    }
    let stores: Vec<_> = (1..=3).map(|node| cluster.directory(node)).collect();
    for node in 1..=3 {
        cluster.kill(node);
    }
    assert!(stores.iter().any(|dir| Store::open(dir).unwrap().count(TOKEN).unwrap() == 10));
    for node in 1..=3 {
        cluster.start(node);
    }
    let leader = cluster.leader(&[1, 2, 3]);
    cluster.get(leader).barrier().unwrap();
    assert_eq!(cluster.count(leader), 10);
    cluster.assert_same();
}

#[test]
fn new_objects_are_told_from_all_other_changes_by_their_number() {
    let makes = |change: Change| {
        let proposal = Proposal { request: RequestId { client: [7; 16], sequence: 1 << 40 }, change };
        codec::only_makes(&codec::command(proposal).unwrap())
    };
    assert!(makes(create(vec![row(1), row(2)])) && makes(create(vec![])));
    let id = row(1).id;
    let user = user_row(TOKEN, 1, 2);
    for change in [
        init(TOKEN, 1, None),
        Change::DeleteToken { token: TOKEN },
        Change::ReplaceObject { token: TOKEN, row: row(1) },
        Change::DeleteObject { token: TOKEN, id, expected_version: 2 },
        Change::SetUser { user: user.clone(), expected_generation: Some(2) },
        Change::ReserveAttempt { token: TOKEN, role: 2 },
        Change::ClearAttempts { token: TOKEN, role: 2, generation: 2 },
        Change::ImportToken { token: token_row(TOKEN, 2), so: user, user: None, objects: vec![row(2)] },
    ] {
        assert!(!makes(change.clone()), "{change:?}");
    }
    assert!(!codec::only_makes(&Command(Arc::from([0x83, 1]))), "what cannot be read is no new object");
}

fn entry(index: u64, change: Change) -> Entry {
    numbered(index, index, change)
}

/// One whose request has another number.
fn numbered(index: u64, sequence: u64, change: Change) -> Entry {
    let log_id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
    let proposal = Proposal { request: RequestId { client: [7; 16], sequence }, change };
    Entry { log_id, payload: Payload::Normal(codec::command(proposal).unwrap()) }
}

#[test]
fn what_nobody_waits_for_is_held_and_applied_in_its_order() {
    let directory = Directory::new();
    let store = Arc::new(Store::open(directory.path()).unwrap());
    store.replicate().unwrap();
    let applying = Applying::new(store.clone(), Arc::default()).unwrap();
    let progress = || applying.progress().mark();
    let make = |index| entry(index, create(vec![row(index)]));
    assert_eq!(applying.apply(vec![entry(0, init(TOKEN, 1, None))], true).unwrap().len(), 1);
    assert_eq!((progress().changes, applying.late()), (1, None));
    assert!(applying.apply(vec![make(1), make(2)], false).unwrap().is_empty());
    assert_eq!(progress().changes, 1, "nobody has waited for it");
    assert_eq!(applying.standing().0.map(|id| id.index), Some(2));
    assert!(applying.late().is_some());
    let soon = || Instant::now() + Duration::from_secs(20);
    assert!(!applying.wait(Instant::now() + Duration::from_millis(20), |mark| mark.changes > 3));
    assert_eq!(progress().changes, 1, "what is held is not enough for who waits");
    assert_eq!(applying.progress().at_hand().changes, 3);
    assert!(applying.wait(soon(), |mark| mark.changes >= 3));
    assert_eq!(progress().before, 3);
    assert_eq!((progress().changes, store.count(TOKEN).unwrap()), (3, 0), "applied, and not shown");
    assert!(applying.put_down().unwrap());
    assert_eq!((store.count(TOKEN).unwrap(), applying.late()), (2, None));
    // What may take something away waits for nobody, and comes after what was held.
    assert!(applying.apply(vec![make(3)], false).unwrap().is_empty());
    let gone = Change::DeleteObject { token: TOKEN, id: row(3).id, expected_version: 1 };
    assert_eq!(applying.apply(vec![entry(4, gone)], false).unwrap(), [Applied(Some(Decision::Answered(Outcome::Done)))]);
    assert_eq!((progress().changes, store.count(TOKEN).unwrap()), (5, 2));
    // A copy for others has all.
    assert!(applying.apply(vec![make(5)], false).unwrap().is_empty());
    assert_eq!(applying.settle().unwrap().last_log_id.map(|id| id.index), Some(5));
    assert_eq!(store.count(TOKEN).unwrap(), 3);
    // Many are not held for long.
    let many: Vec<_> = (6..6 + APPLY_MAX_ENTRIES as u64).map(make).collect();
    assert_eq!(applying.apply(many, false).unwrap().len(), APPLY_MAX_ENTRIES);
    assert_eq!(progress().before, 6 + APPLY_MAX_ENTRIES as u64);
    assert!(!applying.wait(Instant::now(), |mark| mark.before > 1 << 20));
    // An entry that is missing ends it.
    assert!(applying.apply(vec![make(2000)], true).is_err());
    assert!(applying.failed().unwrap().contains("is due") && applying.apply(vec![make(1030)], true).is_err());
    let late = soon();
    assert!(!applying.wait(late, |mark| mark.before > 1 << 20));
    assert!(Instant::now() < late, "nobody waits for what cannot come");
}

#[test]
fn what_is_open_is_bounded_by_changes_and_by_bytes() {
    let directory = Directory::new();
    let store = Arc::new(Store::open(directory.path()).unwrap());
    store.replicate().unwrap();
    let applying = Applying::new(store.clone(), Arc::default()).unwrap();
    applying.apply(vec![entry(0, init(TOKEN, 1, None))], true).unwrap();
    let long = |index| {
        let sealed = Sealed::from_ciphertext(vec![index as u8; 1 << 20]);
        entry(index, create(vec![ObjectRow { sealed, ..row(index) }]))
    };
    let long_ones = APPLY_OPEN_MAX_BYTES as u64 >> 20;
    let mut index = 0;
    for (make, together) in
        [(&long as &dyn Fn(u64) -> Entry, long_ones), (&|index| entry(index, create(vec![row(index)])), APPLY_OPEN_MAX_CHANGES)]
    {
        for number in 1..=2 * together {
            index += 1;
            applying.apply(vec![make(index)], true).unwrap();
            assert_eq!(applying.progress().is_shown(), number % together == 0, "{number} of {together}");
        }
    }
    assert_eq!(store.count(TOKEN).unwrap(), index);
}

#[test]
fn the_loop_holds_a_few_new_objects_by_itself_and_leaves_all_else_to_who_applies() {
    let directory = Directory::new();
    let store = Arc::new(Store::open(directory.path()).unwrap());
    store.replicate().unwrap();
    let applying = Applying::new(store.clone(), Arc::default()).unwrap();
    let make = |index| entry(index, create(vec![row(index)]));
    assert_eq!(applying.apply(vec![entry(0, init(TOKEN, 1, None))], true).unwrap().len(), 1);
    assert!(applying.hold(vec![make(1), make(2)]).is_ok());
    assert_eq!((applying.progress().mark().before, applying.standing().0.map(|id| id.index)), (1, Some(2)));
    let gone = || entry(3, Change::DeleteObject { token: TOKEN, id: row(1).id, expected_version: 1 });
    assert_eq!(applying.hold(vec![gone()]).unwrap_err().len(), 1, "it takes something away");
    assert_eq!(applying.hold((3..60).map(make).collect()).unwrap_err().len(), 57, "they would keep the loop");
    // They were not lost with what came back.
    assert_eq!(applying.apply(vec![gone()], false).unwrap(), [Applied(Some(Decision::Answered(Outcome::Done)))]);
    assert_eq!(store.count(TOKEN).unwrap(), 1);
    // No more than is applied together.
    let mut held = 4;
    while applying.hold(vec![make(held)]).is_ok() {
        held += 1;
    }
    assert!(held < 5 + APPLY_OPEN_MAX_CHANGES, "{held}");
    assert_eq!(applying.apply(vec![make(held)], false).unwrap().len(), 1);
    applying.put_down().unwrap();
    assert_eq!(store.count(TOKEN).unwrap(), held - 2);
    // Nor once it has failed.
    assert!(applying.apply(vec![make(1 << 20)], true).is_err());
    assert!(applying.hold(vec![make(held + 1)]).is_err());
}

#[test]
fn an_answer_is_found_whatever_number_is_known_to_be_the_highest() {
    let directory = Directory::new();
    let store = Arc::new(Store::open(directory.path()).unwrap());
    store.replicate().unwrap();
    let applying = Applying::new(store.clone(), Arc::default()).unwrap();
    let make = |index, sequence| numbered(index, sequence, create(vec![row(index)]));
    let answer = |store: &Store, sequence| store.answer(RequestId { client: [7; 16], sequence }).unwrap();
    applying.apply(vec![entry(0, init(TOKEN, 1, None)), make(1, 40), make(2, 20)], true).unwrap();
    assert_eq!(answer(&store, 20), Some(Outcome::Done));
    assert_eq!((answer(&store, 40), answer(&store, 41), answer(&store, 30)), (Some(Outcome::Done), None, None));
    drop((applying, store));
    // What comes after a restart may have a lower number.
    let store = Arc::new(Store::open(directory.path()).unwrap());
    store.replicate().unwrap();
    assert_eq!(answer(&store, 40), Some(Outcome::Done));
    let applying = Applying::new(store.clone(), Arc::default()).unwrap();
    applying.apply(vec![make(3, 30)], true).unwrap();
    applying.put_down().unwrap();
    assert_eq!((answer(&store, 40), answer(&store, 30)), (Some(Outcome::Done), Some(Outcome::Done)));
}

#[test]
fn members_that_nobody_asks_apply_many_at_once_and_one_that_is_asked_at_once() {
    let cluster = Cluster::new(&ZONES);
    for number in 0..30 {
        assert_eq!(cluster.create(1, number), Outcome::Done);
        if number % 10 == 9 {
            // By the mark of what was answered elsewhere.
            let mark = cluster.get(1).mark();
            for node in [2, 3] {
                cluster.get(node).reach(mark).unwrap();
                assert!(cluster.get(node).mark() >= mark);
            }
        }
    }
    for node in 1..=3 {
        eventually("a store that shows all", || (cluster.get(node).store().count(TOKEN).unwrap() == 30).then_some(()));
    }
    cluster.assert_same();
}
