//! Targets of fuzzers: entries as the disk keeps them, and what members ask and answer.

use minicbor::{Decode, Encode};

use super::codec::{decode, decode_entry, encode, encode_entry, proposal};
use super::message::{Answer, Envelope};
use super::types::Payload;

/// An entry, and the change in it.
pub fn entries(bytes: &[u8]) {
    let Ok(entry) = decode_entry(bytes) else { return };
    let once = encode_entry(&entry);
    match decode_entry(&once) {
        Ok(again) => assert!(encode_entry(&again) == once, "it is read to another value than was written"),
        Err(error) => panic!("what was written cannot be read: {error}"),
    }
    if let Payload::Normal(command) = &entry.payload
        && let Ok(proposal) = proposal(command)
        && let Err(error) = super::codec::command(proposal)
    {
        panic!("a change that was read cannot be proposed: {error}");
    }
}

/// A request of another member, or an answer.
pub fn peers(bytes: &[u8]) {
    stable::<Envelope>(bytes);
    stable::<Answer>(bytes);
}

fn stable<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) {
    let Ok(value) = decode::<T>(bytes, "a message") else { return };
    let once = encode(&value);
    match decode::<T>(&once, "a message") {
        Ok(again) => assert!(encode(&again) == once, "it is read to another value than was written"),
        Err(error) => panic!("what was written cannot be read: {error}"),
    }
}

#[cfg(test)]
pub use samples::{entry_samples, peer_samples};

/// Input of the right form.
#[cfg(test)]
mod samples {
    use super::*;
    use crate::log::raft::codec::{DecisionRow, LogIdRow, VoteRow, command};
    use crate::log::raft::message::{Ask, Ended, Fault, Manage, PlaceRow};
    use crate::log::raft::types::{Entry, LeaderId, LogId, Member, Membership, Vote};
    use crate::store::tests::fixtures::{TOKEN, create, init, row};
    use crate::store::{Outcome, Proposal, RequestId};

    fn at(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 2, node_id: 1 }, index }
    }

    fn member(zone: &str) -> Member {
        Member { zone: zone.to_string(), region: "home".to_string(), address: "tcp:10.0.0.1:7100".to_string() }
    }

    fn all_entries() -> Vec<Entry> {
        let request = RequestId { client: [0xaa; 16], sequence: 9 };
        let changes = [init(TOKEN, 1, None), create(vec![row(1), row(2)])];
        let commands = changes.map(|change| Payload::Normal(command(Proposal { request, change }).unwrap()));
        let voters = [[1, 2, 3].into()].to_vec();
        let nodes: std::collections::BTreeMap<u64, Member> = (1..4).zip(["a", "b", "c"].map(member)).collect();
        let membership = Payload::Membership(Membership::new(voters, nodes).unwrap());
        let payloads = commands.into_iter().chain([membership, Payload::Blank]);
        payloads.zip(5..).map(|(payload, index)| Entry { log_id: at(index), payload }).collect()
    }

    /// Entries of each kind.
    pub fn entry_samples() -> Vec<Vec<u8>> {
        all_entries().iter().map(encode_entry).collect()
    }

    /// Requests and answers of most kinds.
    pub fn peer_samples() -> Vec<Vec<u8>> {
        let vote = VoteRow::from(Vote { leader_id: LeaderId { term: 2, node_id: 1 }, committed: true });
        let last = Some(LogIdRow::from(at(4)));
        let place = || PlaceRow { applied: Some(vec![1]), membership: None };
        let asks = vec![
            Ask::Append { vote, previous: last, entries: all_entries().iter().map(Into::into).collect(), committed: last },
            Ask::Vote { vote, last, transfer: false, rehearsal: true },
            Ask::Transfer { from: vote, last, heir: 2 },
            Ask::Piece { vote, copy: 1, offset: 2, bytes: vec![3; 40], last: Some(place()) },
            Ask::Propose { proposal: vec![4; 40], wait_milliseconds: 1000, since: None },
            Ask::ReadIndex,
            Ask::Reach { before: 6, wait_milliseconds: 1000 },
            Ask::Manage { manage: Manage::AddLearner { node: 4, member: member("a") } },
            Ask::Manage { manage: Manage::ChangeVoters { voters: [1, 2].into(), force: true } },
        ];
        let answers = [
            Answer::Done,
            Answer::Appended { partly: true, upto: last },
            Answer::Voted { vote, granted: true, last },
            Answer::Committed { index: 5, decision: DecisionRow::Answered { outcome: Outcome::Done } },
            Answer::NotLeader { leader: Some(1) },
            Answer::refused(Fault::Forbidden, "no".to_string()),
            Answer::Refused { fault: Fault::OtherGroup, told: "no".to_string(), ended: Some(Ended([5; 16])) },
        ];
        let envelopes = asks.into_iter().map(|ask| encode(&Envelope { group: [5; 16], from: 1, to: 2, ask }));
        envelopes.chain(answers.iter().map(encode)).collect()
    }
}
