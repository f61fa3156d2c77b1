//! A network between one application and the nodes of a pool, as bad as a seed makes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hsmpool::error::{Code, refuse};
use hsmpool::node::{Caller, Server};
use hsmpool::pool::{Failure, Link};
use hsmpool::secret::Secret;
use hsmpool::token::message::FRAME_KIND;
use hsmpool::wire::frame::whole;

/// A small generator (SplitMix64): the same seed gives the same faults.
pub struct Dice(AtomicU64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn roll(&self, sides: u64) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// The switches of the network: shared between the test and the link.
pub struct Network {
    pub dice: Dice,
    /// Of 100 requests, so many never arrive.
    pub lost_requests: AtomicU64,
    /// Of 100 answers, so many never arrive: the request was carried out.
    pub lost_answers: AtomicU64,
    /// Nodes that do not answer at all.
    pub dead: [AtomicBool; 3],
    pub carried: AtomicU64,
    /// While it is set, requests of threads that are called [`SLOW`] are on their way.
    pub delays: AtomicBool,
    /// How many such requests have been sent.
    pub delayed: AtomicU64,
}

/// The name of threads whose requests the network may delay.
pub const SLOW: &str = "slow";

impl Network {
    pub fn new(seed: u64) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let dead = std::array::from_fn(|_| AtomicBool::new(false));
        Arc::new(Self {
            dice: Dice::new(seed),
            lost_requests: zero(),
            lost_answers: zero(),
            dead,
            carried: zero(),
            delays: AtomicBool::new(false),
            delayed: zero(),
        })
    }

    pub fn lose(&self, requests: u64, answers: u64) {
        self.lost_requests.store(requests, Ordering::Relaxed);
        self.lost_answers.store(answers, Ordering::Relaxed);
    }

    /// Kills one node, if there is one of this number, and brings the others back.
    pub fn kill_only(&self, dead: usize) {
        for (at, node) in self.dead.iter().enumerate() {
            node.store(at == dead, Ordering::Relaxed);
        }
    }
}

pub struct FaultyLink {
    pub network: Arc<Network>,
    pub servers: Vec<Arc<Server>>,
    pub caller: Caller,
}

impl Link for FaultyLink {
    fn call(&self, node: usize, request: &[u8], _patience: Duration) -> Result<Secret, Failure> {
        let network = &self.network;
        let lost = |what: &str| Failure(refuse(Code::DeviceError, format!("node {node}: {what}")));
        if whole(FRAME_KIND, 0, request).is_err() {
            return Err(lost("no frame takes the request"));
        }
        if network.dead[node].load(Ordering::Relaxed) {
            return Err(lost("is dead"));
        }
        if network.dice.roll(100) < network.lost_requests.load(Ordering::Relaxed) {
            return Err(lost("the request was lost"));
        }
        if std::thread::current().name() == Some(SLOW) {
            network.delayed.fetch_add(1, Ordering::Release);
            while network.delays.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        network.carried.fetch_add(1, Ordering::Relaxed);
        let answer = self.servers[node].answer(&self.caller, request);
        if whole(FRAME_KIND, 0, answer.expose()).is_err() {
            return Err(lost("no frame takes the answer"));
        }
        if network.dice.roll(100) < network.lost_answers.load(Ordering::Relaxed) {
            return Err(lost("the answer was lost"));
        }
        Ok(answer)
    }
}
