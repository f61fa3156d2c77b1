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
    /// Tells the node's lives apart: another one whenever it is started.
    pub life: u64,
    /// Counts from 1 in each life.
    pub number: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// The kind: `start`, `leader`, `member`, `contact`, `heard`, `lag`, `revocation`, `certificate`, `disk`, `drain`, `poisoned`.
    pub kind: &'static str,
    /// A sentence.
    pub told: String,
}

impl Event {
    /// One line of JSON.
    pub fn to_json(&self, node: u64, zone: &str) -> Value {
        // As text: readers of JSON that have floating numbers only would round it.
        let life = format!("{:x}", self.life);
        json!({
            "life": life, "number": self.number, "time": self.time, "node": node, "zone": zone, "kind": self.kind, "told": self.told,
        })
    }
}

/// Why followers cannot begin where they ask to.
const AFTER: &str = "as in /events?life=LIFE&after=NUMBER, with both as the last event had them that was seen; without them all that are kept are told\n";

/// The newest events.
pub struct Events {
    life: u64,
    kept: Mutex<VecDeque<Event>>,
    more: Condvar,
    ended: AtomicBool,
}

impl Events {
    /// None yet. `started` is when, which no other life of the node has.
    pub fn new(started: Duration) -> Self {
        let life = started.as_nanos() as u64;
        Self { life, kept: Mutex::default(), more: Condvar::new(), ended: AtomicBool::new(false) }
    }

    /// The number after which a follower begins that asks so: 0 without a wish, or with one of another life, whose numbers say nothing here.
    /// What else is asked is for others. Errors: in words, what is wrong and what is right.
    pub fn begin(&self, query: &str) -> Result<u64, String> {
        let (mut life, mut after) = (None, None);
        for asked in query.split('&') {
            let (name, value) = asked.split_once('=').unwrap_or((asked, ""));
            let (place, radix) = match name {
                "life" => (&mut life, 16),
                "after" => (&mut after, 10),
                _ => continue,
            };
            // The parser takes a sign, too.
            let number =
                value.chars().all(|digit| digit.is_digit(radix)).then(|| u64::from_str_radix(value, radix).ok()).flatten();
            let Some(number) = number else { return Err(format!("{name} is no number that an event has, {AFTER}")) };
            if place.replace(number).is_some() {
                return Err(format!("{name} is asked for twice; say it once, {AFTER}"));
            }
        }
        match (life, after) {
            (None, None) => Ok(0),
            (Some(_), None) => Err(format!("life without after; say both, {AFTER}")),
            (None, Some(_)) => Err(format!("after without life, and numbers begin anew with each; say both, {AFTER}")),
            (Some(life), Some(_)) if life != self.life => Ok(0),
            (Some(_), Some(after)) => match self.newest() {
                newest if after <= newest => Ok(after),
                newest => Err(format!(
                    "the newest event of this life is {newest}, not {after}; ask for those after one that was, {AFTER}"
                )),
            },
        }
    }

    fn newest(&self) -> u64 {
        self.kept.lock().back().map_or(0, |last| last.number)
    }

    /// Adds one.
    pub fn add(&self, time: Duration, kind: &'static str, told: String) {
        let mut kept = self.kept.lock();
        let number = kept.back().map_or(1, |last| last.number + 1);
        if kept.len() >= EVENTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(Event { life: self.life, number, time: time.as_secs(), kind, told });
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
        let events = Events::new(Duration::from_secs(1));
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

    #[test]
    fn a_follower_that_comes_again_goes_on_where_it_was_unless_the_node_was_started_since() {
        let events = Events::new(Duration::from_nanos(0x1f));
        for number in 1..=5 {
            events.add(Duration::from_secs(5), "leader", format!("{number}"));
        }
        let told = events.after(0, Duration::ZERO)[2].to_json(1, "a");
        let again = format!("life={}&after={}", told["life"].as_str().unwrap(), told["number"]);
        for (query, begins) in [
            (again.as_str(), Ok(3)),
            ("", Ok(0)),
            ("&", Ok(0)),
            ("probe=1&after=5&life=1f&x", Ok(5)),
            ("life=1F&after=0", Ok(0)),
            // Another life's, however far it came.
            ("life=1e&after=3", Ok(0)),
            ("life=1e&after=18446744073709551615", Ok(0)),
            // Hostile or wrong, and what is told of it.
            ("after=3", Err("after without life")),
            ("life=1f", Err("life without after")),
            ("life=1f&after=6", Err("the newest event of this life is 5, not 6")),
            ("life=1f&after=18446744073709551616", Err("after is no number")),
            ("life=1f&after=", Err("after is no number")),
            ("life=1f&after", Err("after is no number")),
            ("life=1f&after=+3", Err("after is no number")),
            ("life=1f&after=-1", Err("after is no number")),
            ("life=1f&after=3;4", Err("after is no number")),
            ("life=1f&after=%33", Err("after is no number")),
            ("life=1f&after=\u{663}", Err("after is no number")),
            ("life=&after=3", Err("life is no number")),
            ("life=xyz&after=3", Err("life is no number")),
            ("life=1f&life=1f&after=3", Err("life is asked for twice")),
            ("life=1f&after=3&after=4", Err("after is asked for twice")),
        ] {
            match (events.begin(query), begins) {
                (Ok(begun), Ok(begins)) => assert_eq!(begun, begins, "{query}"),
                (Err(told), Err(begins)) => {
                    assert!(told.starts_with(begins) && told.contains("/events?life=LIFE&after=NUMBER"), "{query}: {told}")
                }
                (begun, begins) => panic!("{query}: {begun:?}, not {begins:?}"),
            }
        }
        // What came of a query is a line of an answer: nothing of the sender's own words is in it.
        assert!(!events.begin("life=<b>&after=1").unwrap_err().contains("<b>"));
    }
}
