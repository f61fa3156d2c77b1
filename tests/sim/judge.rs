//! What must hold at each step, judged by what all members show together.

use std::collections::BTreeMap;

use hsmpool::log::RequestId;
use hsmpool::log::raft::NodeId;
use hsmpool::log::raft::ground::Seen;

use crate::scheduler::Owner;
use crate::world::World;

/// What an entry of the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    term: u64,
    request: Option<RequestId>,
    changed: bool,
}

/// Remembers everything that was ever true of the group.
#[derive(Default)]
pub struct Judge {
    leaders: BTreeMap<u64, NodeId>,
    entries: BTreeMap<u64, Known>,
    facts: BTreeMap<u64, [u8; 32]>,
    applied: BTreeMap<([u8; 16], u64), u64>,
}

impl Judge {
    /// Entries that members have applied.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Takes in what a member has shown. Error: which promise it breaks.
    pub fn saw(&mut self, member: Owner, seen: Seen) -> Result<(), String> {
        let Seen::Applied { index, term, request, changed, facts } = seen;
        let known = Known { term, request, changed };
        match self.entries.get(&index) {
            Some(before) if *before != known => {
                return Err(format!(
                    "entry {index} was {before:?} and is {known:?} on member {member}: a committed entry changed"
                ));
            }
            Some(_) => {}
            None => drop(self.entries.insert(index, known)),
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

    /// Looks at all that run. Error: which promise is broken.
    pub fn look(&mut self, world: &World) -> Result<(), String> {
        let nodes: Vec<NodeId> = world.net().nodes.keys().copied().collect();
        for node in nodes {
            let Some(running) = world.running(node) else { continue };
            let status = running.group.status();
            if status.leader != Some(node) {
                continue;
            }
            let known = self.leaders.entry(status.term).or_insert_with(|| {
                world.scheduler.note(format!("node {node} leads in term {}", status.term));
                node
            });
            if *known != node {
                return Err(format!("{known} and {node} both lead in term {}", status.term));
            }
        }
        Ok(())
    }
}
