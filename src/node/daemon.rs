//! A running node: its partition, its place in the group, its listeners, and the thread that watches over them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::certificate::{check_certificate, check_renewed, revoked};
use super::heard::{Heard, View};
use super::operate::{NodeStatus, OPERATE_KIND, Operate, Operated, members};
use super::operations::Operations;
use super::peers::{ANSWERED, PEER_KIND, PeerWires, REFUSED};
use super::server::{Caller, Server, Standing};
use super::webhooks::Webhooks;
use crate::error::{Code, Result, Sink, refuse};
use crate::limits::DRAIN_SECONDS;
use crate::log::Log;
use crate::log::raft::{Group, GroupSettings, GroupStatus, Member};
use crate::partition::{Partition, Settings};
use crate::secret::Secret;
use crate::store::Store;
use crate::sys::claim::Claim;
use crate::token::message::{Duty, FRAME_KIND, Refusal, decode, encode};
use crate::wire::{Address, Conversation, Hello, Identity, Listener, Name, Peer, Purpose, Service};
use crate::world::World;

/// What a node is made of.
pub struct NodeSettings {
    /// The pool's id.
    pub pool: [u8; 16],
    /// The node's number.
    pub node: u64,
    /// Where it stands; the address is what other nodes are told.
    pub member: Member,
    /// Where its databases are.
    pub directory: PathBuf,
    /// Where clients connect.
    pub clients: Vec<Address>,
    /// Where other nodes connect.
    pub peers: Address,
    /// Health and metrics in plain HTTP.
    pub operations: Option<String>,
    /// Where events are posted to.
    pub webhooks: Vec<String>,
    /// Authorities of those with `https:`.
    pub webhook_ca: PathBuf,
    /// How long keys are used without contact to a living quorum.
    pub isolated_use: Duration,
    /// Users of this machine, and the names of the clients that they are.
    pub unix_users: BTreeMap<u32, String>,
    /// The user who may operate the node through its Unix socket, besides root: its own.
    pub own_user: u32,
    /// Reads the certificate files, at the start and whenever they may have changed.
    pub identity: Box<dyn Fn() -> Result<Identity> + Send + Sync>,
    /// Whether it runs in an application's process.
    pub is_peer: bool,
    /// The partition's.
    pub partition: Settings,
}

/// A running node.
pub struct Node {
    inner: Arc<Inner>,
    listeners: Mutex<Vec<Listener>>,
    operations: Mutex<Option<Operations>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
    webhooks: Webhooks,
    stops: Arc<AtomicBool>,
    /// Dropped last, when the databases are closed.
    _claim: Claim,
}

/// What requests reach.
struct Inner {
    server: Arc<Server>,
    group: Arc<Group>,
    peers: Arc<PeerWires>,
    settings: NodeSettings,
    world: Arc<dyn World>,
    /// What it goes by, and shows as soon as listeners have it from `renewed`.
    identity: Mutex<Identity>,
    renewed: Mutex<Option<Identity>>,
    connections: std::sync::atomic::AtomicUsize,
}

/// How often the node looks at its group, besides each change of leader or members.
const WATCH_EVERY: Duration = Duration::from_millis(200);
const READ_AGAIN: &str = "the certificate was read again, and is shown from now on";
/// How often what idle applications left is put aside.
const TIDY_EVERY: Duration = Duration::from_secs(10);

impl Node {
    /// Opens the databases, joins the group that the log names (or waits for one), and listens. `claim` is that of its directory.
    ///
    /// Errors: `Configuration`: addresses, certificates (also another one's, or one that is not good now), no root key; `StoreRefused`; `DeviceError`.
    pub fn start(mut settings: NodeSettings, claim: Claim, store: Arc<Store>, world: Arc<dyn World>) -> Result<Self> {
        let identity = (settings.identity)()?;
        check_certificate(&identity, settings.node, world.now())?;
        let ends = identity.expires();
        let hello = |purpose| Hello::new(settings.pool, purpose, settings.node);
        let peers = Arc::new(PeerWires::new(identity.clone(), hello(Purpose::Peer), !settings.is_peer));
        let mut group_settings = GroupSettings::new(settings.node, settings.member.clone(), settings.directory.clone());
        group_settings.isolated_use = settings.isolated_use;
        let group = Group::open(group_settings, store.clone(), peers.clone())?;
        let log: Arc<dyn Log> = group.clone();
        let own = std::mem::replace(&mut settings.partition, Settings::none());
        let partition = Partition::new(store, log.clone(), world.clone(), own)?;
        let standing = Standing { node: settings.node, zone: settings.member.zone.clone() };
        let of_leader = group.clone();
        let server = Arc::new(Server::new(partition, log, world.clone(), standing, Box::new(move || of_leader.status().leader)));
        server.metrics().set_isolated_use(settings.isolated_use);
        server.metrics().set_certificate_ends(ends);
        let webhooks = Webhooks::start(&settings.webhooks, &settings.webhook_ca, &server)?;
        let operations = settings.operations.as_deref().map(|at| Operations::listen(at, server.clone())).transpose()?;
        let inner = Arc::new(Inner {
            server: server.clone(),
            group,
            peers,
            settings,
            world,
            identity: Mutex::new(identity.clone()),
            renewed: Mutex::default(),
            connections: 0.into(),
        });
        let mut listeners = Vec::new();
        let addresses = inner.settings.clients.iter().chain([&inner.settings.peers]);
        for address in addresses {
            // Whoever may connect to a Unix socket is told by the kernel who it is, and refused by name.
            let identity = matches!(address, Address::Tcp(_)).then(|| identity.clone());
            let hello = Hello::new(inner.settings.pool, Purpose::Peer, inner.settings.node);
            listeners.push(Listener::bind(address, identity, hello, 0o666, Arc::new(Door(inner.clone())))?);
        }
        server.tell("start", format!("node {} of zone {} was started", inner.settings.node, inner.settings.member.zone));
        Ok(Self {
            inner,
            listeners: Mutex::new(listeners),
            operations: Mutex::new(operations),
            watcher: Mutex::default(),
            webhooks,
            stops: Arc::default(),
            _claim: claim,
        })
    }

    /// The answer to a request of this process's own application, if nothing has to be waited for: no other member, no log. `None`: it is to be
    /// sent as any client's, to this node or another one.
    pub fn at_once(&self, caller: &Caller, request: &[u8]) -> Option<Secret> {
        self.inner.server.at_once(caller, request)
    }

    /// Watches the group until the node is stopped: events, idle applications, certificates. `beat` is called with each look.
    pub fn watch(&self, log: Sink, beat: impl Fn() + Send + 'static) -> Result<()> {
        let (inner, stops) = (self.inner.clone(), self.stops.clone());
        let work = move || {
            let (mut seen, mut changes, mut tidied) = (Seen::default(), inner.group.changes(), Instant::now());
            while !stops.load(Ordering::Acquire) {
                seen.look(&inner, &log);
                if tidied.elapsed() >= TIDY_EVERY {
                    inner.server.tidy();
                    tidied = Instant::now();
                }
                beat();
                changes.wait(WATCH_EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("watch".into()).spawn(work);
        *self.watcher.lock() = Some(thread.map_err(|cause| refuse(Code::HostMemory, "cannot start a thread").because(cause))?);
        Ok(())
    }

    /// Reads the certificate files again; new connections show them, and open ones with certificates that are revoked end. Errors: `Configuration`, and
    /// the old ones stay.
    pub fn read_certificates(&self) -> Result<()> {
        self.inner.read_certificates()?;
        self.take_renewed();
        Ok(())
    }

    /// Gives listeners what an operator has asked to be read again.
    pub fn take_renewed(&self) {
        let mut connections = 0;
        let renewed = self.inner.renewed.lock().take();
        for listener in self.listeners.lock().iter() {
            if let (Some(identity), Address::Tcp(_)) = (&renewed, listener.address()) {
                listener.set_identity(identity.clone());
            }
            connections += listener.connections();
        }
        self.inner.connections.store(connections, Ordering::Relaxed);
    }

    /// Why the node's log or store failed, if it did and was not stopped on purpose, so that it must be started anew.
    pub fn poisoned(&self) -> Option<String> {
        self.inner.poisoned()
    }

    /// Where it listens, clients first.
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners.lock().iter().map(|listener| listener.address().clone()).collect()
    }

    /// Sends clients elsewhere, hands leadership over, lets answers go out, and ends.
    pub fn stop(&self) {
        self.inner.server.drain();
        self.inner.server.tell("drain", format!("node {} is being stopped", self.inner.settings.node));
        self.inner.group.shutdown();
        for listener in self.listeners.lock().iter_mut() {
            listener.stop(Duration::from_secs(DRAIN_SECONDS));
        }
        self.stops.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher.lock().take() {
            // What it panicked of was printed.
            let _ = watcher.join();
        }
        self.inner.server.events().end();
        drop(self.operations.lock().take());
        self.webhooks.stop();
    }
}

impl Inner {
    /// A log that was stopped says so as one that failed does. The log is asked first: whoever stops it drains the node before.
    fn poisoned(&self) -> Option<String> {
        self.group.status().poisoned.filter(|_| self.server.health().serves)
    }

    fn read_certificates(&self) -> Result<()> {
        let used = self.identity.lock().clone();
        let (node, now) = (self.settings.node, self.world.now());
        let read = (self.settings.identity)()
            .and_then(|identity| check_renewed(&used, &identity, node, now).and_then(|()| identity.take_over(&used)));
        let identity =
            read.inspect_err(|error| self.server.tell("certificate", format!("the old certificate stays: {error}")))?;
        self.server.metrics().set_certificate_ends(identity.expires());
        let told = match (revoked(&identity, node), identity.revocations()) {
            (Some(told), _) => told,
            (None, Some(number)) => format!("{READ_AGAIN}; list {number} of revoked certificates counts"),
            (None, None) => READ_AGAIN.to_string(),
        };
        self.server.tell("certificate", told);
        self.peers.set_identity(identity.clone());
        *self.renewed.lock() = Some(identity.clone());
        *self.identity.lock() = identity;
        Ok(())
    }

    fn operate(&self, request: &[u8]) -> Result<Operated> {
        match decode::<Operate>(request)? {
            Operate::Status => return Ok(Operated::Status(Box::new(self.status()))),
            Operate::Begin => self.group.begin()?,
            Operate::AddLearner { node, member } => self.group.add_learner(node, member)?,
            Operate::ChangeVoters { voters, force } => self.group.change_voters(voters, force)?,
            Operate::Remove { node } => self.group.remove(node)?,
            Operate::TransferLeader { to } => self.group.transfer_leader(to)?,
            Operate::ReadCertificates => self.read_certificates()?,
        }
        Ok(Operated::Done)
    }

    fn status(&self) -> NodeStatus {
        let status = self.group.status();
        let (applications, _) = self.server.load();
        let (certificate_ends, revocations) = {
            let used = self.identity.lock();
            (used.expires(), used.revocations())
        };
        NodeStatus {
            health: self.server.health(),
            term: status.term,
            members: members(&status),
            applied: status.applied_before,
            committed: status.committed_before,
            contact_age: status.contact_age.map(|age| age.as_millis() as u64),
            applications: applications as u64,
            connections: self.connections.load(Ordering::Relaxed) as u64,
            poisoned: status.poisoned.clone(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            certificate_ends,
            revocations,
            group: status.group,
            unreached: Some(status.unreached),
            expelled: status.expelled,
            availability: Some(self.server.metrics().availability()),
            peer: Some(self.settings.is_peer),
            turnover: status.turnover,
        }
    }

    /// Who sends requests, as a client of the pool. Errors: `DeviceError` for one who may not.
    fn caller(&self, peer: &Peer) -> Result<Caller> {
        let caller = |name: String, tokens, operates| Caller { name: Arc::from(name), tokens, operates };
        match peer {
            Peer::Certificate(Name::Client { name, tokens }) => Ok(caller(name.clone(), tokens.clone(), false)),
            Peer::Certificate(Name::Operator(name)) => Ok(caller(format!("operator {name}"), None, true)),
            Peer::Unix(user) => match self.settings.unix_users.get(user) {
                Some(name) => Ok(caller(name.clone(), None, self.may_operate(peer))),
                None => Err(refuse(
                    Code::DeviceError,
                    format!("user {user} may not use this node: add it to unix_users of the node's configuration"),
                )),
            },
            Peer::Certificate(Name::Node(node)) => {
                Err(refuse(Code::DeviceError, format!("node {node} is no client: use a client's certificate")))
            }
        }
    }

    fn may_operate(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Certificate(Name::Operator(_)) => true,
            Peer::Unix(user) => *user == 0 || *user == self.settings.own_user,
            Peer::Certificate(_) => false,
        }
    }
}

/// Where connections come in.
struct Door(Arc<Inner>);

/// Requests of a module.
struct OfClient(Arc<Inner>, Caller);
/// Requests of another member.
struct OfPeer(Arc<Inner>, u64);
/// Requests of an operator.
struct OfOperator(Arc<Inner>);

impl Service for Door {
    fn knows(&self, user: u32) -> Result<()> {
        let peer = Peer::Unix(user);
        if self.0.may_operate(&peer) { Ok(()) } else { self.0.caller(&peer).map(drop) }
    }

    fn admit(&self, peer: &Peer, purpose: Purpose) -> Result<Box<dyn Conversation>> {
        let inner = self.0.clone();
        match (purpose, peer) {
            (Purpose::Client, _) => Ok(Box::new(OfClient(inner, self.0.caller(peer)?))),
            (Purpose::Peer, Peer::Certificate(Name::Node(node))) => Ok(Box::new(OfPeer(inner, *node))),
            (Purpose::Operator, _) if self.0.may_operate(peer) => Ok(Box::new(OfOperator(inner))),
            (Purpose::Peer, _) => Err(refuse(Code::DeviceError, format!("{peer} is no node of the pool"))),
            (Purpose::Operator, _) => Err(refuse(Code::DeviceError, format!("{peer} is no operator of the pool"))),
        }
    }
}

impl Conversation for OfClient {
    fn answer(&self, kind: u8, payload: &Secret) -> Option<Secret> {
        (kind == FRAME_KIND).then(|| self.0.server.answer(&self.1, payload.expose()))
    }
}

impl Conversation for OfPeer {
    fn answer(&self, kind: u8, payload: &Secret) -> Option<Secret> {
        if kind != PEER_KIND {
            return None;
        }
        let mut answer = Secret::default();
        match self.0.group.answer_node(self.1, payload.expose()) {
            Ok(bytes) => {
                answer.extend(&[ANSWERED]);
                answer.extend(&bytes);
            }
            Err(error) => {
                answer.extend(&[REFUSED]);
                answer.extend(error.to_string().as_bytes());
            }
        }
        Some(answer)
    }
}

impl Conversation for OfOperator {
    fn answer(&self, kind: u8, payload: &Secret) -> Option<Secret> {
        if kind != OPERATE_KIND {
            return None;
        }
        let answer = self.0.operate(payload.expose()).unwrap_or_else(|error| Operated::Refused(Refusal::from(&error)));
        Some(encode(&answer))
    }
}

/// What was seen of the group, to tell what has changed.
#[derive(Default)]
struct Seen {
    /// The term, and who leads in it.
    leader: (u64, Option<u64>),
    duty: Option<Duty>,
    unreached: BTreeMap<u64, String>,
    voters: Vec<u64>,
    learners: Vec<u64>,
    poisoned: bool,
    stalled: Option<&'static str>,
    heard: Heard,
}

impl Seen {
    fn look(&mut self, inner: &Inner, log: &Sink) {
        let status = inner.group.status();
        let tell = |kind, told: String| {
            log(crate::error::Level::Info, &told);
            inner.server.tell(kind, told);
        };
        // A term without a leader yet is told only of one who was known.
        if status.leader != self.leader.1 || (status.leader.is_some() && status.term != self.leader.0) {
            tell(
                "leader",
                match status.leader {
                    Some(leader) => format!("node {leader} leads in term {}", status.term),
                    None => format!("nobody leads in term {}", status.term),
                },
            );
            self.leader = (status.term, status.leader);
        }
        self.duty(inner.server.health().duty, &status, tell);
        self.unreached(inner, &status, tell);
        self.heard(inner, &status, tell);
        let (voters, learners): (Vec<u64>, Vec<u64>) =
            (status.voters.keys().copied().collect(), status.learners.keys().copied().collect());
        if (&voters, &learners) != (&self.voters, &self.learners) {
            tell("member", format!("voters {voters:?}, followers without a vote {learners:?}"));
            (self.voters, self.learners) = (voters, learners);
        }
        if status.stalled != self.stalled {
            let told = match status.stalled {
                Some(what) => format!("the disk of node {} stands still: {what}; others are to lead", inner.settings.node),
                None => "the disk is written again".to_string(),
            };
            tell("disk", told);
            self.stalled = status.stalled;
        }
        if let Some(why) = inner.poisoned().filter(|_| !self.poisoned) {
            self.poisoned = true;
            tell("poisoned", why);
        }
    }

    /// Tells when what the node may do has become another thing.
    fn duty(&mut self, now: Option<Duty>, status: &GroupStatus, tell: impl Fn(&'static str, String)) {
        // The time that is left is no news.
        let kind = |duty: &Duty| std::mem::discriminant(duty);
        if now.as_ref().map(kind) == self.duty.as_ref().map(kind) {
            return;
        }
        self.duty = now;
        let told = match now {
            None => return,
            Some(Duty::Ordinary) => "a living quorum is heard of".to_string(),
            Some(Duty::Behind) => "the node lacks changes of its group, and catches up".to_string(),
            Some(Duty::Isolated(left)) => {
                format!("isolated: no living quorum is heard of; keys are used for {left} s still, changes are not taken")
            }
            Some(Duty::Stopped) => "no living quorum is heard of, for longer than isolated_use: keys are not used".to_string(),
            Some(Duty::Expelled) => {
                format!("the group goes on without this node: {}", status.expelled.as_deref().unwrap_or_default())
            }
        };
        tell("contact", told);
    }

    /// Tells, at the one who leads, which members have fallen silent or lag: one that is gone cannot.
    fn heard(&mut self, inner: &Inner, status: &GroupStatus, tell: impl Fn(&'static str, String)) {
        let view = View::of(status);
        let news = self.heard.look(inner.world.elapsed(), view.as_ref());
        news.into_iter().for_each(|(kind, told)| tell(kind, told));
        inner.server.metrics().set_members(self.heard.levels(view.as_ref()));
    }

    /// Tells the one who revokes which members had not applied it, and when they have.
    fn unreached(&mut self, inner: &Inner, status: &GroupStatus, tell: impl Fn(&'static str, String)) {
        let name = |node: &u64| {
            let member = status.voters.get(node).or_else(|| status.learners.get(node));
            member.map_or_else(|| format!("node {node}"), |member| format!("node {node} of zone {}", member.zone))
        };
        let now: BTreeMap<u64, String> = status.unreached.iter().map(|node| (*node, name(node))).collect();
        for (node, name) in &now {
            if !self.unreached.contains_key(node) {
                let told = "had not applied a revocation when it was acknowledged here; cut off, it may use the key for as long as its isolated_use";
                tell("revocation", format!("{name} {told}"));
            }
        }
        for (node, name) in &self.unreached {
            if !now.contains_key(node) {
                tell("revocation", format!("{name} has applied all revocations, or is no member any more"));
            }
        }
        inner.server.metrics().set_unreached(now.len());
        self.unreached = now;
    }
}
