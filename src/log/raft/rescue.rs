//! What is done when most members are lost for good: a survivor goes on alone, under a new group's name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::codec::{self, LogIdRow, VoteRow};
use super::fence;
use super::group::Group;
use super::storage::Tail;
use super::types::{Entry, LeaderId, LogId, Member, Membership, NodeId, Payload, Vote};
use crate::error::{Code, Doing, Result, refuse};
use crate::store::{Journal, JournalFact};
use crate::sys::awslc::random;

impl Group {
    /// Makes a stopped member, whose log is in `dir`, the only one of a new group. Its log is kept whole, the entries too that no quorum is known
    /// to have; what the lost members alone had committed is lost. The others of the old group are never heard again: they carry the old group's
    /// name, and whoever of them reaches this member is told that their group has ended ([`super::fence`]). They come back as new members, under new numbers, with their data removed.
    ///
    /// Errors: `DeviceError`: the member is running. `ArgumentsBad`: the log is empty or another member's.
    pub fn force_new(dir: &Path, node: NodeId, member: Member) -> Result<()> {
        codec::check_member(node, &member)?;
        let mut journal = own_journal(dir, node)?;
        let tail = Tail::load(&journal)?;
        let Some(last) = tail.last() else {
            let told = format!("the log in {} is empty: there is nothing to go on from", dir.display());
            return Err(refuse(Code::ArgumentsBad, told));
        };
        let term = tail.vote().map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term) + 1;
        let leader = LeaderId { term, node_id: node };
        let alone = Membership::new(vec![BTreeSet::from([node])], BTreeMap::from([(node, member)]));
        let alone = alone.doing(Code::DeviceError, "a group of one member")?;
        let id = LogId { leader_id: leader, index: last.index + 1 };
        let entry = Entry { log_id: id, payload: Payload::Membership(alone) };
        let (mut group, forebears) = ([0; 16], fence::forebears_after(&journal)?);
        random::fill(&mut group)?;
        journal.write(|write| {
            write.put(id.index, &codec::encode_entry(&entry))?;
            write.set(JournalFact::Vote, &codec::encode(&VoteRow::from(Vote { leader_id: leader, committed: false })))?;
            // Nobody is left who could contradict.
            write.set(JournalFact::Committed, &codec::encode(&LogIdRow::from(id)))?;
            write.set(JournalFact::Forebears, &forebears)?;
            write.set(JournalFact::Group, &group)
        })
    }
}

/// The log of a member that is stopped. Errors: as for [`Group::force_new`].
pub fn own_journal(dir: &Path, node: NodeId) -> Result<Journal> {
    let journal = Journal::open(dir)?;
    if journal.fact(JournalFact::Node)?.as_deref() == Some(&node.to_be_bytes()) {
        return Ok(journal);
    }
    let told =
        format!("{} does not hold the log of member {node}; name the directory and number that belong together", dir.display());
    Err(refuse(Code::ArgumentsBad, told))
}
