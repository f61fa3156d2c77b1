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
}

impl Node {
    /// It answered now.
    pub fn hear(&self, now: Duration) {
        self.heard.store(now.as_micros() as u64, Ordering::Relaxed);
        let mut health = self.health.lock();
        *health = health.answered();
    }

    /// Whether it has answered anything since.
    pub fn was_heard_since(&self, moment: Duration) -> bool {
        self.heard.load(Ordering::Relaxed) > moment.as_micros() as u64
    }
}

/// All nodes, and the zone of the one who looks.
pub struct View {
    /// The application's zone.
    pub zone: String,
    /// The nodes, numbered by their place in the list.
    pub(super) nodes: Vec<Node>,
    /// Which of several equal nodes comes first: applications differ in it, so that they share the nodes.
    turn: AtomicUsize,
}

impl View {
    /// A picture in which all nodes are believed to be well.
    pub fn new(zone: String, places: Vec<Place>) -> Self {
        let node = |place| Node { place, health: Mutex::default(), pace: Pace::default(), heard: AtomicU64::new(0) };
        Self { zone, nodes: places.into_iter().map(node).collect(), turn: AtomicUsize::new(0) }
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
