//! Calls that come while others are under way go together. Each request is sent by the thread of one of its calls, which hands its turn over to one that
//! waits: no thread of ours runs in the application.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{MAKINGS_MAX, MAKINGS_UNDER_WAY_MAX};
use crate::sync::{Condvar, Mutex};

/// What is under way, and what waits, by who asks: only calls of one asker go together. `C` is a call, `R` what comes of it.
pub struct Together<A: Copy + Eq + Hash, C, R>(Mutex<HashMap<A, Line<C, R>>>);

/// Of one asker; there is none while nothing is under way.
struct Line<C, R> {
    /// Requests, each in the hands of a [`Turn`].
    under_way: usize,
    waiting: VecDeque<(C, Arc<Seat<C, R>>)>,
}

/// Where a call waits.
struct Seat<C, R> {
    told: Mutex<Option<Told<C, R>>>,
    heard: Condvar,
}

/// What a call that waited is to do.
pub enum Told<C, R> {
    /// It has waited for long enough, and goes by itself.
    GoAlone(C),
    /// It has a turn, and carries these calls; its own is the first. They are not taken back any more.
    Carry(Batch<C, R>),
    /// Another one's request had it.
    Done(R),
    /// Whoever carried it has not come to an end.
    BrokeOff,
}

/// A request under way. When it is dropped, those who wait have their turn.
pub struct Turn<'a, A: Copy + Eq + Hash, C, R> {
    of: &'a Together<A, C, R>,
    asker: A,
}

/// What a call that waited is to do, and its turn if it has one.
pub type Waited<'a, A, C, R> = (Told<C, R>, Option<Turn<'a, A, C, R>>);

/// Calls that go together.
pub struct Batch<C, R> {
    calls: Vec<C>,
    /// What came of the first, which is the carrier's own.
    own: Option<R>,
    /// Where the others wait, until they are told.
    seats: Vec<Option<Arc<Seat<C, R>>>>,
}

impl<A: Copy + Eq + Hash, C, R> Default for Together<A, C, R> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<A: Copy + Eq + Hash, C, R> Together<A, C, R> {
    /// A turn, if there is one to be had at once.
    pub fn turn(&self, asker: A) -> Option<Turn<'_, A, C, R>> {
        let mut lines = self.0.lock();
        let line = lines.entry(asker).or_insert_with(Line::new);
        (line.under_way < MAKINGS_UNDER_WAY_MAX).then(|| {
            line.under_way += 1;
            Turn { of: self, asker }
        })
    }

    /// Waits for a turn, or to be taken along, but to be taken along for at most so long. A turn comes with it when the call is to carry others.
    pub fn wait(&self, asker: A, call: C, patience: Duration) -> Waited<'_, A, C, R> {
        let seat = Arc::new(Seat { told: Mutex::new(None), heard: Condvar::new() });
        {
            let mut lines = self.0.lock();
            let line = lines.entry(asker).or_insert_with(Line::new);
            if line.under_way < MAKINGS_UNDER_WAY_MAX {
                // Those that were under way have ended: nobody would hand over.
                line.under_way += 1;
                return (Told::GoAlone(call), Some(Turn { of: self, asker }));
            }
            line.waiting.push_back((call, seat.clone()));
        }
        let told = seat.wait(patience, || self.leave(asker, &seat));
        let turn = matches!(told, Told::Carry(_)).then(|| Turn { of: self, asker });
        (told, turn)
    }

    /// Takes a call back that nobody has taken along yet.
    fn leave(&self, asker: A, seat: &Arc<Seat<C, R>>) -> Option<C> {
        let mut lines = self.0.lock();
        let waiting = &mut lines.get_mut(&asker)?.waiting;
        let at = waiting.iter().position(|(_, other)| Arc::ptr_eq(other, seat))?;
        waiting.remove(at).map(|(call, _)| call)
    }
}

impl<A: Copy + Eq + Hash, C, R> Drop for Turn<'_, A, C, R> {
    fn drop(&mut self) {
        let mut lines = self.of.0.lock();
        let Some(line) = lines.get_mut(&self.asker) else { return };
        let count = line.waiting.len().min(MAKINGS_MAX);
        let (calls, mut seats): (Vec<_>, Vec<_>) = line.waiting.drain(..count).map(|(call, seat)| (call, Some(seat))).unzip();
        match seats.first_mut().and_then(Option::take) {
            Some(next) => next.tell(Told::Carry(Batch { calls, own: None, seats })),
            None => {
                line.under_way -= 1;
                if line.under_way == 0 {
                    lines.remove(&self.asker);
                }
            }
        }
    }
}

impl<C, R> Line<C, R> {
    fn new() -> Self {
        Self { under_way: 0, waiting: VecDeque::new() }
    }
}

impl<C, R> Seat<C, R> {
    fn tell(&self, told: Told<C, R>) {
        *self.told.lock() = Some(told);
        self.heard.notify_one();
    }

    /// Waits to be told; after `patience` only if `leave` does not give the call back, as it has been taken along.
    fn wait(&self, patience: Duration, leave: impl FnOnce() -> Option<C>) -> Told<C, R> {
        let mut told = self.told.lock();
        self.heard.wait_while_for(&mut told, |told| told.is_none(), patience);
        if let Some(told) = told.take() {
            return told;
        }
        drop(told);
        if let Some(call) = leave() {
            return Told::GoAlone(call);
        }
        let mut told = self.told.lock();
        self.heard.wait_while(&mut told, |told| told.is_none());
        told.take().unwrap_or(Told::BrokeOff)
    }
}

impl<C, R> Batch<C, R> {
    /// The calls, numbered from 0; 0 is the carrier's own.
    pub fn take_calls(&mut self) -> Vec<(u32, C)> {
        (0..).zip(std::mem::take(&mut self.calls)).collect()
    }

    /// Tells a call what came of it.
    pub fn tell(&mut self, number: u32, came: R) {
        match self.seats.get_mut(number as usize).and_then(Option::take) {
            Some(seat) => seat.tell(Told::Done(came)),
            None if number == 0 => self.own = Some(came),
            None => {}
        }
    }

    /// Tells those that were not told yet. Returns what came of the carrier's own.
    pub fn finish(mut self, otherwise: impl Fn() -> R) -> R {
        self.seats.iter_mut().filter_map(Option::take).for_each(|seat| seat.tell(Told::Done(otherwise())));
        self.own.take().unwrap_or_else(otherwise)
    }
}

impl<C, R> Drop for Batch<C, R> {
    fn drop(&mut self) {
        self.seats.iter_mut().filter_map(Option::take).for_each(|seat| seat.tell(Told::BrokeOff));
    }
}
