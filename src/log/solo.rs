//! The log of a single member: append and apply in one SQLite transaction, shared by all processes of the machine.

use std::sync::Arc;

use super::dedup::{self, Verdict};
use super::{Log, Version};
use crate::error::{Code, Result, refuse};
use crate::limits::{LOG_KEPT_CHANGES, REQUEST_SEQUENCE_MAX};
use crate::store::{Batch, Committed, Outcome, Proposal, Store, Trouble};

/// A log without other members.
pub struct Solo {
    store: Arc<Store>,
}

/// Every so many changes, what is no longer kept is removed: rarely enough to cost nothing, and what is not kept stays bounded.
const TRIM_EVERY_CHANGES: u64 = 64;
/// The same for answers of clients that have gone, whose removal walks through all answers.
const FORGET_EVERY_CHANGES: u64 = 4096;

impl Solo {
    /// Orders the changes of `store`.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl Log for Solo {
    fn propose(&self, proposal: Proposal) -> Result<Outcome> {
        self.store.write(|batch| decide(batch, proposal))
    }

    fn version(&self) -> Version {
        self.store.stamp().map_or(Version::UNSETTLED, Version::settled)
    }
}

fn decide(batch: &mut Batch<'_>, proposal: Proposal) -> std::result::Result<Outcome, Trouble> {
    let request = proposal.request;
    if request.sequence > REQUEST_SEQUENCE_MAX {
        return Err(refuse(Code::DeviceError, format!("request number {} is above all bounds", request.sequence)).into());
    }
    match dedup::judge(request, batch.answer(request)?, batch.highest(request.client)?) {
        Verdict::Answered(outcome) => return Ok(outcome),
        Verdict::TooOld => {
            let told = format!("request {} is too old to tell whether it was applied", request.sequence);
            return Err(refuse(Code::DeviceError, told).into());
        }
        Verdict::New => {}
    }
    let committed = Committed::by_log(batch.applied() + 1, proposal);
    let outcome = batch.apply(&committed)?;
    trim(batch, &committed)?;
    Ok(outcome)
}

/// Removes what is no longer kept, now and then.
fn trim(batch: &mut Batch<'_>, committed: &Committed) -> std::result::Result<(), Trouble> {
    let applied = batch.applied();
    if committed.index() == applied && applied.is_multiple_of(TRIM_EVERY_CHANGES) {
        let request = committed.proposal().request;
        batch.trim_log_before((applied + 1).saturating_sub(LOG_KEPT_CHANGES))?;
        if let Some(highest) = batch.highest(request.client)? {
            batch.forget_answers_below(request.client, dedup::oldest_kept(highest))?;
        }
        if applied.is_multiple_of(FORGET_EVERY_CHANGES) {
            batch.forget_answers_before(dedup::first_kept(applied))?;
        }
    }
    Ok(())
}
