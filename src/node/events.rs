//! What happened to the pool, as a numbered list that others can follow.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

/// Events that are kept for those who come late.
const EVENTS_KEPT: usize = 1024;

/// Something that happened, in words for machines and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts from 1 since the node was started.
    pub number: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// The kind: `start`, `leader`, `member`, `contact`, `revocation`, `certificate`, `disk`, `drain`, `poisoned`.
    pub kind: &'static str,
    /// A sentence.
    pub told: String,
}

impl Event {
    /// One line of JSON.
    pub fn to_json(&self, node: u64, zone: &str) -> Value {
        json!({ "number": self.number, "time": self.time, "node": node, "zone": zone, "kind": self.kind, "told": self.told })
    }
}

/// The newest events.
#[derive(Default)]
pub struct Events {
    kept: Mutex<VecDeque<Event>>,
    more: Condvar,
    ended: AtomicBool,
}

impl Events {
    /// Adds one.
    pub fn add(&self, time: Duration, kind: &'static str, told: String) {
        let mut kept = self.kept.lock();
        let number = kept.back().map_or(1, |last| last.number + 1);
        if kept.len() >= EVENTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(Event { number, time: time.as_secs(), kind, told });
        self.more.notify_all();
    }

    /// No more will come: whoever waits returns, and those who follow may leave.
    pub fn end(&self) {
        let kept = self.kept.lock();
        self.ended.store(true, Ordering::Release);
        self.more.notify_all();
        drop(kept);
    }

    /// Whether no more will come.
    pub fn have_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The number of the newest one that was dropped.
    pub fn dropped(&self) -> u64 {
        self.kept.lock().front().map_or(0, |first| first.number - 1)
    }

    /// Those after `number` that are kept; waits for one at most so long.
    pub fn after(&self, number: u64, wait: Duration) -> Vec<Event> {
        let mut kept = self.kept.lock();
        if kept.back().is_none_or(|last| last.number <= number) && !self.have_ended() {
            self.more.wait_for(&mut kept, wait);
        }
        kept.iter().filter(|event| event.number > number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_sees_each_event_once_and_in_order() {
        let events = Events::default();
        let now = Duration::from_secs(5);
        assert!(events.after(0, Duration::ZERO).is_empty());
        for number in 0..EVENTS_KEPT + 10 {
            events.add(now, "leader", format!("{number}"));
        }
        let all = events.after(0, Duration::ZERO);
        assert_eq!((all.len(), all[0].number), (EVENTS_KEPT, 11), "the oldest are dropped");
        let last = all[EVENTS_KEPT - 1].number;
        assert!(events.after(last, Duration::ZERO).is_empty());
        events.add(now, "contact", "lost".to_string());
        assert_eq!(events.after(last, Duration::ZERO)[0].told, "lost");
    }
}
