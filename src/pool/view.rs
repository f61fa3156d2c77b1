//! A client's picture of the pool: its nodes, where they stand, how they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::health::Health;

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
    /// Smoothed round trip in microseconds; 0: not measured yet.
    round_trip: AtomicU64,
}

impl Node {
    /// Takes a measured round trip in: an eighth of the difference each time, as TCP does (RFC 6298, 2).
    pub fn measured(&self, time: Duration) {
        let sample = (time.as_micros() as u64).max(1);
        let old = self.round_trip.load(Ordering::Relaxed);
        let new = if old == 0 { sample } else { old - old / 8 + sample / 8 };
        self.round_trip.store(new.max(1), Ordering::Relaxed);
    }

    /// Smoothed round trip in microseconds.
    pub fn round_trip(&self) -> u64 {
        self.round_trip.load(Ordering::Relaxed)
    }
}

/// All nodes, and the zone of the one who looks.
pub struct View {
    /// The application's zone.
    pub zone: String,
    /// The nodes, numbered by their place in the list.
    pub(super) nodes: Vec<Node>,
}

impl View {
    /// A picture in which all nodes are believed to be well.
    pub fn new(zone: String, places: Vec<Place>) -> Self {
        let node = |place| Node { place, health: Mutex::default(), round_trip: AtomicU64::new(0) };
        Self { zone, nodes: places.into_iter().map(node).collect() }
    }
}
