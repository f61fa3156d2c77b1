//! The world outside of a simulated process, and an application's way to the nodes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use hsmpool::error::{Code, Error, Result, refuse};
use hsmpool::log::Log;
use hsmpool::log::raft::NodeId;
use hsmpool::log::raft::ground::{Ground, block_on, now, sleep, timeout_at};
use hsmpool::node::Caller;
use hsmpool::partition::{RootKey, RootKeySource, load_root_key};
use hsmpool::pool::{Failure, Finish, Heard, Link, Race, Track, run};
use hsmpool::secret::Secret;
use hsmpool::token::message::FRAME_KIND;
use hsmpool::wire::Purpose;
use hsmpool::world;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::frames::carried;
use crate::scheduler::{NodeGround, Owner, Scheduler};
use crate::world::{Running, World};

/// When simulated machines were started: 2026.
const STARTED: Duration = Duration::from_secs(1_767_225_600);

/// Clocks and random numbers of one simulated machine.
pub struct Outside {
    // The world's nodes hold this.
    world: Weak<World>,
    scheduler: Arc<Scheduler>,
    ground: Arc<NodeGround>,
    owner: Owner,
}

impl Outside {
    pub fn new(world: &Arc<World>, owner: Owner) -> Self {
        let scheduler = world.scheduler.clone();
        Self { world: Arc::downgrade(world), ground: scheduler.ground(owner, 0), scheduler, owner }
    }
}

impl world::World for Outside {
    fn now(&self) -> Duration {
        let forward = self.world.upgrade().and_then(|world| world.net().set_forward.get(&self.owner).copied());
        STARTED + self.elapsed() + forward.unwrap_or_default()
    }

    fn elapsed(&self) -> Duration {
        self.ground.since_boot()
    }

    fn sleep(&self, time: Duration) {
        sleep(time);
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<()> {
        out.fill_with(|| self.scheduler.roll(256) as u8);
        Ok(())
    }
}

/// The pool's root key, in a file as every node has it.
pub struct RootKeyFile(PathBuf);

impl RootKeyFile {
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("hsmpool-sim-{}-{number}.key", std::process::id())))
    }

    /// Reads it, or makes it.
    pub fn load(&self, world: &dyn world::World) -> Result<RootKey> {
        load_root_key(&RootKeySource::File(self.0.clone()), !self.0.exists(), world)
    }
}

impl Drop for RootKeyFile {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How the node that answered last stood to its group meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Within its serving lease, or catching up, all the time.
    Kept,
    /// Cut off, at least for a while.
    Lost,
    /// Cut off for longer than keys may be used then.
    Over,
}

/// What is sent back, and how the node stood.
type Sent = (std::result::Result<Secret, Error>, Contact);

/// An application's way to the nodes of the pool.
#[derive(Clone)]
pub struct Way {
    pub world: Arc<World>,
    pub from: Owner,
    /// By their numbers in the application's view.
    pub nodes: Vec<NodeId>,
    pub caller: Caller,
    pub line: Arc<Line>,
}

/// What an application's thread and its way share.
pub struct Line {
    /// How the last node stood that answered.
    contact: Mutex<Contact>,
    /// Each request goes so many nodes further than the module thinks.
    turn: AtomicUsize,
}

impl Line {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { contact: Mutex::new(Contact::Lost), turn: AtomicUsize::new(0) })
    }

    /// Whether the node that answered last was in contact with its group.
    pub fn in_contact(&self) -> bool {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) == Contact::Kept
    }

    /// Whether the node that answered last had been cut off for longer than keys may be used then.
    pub fn is_over(&self) -> bool {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) == Contact::Over
    }

    /// Lets the module reach another node first.
    pub fn turn(&self, turn: usize) {
        self.turn.store(turn, Ordering::Relaxed);
    }
}

impl Way {
    /// What a node of this number makes of a request. Where none runs, each other machine says so, and the others are silent.
    fn answer(&self, node: NodeId, request: &[u8]) -> impl Fn(Option<&Running>) -> Option<Sent> + Send + Sync + 'static {
        let (request, caller, world) = (Secret::copy_of(request), self.caller.clone(), self.world.clone());
        move |running| {
            let Some(running) = running else {
                let refused = || (Err(refuse(Code::DeviceError, "nobody listens there")), Contact::Lost);
                return (world.scheduler.roll(2) == 0).then(refused);
            };
            let in_contact = || running.group.standing().in_contact();
            let (before, is_over) = (in_contact(), world.is_over(node));
            let carried = |payload: &Secret| carried(&world.scheduler, FRAME_KIND, Purpose::Client, payload.expose());
            let answer = carried(&request).and_then(|request| carried(&running.server.answer(&caller, request.expose())));
            if let Err(told) = &answer {
                // The programs are sound, so what they send is.
                world.fail(format!("the wire does not take a message: {told}"));
            }
            let contact = match before && in_contact() {
                _ if is_over => Contact::Over,
                true => Contact::Kept,
                false => Contact::Lost,
            };
            Some((answer.map_err(|told| refuse(Code::DeviceError, told)), contact))
        }
    }

    fn node(&self, node: usize) -> NodeId {
        self.nodes[(node + self.line.turn.load(Ordering::Relaxed)) % self.nodes.len()]
    }

    fn heard(&self, contact: Contact) {
        *self.line.contact.lock().unwrap_or_else(PoisonError::into_inner) = contact;
    }
}

impl Link for Way {
    fn call(&self, node: usize, request: &[u8], patience: Duration) -> std::result::Result<Secret, Failure> {
        if std::thread::panicking() {
            // This application has ended, and what it drops tells nobody any more.
            return Err(Failure(refuse(Code::DeviceError, "the application has ended")));
        }
        let node = self.node(node);
        let answer = self.world.ask(self.from, node, patience, self.answer(node, request));
        let (answer, contact) = answer.ok_or_else(|| Failure(refuse(Code::DeviceError, "the node is silent")))?;
        self.heard(contact);
        answer.map_err(Failure)
    }

    fn race(&self, race: &Race<'_>, request: &[u8]) -> Finish {
        let (back, answers) = unbounded_channel();
        run(race, &mut Lanes { way: self, request, back, answers })
    }
}

/// The requests of one race.
struct Lanes<'a> {
    way: &'a Way,
    request: &'a [u8],
    back: UnboundedSender<(usize, Sent)>,
    answers: UnboundedReceiver<(usize, Sent)>,
}

impl Track for Lanes<'_> {
    fn now(&self) -> Instant {
        now()
    }

    fn start(&mut self, node: usize, _by: Instant) -> Result<()> {
        let back = self.back.clone();
        // The race may be over.
        let done = move |sent| drop(back.send((node, sent)));
        let to = self.way.node(node);
        self.way.world.send(self.way.from, to, self.way.answer(to, self.request), done);
        Ok(())
    }

    fn wait(&mut self, until: Instant) -> Option<(usize, Heard)> {
        let (node, (answer, contact)) = block_on(None, timeout_at(until, self.answers.recv()))??;
        self.way.heard(contact);
        Some((node, answer.map_or_else(Heard::Failed, Heard::Answer)))
    }
}
