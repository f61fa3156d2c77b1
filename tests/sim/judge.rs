//! What must hold at each step, judged by what all members show together.

use std::collections::{BTreeMap, BTreeSet};

use hsmpool::log::RequestId;
use hsmpool::log::raft::NodeId;
use hsmpool::log::raft::ground::Seen;

use crate::scheduler::Owner;
use crate::world::World;

/// What an entry of the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// The term and the number of the leader that it is of.
    leader: (u64, NodeId),
    request: Option<RequestId>,
    changed: bool,
}

/// Remembers everything that was ever true of the group.
#[derive(Default)]
pub struct Judge {
    /// Who has led, in which term.
    leaders: BTreeSet<(u64, NodeId)>,
    entries: BTreeMap<u64, Known>,
    facts: BTreeMap<u64, [u8; 32]>,
    applied: BTreeMap<([u8; 16], u64), u64>,
}

impl Judge {
    /// Entries that members have applied.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Whose the last entry before an index is.
    pub fn leader_before(&self, index: u64) -> Option<(u64, NodeId)> {
        self.entries.range(..index).next_back().map(|(_, entry)| entry.leader)
    }

    /// Takes in what a member has shown. Error: which promise it breaks.
    pub fn saw(&mut self, member: Owner, seen: Seen) -> Result<(), String> {
        let Seen::Applied { index, leader, request, changed, facts } = seen;
        let known = Known { leader, request, changed };
        match self.entries.get(&index) {
            Some(before) if *before != known => {
                return Err(format!(
                    "entry {index} was {before:?} and is {known:?} on member {member}: a committed entry changed"
                ));
            }
            Some(_) => {}
            None => drop(self.entries.insert(index, known)),
        }
        // One leader at a time: within a term a node with a higher number may take over, but nobody comes back.
        let before = self.entries.range(..index).next_back().filter(|(_, before)| before.leader > leader);
        let after = self.entries.range(index + 1..).next().filter(|(_, after)| after.leader < leader);
        if let Some((other, known)) = before.or(after) {
            return Err(format!("entry {index} is of leader {leader:?}, and entry {other} of {:?}", known.leader));
        }
        if let (true, Some(request)) = (changed, request) {
            let first = *self.applied.entry((request.client, request.sequence)).or_insert(index);
            if first != index {
                return Err(format!("request {} was applied at {first} and again at {index}", request.sequence));
            }
        }
        match facts.map(|facts| (facts, *self.facts.entry(index).or_insert(facts))) {
            Some((facts, before)) if facts != before => {
                Err(format!("member {member} differs after entry {index}: its facts hash otherwise"))
            }
            _ => Ok(()),
        }
    }

    /// Looks who leads, and who uses keys though nobody answers it any more.
    pub fn look(&mut self, world: &World) {
        let nodes: Vec<NodeId> = world.net().nodes.keys().copied().collect();
        for node in nodes {
            let Some(running) = world.running(node) else { continue };
            let status = world.scheduler.by_clock_of(node, || running.group.status());
            if world.is_over(node) && status.standing.uses_keys() {
                world.fail(format!("node {node} uses keys for longer than it may, cut off: {:?}", status.standing));
            }
            if status.leader != Some(node) {
                continue;
            }
            if self.leaders.insert((status.term, node)) {
                world.scheduler.note(format!("node {node} leads in term {}", status.term));
            }
        }
    }
}
