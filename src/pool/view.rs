//! A client's picture of the pool: its nodes, where they stand, how they are.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::health::Health;
use super::pace::Pace;
use crate::limits::NODES_KNOWN_MAX;
use crate::sys::process::NoFork;

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
    /// Whether it is the pool's no more.
    is_gone: AtomicBool,
}

/// For how long a node that could not be told something is told nothing more: each attempt costs the call that makes it.
const DEAF_FOR: Duration = Duration::from_secs(5);
/// For how long a node that said that it is cut off from the quorum is asked after others.
const ISOLATED_FOR: Duration = Duration::from_secs(2);

impl Node {
    fn new(place: Place) -> Self {
        Self {
            place,
            health: Mutex::default(),
            pace: Pace::default(),
            heard: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            isolated_until: AtomicU64::new(0),
            deaf_until: AtomicU64::new(0),
            is_gone: AtomicBool::new(false),
        }
    }

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
    /// The nodes by their numbers, which are never given again: streams and messages name nodes by them.
    nodes: Vec<OnceLock<Node>>,
    /// No number is as high.
    end: AtomicUsize,
    /// Which of several equal nodes comes first: applications differ in it, so that they share the nodes.
    turn: AtomicUsize,
}

impl View {
    /// A picture in which all nodes are believed to be well.
    pub fn new(zone: String, places: Vec<Place>) -> Self {
        let view = Self {
            zone,
            mark_is_enough: false,
            nearest: None,
            nodes: (0..NODES_KNOWN_MAX.max(places.len())).map(|_| OnceLock::new()).collect(),
            end: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        };
        view.take(places.into_iter().enumerate().collect());
        view
    }

    /// These are the nodes now. A number is that of the same node as before, or has never been one's; those that are not named are asked no more.
    pub fn take(&self, nodes: Vec<(usize, Place)>) {
        // A child that is born in the midst of it would wait for the other half for ever.
        let _no_fork = NoFork::hold();
        let present: HashSet<usize> = nodes.iter().map(|(at, _)| *at).collect();
        // Those that come first, so that nobody sees none.
        for (at, place) in nodes {
            self.nodes[at].get_or_init(|| Node::new(place)).is_gone.store(false, Ordering::Relaxed);
            self.end.fetch_max(at + 1, Ordering::Release);
        }
        for (at, node) in self.known() {
            node.is_gone.store(!present.contains(&at), Ordering::Relaxed);
        }
    }

    /// All that have ever been there.
    fn known(&self) -> impl Iterator<Item = (usize, &Node)> {
        let slots = &self.nodes[..self.end.load(Ordering::Acquire)];
        slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.get()?)))
    }

    /// The nodes of the pool, by their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.known().filter(|(_, node)| !node.is_gone.load(Ordering::Relaxed))
    }

    /// The node of a number, also one that is gone.
    pub fn node(&self, number: usize) -> &Node {
        self.nodes[number].get().expect("numbers come from the view itself")
    }

    /// Whether no node but this one is believed to be well.
    pub fn is_alone(&self, node: usize) -> bool {
        self.nodes().all(|(at, other)| at == node || !other.health.lock().is_up())
    }

    /// Whether each of these, which are asked the same, may take itself for the only one: none is, while another one is believed to be well.
    pub fn are_alone(&self, nodes: &[usize]) -> bool {
        nodes.iter().all(|node| self.is_alone(*node))
    }

    /// Says which of several equal nodes comes first.
    pub fn take_turn(&self, turn: usize) {
        self.turn.store(turn, Ordering::Relaxed);
    }

    /// A node's place among equal ones, by its place among so many.
    pub(super) fn turn_of(&self, place: usize, count: usize) -> usize {
        (place + count - self.turn.load(Ordering::Relaxed) % count) % count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(zone: &str) -> Place {
        Place { zone: zone.to_string(), name: String::new() }
    }

    fn present(view: &View) -> Vec<usize> {
        view.nodes().map(|(at, _)| at).collect()
    }

    #[test]
    fn nodes_come_and_go_and_keep_their_numbers_and_what_is_known_of_them() {
        let view = View::new("a".to_string(), ["a", "b", "c"].map(place).to_vec());
        view.node(1).fail(Duration::ZERO, 0);
        view.take(vec![(1, place("b")), (2, place("c")), (3, place("a"))]);
        assert_eq!(present(&view), [1, 2, 3]);
        assert!(!view.node(1).health.lock().is_up() && view.node(3).health.lock().is_up());
        assert_eq!(view.node(0).place, place("a"), "whoever holds a number of one that is gone goes on with it");
        view.take(vec![(0, place("a"))]);
        assert_eq!(present(&view), [0], "one may come back");
        assert!(view.is_alone(0), "those that are gone are nobody's company");
        view.take((0..NODES_KNOWN_MAX).map(|at| (at, place("a"))).collect());
        assert_eq!(present(&view).len(), NODES_KNOWN_MAX);
    }
}
