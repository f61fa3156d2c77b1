//! Which return values the cases got out of which function: what the coverage table is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::{CK_RV, CKR_FUNCTION_NOT_SUPPORTED};

use crate::module::Rv;

/// Function name to the codes it gave.
pub type Provoked = BTreeMap<String, BTreeSet<CK_RV>>;

static SEEN: Mutex<BTreeSet<(&'static str, CK_RV)>> = Mutex::new(BTreeSet::new());

/// Notes a function's answer and hands it on. A process that a case forked keeps its own notes, which end with it.
pub fn record(function: &'static str, rv: Rv) -> Rv {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert((function, rv.0));
    rv
}

/// Notes that the module has no such function, which comes to the same as one that is not supported.
pub fn record_missing(function: &'static str) -> Rv {
    record(function, Rv(CKR_FUNCTION_NOT_SUPPORTED))
}

/// Everything that was noted so far in this process.
pub fn taken() -> Provoked {
    let mut provoked = Provoked::new();
    for (function, code) in SEEN.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        provoked.entry((*function).to_owned()).or_default().insert(*code);
    }
    provoked
}

/// Adds one run's notes to another's.
pub fn merge(into: &mut Provoked, other: &Provoked) {
    for (function, codes) in other {
        into.entry(function.clone()).or_default().extend(codes);
    }
}
