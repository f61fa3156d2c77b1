//! What a group promises, with members in one process and a network that can be cut.

mod durability;
mod hostile;
mod isolation;
mod killed;
mod membership;
mod open;
mod replication;
mod speed;
mod suite;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Group, GroupSettings, Member, NodeId, Peers};
use crate::error::{Code, Result, refuse};
use crate::limits::{CALL_DEADLINE_SECONDS, ISOLATED_USE_DEFAULT_SECONDS};
use crate::log::{Log, Proposal, RequestId};
use crate::store::tests::fixtures::{Directory, TOKEN, create, init, row};
use crate::store::{Change, Outcome, Store};

/// Between members: every link can be cut.
#[derive(Default)]
pub struct Net {
    groups: Mutex<HashMap<NodeId, Weak<Group>>>,
    cut: Mutex<HashSet<(NodeId, NodeId)>>,
    pub calls: AtomicU64,
}

impl Net {
    /// Cuts a member off from everybody, or joins it again.
    pub fn isolate(&self, node: NodeId, isolated: bool) {
        for other in 1..20 {
            self.cut(node, other, isolated);
        }
    }

    pub fn cut(&self, one: NodeId, other: NodeId, is_cut: bool) {
        let mut cut = self.cut.lock();
        for link in [(one, other), (other, one)] {
            if is_cut {
                cut.insert(link)
            } else {
                cut.remove(&link)
            };
        }
    }
}

struct Wire {
    net: Arc<Net>,
    from: NodeId,
}

impl Peers for Wire {
    fn call(&self, to: NodeId, _: &Member, request: Vec<u8>, deadline: Duration) -> Result<Vec<u8>> {
        self.net.calls.fetch_add(1, Ordering::Relaxed);
        let silent = || {
            std::thread::sleep(deadline.min(Duration::from_millis(30)));
            refuse(Code::DeviceError, format!("member {to} is silent"))
        };
        let is_cut = || self.net.cut.lock().contains(&(self.from, to));
        let group = self.net.groups.lock().get(&to).and_then(Weak::upgrade);
        let group = group.filter(|_| !is_cut()).ok_or_else(silent)?;
        let answer = group.answer(&request);
        if is_cut() { Err(silent()) } else { answer }
    }
}

/// Members that have run, each with its own directory.
pub struct Cluster {
    pub net: Arc<Net>,
    base: Directory,
    zones: BTreeMap<NodeId, String>,
    running: BTreeMap<NodeId, Arc<Group>>,
    cut_after: (u64, u64),
    pub call_deadline: Duration,
    pub isolated_use: Duration,
    sequence: AtomicU64,
}

pub fn member(zone: &str) -> Member {
    Member { zone: zone.into(), region: "r".into(), address: format!("in-process:{zone}") }
}

impl Cluster {
    /// Members 1, 2, … in these zones; the first is the group, the others join it and vote.
    pub fn new(zones: &[&str]) -> Self {
        Self::cutting(zones, (8192, 8192))
    }

    pub fn cutting(zones: &[&str], cut_after: (u64, u64)) -> Self {
        Self::found(Directory::new(), zones, cut_after)
    }

    pub fn found(base: Directory, zones: &[&str], cut_after: (u64, u64)) -> Self {
        let mut cluster = Self::stopped(base, cut_after);
        cluster.form(zones);
        cluster
    }

    /// The first member is the group, the others join it.
    pub fn form(&mut self, zones: &[&str]) {
        for (node, zone) in (1..).zip(zones) {
            self.add(node, zone);
        }
        self.get(1).begin().unwrap();
        for (node, zone) in (1..).zip(zones).skip(1) {
            self.get(1).add_learner(node, member(zone)).unwrap();
        }
        let voters: BTreeSet<NodeId> = (1..).zip(zones).map(|(node, _)| node).collect();
        if voters.len() > 1 {
            self.get(1).change_voters(voters, true).unwrap();
        }
        assert_eq!(self.propose(1, init(TOKEN, 1, None)), Outcome::Done);
    }

    /// Nobody, yet; members keep their files under `base`.
    pub fn stopped(base: Directory, cut_after: (u64, u64)) -> Self {
        let (zones, running) = (BTreeMap::new(), BTreeMap::new());
        let call_deadline = Duration::from_secs(CALL_DEADLINE_SECONDS);
        let isolated_use = Duration::from_secs(ISOLATED_USE_DEFAULT_SECONDS);
        let sequence = AtomicU64::new(0);
        Self { net: Arc::default(), base, zones, running, cut_after, call_deadline, isolated_use, sequence }
    }

    /// Starts a new member, which belongs to no group yet; or one that `base` has the files of.
    pub fn add(&mut self, node: NodeId, zone: &str) {
        self.zones.insert(node, zone.into());
        std::fs::create_dir_all(self.directory(node)).unwrap();
        self.start(node);
    }

    pub fn directory(&self, node: NodeId) -> PathBuf {
        self.base.path().join(format!("member-{node}"))
    }

    pub fn start(&mut self, node: NodeId) {
        let directory = self.directory(node);
        let mut settings = GroupSettings::new(node, member(&self.zones[&node]), directory.clone());
        settings.cut_after = self.cut_after;
        settings.call_deadline = self.call_deadline;
        settings.isolated_use = self.isolated_use;
        let store = Arc::new(Store::open(&directory).unwrap());
        let wire = Wire { net: self.net.clone(), from: node };
        let group = Group::open(settings, store, Arc::new(wire)).unwrap();
        self.net.groups.lock().insert(node, Arc::downgrade(&group));
        self.running.insert(node, group);
    }

    /// Stops a member without letting anybody know.
    pub fn kill(&mut self, node: NodeId) {
        self.net.isolate(node, true);
        let group = self.running.remove(&node).unwrap();
        self.net.groups.lock().remove(&node);
        group.shutdown();
        // Calls that others have under way end first: the files are free when the last one has.
        let deadline = Instant::now() + Duration::from_secs(5);
        while Arc::strong_count(&group) > 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(group);
        self.net.isolate(node, false);
    }

    pub fn get(&self, node: NodeId) -> &Arc<Group> {
        &self.running[&node]
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.running.keys().copied().collect()
    }

    pub fn request(&self) -> RequestId {
        RequestId { client: [7; 16], sequence: self.sequence.fetch_add(1, Ordering::Relaxed) }
    }

    pub fn try_propose(&self, node: NodeId, change: Change) -> Result<Outcome> {
        self.get(node).propose(Proposal { request: self.request(), change })
    }

    pub fn propose(&self, node: NodeId, change: Change) -> Outcome {
        self.try_propose(node, change).unwrap()
    }

    pub fn create(&self, node: NodeId, number: u64) -> Outcome {
        self.propose(node, create(vec![row(number)]))
    }

    /// How many objects reads of a member's store see, once they see all that it has applied.
    pub fn count(&self, node: NodeId) -> u64 {
        self.get(node).show().unwrap();
        self.get(node).store().count(TOKEN).unwrap()
    }

    /// The leader that these members agree on.
    pub fn leader(&self, among: &[NodeId]) -> NodeId {
        eventually("a leader", || {
            let leaders: BTreeSet<_> = among.iter().map(|node| self.get(*node).status().leader).collect();
            let leader = leaders.first().copied().flatten();
            leader.filter(|leader| leaders.len() == 1 && among.contains(leader))
        })
    }

    /// Waits until all that run hold the same, and checks every row of it.
    pub fn assert_same(&self) {
        let hash = |group: &Arc<Group>| {
            group.show().unwrap();
            group.store().set_hash().unwrap()
        };
        let hashes = || -> BTreeSet<_> { self.running.values().map(hash).collect() };
        eventually("equal stores", || (hashes().len() == 1).then_some(()));
        for group in self.running.values() {
            group.show().unwrap();
            group.store().check().unwrap();
            assert_eq!(group.mark(), group.store().set_hash().unwrap().0);
        }
    }
}

/// Waits for something that comes by itself.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
