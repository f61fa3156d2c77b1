//! The search for an order of one object's calls.

use std::collections::HashSet;

use super::{Action, Call};

/// What the search found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// An order that explains everything.
    Order,
    /// None; the call at which the longest order ends.
    NoOrder { odd: usize },
    /// The bound was reached.
    GaveUp,
}

/// The object: not there, or there with a value.
type State = Option<u64>;

/// What the call makes of the object, if it can have happened to it and been told what it was told.
fn step(state: State, action: Action) -> Option<State> {
    match (action, state) {
        (Action::Create(value), None) => Some(Some(value)),
        (Action::Set { value, done: true }, Some(_)) => Some(Some(value)),
        (Action::Destroy { done: true }, Some(_)) => Some(None),
        (Action::Set { done: false, .. } | Action::Destroy { done: false } | Action::Get(None) | Action::Find(false), None) => {
            Some(None)
        }
        (Action::Get(Some(seen)), Some(value)) if seen == value => Some(state),
        (Action::Find(true), Some(_)) => Some(state),
        _ => None,
    }
}

/// Places in the list of beginnings and ends; the list's own ends are `HEAD` and `TAIL`.
const HEAD: usize = 0;
const TAIL: usize = 1;

/// Beginnings and ends of calls in the order of time, as a list from which calls are taken and put back.
struct Line {
    next: Vec<usize>,
    before: Vec<usize>,
    /// The call of each place, and whether it is its beginning.
    what: Vec<(usize, bool)>,
    /// Where each call's end stands.
    end: Vec<Option<usize>>,
}

impl Line {
    fn new(calls: &[&Call]) -> Self {
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            // At the same moment beginnings come first: the calls overlap.
            moments.push((call.begun, false, at));
            moments.extend(call.ended.map(|ended| (ended.max(call.begun), true, at)));
        }
        moments.sort_unstable();
        let places = moments.len() + 2;
        let (mut what, mut end) = (vec![(usize::MAX, false); 2], vec![None; calls.len()]);
        for (_, is_end, at) in moments {
            if is_end {
                end[at] = Some(what.len());
            }
            what.push((at, !is_end));
        }
        let (mut next, mut before) = (vec![TAIL; places], vec![HEAD; places]);
        let order: Vec<usize> = [HEAD].into_iter().chain(2..places).chain([TAIL]).collect();
        for pair in order.windows(2) {
            next[pair[0]] = pair[1];
            before[pair[1]] = pair[0];
        }
        Self { next, before, what, end }
    }

    fn take(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = next;
        self.before[next] = before;
    }

    fn put_back(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = place;
        self.before[next] = place;
    }

    fn take_call(&mut self, place: usize) {
        self.take(place);
        if let Some(end) = self.end[self.what[place].0] {
            self.take(end);
        }
    }

    fn put_call_back(&mut self, place: usize) {
        if let Some(end) = self.end[self.what[place].0] {
            self.put_back(end);
        }
        self.put_back(place);
    }
}

/// Calls as bits.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Set(Box<[u64]>);

impl Set {
    fn flip(&mut self, call: usize) {
        self.0[call / 64] ^= 1 << (call % 64);
    }
}

/// Looks for an order. `calls` are those of one object.
pub fn search(calls: &[&Call], steps_max: u64) -> Found {
    let mut line = Line::new(calls);
    let mut ordered = Set(vec![0; calls.len().div_ceil(64)].into_boxed_slice());
    let mut left = calls.iter().filter(|call| call.ended.is_some()).count();
    let mut tried = HashSet::new();
    let mut path: Vec<(usize, State)> = Vec::new();
    let (mut state, mut place) = (None, line.next[HEAD]);
    let (mut fewest_left, mut odd) = (usize::MAX, 0);
    for _ in 0..steps_max {
        if left == 0 {
            return Found::Order;
        }
        let (call, begins) = line.what[place];
        if place != TAIL && begins {
            if let Some(then) = step(state, calls[call].action) {
                ordered.flip(call);
                if tried.insert((ordered.clone(), then)) {
                    path.push((place, state));
                    left -= usize::from(calls[call].ended.is_some());
                    line.take_call(place);
                    (state, place) = (then, line.next[HEAD]);
                    continue;
                }
                ordered.flip(call);
            }
            place = line.next[place];
            continue;
        }
        // A call has ended and stands in no order yet: one of those before it was put wrongly.
        if place != TAIL && left < fewest_left {
            (fewest_left, odd) = (left, call);
        }
        let Some((taken, earlier)) = path.pop() else { return Found::NoOrder { odd } };
        let back = line.what[taken].0;
        ordered.flip(back);
        left += usize::from(calls[back].ended.is_some());
        line.put_call_back(taken);
        (state, place) = (earlier, line.next[taken]);
    }
    Found::GaveUp
}
