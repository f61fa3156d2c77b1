//! One thing at a time, in an order that a seed decides, in a time of its own.
//!
//! Tasks (openraft's) are polled here; threads (whatever may block) are real ones, of which exactly one runs, until it waits: it hands over
//! then and is handed back when what it waits for has come. Time passes only when nobody has anything to do. What is ready is a set in a
//! fixed order, so that the order in which things became ready, which the libraries underneath do not promise, does not matter.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use hsmpool::log::raft::ground::{Ground, Seen, Task, stand_on};
use hsmpool::sys::vfs::memory::Dice;

/// Whose a task or thread is: a node's number, or a client's, or the world's.
pub type Owner = u64;
/// Nobody's: the network.
pub const WORLD: Owner = 0;

/// Lines of the trace that are kept.
const TRACE_LINES: usize = 600;
/// A thread that does not hand over within this real time waits for something outside of the simulation. A login costs a second of a processor, of
/// which a machine with much else to do may have little to give.
const STUCK: Duration = Duration::from_secs(400);

/// A light that is switched on by one and waited for by another.
#[derive(Default)]
struct Light(Mutex<bool>, Condvar);

impl Light {
    fn on(&self) {
        *lock(&self.0) = true;
        self.1.notify_one();
    }

    fn wait(&self, at_most: Option<Duration>) -> bool {
        let mut lit = lock(&self.0);
        while !*lit {
            lit = match at_most {
                None => self.1.wait(lit).unwrap_or_else(PoisonError::into_inner),
                Some(time) => {
                    let (lit, late) = self.1.wait_timeout(lit, time).unwrap_or_else(PoisonError::into_inner);
                    if late.timed_out() && !*lit {
                        return false;
                    }
                    lit
                }
            };
        }
        *lit = false;
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Job = Box<dyn FnOnce() + Send>;

/// A real thread, used for one simulated thread after the other.
#[derive(Default)]
struct Worker {
    go: Light,
    job: Mutex<Option<Job>>,
}

/// A simulated thread.
struct Thread {
    owner: Owner,
    worker: Arc<Worker>,
    killed: Mutex<bool>,
    waker: Waker,
}

/// What a killed thread unwinds with.
struct Killed;

thread_local! {
    static ME: RefCell<Option<Arc<Thread>>> = const { RefCell::new(None) };
}

struct Inside {
    now: Duration,
    dice: Dice,
    next: u64,
    ready: BTreeSet<u64>,
    timers: BTreeMap<(Duration, u64), Waker>,
    tasks: BTreeMap<u64, (Owner, Option<Task>)>,
    threads: BTreeMap<u64, Arc<Thread>>,
    finished: Option<u64>,
    panicked: Option<Box<dyn Any + Send>>,
    idle: Vec<Arc<Worker>>,
    grounds: BTreeMap<Owner, Arc<NodeGround>>,
    paused: BTreeMap<Owner, Duration>,
    held: BTreeSet<u64>,
    seen: VecDeque<(Owner, Seen)>,
    steps: u64,
    hash: u64,
    trace: VecDeque<String>,
    shows: bool,
}

/// The scheduler of one run.
pub struct Scheduler {
    inside: Mutex<Inside>,
    main: Light,
    base: Instant,
}

struct WakeOne {
    scheduler: std::sync::Weak<Scheduler>,
    id: u64,
}

impl Wake for WakeOne {
    fn wake(self: Arc<Self>) {
        if let Some(scheduler) = self.scheduler.upgrade() {
            lock(&scheduler.inside).ready.insert(self.id);
        }
    }
}

/// A wait for a moment.
struct Timer {
    scheduler: Arc<Scheduler>,
    at: Duration,
    key: Option<u64>,
}

impl Future for Timer {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let scheduler = self.scheduler.clone();
        let mut inside = lock(&scheduler.inside);
        if inside.now >= self.at {
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) => key,
            None => {
                inside.next += 1;
                inside.next
            }
        };
        inside.timers.insert((self.at, key), context.waker().clone());
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let gone = lock(&self.scheduler.inside).timers.remove(&(self.at, key));
            drop(gone);
        }
    }
}

/// What one owner stands on; its clock may run fast or slow.
pub struct NodeGround {
    scheduler: Arc<Scheduler>,
    owner: Owner,
    /// How much faster its clock runs, in millionths.
    rate: i64,
}

impl NodeGround {
    fn local(&self, time: Duration) -> Duration {
        let micros = time.as_micros() as i64;
        Duration::from_micros((micros + micros * self.rate / 1_000_000) as u64)
    }

    fn global(&self, time: Duration) -> Duration {
        let micros = time.as_micros() as i128;
        let rate = i128::from(self.rate);
        Duration::from_micros((micros * 1_000_000 / (1_000_000 + rate)) as u64 + 2)
    }
}

impl Ground for NodeGround {
    fn now(&self) -> Instant {
        self.scheduler.base + self.local(self.scheduler.now())
    }

    fn since_boot(&self) -> Duration {
        self.local(self.scheduler.now())
    }

    fn until(&self, moment: Instant) -> Task {
        let at = self.global(moment.saturating_duration_since(self.scheduler.base));
        Box::pin(Timer { scheduler: self.scheduler.clone(), at, key: None })
    }

    fn spawn(&self, task: Task) {
        self.scheduler.task(self.owner, task);
    }

    fn aside(&self, work: Job) {
        self.scheduler.thread(self.owner, work);
    }

    fn drive(&self, mut work: Pin<&mut (dyn Future<Output = ()> + '_)>) {
        let me = ME.with_borrow(Clone::clone).expect("only a thread of the simulation waits");
        let mut context = Context::from_waker(&me.waker);
        while work.as_mut().poll(&mut context).is_pending() {
            self.scheduler.main.on();
            me.worker.go.wait(None);
            if *lock(&me.killed) {
                resume_unwind(Box::new(Killed));
            }
        }
    }

    fn roll(&self) -> u64 {
        lock(&self.scheduler.inside).dice.next()
    }

    fn see(&self, seen: Seen) {
        lock(&self.scheduler.inside).seen.push_back((self.owner, seen));
    }
}

/// Errors name the file that they are about, and each disk that was ever mounted in this process has a number of its own: the same run has others when
/// it is played again.
fn without_mounts(text: &str) -> String {
    const MOUNTS: &str = "/hsmpool-memory/";
    let mut pieces = text.split(MOUNTS);
    let first = pieces.next().unwrap_or_default().to_string();
    pieces.fold(first, |text, piece| text + MOUNTS + "N" + piece.trim_start_matches(|sign: char| sign.is_ascii_digit()))
}

fn mix(hash: &mut u64, bytes: &[u8]) {
    for byte in bytes {
        *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

impl Scheduler {
    pub fn new(seed: u64, shows: bool) -> Arc<Self> {
        let inside = Inside {
            now: Duration::from_secs(1),
            dice: Dice::new(seed),
            next: 0,
            ready: BTreeSet::new(),
            timers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            threads: BTreeMap::new(),
            finished: None,
            panicked: None,
            idle: Vec::new(),
            grounds: BTreeMap::new(),
            paused: BTreeMap::new(),
            held: BTreeSet::new(),
            seen: VecDeque::new(),
            steps: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            trace: VecDeque::new(),
            shows,
        };
        Arc::new(Self { inside: Mutex::new(inside), main: Light::default(), base: Instant::now() })
    }

    pub fn now(&self) -> Duration {
        lock(&self.inside).now
    }

    pub fn roll(&self, sides: u64) -> u64 {
        lock(&self.inside).dice.roll(sides)
    }

    pub fn steps(&self) -> u64 {
        lock(&self.inside).steps
    }

    /// A number that differs as soon as two runs differ in what ran when.
    pub fn hash(&self) -> u64 {
        lock(&self.inside).hash
    }

    /// Notes what happened: part of the hash, and of what is shown when a run fails.
    pub fn note(&self, text: String) {
        let text = without_mounts(&text);
        let mut inside = lock(&self.inside);
        mix(&mut inside.hash, text.as_bytes());
        let line = format!("{:9.3} s  {text}", inside.now.as_secs_f64());
        if inside.shows {
            println!("{line}");
        }
        if inside.trace.len() == TRACE_LINES {
            inside.trace.pop_front();
        }
        inside.trace.push_back(line);
    }

    pub fn trace(&self) -> Vec<String> {
        lock(&self.inside).trace.iter().cloned().collect()
    }

    /// The ground of an owner; the first call decides how fast its clock runs.
    pub fn ground(self: &Arc<Self>, owner: Owner, rate: i64) -> Arc<NodeGround> {
        let made = || Arc::new(NodeGround { scheduler: self.clone(), owner, rate });
        lock(&self.inside).grounds.entry(owner).or_insert_with(made).clone()
    }

    /// Looks at something as this owner does: by its clock. `look` must not wait.
    pub fn by_clock_of<T>(self: &Arc<Self>, owner: Owner, look: impl FnOnce() -> T) -> T {
        let before = stand_on(Some(self.ground(owner, 0)));
        let seen = look();
        stand_on(before);
        seen
    }

    fn waker(self: &Arc<Self>, id: u64) -> Waker {
        Waker::from(Arc::new(WakeOne { scheduler: Arc::downgrade(self), id }))
    }

    /// Begins a task.
    pub fn task(&self, owner: Owner, task: Task) {
        let mut inside = lock(&self.inside);
        inside.next += 1;
        let id = inside.next;
        inside.tasks.insert(id, (owner, Some(task)));
        inside.ready.insert(id);
    }

    /// Begins a thread.
    pub fn thread(self: &Arc<Self>, owner: Owner, work: impl FnOnce() + Send + 'static) {
        let ground = self.ground(owner, 0);
        let mut inside = lock(&self.inside);
        inside.next += 1;
        let id = inside.next;
        let worker = inside.idle.pop().unwrap_or_else(start_worker);
        let thread = Arc::new(Thread { owner, worker: worker.clone(), killed: Mutex::new(false), waker: self.waker(id) });
        inside.threads.insert(id, thread.clone());
        inside.ready.insert(id);
        drop(inside);
        let scheduler = self.clone();
        *lock(&worker.job) = Some(Box::new(move || {
            ME.set(Some(thread.clone()));
            stand_on(Some(ground));
            let killed = *lock(&thread.killed);
            // One that had not begun is dropped here as well: what it holds may wake others, which must be over before the next step.
            let ended = catch_unwind(AssertUnwindSafe(move || if killed { drop(work) } else { work() }));
            stand_on(None);
            ME.set(None);
            let mut inside = lock(&scheduler.inside);
            inside.finished = Some(id);
            if let Err(cause) = ended
                && !cause.is::<Killed>()
            {
                inside.panicked.get_or_insert(cause);
            }
            drop(inside);
            scheduler.main.on();
        }));
    }

    /// Runs a thread until it waits or ends.
    fn run_thread(&self, id: u64, thread: &Thread) {
        thread.worker.go.on();
        assert!(self.main.wait(Some(STUCK)), "a thread of {} waits for something that is not simulated", thread.owner);
        let mut inside = lock(&self.inside);
        if inside.finished.take() == Some(id) {
            inside.threads.remove(&id);
            inside.ready.remove(&id);
            inside.idle.push(thread.worker.clone());
        }
        if let Some(cause) = inside.panicked.take() {
            drop(inside);
            resume_unwind(cause);
        }
    }

    fn run_task(self: &Arc<Self>, id: u64, owner: Owner, mut task: Task) {
        let waker = self.waker(id);
        let before = stand_on(Some(self.ground(owner, 0)));
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        let mut inside = lock(&self.inside);
        match (polled.is_pending(), inside.tasks.get_mut(&id)) {
            (true, Some(place)) => place.1 = Some(task),
            _ => {
                inside.tasks.remove(&id);
                inside.ready.remove(&id);
                drop(inside);
                drop(task);
            }
        }
        stand_on(before);
    }

    /// One step; false when there is nothing to do, now or later.
    pub fn step(self: &Arc<Self>) -> bool {
        let mut inside = lock(&self.inside);
        while inside.ready.is_empty() {
            let Some(due) = inside.pass_time() else { return false };
            drop(inside);
            due.into_iter().for_each(Waker::wake);
            inside = lock(&self.inside);
        }
        let count = inside.ready.len() as u64;
        let at = inside.dice.roll(count) as usize;
        let Some(id) = inside.ready.iter().nth(at).copied() else { return true };
        inside.ready.remove(&id);
        let thread = inside.threads.get(&id).cloned();
        let task = inside.tasks.get(&id).map(|task| task.0);
        let Some(owner) = thread.as_ref().map(|thread| thread.owner).or(task) else { return true };
        if inside.paused.contains_key(&owner) {
            inside.held.insert(id);
            return true;
        }
        inside.steps += 1;
        let now = inside.now;
        mix(&mut inside.hash, &id.to_le_bytes());
        mix(&mut inside.hash, &now.as_nanos().to_le_bytes());
        match thread {
            Some(thread) => {
                drop(inside);
                self.run_thread(id, &thread);
            }
            None => {
                let task = inside.tasks.get_mut(&id).and_then(|task| task.1.take());
                drop(inside);
                if let Some(task) = task {
                    self.run_task(id, owner, task);
                }
            }
        }
        true
    }

    /// Ready after so much time.
    pub fn wait(self: &Arc<Self>, time: Duration) -> Task {
        Box::pin(Timer { scheduler: self.clone(), at: self.now() + time, key: None })
    }

    /// What members have shown since the last call.
    pub fn seen(&self) -> Vec<(Owner, Seen)> {
        lock(&self.inside).seen.drain(..).collect()
    }

    /// Nothing of this owner runs for a while.
    pub fn pause(self: &Arc<Self>, owner: Owner, time: Duration) {
        let scheduler = self.clone();
        let until = self.now() + time;
        lock(&self.inside).paused.insert(owner, until);
        let ends = Timer { scheduler: self.clone(), at: until, key: None };
        self.task(
            WORLD,
            Box::pin(async move {
                ends.await;
                let mut inside = lock(&scheduler.inside);
                inside.paused.remove(&owner);
                let held = std::mem::take(&mut inside.held);
                inside.ready.extend(held);
            }),
        );
    }

    /// Everything of this owner is gone, at once: what it was doing does not go on.
    pub fn kill(self: &Arc<Self>, owner: Owner) {
        let mut inside = lock(&self.inside);
        inside.paused.remove(&owner);
        let of_owner = |entry: &(&u64, &Arc<Thread>)| entry.1.owner == owner;
        let threads: Vec<(u64, Arc<Thread>)> = inside.threads.iter().filter(of_owner).map(|(id, it)| (*id, it.clone())).collect();
        drop(inside);
        for (id, thread) in threads {
            *lock(&thread.killed) = true;
            self.run_thread(id, &thread);
        }
        let mut inside = lock(&self.inside);
        let ids: Vec<u64> = inside.tasks.iter().filter(|(_, task)| task.0 == owner).map(|(id, _)| *id).collect();
        let gone: Vec<_> = ids.iter().filter_map(|id| inside.tasks.remove(id)).collect();
        drop(inside);
        let before = stand_on(Some(self.ground(owner, 0)));
        drop(gone);
        stand_on(before);
    }

    /// Ends all, so that nothing of this run is left.
    pub fn end(self: &Arc<Self>) {
        let inside = lock(&self.inside);
        let mut owners: BTreeSet<Owner> = inside.tasks.values().map(|task| task.0).collect();
        owners.extend(inside.threads.values().map(|thread| thread.owner));
        drop(inside);
        owners.into_iter().for_each(|owner| self.kill(owner));
        let mut inside = lock(&self.inside);
        let idle = std::mem::take(&mut inside.idle);
        let grounds = std::mem::take(&mut inside.grounds);
        let timers = std::mem::take(&mut inside.timers);
        drop(inside);
        drop((grounds, timers));
        // Without a job, a worker ends.
        idle.iter().for_each(|worker| worker.go.on());
    }
}

impl Inside {
    /// Goes to the next moment at which something happens, and tells whom to wake then.
    fn pass_time(&mut self) -> Option<Vec<Waker>> {
        let next = self.timers.first_key_value()?.0.0;
        self.now = self.now.max(next);
        let mut due = Vec::new();
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= self.now) {
            due.push(entry.remove());
        }
        Some(due)
    }
}

fn start_worker() -> Arc<Worker> {
    let worker = Arc::new(Worker::default());
    let mine = worker.clone();
    let work = move || {
        loop {
            mine.go.wait(None);
            let Some(job) = lock(&mine.job).take() else { return };
            job();
        }
    };
    // Its stack holds what a member's thread does: SQLite and openraft's futures, unoptimised.
    std::thread::Builder::new().stack_size(8 << 20).spawn(work).expect("a thread can be started");
    worker
}
