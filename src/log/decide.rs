//! What becomes of a proposal that has its place in the order: the same on every member, as it looks at the store alone.

use super::dedup::{self, Verdict};
use crate::error::{Code, Result, refuse};
use crate::limits::{LOG_KEPT_CHANGES, REQUEST_SEQUENCE_MAX};
use crate::store::{Batch, Committed, Outcome, Proposal, Trouble};

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was applied, now or when it was first proposed: this is the answer.
    Answered(Outcome),
    /// Its number is above all bounds; nothing was changed.
    AboveBounds(u64),
    /// It is too old to tell whether it was applied; nothing was changed.
    TooOld(u64),
}

/// Every so many changes, what is no longer kept is removed: rarely enough to cost nothing, and what is not kept stays bounded.
const TRIM_EVERY_CHANGES: u64 = 64;
/// The same for answers of clients that have gone, whose removal walks through all answers.
const FORGET_EVERY_CHANGES: u64 = 4096;

impl Decision {
    /// The answer for the proposer.
    pub fn told(self) -> Result<Outcome> {
        match self {
            Self::Answered(outcome) => Ok(outcome),
            Self::AboveBounds(number) => Err(refuse(Code::DeviceError, format!("request number {number} is above all bounds"))),
            Self::TooOld(number) => {
                Err(refuse(Code::DeviceError, format!("request {number} is too old to tell whether it was applied")))
            }
        }
    }
}

/// Applies a proposal that is new, and looks up the answer of one that is not.
pub fn decide(batch: &mut Batch<'_>, proposal: Proposal) -> std::result::Result<Decision, Trouble> {
    let request = proposal.request;
    if request.sequence > REQUEST_SEQUENCE_MAX {
        return Ok(Decision::AboveBounds(request.sequence));
    }
    let highest = batch.highest(request.client)?;
    // Above the highest number that was answered there is no answer to look for.
    let answer = if highest.is_some_and(|highest| request.sequence <= highest) { batch.answer(request)? } else { None };
    match dedup::judge(request, answer, highest) {
        Verdict::Answered(outcome) => return Ok(Decision::Answered(outcome)),
        Verdict::TooOld => return Ok(Decision::TooOld(request.sequence)),
        Verdict::New => {}
    }
    let committed = Committed::by_log(batch.applied() + 1, proposal);
    let outcome = batch.apply(&committed)?;
    trim(batch, &committed)?;
    Ok(Decision::Answered(outcome))
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
