//! What is known of a stopped member and of the others that it knew, for people who choose the one that goes on alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::codec;
use super::fence::Fence;
use super::group::{Group, Peers};
use super::lease::Lease;
use super::message::{Answer, Ask, Envelope, Fault};
use super::rescue::own_journal;
use super::storage::Tail;
use super::types::{Member, NodeId};
use crate::error::{Code, Error, Result, refuse};
use crate::store::{JournalFact, Store};

/// What a stopped member has on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The member.
    pub node: NodeId,
    /// Its group's name.
    pub group: [u8; 16],
    /// Entries of the log before this index are on its disk; all of them are kept by [`Group::force_new`].
    pub held_before: u64,
    /// Entries of the log before this index are known there to be committed.
    pub committed_before: u64,
    /// Changes applied to its store.
    pub changes: u64,
    /// How long ago it last knew all that its group had committed; `None`: nobody knows.
    pub contact_age: Option<Duration>,
    /// The other members, as it knew them.
    pub others: BTreeMap<NodeId, Member>,
}

/// What another member says when it is asked who leads.
#[derive(Debug)]
pub enum Heard {
    /// Nothing.
    Silent(Error),
    /// It leads, with a quorum behind it: the group lives.
    Leads,
    /// It does not lead a quorum.
    Waits,
    /// It is of another group, or none.
    Apart(String),
}

impl Group {
    /// Looks at a stopped member, whose log and store are in `dir`.
    ///
    /// Errors: `DeviceError`: the member is running. `ArgumentsBad`: the log is missing or another member's. `StoreRefused`.
    pub fn survey(dir: &Path, node: NodeId) -> Result<Survey> {
        let journal = own_journal(dir, node)?;
        let tail = Tail::load(&journal)?;
        let group = journal.fact(JournalFact::Group)?.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        let mut survey = Survey {
            node,
            group,
            held_before: tail.last().map_or(0, |id| id.index + 1),
            committed_before: tail.committed().map_or(0, |id| id.index + 1),
            changes: 0,
            contact_age: Lease::new(Duration::ZERO, &journal, Arc::new(Fence::load(&journal, group)?))?.age(),
            others: BTreeMap::new(),
        };
        if Store::is_in(dir) {
            let store = Store::open(dir)?;
            survey.changes = store.set_hash()?.0;
            let (_, membership) = codec::standing(&store.place()?)?;
            let others = membership.nodes().filter(|(other, _)| **other != node);
            survey.others = others.map(|(other, member)| (*other, member.clone())).collect();
        }
        Ok(survey)
    }
}

impl Survey {
    /// Asks all others at the same time whether they lead a living quorum.
    pub fn ask_others(&self, peers: &dyn Peers, patience: Duration) -> BTreeMap<NodeId, Heard> {
        std::thread::scope(|threads| {
            let mut asked = Vec::new();
            for (to, member) in &self.others {
                asked.push((*to, threads.spawn(move || self.ask(*to, member, peers, patience))));
            }
            let panicked = || Heard::Silent(refuse(Code::DeviceError, "asking a member ended in a panic"));
            asked.into_iter().map(|(to, thread)| (to, thread.join().unwrap_or_else(|_| panicked()))).collect()
        })
    }

    fn ask(&self, to: NodeId, member: &Member, peers: &dyn Peers, patience: Duration) -> Heard {
        let request = codec::encode(&Envelope { group: self.group, from: self.node, to, ask: Ask::ReadIndex });
        let answer = peers.call(to, member, request, patience);
        match answer.and_then(|answer| codec::decode(&answer, &format!("the answer of member {to}"))) {
            Err(error) => Heard::Silent(error),
            // Who says that the asker is no member has just heard a quorum.
            Ok(Answer::Before { .. } | Answer::Refused { fault: Fault::NoMember, .. }) => Heard::Leads,
            Ok(Answer::Refused { told, .. }) => Heard::Apart(told),
            Ok(_) => Heard::Waits,
        }
    }
}
