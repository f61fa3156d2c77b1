//! Nodes, their disks, and the network between them: what can go wrong with them, and nothing that goes wrong by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hsmpool::error::{Code, Error, Result, refuse};
use hsmpool::limits::{ISOLATED_USE_DEFAULT_SECONDS, SERVING_LEASE_MILLISECONDS};
use hsmpool::log::Log;
use hsmpool::log::raft::ground::{block_on, current, timeout_at};
use hsmpool::log::raft::{Group, GroupSettings, Member, NodeId, Peers};
use hsmpool::node::peers::PEER_KIND;
use hsmpool::node::{Server, Standing};
use hsmpool::object::policy::Policy;
use hsmpool::partition::{Partition, Settings};
use hsmpool::store::Store;
use hsmpool::sys::vfs::memory::Disk;
use hsmpool::wire::Purpose;
use tokio::sync::oneshot;

use crate::frames::carried;
use crate::outside::{Outside, RootKeyFile};
use crate::scheduler::{Owner, Scheduler, WORLD};

/// Entries after which a node's log is cut, and how many are kept: few, so that it happens and copies of stores are sent.
const CUT_AFTER: (u64, u64) = (24, 8);
/// Wrong PINs in a row that lock a user.
pub const PIN_ATTEMPTS_MAX: u32 = 4;
/// Seconds for which partitions use keys without contact to a quorum, by seed: not at all, for less than a cut lasts, for longer than a run.
const ISOLATED_USES: [u64; 3] = [0, 3, ISOLATED_USE_DEFAULT_SECONDS];
/// What clocks may add to the time after which a node that is cut off must use no key.
const CLOCKS: Duration = Duration::from_millis(50);

/// A node that runs.
pub struct Running {
    pub group: Arc<Group>,
    pub store: Arc<Store>,
    /// The partition, as the wire's other end sees it.
    pub server: Server,
}

/// A node.
pub struct Node {
    pub zone: String,
    pub disk: Disk,
    pub running: Option<Arc<Running>>,
    /// It is being started.
    pub starts: bool,
}

/// What a network does to messages.
pub struct Net {
    /// One-way.
    pub cuts: BTreeSet<(Owner, Owner)>,
    /// Of a thousand messages.
    pub lost: u64,
    /// Of a thousand messages, so many come twice.
    pub doubled: u64,
    /// Of a thousand messages, so many take up to this many milliseconds.
    pub late: (u64, u64),
    pub nodes: BTreeMap<NodeId, Node>,
    /// How far the machines' wall clocks were set forward.
    pub set_forward: BTreeMap<Owner, Duration>,
    /// Nodes that no answer of another node has reached, and since when.
    alone: BTreeMap<NodeId, Duration>,
    /// The first promise that was found broken.
    pub broken: Option<String>,
}

/// Everything that is simulated in one run.
pub struct World {
    pub scheduler: Arc<Scheduler>,
    /// How long partitions use keys without contact to a quorum.
    pub isolated_use: Duration,
    root_key: RootKeyFile,
    net: Mutex<Net>,
}

/// What a node is to do with a message; where none runs it is given nobody, and what it gives is what the machine says to that.
type Work<R> = Arc<dyn Fn(Option<&Running>) -> Option<R> + Send + Sync>;
/// Takes the first answer that arrives.
type Done<R> = Arc<Mutex<Option<Box<dyn FnOnce(R) + Send>>>>;

impl World {
    pub fn new(scheduler: Arc<Scheduler>) -> Arc<Self> {
        let (cuts, nodes) = (BTreeSet::new(), BTreeMap::new());
        let net = Net {
            cuts,
            lost: 0,
            doubled: 0,
            late: (0, 0),
            nodes,
            set_forward: BTreeMap::new(),
            alone: BTreeMap::new(),
            broken: None,
        };
        let isolated_use = Duration::from_secs(ISOLATED_USES[scheduler.roll(ISOLATED_USES.len() as u64) as usize]);
        Arc::new(Self { scheduler, isolated_use, root_key: RootKeyFile::new(), net: Mutex::new(net) })
    }

    pub fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A promise is broken.
    pub fn fail(&self, told: String) {
        self.scheduler.note(format!("BROKEN: {told}"));
        self.net().broken.get_or_insert(told);
    }

    pub fn running(&self, node: NodeId) -> Option<Arc<Running>> {
        self.net().nodes.get(&node).and_then(|node| node.running.clone())
    }

    /// Cuts a node off from the other nodes, both ways. Whoever else reaches it sees what it does by itself.
    pub fn cut_from_nodes(&self, node: NodeId) {
        let mut net = self.net();
        let others: Vec<NodeId> = net.nodes.keys().copied().filter(|other| *other != node).collect();
        net.cuts.extend(others.iter().flat_map(|other| [(node, *other), (*other, node)]));
    }

    /// Looks who is cut off from all other nodes. Called whenever links were cut or mended.
    pub fn look_who_is_alone(&self) {
        let (now, mut net) = (self.scheduler.now(), self.net());
        let Net { cuts, nodes, alone, .. } = &mut *net;
        // A contact is a question and its answer.
        let talk = |one: NodeId, other: NodeId| !cuts.contains(&(one, other)) && !cuts.contains(&(other, one));
        let is_alone = |node: NodeId| nodes.len() > 1 && !nodes.keys().any(|other| *other != node && talk(node, *other));
        alone.retain(|node, _| is_alone(*node));
        for node in nodes.keys().filter(|node| is_alone(**node)) {
            alone.entry(*node).or_insert(now);
        }
    }

    /// Whether a node has been cut off for longer than keys may be used then.
    pub fn is_over(&self, node: NodeId) -> bool {
        let longest = Duration::from_millis(SERVING_LEASE_MILLISECONDS) + self.isolated_use + CLOCKS;
        self.net().alone.get(&node).is_some_and(|since| self.scheduler.now() > *since + longest)
    }

    /// A new node with an empty disk.
    pub fn add(self: &Arc<Self>, id: NodeId, zone: &str) {
        let node = Node { zone: zone.into(), disk: Disk::mount(self.scheduler.roll(u64::MAX)), running: None, starts: false };
        // Real clocks differ by some hundred millionths.
        let rate = self.scheduler.roll(401) as i64 - 200;
        self.scheduler.ground(id, rate);
        self.net().nodes.insert(id, node);
        self.start(id);
    }

    /// Starts a node on its disk, whatever is there.
    pub fn start(self: &Arc<Self>, id: NodeId) {
        if let Some(node) = self.net().nodes.get_mut(&id) {
            node.starts = true;
        }
        let world = self.clone();
        self.scheduler.thread(id, move || match world.open(id) {
            Ok(running) => {
                if let Some(node) = world.net().nodes.get_mut(&id) {
                    node.running = Some(Arc::new(running));
                    node.starts = false;
                }
                world.scheduler.note(format!("node {id} runs"));
            }
            Err(error) => world.did_not_start(id, &error),
        });
    }

    /// A node whose disk fails while it starts ends, and is started again later. With a sound disk it must start.
    fn did_not_start(&self, id: NodeId, error: &Error) {
        let excused = match self.net().nodes.get_mut(&id) {
            Some(node) => {
                node.starts = false;
                node.disk.has_failed()
            }
            None => false,
        };
        // The error names the disk's mount, which is another one in each run: no note may.
        if excused {
            self.scheduler.note(format!("node {id} does not start: its disk fails"));
        } else {
            self.fail(format!("node {id} does not start: {error}"));
        }
    }

    fn open(self: &Arc<Self>, id: NodeId) -> Result<Running> {
        let (dir, zone) = match self.net().nodes.get(&id) {
            Some(node) => (node.disk.path(), node.zone.clone()),
            None => return Err(refuse(Code::DeviceError, "there is no such node")),
        };
        let mut settings = GroupSettings::new(id, member(&zone), dir.clone());
        settings.cut_after = CUT_AFTER;
        settings.isolated_use = self.isolated_use;
        let outside = Arc::new(Outside::new(self, id));
        let (store, root_key) = (Arc::new(Store::open(&dir)?), self.root_key.load(&*outside)?);
        store.authenticate(root_key.stamper()?)?;
        let wire = Wire { world: self.clone(), from: id };
        let group = Group::open(settings, store.clone(), Arc::new(wire))?;
        let log: Arc<dyn Log> = group.clone();
        let own = Settings { pin_attempts_max: PIN_ATTEMPTS_MAX, policy: Policy::Default, root_key, tickets: true };
        let partition = Partition::new(store.clone(), log.clone(), outside.clone(), own)?;
        let (standing, of_leader) = (Standing { node: id, zone }, group.clone());
        let server = Server::new(partition, log, outside, standing, Box::new(move || of_leader.status().leader));
        Ok(Running { group, store, server })
    }

    /// A node is gone, at once. Its disk is left as it is: see [`Disk::crash`].
    pub fn stop(self: &Arc<Self>, id: NodeId) {
        let running = self.net().nodes.get_mut(&id).and_then(|node| {
            node.starts = false;
            node.running.take()
        });
        self.scheduler.kill(id);
        drop(running);
    }

    /// Lets a node do something, over the network: it may not be asked, may be asked twice, and its answer may not come.
    pub fn call<R: Send + 'static>(
        self: &Arc<Self>,
        from: Owner,
        to: NodeId,
        patience: Duration,
        work: impl Fn(&Running) -> R + Send + Sync + 'static,
    ) -> Option<R> {
        self.ask(from, to, patience, move |running| running.map(&work))
    }

    /// The same; `work` is given nobody where no node runs, and says what the machine answers to that.
    pub fn ask<R: Send + 'static>(
        self: &Arc<Self>,
        from: Owner,
        to: NodeId,
        patience: Duration,
        work: impl Fn(Option<&Running>) -> Option<R> + Send + Sync + 'static,
    ) -> Option<R> {
        let ground = current().expect("calls are made within the simulation");
        let deadline = ground.now() + patience;
        let (done, answer) = oneshot::channel();
        // Who asked may have gone.
        self.send(from, to, work, move |answer| drop(done.send(answer)));
        // Silence is not heard: only time tells.
        let answered = async move {
            match answer.await {
                Ok(answer) => answer,
                Err(_lost) => pending().await,
            }
        };
        block_on(None, timeout_at(deadline, answered))
    }

    /// Sends a request; the first answer that arrives is handed to `done`, in the network's own name.
    pub fn send<R: Send + 'static>(
        self: &Arc<Self>,
        from: Owner,
        to: NodeId,
        work: impl Fn(Option<&Running>) -> Option<R> + Send + Sync + 'static,
        done: impl FnOnce(R) + Send + 'static,
    ) {
        let (done, work): (Done<R>, Work<R>) = (Arc::new(Mutex::new(Some(Box::new(done)))), Arc::new(work));
        let copies = if self.scheduler.roll(1000) < self.net().doubled { 2 } else { 1 };
        for _ in 0..copies {
            self.carry(from, to, work.clone(), done.clone());
        }
    }

    fn carry<R: Send + 'static>(self: &Arc<Self>, from: Owner, to: NodeId, work: Work<R>, done: Done<R>) {
        let Some(there) = self.way() else { return };
        let world = self.clone();
        let arrives = async move {
            world.scheduler.wait(there).await;
            if world.net().cuts.contains(&(from, to)) {
                return;
            }
            let Some(running) = world.running(to) else {
                return world.answer(from, to, work(None), done);
            };
            let back = world.clone();
            world.scheduler.thread(to, move || {
                let answer = work(Some(&running));
                drop(running);
                back.answer(from, to, answer, done);
            });
        };
        self.scheduler.task(WORLD, Box::pin(arrives));
    }

    fn answer<R: Send + 'static>(self: &Arc<Self>, from: Owner, to: NodeId, answer: Option<R>, done: Done<R>) {
        let (Some(answer), Some(back)) = (answer, self.way()) else { return };
        let world = self.clone();
        let arrives = async move {
            world.scheduler.wait(back).await;
            if world.net().cuts.contains(&(to, from)) {
                return;
            }
            let done = done.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(done) = done {
                done(answer);
            }
        };
        self.scheduler.task(WORLD, Box::pin(arrives));
    }

    /// How long a message is under way; `None`: it is lost.
    fn way(&self) -> Option<Duration> {
        let (lost, late) = {
            let net = self.net();
            (net.lost, net.late)
        };
        if self.scheduler.roll(1000) < lost {
            return None;
        }
        let mut micros = 100 + self.scheduler.roll(900);
        if self.scheduler.roll(1000) < late.0 {
            micros += 1000 * self.scheduler.roll(late.1 + 1);
        }
        Some(Duration::from_micros(micros))
    }

    /// Everything ends.
    pub fn end(self: &Arc<Self>) {
        self.scheduler.end();
        let nodes = std::mem::take(&mut self.net().nodes);
        drop(nodes);
    }
}

pub fn member(zone: &str) -> Member {
    Member { zone: zone.into(), region: "r".into(), address: format!("simulated:{zone}") }
}

/// The way from one node to the others.
struct Wire {
    world: Arc<World>,
    from: NodeId,
}

impl Peers for Wire {
    fn call(&self, to: NodeId, _: &Member, request: Vec<u8>, deadline: Duration) -> Result<Vec<u8>> {
        let (world, from) = (self.world.clone(), self.from);
        let answer = self.world.call(from, to, deadline, move |running| {
            let carried = |payload: &[u8]| carried(&world.scheduler, PEER_KIND, Purpose::Peer, payload);
            let answered = carried(&request).and_then(|request| {
                let answer = running.group.answer_node(from, request.expose());
                answer.map_err(|error| error.to_string()).and_then(|answer| carried(&answer))
            });
            answered.map(|answer| answer.expose().to_vec())
        });
        answer.unwrap_or_else(|| Err(format!("member {to} is silent"))).map_err(|told| refuse(Code::DeviceError, told))
    }
}
