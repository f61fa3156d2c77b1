//! Whether what several clients saw of objects can have happened one call after the other: a checker of linearizability.
//!
//! Each object is judged by itself, which suffices: a history is linearizable if that of each object is. The search is Wing and Gong's
//! with Lowe's pruning: calls are put in an order one by one, each between its beginning and its end, and a set of calls that led to a
//! state once is never tried again.
//!
//! Knows: nothing.

mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

/// What a call did to its object, and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes the object, which must not be there.
    Create(u64),
    /// Gives it another value; `done` is false where the object was told to be gone.
    Set {
        /// The value.
        value: u64,
        /// Whether the object was there.
        done: bool,
    },
    /// Reads its value; `None`: the object was told to be gone.
    Get(Option<u64>),
    /// Looks for it, and learns whether it is there.
    Find(bool),
    /// Takes it away; `done` is false where the object was told to be gone.
    Destroy {
        /// Whether the object was there.
        done: bool,
    },
}

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who called.
    pub client: u32,
    /// The object's name.
    pub object: String,
    /// What for, and what came of it.
    pub action: Action,
    /// When it began, on a clock that all clients share.
    pub begun: u64,
    /// When it returned. `None`: it failed, or never returned; then it may have happened at any time since it began, or not at all.
    pub ended: Option<u64>,
}

/// What the checker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Violated(Violation),
    /// Not found out within the bound; the objects that were left open.
    Unknown(Vec<String>),
}

/// A history that no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The object.
    pub object: String,
    /// The first call that does not fit whatever came before: where the longest order ends.
    pub odd: Call,
    /// All calls of the object, by their beginnings.
    pub calls: Vec<Call>,
}

/// Judges a history, with at most so many steps of search for each object: some millions a second.
pub fn check(history: &[Call], steps_max: u64) -> Verdict {
    let mut objects: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in history {
        objects.entry(&call.object).or_default().push(call);
    }
    let mut open = Vec::new();
    for (object, mut calls) in objects {
        calls.sort_by_key(|call| call.begun);
        match search::search(&calls, steps_max) {
            search::Found::Order => {}
            search::Found::GaveUp => open.push(object.to_string()),
            search::Found::NoOrder { odd } => {
                return Verdict::Violated(Violation {
                    object: object.to_string(),
                    odd: calls[odd].clone(),
                    calls: calls.into_iter().cloned().collect(),
                });
            }
        }
    }
    if open.is_empty() { Verdict::Linearizable } else { Verdict::Unknown(open) }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = match self.action {
            Action::Create(value) => format!("create {value}"),
            Action::Set { value, done: true } => format!("set {value}"),
            Action::Set { value, done: false } => format!("set {value}: gone"),
            Action::Get(Some(value)) => format!("get: {value}"),
            Action::Get(None) => "get: gone".to_string(),
            Action::Find(true) => "find: there".to_string(),
            Action::Find(false) => "find: not there".to_string(),
            Action::Destroy { done: true } => "destroy".to_string(),
            Action::Destroy { done: false } => "destroy: gone".to_string(),
        };
        match self.ended {
            Some(ended) => write!(f, "{}–{} client {}: {told}", self.begun, ended, self.client),
            None => write!(f, "{}–? client {}: {told}, outcome unknown", self.begun, self.client),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: no order of the calls explains \"{}\"", self.object, self.odd)
    }
}
