//! One member of one group: what room `node` holds. All functions block; openraft runs on threads of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use openraft::async_runtime::WatchReceiver;
use openraft::{Config, RaftMetrics, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;

use super::answer::Arriving;
use super::applying::Applying;
use super::codec;
use super::copies::Copies;
use super::disk::Disk;
use super::fence::Fence;
use super::gather::Gather;
use super::ground;
use super::lease::Lease;
use super::line::Wanted;
use super::machine::{Draft, Machine};
use super::message::{Answer, Ask, Manage};
use super::network::{GroupId, Network, Wires};
use super::progress::Progress;
use super::settle::Changing;
use super::spread::Spread;
use super::storage::{LogStore, Tail};
use super::types::{Member, NodeId, Raft, Types};
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::limits::{
    APPEND_MAX_ENTRIES, CALL_DEADLINE_SECONDS, ELECTION_MAX_MILLISECONDS, ELECTION_MIN_MILLISECONDS, HEARTBEAT_MILLISECONDS,
    ISOLATED_USE_DEFAULT_SECONDS, LOG_KEPT_ENTRIES, PEER_ANSWER_MAX_MILLISECONDS, PROPOSALS_UNDER_WAY_MAX_BYTES,
    SNAPSHOT_EVERY_ENTRIES, SNAPSHOT_INSTALL_MAX_MILLISECONDS,
};
use crate::store::{Journal, JournalFact, Store};
use crate::sys::awslc::random;

/// Threads of the loop that must not block. One: with more, each that wakes up first wakes another, which finds nothing to do.
const LOOP_THREADS: usize = 1;
/// How long a member waits before it asks again who leads.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// How long a member that leaves tries to hand over.
const HAND_OVER_MAX: Duration = Duration::from_millis(1500);

/// Carries requests to other members. Made by room `node`; called from threads made for that, many at once.
pub trait Peers: Send + Sync + 'static {
    /// Delivers the request to [`Group::answer`] of member `to` and returns what that returned. Errors: no answer before the deadline; whether
    /// the request arrived is not known then.
    fn call(&self, to: NodeId, member: &Member, request: Vec<u8>, deadline: Duration) -> Result<Vec<u8>>;

    /// The same for as long as `is_worth_it`, if the carrier can ask that while it waits.
    fn call_while(
        &self,
        to: NodeId,
        member: &Member,
        request: Vec<u8>,
        (deadline, is_worth_it): (Duration, &dyn Fn() -> bool),
    ) -> Result<Vec<u8>> {
        let _ = is_worth_it;
        self.call(to, member, request, deadline)
    }

    /// Where the loop may send requests itself, and have the kernel tell it of the answers: the ways to do so. In an application's process it may
    /// not: the application may close descriptors which it does not know, and the loop cannot live without its own.
    fn ways(&self) -> Option<&dyn Ways> {
        None
    }
}

/// Ways for requests that the loop sends itself.
pub trait Ways {
    /// One that is at hand; it may have died unnoticed. Waits for nothing.
    fn at_hand(&self, to: NodeId, member: &Member) -> Option<Box<dyn Way>>;
    /// A new one. It may take a while, like a call.
    fn open(&self, to: NodeId, member: &Member, patience: Duration) -> Result<Box<dyn Way>>;
}

/// A way to one member that carries one request after the other and never waits. After an error it is of no more use.
pub trait Way: Send {
    /// The socket that becomes ready where something would have waited.
    fn socket(&self) -> BorrowedFd<'_>;
    /// Begins a request, when the last one is answered.
    fn begin(&mut self, request: &[u8]) -> Result<()>;
    /// Sends as much of the request as can be; whether that was all.
    fn send(&mut self) -> Result<bool>;
    /// What [`Group::answer`] of the member returned, once it is here; a refusal is an answer too.
    fn receive(&mut self) -> Result<Option<Result<Vec<u8>>>>;
}

/// How a member takes part.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// Its name for ever: a member whose log was lost comes back under another.
    pub node: NodeId,
    /// Where it stands.
    pub member: Member,
    /// Where its log is kept: `log.db`.
    pub dir: PathBuf,
    /// How often the leader is heard of.
    pub heartbeat: Duration,
    /// Shortest and longest silence after which it stands for election.
    pub election: (Duration, Duration),
    /// Entries after which the log is cut, and how many are kept then for members that lag.
    pub cut_after: (u64, u64),
    /// How long a call may wait for the group.
    pub call_deadline: Duration,
    /// How long keys are used without contact to a living quorum, after the serving lease; zero: not at all.
    pub isolated_use: Duration,
}

impl GroupSettings {
    /// With the times and bounds of [`crate::limits`].
    pub fn new(node: NodeId, member: Member, dir: PathBuf) -> Self {
        let milliseconds = Duration::from_millis;
        Self {
            node,
            member,
            dir,
            heartbeat: milliseconds(HEARTBEAT_MILLISECONDS),
            election: (milliseconds(ELECTION_MIN_MILLISECONDS), milliseconds(ELECTION_MAX_MILLISECONDS)),
            cut_after: (SNAPSHOT_EVERY_ENTRIES, LOG_KEPT_ENTRIES),
            call_deadline: Duration::from_secs(CALL_DEADLINE_SECONDS),
            isolated_use: Duration::from_secs(ISOLATED_USE_DEFAULT_SECONDS),
        }
    }

    fn config(&self) -> Result<Config> {
        let count = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (min, max) = (count(self.election.0), count(self.election.1));
        let config = Config {
            cluster_name: "hsmpool".into(),
            heartbeat_interval: count(self.heartbeat),
            election_timeout_min: min,
            election_timeout_max: max,
            install_snapshot_timeout: SNAPSHOT_INSTALL_MAX_MILLISECONDS,
            max_payload_entries: APPEND_MAX_ENTRIES,
            // A member is sent a copy only when the entries that it lacks are no longer there.
            replication_lag_threshold: u64::MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.cut_after.0),
            max_in_snapshot_log_to_keep: self.cut_after.1,
            // A leader that has lost its quorum falls silent, so that others are free to choose.
            quorum_loss_probe_interval: Some(max.saturating_mul(2)),
            enable_pre_vote: Some(true),
            // A leader that was away must be chosen again: what it knows may be old.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate().doing(Code::Configuration, "the group's times do not fit together")
    }
}

/// Why one attempt failed.
pub enum Retry {
    /// Another attempt may succeed.
    Again(Error),
    /// None can.
    Never(Error),
}

impl From<Error> for Retry {
    fn from(error: Error) -> Self {
        Self::Never(error)
    }
}

/// The result of one attempt.
pub type Tried<T> = std::result::Result<T, Retry>;

/// A member that takes part.
pub struct Group {
    wires: Arc<Wires>,
    applying: Arc<Applying>,
    progress: Arc<Progress>,
    log: LogStore,
    raft: Raft,
    /// The way of proposals into the log.
    gather: Gather,
    /// None in a simulation, which has no threads of its own.
    handle: Option<Handle>,
    /// What ends with the member, in this order.
    engine: Mutex<Option<(Runtime, Vec<JoinHandle<()>>)>>,
    /// Held by whoever takes the group's name.
    joining: tokio::sync::Mutex<()>,
    /// Whether the threads have ended; held shared by whoever needs their clock.
    ended: RwLock<bool>,
    member: Member,
    call_deadline: Duration,
    /// Entries that are kept when the log is cut.
    pub(super) kept: u64,
    /// A copy of another member's store, as far as it has come.
    pub(super) arriving: Mutex<Option<Arriving>>,
    heard: Mutex<Option<Instant>>,
    /// When each member last asked this one, as its leader, for its lease.
    pub(super) asked: Mutex<BTreeMap<NodeId, Instant>>,
    lease: Arc<Lease>,
    /// The thread that renews it.
    pub(super) renewal: Mutex<Option<JoinHandle<()>>>,
    /// Revocations that wait for other members.
    pub(super) spread: Arc<Spread>,
    /// Changes of the membership that calls are at.
    pub(super) changing: Changing,
    /// What of its disk stands still.
    pub(super) stalled: Mutex<Option<&'static str>>,
    /// Room for the bytes of proposals under way.
    pub(super) room: Arc<Semaphore>,
}

impl Group {
    /// Starts a member: its log is `log.db` in the settings' directory, its state is `store`, whose owner has authenticated it. From now on only
    /// the group's log writes the store.
    ///
    /// A new member waits until [`Group::begin`], or until a leader calls. Errors: `StoreRefused`: the log is damaged or another member's;
    /// `Configuration`: the settings; `DeviceError`: log or store cannot be used.
    pub fn open(settings: GroupSettings, store: Arc<Store>, peers: Arc<dyn Peers>) -> Result<Arc<Self>> {
        let config = Arc::new(settings.config()?);
        codec::check_member(settings.node, &settings.member)?;
        let mut journal = Journal::open(&settings.dir)?;
        let group = claim(&mut journal, settings.node)?;
        // The journal is this process's alone, and so is what stands beside it.
        Draft::remove_all(&settings.dir);
        store.replicate()?;
        let progress = Arc::new(Progress::default());
        let applying = Arc::new(Applying::new(store, progress.clone())?);
        let copies = Arc::<Copies>::default();
        let machine = Machine::new(applying.clone(), copies.clone())?;
        let applier = machine.thread();
        let (tail, fence) = (Tail::load(&journal)?, Arc::new(Fence::load(&journal, group)?));
        let lease = Arc::new(Lease::new(settings.isolated_use, &journal, fence.clone())?);
        let runtime = if ground::current().is_some() { None } else { Some(start_threads(peers.ways().is_some())?) };
        let handle = runtime.as_ref().map(|runtime| runtime.handle().clone());
        let (disk, writer) = Disk::start(journal)?;
        let log = LogStore::new(tail, disk);
        let wires = Arc::new(Wires {
            node: settings.node,
            group: RwLock::new(group),
            peers,
            dir: settings.dir,
            numbers: AtomicU64::new(0),
            copies,
            wanted: Wanted::default(),
            fence,
            pulses: Default::default(),
        });
        let network = Network { wires: wires.clone() };
        let raft = ground::block_on(handle.as_ref(), Raft::new(settings.node, config, network, log.clone(), machine));
        let raft = raft.doing(Code::DeviceError, "cannot start the group's member from its log and store")?;
        let (gather, gathering) = Gather::new(raft.clone());
        ground::block_on(handle.as_ref(), async { ground::spawn(gathering) });
        let group = Arc::new(Self {
            wires,
            applying,
            progress,
            log,
            raft,
            gather,
            handle,
            engine: Mutex::new(runtime.map(|runtime| (runtime, writer.into_iter().chain(applier).collect()))),
            joining: tokio::sync::Mutex::new(()),
            ended: RwLock::new(false),
            member: settings.member,
            call_deadline: settings.call_deadline,
            kept: settings.cut_after.1,
            arriving: Mutex::default(),
            heard: Mutex::default(),
            asked: Mutex::default(),
            lease,
            renewal: Mutex::default(),
            spread: Arc::default(),
            changing: Changing::default(),
            stalled: Mutex::default(),
            room: Arc::new(Semaphore::new(PROPOSALS_UNDER_WAY_MAX_BYTES)),
        });
        group.renew_lease()?;
        Ok(group)
    }

    /// Makes this member the first of a new group, alone in it. What its store holds becomes the group's.
    ///
    /// Errors: `ArgumentsBad`: it is of a group already.
    pub fn begin(&self) -> Result<()> {
        if *self.wires.group.read() != [0; 16] {
            return Err(refuse(Code::ArgumentsBad, "this member is of a group already; a new group begins with a new log"));
        }
        let mut group = [0; 16];
        random::fill(&mut group)?;
        self.join(group)?;
        let me = std::iter::once((self.wires.node, self.member.clone())).collect::<BTreeMap<_, _>>();
        let begun = self.block_on(self.raft.initialize(me));
        begun.doing(Code::DeviceError, "cannot begin a group")?;
        let deadline = self.deadline();
        self.by_leader(
            deadline,
            "beginning a group",
            |_| Ok(()),
            |to, _, _| Err(Retry::Never(refuse(Code::DeviceError, format!("member {to} leads already")))),
        )?;
        if self.progress.mark().changes > 0 { self.cut(deadline) } else { Ok(()) }
    }

    /// Cuts the log, so that members that join get a copy of the store, with what it held before there was a log.
    fn cut(&self, deadline: Instant) -> Result<()> {
        let fatal = |fatal| super::status::poisoned(&fatal);
        if !self.applying.wait(deadline, |mark| mark.before > 1) {
            return Err(refuse(Code::DeviceError, "the first entries of the new group were not applied in time"));
        }
        self.block_on(self.raft.trigger().snapshot()).map_err(fatal)?;
        while self.metrics().snapshot.is_none() {
            if ground::now() > deadline {
                return Err(refuse(Code::DeviceError, "the store was not made durable in time"));
            }
            ground::sleep(ASK_AGAIN);
        }
        let upto = self.metrics().snapshot.map_or(0, |id| id.index);
        self.block_on(self.raft.trigger().purge_log(upto)).map_err(fatal)
    }

    /// Adds a member that follows without a vote. It may be running already, or start later. Errors: `ArgumentsBad`: the number is another member's.
    pub fn add_learner(&self, node: NodeId, member: Member) -> Result<()> {
        self.manage(&Manage::AddLearner { node, member })
    }

    /// Says which members vote; those that no longer do follow on without a vote. Errors: `ArgumentsBad`: one of them is no member, or one zone
    /// would hold a quorum although others have voters too, unless that is forced.
    pub fn change_voters(&self, voters: BTreeSet<NodeId>, force: bool) -> Result<()> {
        self.manage(&Manage::ChangeVoters { voters, force })
    }

    /// Removes a member. Errors: `ArgumentsBad`: a zone would then hold a quorum of the voters.
    pub fn remove(&self, node: NodeId) -> Result<()> {
        self.manage(&Manage::Remove { node })
    }

    /// Lets another voter lead. Errors: `ArgumentsBad`: it is none.
    pub fn transfer_leader(&self, to: NodeId) -> Result<()> {
        self.manage(&Manage::TransferLeader { node: to })
    }

    /// Leaves: hands over if it leads and another voter can, then stops. A second call does nothing. Everybody who waits for this member gets an
    /// error.
    pub fn shutdown(&self) {
        let Some((runtime, threads)) = self.engine.lock().take() else { return };
        self.lease.end();
        self.hand_over();
        // Whether or not its tasks ended in order, they are gone afterwards.
        let _ = runtime.block_on(self.raft.shutdown());
        // Those who wait have their errors now, and leave.
        *self.ended.write() = true;
        // What still asks another member has its answer, or none, by then.
        let longest = Duration::from_millis(PEER_ANSWER_MAX_MILLISECONDS) + HAND_OVER_MAX;
        runtime.shutdown_timeout(longest);
        self.log.close();
        let renewal = self.renewal.lock().take().filter(|thread| thread.thread().id() != std::thread::current().id());
        for thread in threads.into_iter().chain(renewal) {
            // A panic of that thread has been reported by itself.
            let _ = thread.join();
        }
        // If it cannot be written, it is applied again at the next start.
        let _ = self.applying.put_down();
    }

    /// A store that could not be written when nobody waited for it ends the member as soon as one that could not when an entry came.
    pub(super) fn end_if_failed(&self) {
        if self.applying.failed().is_some() && self.look(|metrics| metrics.running_state.is_ok()) {
            // Whether or not its tasks ended in order, it takes part no more.
            let _ = self.block_on(self.raft.shutdown());
        }
    }

    /// Lets another voter lead, if this member leads: whoever has most of the log. Waits a moment for it.
    fn hand_over(&self) {
        let metrics = self.metrics();
        let node = self.wires.node;
        if metrics.current_leader != Some(node) || metrics.running_state.is_err() {
            return;
        }
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let held = metrics.replication.iter().flatten();
        let heir = held.filter(|(other, _)| **other != node && voters.contains(other)).max_by_key(|(_, id)| **id);
        if let Some((heir, _)) = heir {
            self.hand_over_to(*heir);
        }
    }

    /// The same, to one that is chosen.
    pub(super) fn hand_over_to(&self, heir: NodeId) {
        if self.block_on(self.raft.trigger().transfer_leader(heir)).is_ok() {
            let deadline = ground::now() + HAND_OVER_MAX;
            while self.metrics().current_leader == Some(self.wires.node) && ground::now() < deadline {
                ground::sleep(ASK_AGAIN);
            }
        }
    }

    /// Takes the group's name, durably.
    pub(super) fn join(&self, group: GroupId) -> Result<()> {
        let _alone = self.block_on(self.joining.lock());
        self.block_on(self.log.set(JournalFact::Group, group.to_vec())).doing(Code::DeviceError, "cannot join a group")?;
        *self.wires.group.write() = group;
        Ok(())
    }

    /// Finds the leader and lets it do something, through elections, until the deadline.
    pub(super) fn by_leader<T>(
        &self,
        deadline: Instant,
        doing: &str,
        here: impl Fn(Instant) -> Tried<T>,
        there: impl Fn(NodeId, &Member, Duration) -> Tried<T>,
    ) -> Result<T> {
        loop {
            self.wires.fence.check()?;
            let (leader, record) = self.look(|metrics| {
                if let Err(fatal) = &metrics.running_state {
                    return Err(super::status::poisoned(fatal));
                }
                let leader = metrics.current_leader;
                let other = leader.filter(|leader| *leader != self.wires.node);
                let record = other.and_then(|leader| metrics.membership_config.membership().get_node(&leader).cloned());
                Ok((leader, record))
            })?;
            let tried = match (leader, &record) {
                (Some(leader), _) if leader == self.wires.node => here(deadline),
                (Some(leader), Some(member)) => there(leader, member, deadline.saturating_duration_since(ground::now())),
                _ => Err(Retry::Again(refuse(Code::DeviceError, "no leader is known"))),
            };
            match tried {
                Ok(done) => return Ok(done),
                Err(Retry::Never(error)) => return Err(error),
                Err(Retry::Again(error)) if ground::now() >= deadline => {
                    let told = "no quorum of the group answered in time; whether it was done is not known";
                    return Err(refuse(Code::DeviceError, format!("{doing}: {told}")).because(error));
                }
                Err(Retry::Again(_)) => ground::sleep(ASK_AGAIN),
            }
        }
    }

    /// Asks the leader, for as long as it leads: one that is silent does not answer, but has a successor before long.
    pub(super) fn ask_leader(&self, leader: NodeId, member: &Member, ask: Ask, deadline: Duration) -> Tried<Answer> {
        let leads = || self.look(|metrics| metrics.current_leader == Some(leader));
        self.wires.ask_while(leader, member, ask, (deadline, &leads)).map_err(Retry::Again)
    }

    /// How long a call may wait for the group.
    pub(super) fn call_deadline(&self) -> Duration {
        self.call_deadline
    }

    /// When a call that begins now must end.
    pub(super) fn deadline(&self) -> Instant {
        ground::now() + self.call_deadline
    }

    /// Runs something on the loop until the deadline.
    pub(super) fn within<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Tried<T> {
        let ended = self.ended.read();
        if *ended {
            return Err(Retry::Never(refuse(Code::DeviceError, "this member of the group has been shut down")));
        }
        let done = self.block_on(ground::timeout_at(deadline, work));
        done.ok_or_else(|| Retry::Again(refuse(Code::DeviceError, "no quorum of the group answered in time")))
    }

    /// Runs something on the loop. Never called from it.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        ground::block_on(self.handle.as_ref(), work)
    }

    pub(super) fn metrics(&self) -> RaftMetrics<Types> {
        self.look(Clone::clone)
    }

    /// Looks at the metrics without copying them: shortly, as openraft waits meanwhile.
    pub(super) fn look<T>(&self, at: impl FnOnce(&RaftMetrics<Types>) -> T) -> T {
        at(&self.raft.metrics().borrow_watched())
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(super) fn gather(&self) -> &Gather {
        &self.gather
    }

    pub(super) fn wires(&self) -> &Arc<Wires> {
        &self.wires
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn store(&self) -> &Store {
        self.applying.store()
    }

    pub(super) fn applying(&self) -> &Arc<Applying> {
        &self.applying
    }

    pub(super) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    pub(super) fn log(&self) -> &LogStore {
        &self.log
    }

    /// Lets every sync of its log fail from now on.
    #[cfg(test)]
    pub(super) fn break_disk(&self) {
        self.block_on(self.log.break_disk());
    }

    /// When a leader was last heard of.
    pub(super) fn heard(&self) -> Option<Instant> {
        *self.heard.lock()
    }

    /// A leader was heard of.
    pub(super) fn hear(&self) {
        *self.heard.lock() = Some(ground::now());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// `watches`: whether the loop has sockets.
fn start_threads(watches: bool) -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(LOOP_THREADS).thread_name("raft").enable_time();
    if watches {
        builder.enable_io();
    }
    builder.build().doing(Code::HostMemory, "cannot start the group's threads")
}

/// Makes the journal this member's, if it is nobody's, and reads its group.
fn claim(journal: &mut Journal, node: NodeId) -> Result<GroupId> {
    match journal.fact(JournalFact::Node)? {
        None => journal.write(|write| write.set(JournalFact::Node, &node.to_be_bytes()))?,
        Some(owner) if owner == node.to_be_bytes() => {}
        Some(owner) => {
            let owner = owner.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let told = format!("the log is member {owner}'s and cannot be used by member {node}; name another directory");
            return Err(refuse(Code::StoreRefused, told));
        }
    }
    let group = journal.fact(JournalFact::Group)?;
    group.map_or(Ok([0; 16]), |bytes| {
        let group = <GroupId>::try_from(bytes.as_slice());
        group
            .doing(Code::StoreRefused, "the log's group has a name of a wrong length; remove this member and add it as a new one")
    })
}
