//! A client's picture of the pool: its nodes, where they stand, how they are.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::health::Health;
use super::pace::Pace;

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its zone; calls prefer their own.
    pub zone: String,
    /// For messages: its address.
    pub name: String,
}

/// One node.
pub struct Node {
    pub place: Place,
    pub health: Mutex<Health>,
    pub pace: Pace,
    /// When it answered last, in microseconds; 0: never.
    heard: AtomicU64,
    /// When it did last what it was asked, in microseconds; 0: never.
    done: AtomicU64,
    /// When it failed last, in microseconds; 0: never.
    failed: AtomicU64,
    /// Milliseconds of the application's clock up to which it is taken for cut off.
    isolated_until: AtomicU64,
    /// The same up to which it is not told what it need not know.
    deaf_until: AtomicU64,
}

/// For how long a node that could not be told something is told nothing more: each attempt costs the call that makes it.
const DEAF_FOR: Duration = Duration::from_secs(5);
/// For how long a node that said that it is cut off from the quorum is asked after others.
const ISOLATED_FOR: Duration = Duration::from_secs(2);

impl Node {
    /// It answered now.
    pub fn hear(&self, now: Duration) {
        self.heard.store(now.as_micros() as u64, Ordering::Relaxed);
        let mut health = self.health.lock();
        *health = health.answered();
    }

    /// It did now what it was asked.
    pub fn did(&self, now: Duration) {
        self.done.store(now.as_micros() as u64, Ordering::Relaxed);
    }

    /// It failed now. `jitter` is 0 to 255.
    pub fn fail(&self, now: Duration, jitter: u8) {
        self.failed.store(now.as_micros() as u64, Ordering::Relaxed);
        let mut health = self.health.lock();
        // Whoever comes second has found out nothing new.
        if health.is_up() {
            *health = health.failed(now, jitter);
        }
    }

    /// Whether it has done anything since it failed last.
    pub fn does_again(&self) -> bool {
        self.done.load(Ordering::Relaxed) > self.failed.load(Ordering::Relaxed)
    }

    /// Whether it has answered anything since.
    pub fn was_heard_since(&self, moment: Duration) -> bool {
        self.heard.load(Ordering::Relaxed) > moment.as_micros() as u64
    }

    /// It could not be told something in time.
    pub fn was_deaf(&self, now: Duration) {
        self.deaf_until.store((now + DEAF_FOR).as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether that was so lately.
    pub fn is_deaf(&self, now: Duration) -> bool {
        (now.as_millis() as u64) < self.deaf_until.load(Ordering::Relaxed)
    }

    /// It said that it is cut off.
    pub fn told_isolated(&self, now: Duration) {
        self.isolated_until.store((now + ISOLATED_FOR).as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether it said so lately: another node, if there is one, knows more.
    pub fn is_isolated(&self, now: Duration) -> bool {
        (now.as_millis() as u64) < self.isolated_until.load(Ordering::Relaxed)
    }
}

/// All nodes, and the zone of the one who looks.
pub struct View {
    /// The application's zone.
    pub zone: String,
    /// Whether look-ups need not show more than the application has seen.
    pub mark_is_enough: bool,
    /// The node in this process, if there is one: it is asked before others of its zone.
    pub nearest: Option<usize>,
    /// The nodes, numbered by their place in the list.
    pub(super) nodes: Vec<Node>,
    /// Which of several equal nodes comes first: applications differ in it, so that they share the nodes.
    turn: AtomicUsize,
}

impl View {
    /// Whether no node but this one is believed to be well.
    pub fn is_alone(&self, node: usize) -> bool {
        self.nodes.iter().enumerate().all(|(at, other)| at == node || !other.health.lock().is_up())
    }

    /// Whether each of these, which are asked the same, may take itself for the only one: none is, while another one is believed to be well.
    pub fn are_alone(&self, nodes: &[usize]) -> bool {
        nodes.iter().all(|node| self.is_alone(*node))
    }

    /// A picture in which all nodes are believed to be well.
    pub fn new(zone: String, places: Vec<Place>) -> Self {
        let node = |place| Node {
            place,
            health: Mutex::default(),
            pace: Pace::default(),
            heard: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            isolated_until: AtomicU64::new(0),
            deaf_until: AtomicU64::new(0),
        };
        Self {
            zone,
            mark_is_enough: false,
            nearest: None,
            nodes: places.into_iter().map(node).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Says which of several equal nodes comes first.
    pub fn take_turn(&self, turn: usize) {
        self.turn.store(turn % self.nodes.len().max(1), Ordering::Relaxed);
    }

    /// A node's place among equal ones.
    pub(super) fn turn_of(&self, node: usize) -> usize {
        let count = self.nodes.len();
        (node + count - self.turn.load(Ordering::Relaxed)) % count
    }
}
