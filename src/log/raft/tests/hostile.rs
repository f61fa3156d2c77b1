//! Bytes that no member would send.

use super::super::codec;
use super::super::message::{Answer, Ask, Envelope, Fault, Manage, PlaceRow};
use super::super::types::{Entry, LeaderId, LogId, Member, Membership, Payload, StoredMembership, Vote};
use super::{Cluster, member};
use crate::error::Code;
use crate::store::Outcome;

fn vote(term: u64, node: u64, committed: bool) -> codec::VoteRow {
    Vote { leader_id: LeaderId { term, node_id: node }, committed }.into()
}

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: 1 }, index }
}

fn entry(term: u64, index: u64) -> codec::EntryRow {
    (&Entry { log_id: id(term, index), payload: Payload::Blank }).into()
}

fn append(term: u64, node: u64, previous: Option<LogId>, entries: Vec<codec::EntryRow>) -> Ask {
    Ask::Append { vote: vote(term, node, true), previous: previous.map(Into::into), entries, committed: None }
}

/// What member 2 answers; everything is asked as member 1.
fn ask(cluster: &Cluster, ask: Ask) -> Answer {
    let group = cluster.get(2).status().group;
    let envelope = codec::encode(&Envelope { group, from: 1, to: 2, ask });
    minicbor::decode(&cluster.get(2).answer(&envelope).unwrap()).unwrap()
}

#[test]
fn hostile_requests_are_refused_and_change_nothing() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let (huge, piece) = (u64::MAX, vec![0; 600 << 10]);
    let place = || Some(PlaceRow { applied: Some(vec![0xff; 9]), membership: Some(vec![1, 2, 3]) });
    let pieces = |copy, offset, bytes, last| Ask::Piece { vote: vote(99, 1, true), copy, offset, bytes, last };
    let refused = [
        append(huge, 1, None, vec![]),
        append(99, 2, None, vec![]),
        append(99, 1, None, vec![entry(1, 5)]),
        append(99, 1, Some(id(1, 4)), vec![entry(1, 6)]),
        append(99, 1, Some(id(1, 4)), vec![entry(1, 5), entry(1, 5)]),
        append(99, 1, Some(id(3, 4)), vec![entry(2, 5)]),
        append(99, 1, Some(id(1, 4)), vec![entry(100, 5)]),
        append(99, 1, Some(id(1, huge)), vec![]),
        append(99, 1, None, (0..2000).map(|index| entry(1, index)).collect()),
        Ask::Append { vote: vote(99, 1, false), previous: None, entries: vec![], committed: None },
        Ask::Vote { vote: vote(huge, 1, false), last: None, transfer: false, rehearsal: false },
        Ask::Vote { vote: vote(99, 1, true), last: None, transfer: true, rehearsal: false },
        Ask::Transfer { from: vote(99, 3, true), last: None, heir: 1 },
        pieces(1, 0, piece, None),
        pieces(2, 7, vec![1], None),
        pieces(3, 0, vec![1; 100], place()),
        Ask::Propose { proposal: vec![0x9f; 50], wait_milliseconds: huge, since: None },
        Ask::Manage { manage: Manage::AddLearner { node: 5, member: Member { zone: "z".repeat(300), ..member("a") } } },
    ];
    for (number, request) in refused.into_iter().enumerate() {
        let told = format!("{number}");
        let answer = ask(&cluster, request);
        assert!(matches!(answer, Answer::Refused { .. } | Answer::NotLeader { .. }), "{told}: {answer:?}");
    }
    let status = cluster.get(2).status();
    assert!(status.poisoned.is_none() && status.term < 99);
    assert_eq!(cluster.create(2, 0), Outcome::Done);
    cluster.assert_same();
}

#[test]
fn a_node_that_is_no_member_gets_nothing_done_and_none_speaks_for_another() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let group = cluster.get(2).status().group;
    let manage = Manage::AddLearner { node: 9, member: member("a") };
    let asks = || {
        [
            Ask::Propose { proposal: vec![1], wait_milliseconds: 1, since: None },
            Ask::ReadIndex,
            Ask::Manage { manage: manage.clone() },
        ]
    };
    for ask in asks() {
        let envelope = codec::encode(&Envelope { group, from: 9, to: 2, ask });
        let answer: Answer = minicbor::decode(&cluster.get(2).answer_node(9, &envelope).unwrap()).unwrap();
        match answer {
            Answer::Refused { fault: Fault::Forbidden | Fault::NoMember, told, .. } => {
                assert!(told.contains("node 9 is no member"), "{told}");
            }
            // Only the leader can say who is one by now, and nobody learns anything from the others.
            Answer::NotLeader { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    for ask in asks() {
        let envelope = codec::encode(&Envelope { group, from: 1, to: 2, ask });
        let refused = cluster.get(2).answer_node(9, &envelope).unwrap_err();
        assert!(refused.to_string().contains("came from node 9"), "{refused}");
    }
    let envelope = codec::encode(&Envelope { group, from: 1, to: 2, ask: Ask::Reach { before: 0, wait_milliseconds: 5000 } });
    let answer: Answer = minicbor::decode(&cluster.get(2).answer_node(1, &envelope).unwrap()).unwrap();
    assert!(matches!(answer, Answer::Done), "{answer:?}");
}

#[test]
fn any_bytes_get_an_answer_or_an_error() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let group = cluster.get(2).status().group;
    let whole = codec::encode(&Envelope { group, from: 1, to: 2, ask: Ask::ReadIndex });
    for cut in 0..whole.len() {
        assert_eq!(cluster.get(2).answer(&whole[..cut]).unwrap_err().code(), Code::DeviceError);
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            // Whatever it says now, it is answered or refused.
            let _ = cluster.get(2).answer(&bytes);
        }
    }
    // A length of four thousand million members costs nothing.
    let bomb = [&whole[..whole.len() - 2], &[0x82, 0, 0x81, 0x9a, 0xff, 0xff, 0xff, 0xff]].concat();
    assert!(cluster.get(2).answer(&bomb).is_err());
    let stranger = codec::encode(&Envelope { group: [1; 16], from: 1, to: 2, ask: append(99, 1, None, vec![]) });
    let answer: Answer = minicbor::decode(&cluster.get(2).answer(&stranger).unwrap()).unwrap();
    assert!(matches!(answer, Answer::Refused { fault: Fault::OtherGroup, .. }), "{answer:?}");
    let astray = codec::encode(&Envelope { group, from: 1, to: 3, ask: Ask::ReadIndex });
    assert!(cluster.get(2).answer(&astray).unwrap_err().to_string().contains("for member 3"));
    assert_eq!(cluster.create(1, 0), Outcome::Done);
    cluster.assert_same();
}

#[test]
fn a_false_copy_is_not_installed() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    cluster.assert_same();
    let before = cluster.get(2).store().set_hash().unwrap();
    let applied = codec::place(Some(id(5, 900)), &StoredMembership::new(None, Membership::default()));
    let place = PlaceRow { applied: applied.applied, membership: applied.membership };
    let answer =
        ask(&cluster, Ask::Piece { vote: vote(1, 1, true), copy: 1, offset: 0, bytes: vec![7; 5000], last: Some(place) });
    assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
    // A sound copy that no leader of that term can have.
    let file = cluster.directory(2).join("false");
    let place = cluster.get(1).store().copy_to(&file).unwrap();
    let place = PlaceRow { applied: place.applied, membership: place.membership };
    let bytes = std::fs::read(&file).unwrap();
    let answer = ask(&cluster, Ask::Piece { vote: vote(0, 1, true), copy: 2, offset: 0, bytes, last: Some(place) });
    assert!(matches!(&answer, Answer::Refused { told, .. } if told.contains("cannot have")), "{answer:?}");
    assert_eq!(cluster.get(2).store().set_hash().unwrap(), before);
    assert!(cluster.get(2).status().poisoned.is_none());
    assert_eq!(cluster.create(2, 4), Outcome::Done);
    cluster.assert_same();
}

#[test]
fn what_is_kept_and_sent_comes_back_as_it_was() {
    let nodes = (1..=3).map(|node| (node, member(&format!("z{node}")))).collect::<std::collections::BTreeMap<_, _>>();
    let voters = vec![[1, 2].into(), [2, 3].into()];
    let membership = Membership::new(voters, nodes).unwrap();
    let payloads = [Payload::Blank, Payload::Membership(membership.clone()), Payload::Membership(Membership::default())];
    for payload in payloads {
        let entry = Entry { log_id: id(4, 9), payload };
        let bytes = codec::encode_entry(&entry);
        assert_eq!(codec::decode_entry(&bytes).unwrap(), entry);
        (0..bytes.len()).for_each(|cut| assert!(codec::decode_entry(&bytes[..cut]).is_err(), "cut at {cut}"));
    }
    let stored = StoredMembership::new(Some(id(2, 3)), membership);
    let place = codec::place(Some(id(4, 9)), &stored);
    assert_eq!(codec::standing(&place).unwrap(), (Some(id(4, 9)), stored));
    // The form on the disk is for ever.
    let hex: String = codec::encode_entry(&Entry { log_id: id(4, 9), payload: Payload::Blank })
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, "82830401098200".to_owned() + "80");
}
