//! What all applications of a run know together: what there is, what each was told, and what may never be seen again.

use std::collections::{BTreeMap, BTreeSet};

use hsmpool::history::{Action, Call, Verdict, check};
use hsmpool::object::ObjectId;

use crate::scheduler::Owner;

/// Steps of the checker's search for each object: far more than a run's calls ever needed.
const SEARCH_STEPS_MAX: u64 = 20_000_000;

/// What a key is, as its owner was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promised {
    /// Made, and nobody has begun to destroy it.
    There,
    /// Destroyed, and no partition in contact uses it.
    Gone,
    /// A destruction is under way.
    InDoubt,
}

/// A key that all applications use.
#[derive(Clone, Copy)]
pub struct KnownKey {
    /// Its name.
    pub number: u64,
    /// What it makes of a block of zeros.
    pub makes: [u8; 16],
    pub promised: Promised,
}

/// What is known of the token whose PIN is guessed and set anew.
#[derive(Default)]
pub struct Guarded {
    /// The number of the user's PIN.
    pub pin: u64,
    /// While the SO sets a new one.
    pub changes: bool,
    /// Raised by all that may clear the count of wrong PINs, when it begins and when it has ended.
    pub clearings: u64,
    /// Wrong PINs that were told to be wrong since then.
    wrong: (u64, u32),
}

impl Guarded {
    /// A PIN was told to be wrong. Gives how many in a row were, for certain.
    pub fn told_wrong(&mut self, clearings_before: u64) -> u32 {
        if clearings_before != self.clearings {
            return 0;
        }
        if self.wrong.0 != self.clearings {
            self.wrong = (self.clearings, 0);
        }
        self.wrong.1 += 1;
        self.wrong.1
    }
}

/// What all know.
#[derive(Default)]
pub struct Known {
    /// Objects with a value, by their names.
    pub objects: BTreeMap<u64, ObjectId>,
    pub keys: BTreeMap<ObjectId, KnownKey>,
    /// The key whose destruction has returned last.
    pub last_gone: Option<ObjectId>,
    /// Destructions of keys that have returned.
    pub revoked: u64,
    pub guarded: Guarded,
    pub answered: u64,
    /// Look-ups at nodes that were cut off, whose answers may be old.
    pub spared: u64,
    /// What each object was, when nobody changed anything any more.
    pub last: BTreeMap<u64, bool>,
    history: Vec<Call>,
}

impl Known {
    /// Takes in what a call did, and what it was told.
    pub fn saw(&mut self, client: Owner, object: u64, action: Action, (begun, ended): (u64, u64)) {
        let object = object.to_string();
        self.history.push(Call { client: client as u32, object, action, begun, ended: Some(ended) });
    }

    /// What must be there in the end, and what must not.
    pub fn expected(&self) -> (BTreeSet<ObjectId>, BTreeSet<ObjectId>) {
        let is_there = |number: &u64| self.last.get(number).copied();
        let objects = self.objects.iter().filter_map(|(number, id)| Some((*id, is_there(number)?)));
        let keys = self.keys.iter().filter(|(_, key)| key.promised != Promised::InDoubt);
        let all = objects.chain(keys.map(|(id, key)| (*id, key.promised == Promised::There)));
        let (there, gone): (Vec<_>, Vec<_>) = all.partition(|(_, is_there)| *is_there);
        let ids = |of: Vec<(ObjectId, bool)>| of.into_iter().map(|(id, _)| id).collect();
        (ids(there), ids(gone))
    }

    /// Whether all calls can have happened one after the other.
    pub fn judge(&self) -> Result<(), String> {
        match check(&self.history, SEARCH_STEPS_MAX) {
            Verdict::Linearizable => Ok(()),
            Verdict::Unknown(objects) => Err(format!("the search for an order was given up for {objects:?}")),
            Verdict::Violated(violation) => {
                let calls: Vec<String> = violation.calls.iter().map(ToString::to_string).collect();
                Err(format!("{violation}; all its calls:\n  {}", calls.join("\n  ")))
            }
        }
    }
}
