//! Which request is new, which one has been answered, and for how long answers are kept.

use crate::limits::{REQUESTS_KEPT_CHANGES, REQUESTS_KEPT_PER_CLIENT, REQUESTS_OVERTAKING_MAX};
use crate::store::{Outcome, RequestId};

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Apply it.
    New,
    /// It has been applied: this was the answer.
    Answered(Outcome),
    /// It may have been applied, but the answer is forgotten: refuse it.
    TooOld,
}

/// Judges a request by its recorded answer, and by the highest sequence number of its client that has one.
///
/// A client whose answers have all been forgotten, because nothing of it was among the latest
/// [`REQUESTS_KEPT_CHANGES`] changes, counts as new; so a request that is older than that must not come into the log: [`is_remembered`].
pub fn judge(request: RequestId, answer: Option<Outcome>, highest: Option<u64>) -> Verdict {
    match (answer, highest) {
        (Some(outcome), _) => Verdict::Answered(outcome),
        (None, Some(highest)) if request.sequence < oldest_kept(highest) => Verdict::TooOld,
        (None, _) => Verdict::New,
    }
}

/// The lowest sequence number of a client whose answer is kept.
pub fn oldest_kept(highest: u64) -> u64 {
    (highest + 1).saturating_sub(REQUESTS_KEPT_PER_CLIENT)
}

/// The first change whose answer is kept, whoever asked for it.
pub fn first_kept(applied: u64) -> u64 {
    (applied + 1).saturating_sub(REQUESTS_KEPT_CHANGES)
}

/// Whether the answer to a request that was first sent when there were `since` changes is kept still, if it was carried out, at the place that it would get
/// now, when there are `changes`. A node asks before it proposes; what every member decides about an entry must not depend on it, as older members do not
/// ask.
pub fn is_remembered(since: u64, changes: u64) -> bool {
    changes <= since.saturating_add(REQUESTS_KEPT_CHANGES - REQUESTS_OVERTAKING_MAX)
}

#[cfg(test)]
mod tests {
    use super::{Verdict, first_kept, is_remembered, judge, oldest_kept};
    use crate::limits::{REQUESTS_KEPT_CHANGES, REQUESTS_KEPT_PER_CLIENT, REQUESTS_OVERTAKING_MAX};
    use crate::store::{Outcome, RequestId};

    #[test]
    fn requests_are_new_answered_or_too_old() {
        let far = REQUESTS_KEPT_PER_CLIENT + 100;
        let done = Some(Outcome::Done);
        let cases = [
            (5, None, None, Verdict::New),
            (5, None, Some(4), Verdict::New),
            (5, None, Some(9), Verdict::New),
            (5, done, Some(9), Verdict::Answered(Outcome::Done)),
            (101, None, Some(far), Verdict::New),
            (100, None, Some(far), Verdict::TooOld),
            (0, None, Some(far), Verdict::TooOld),
            (100, done, Some(far), Verdict::Answered(Outcome::Done)),
        ];
        for (sequence, answer, highest, verdict) in cases {
            let request = RequestId { client: [1; 16], sequence };
            assert_eq!(judge(request, answer, highest), verdict, "{sequence} {answer:?} {highest:?}");
        }
    }

    #[test]
    fn as_many_answers_are_kept_as_the_limits_say() {
        assert_eq!(oldest_kept(REQUESTS_KEPT_PER_CLIENT - 1), 0);
        assert_eq!(oldest_kept(REQUESTS_KEPT_PER_CLIENT), 1);
        assert_eq!(first_kept(REQUESTS_KEPT_CHANGES), 1);
        assert_eq!(first_kept(0), 0);
    }

    #[test]
    fn what_is_let_into_the_log_has_its_answer_kept_however_many_overtake_it() {
        for since in [0, 1, 7 * REQUESTS_KEPT_CHANGES] {
            let last = since + REQUESTS_KEPT_CHANGES - REQUESTS_OVERTAKING_MAX;
            assert!(is_remembered(since, since) && is_remembered(since, last));
            assert!(!is_remembered(since, last + 1));
            // It may have been the very next change, and as many come before it now as may.
            assert!(first_kept(last + REQUESTS_OVERTAKING_MAX) <= since + 1);
        }
        assert!(is_remembered(9, 3), "the changes of an older copy of the store");
        assert!(is_remembered(u64::MAX, u64::MAX));
    }
}
