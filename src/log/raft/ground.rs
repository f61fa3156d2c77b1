//! What a member stands on: time, chance, tasks and threads. They are the machine's, unless a simulation has put the thread on a ground of
//! its own ([`stand_on`]): then nothing in this directory asks the machine for the time, for a random number or for a thread, so that a seed
//! decides what happens and in which order. Which ground it is costs one look at a thread's own variable.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::{Either, select};
use openraft::AsyncRuntime;
use openraft::impls::TokioRuntime;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::types::NodeId;
use crate::store::RequestId;
use crate::sys::clock;

/// Something that runs beside others.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A simulation's ground, for one member or client.
pub trait Ground: Send + Sync {
    /// The time; it never goes back.
    fn now(&self) -> Instant;
    /// The machine's clock, from its start on.
    fn since_boot(&self) -> Duration;
    /// Ready when that time has come.
    fn until(&self, moment: Instant) -> Task;
    /// Lets a task run beside this one.
    fn spawn(&self, task: Task);
    /// Runs something on a thread, which may block, by [`Ground::drive`] alone.
    fn aside(&self, work: Box<dyn FnOnce() + Send>);
    /// Blocks the calling thread until the work is done.
    fn drive(&self, work: Pin<&mut (dyn Future<Output = ()> + '_)>);
    /// A number by chance.
    fn roll(&self) -> u64;
    /// Is told what a member does.
    fn see(&self, seen: Seen);
}

/// What a simulation is told, to judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A member has applied an entry.
    Applied {
        /// Its place in the log.
        index: u64,
        /// The term and the number of the leader that it is of.
        leader: (u64, NodeId),
        /// The entry's proposal, if it has one.
        request: Option<RequestId>,
        /// Whether the store was changed by it.
        changed: bool,
        /// The hash of all facts after the transaction that it is in, on its last entry.
        facts: Option<[u8; 32]>,
    },
}

thread_local! {
    static GROUND: RefCell<Option<Arc<dyn Ground>>> = const { RefCell::new(None) };
}

/// Puts the calling thread on another ground, and tells on which it stood. `None` is the machine's.
pub fn stand_on(ground: Option<Arc<dyn Ground>>) -> Option<Arc<dyn Ground>> {
    GROUND.replace(ground)
}

/// The simulation's ground that the calling thread stands on.
pub fn current() -> Option<Arc<dyn Ground>> {
    GROUND.with_borrow(Clone::clone)
}

/// The time.
pub fn now() -> Instant {
    current().map_or_else(Instant::now, |ground| ground.now())
}

/// How long ago a moment was.
pub fn since(moment: Instant) -> Duration {
    now().saturating_duration_since(moment)
}

/// Time since the machine was started, sleep included.
pub fn since_boot() -> Duration {
    current().map_or_else(clock::since_boot, |ground| ground.since_boot())
}

/// The machine's name for this life of it. A simulated one has none: it goes by its wall clock.
pub fn boot_id() -> Option<[u8; 16]> {
    if current().is_some() { None } else { clock::boot_id() }
}

/// Time since 1970. A simulated machine's clock goes on when it loses power, and is never set.
pub fn wall() -> Duration {
    // A clock set before 1970 counts as 1970.
    let real = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    current().map_or_else(real, |ground| ground.since_boot())
}

/// Runs something on a thread of its own. A simulated one is not waited for.
pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Option<JoinHandle<()>>> {
    match current() {
        None => std::thread::Builder::new().name(name.into()).spawn(work).map(Some),
        Some(ground) => {
            ground.aside(Box::new(work));
            Ok(None)
        }
    }
}

/// Blocks the thread for a while.
pub fn sleep(time: Duration) {
    match current() {
        None => std::thread::sleep(time),
        Some(ground) => ground.drive(ground.until(ground.now() + time).as_mut()),
    }
}

/// Blocks the thread until the work is done, on `handle`'s threads where there is no simulation.
pub fn block_on<T>(handle: Option<&Handle>, work: impl Future<Output = T>) -> T {
    let Some(ground) = current() else {
        return handle.expect("a simulated member is called from its simulation alone").block_on(work);
    };
    let mut done = None;
    ground.drive(pin!(async { done = Some(work.await) }));
    done.expect("work that was driven to its end has a result")
}

/// Lets work run until a moment. `None`: it was not done by then.
pub async fn timeout_at<T>(moment: Instant, work: impl Future<Output = T>) -> Option<T> {
    let late = sleep_until(moment);
    match select(pin!(work), late).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// Lets a task run beside this one; nobody waits for it.
pub fn spawn(task: Task) {
    match current() {
        None => drop(tokio::spawn(task)),
        Some(ground) => ground.spawn(task),
    }
}

/// Ready when that time has come.
pub fn sleep_until(moment: Instant) -> Task {
    match current() {
        None => Box::pin(tokio::time::sleep_until(moment.into())),
        Some(ground) => ground.until(moment),
    }
}

/// Runs what waits for this member's disk where it stops nobody.
pub async fn beside_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    match current() {
        None => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
        Some(ground) => {
            disk_time(&*ground).await;
            Ok(work())
        }
    }
}

/// What a simulated disk takes.
pub async fn disk_time(ground: &dyn Ground) {
    const MICROSECONDS: std::ops::Range<u64> = 50..4_000;
    let time = MICROSECONDS.start + ground.roll() % (MICROSECONDS.end - MICROSECONDS.start);
    ground.until(ground.now() + Duration::from_micros(time)).await;
}

/// Runs what waits for others on a thread that may wait.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    match current() {
        None => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
        Some(ground) => {
            let (done, answer) = oneshot::channel();
            // Who waited may have gone.
            ground.aside(Box::new(move || drop(done.send(work()))));
            answer.await.map_err(io::Error::other)
        }
    }
}

/// What openraft runs on.
#[derive(Debug)]
pub struct Runtime;

/// openraft's moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Instant);

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, time: Duration) {
        self.0 += time;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, time: Duration) -> Self {
        Self(self.0 - time)
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, time: Duration) {
        self.0 -= time;
    }
}

impl Sub for Moment {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl openraft::Instant for Moment {
    fn now() -> Self {
        Self(now())
    }
}

/// A task of openraft's that may be waited for.
pub enum Joined<T> {
    /// On the machine's threads.
    Real(tokio::task::JoinHandle<T>),
    /// On a simulation's ground.
    Simulated(oneshot::Receiver<T>),
}

/// Why a task has no result: it panicked, or its member is gone.
#[derive(Debug)]
pub struct Lost {
    told: String,
    by_panic: bool,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl<T> Future for Joined<T> {
    type Output = Result<T, Lost>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Real(task) => {
                Pin::new(task).poll(context).map_err(|lost| Lost { told: lost.to_string(), by_panic: lost.is_panic() })
            }
            Self::Simulated(task) => {
                Pin::new(task).poll(context).map_err(|lost| Lost { told: lost.to_string(), by_panic: false })
            }
        }
    }
}

/// Work with a moment by which it must be done.
pub struct Limited<T> {
    work: Pin<Box<T>>,
    late: Task,
}

/// It was not.
#[derive(Debug)]
pub struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not done in time")
    }
}

impl<T: Future> Future for Limited<T> {
    type Output = Result<T::Output, Late>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(done) = self.work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        self.late.as_mut().poll(context).map(|()| Err(Late))
    }
}

/// Chance, as openraft asks for it: election timeouts and the spread of heartbeats.
pub struct Chance;

impl rand_core::TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| (number >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        // The standard library's hasher is keyed by the system, and differs by each instance: enough for who stands first.
        let by_chance = || std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), Instant::now());
        Ok(current().map_or_else(by_chance, |ground| ground.roll()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for part in out.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_ne_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
        Ok(())
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = Lost;
    type JoinHandle<T: Send + 'static> = Joined<T>;
    type Sleep = Task;
    type Instant = Moment;
    type TimeoutError = Late;
    type Timeout<R, T: Future<Output = R> + Send> = Limited<T>;
    type ThreadLocalRng = Chance;

    fn spawn<T>(future: T) -> Joined<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        match current() {
            None => Joined::Real(tokio::spawn(future)),
            Some(ground) => {
                let (done, answer) = oneshot::channel();
                // Who waited may have gone.
                ground.spawn(Box::pin(async move { drop(done.send(future.await)) }));
                Joined::Simulated(answer)
            }
        }
    }

    fn sleep(duration: Duration) -> Task {
        sleep_until(now() + duration)
    }

    fn sleep_until(deadline: Moment) -> Task {
        sleep_until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Limited<F> {
        Self::timeout_at(Moment(now() + duration), future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Moment, future: F) -> Limited<F> {
        Limited { work: Box::pin(future), late: sleep_until(deadline.0) }
    }

    fn is_panic(lost: &Lost) -> bool {
        lost.by_panic
    }

    fn thread_rng() -> Chance {
        Chance
    }

    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    /// For openraft's own tests of storages.
    fn new(_threads: usize) -> Self {
        Self
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build();
        runtime.expect("threads can be started for a test").block_on(future)
    }
}
