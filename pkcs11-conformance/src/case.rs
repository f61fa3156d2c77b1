//! What a case is, and what it can answer.

use serde::{Deserialize, Serialize};

use crate::context::Context;

/// How much a rule weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The standard demands it.
    Must,
    /// The standard recommends it, or careful applications rely on it.
    Should,
    /// An attacker gains from its absence.
    Security,
}

impl Level {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Level::Must => "must",
            Level::Should => "should",
            Level::Security => "security",
        }
    }

    /// What a breach means.
    pub fn means(self) -> &'static str {
        match self {
            Level::Must => "the standard demands it",
            Level::Should => "the standard recommends it, or careful applications rely on it",
            Level::Security => "an attacker gains where it is broken",
        }
    }
}

/// One rule of the standard and the function that holds a module against it.
pub struct Case {
    /// `chapter/name`, stable for ever: people put it into their expectations.
    pub id: &'static str,
    /// How much it weighs.
    pub level: Level,
    /// Version and section, and a name: `3.1, 5.6.1 C_OpenSession`.
    pub section: &'static str,
    /// What the standard says and why it matters, in our own words.
    pub says: &'static str,
    /// The test. It runs in a process of its own.
    pub run: fn(&Context) -> Outcome,
}

/// What a case answers: `Ok` is a pass.
pub type Outcome = Result<(), Stop>;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "reason")]
pub enum Stop {
    /// The rule is broken.
    Fail(String),
    /// It cannot be tried on this module, and why. Never because the module misbehaves.
    Skip(String),
    /// The standard can be read in two ways, and the module took the other one.
    Deviation(String),
}

/// What became of a case, the ends that it could not report itself included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// The rule is kept.
    Pass,
    /// See [`Stop::Fail`].
    Fail(String),
    /// See [`Stop::Skip`].
    Skip(String),
    /// See [`Stop::Deviation`].
    Deviation(String),
    /// The process died: signal or exit code.
    Crash(String),
    /// The time limit ended it.
    Hang(String),
}

impl Verdict {
    /// The word in reports.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail(_) => "fail",
            Verdict::Skip(_) => "skip",
            Verdict::Deviation(_) => "deviation",
            Verdict::Crash(_) => "crash",
            Verdict::Hang(_) => "hang",
        }
    }

    /// Why; empty for a pass.
    pub fn reason(&self) -> &str {
        match self {
            Verdict::Pass => "",
            Verdict::Fail(reason)
            | Verdict::Skip(reason)
            | Verdict::Deviation(reason)
            | Verdict::Crash(reason)
            | Verdict::Hang(reason) => reason,
        }
    }

    /// Whether the module is at fault.
    pub fn is_bad(&self) -> bool {
        matches!(self, Verdict::Fail(_) | Verdict::Crash(_) | Verdict::Hang(_))
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(()) => Verdict::Pass,
            Err(Stop::Fail(reason)) => Verdict::Fail(reason),
            Err(Stop::Skip(reason)) => Verdict::Skip(reason),
            Err(Stop::Deviation(reason)) => Verdict::Deviation(reason),
        }
    }
}

/// Fails the case unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::case::Stop::Fail(format!($($why)+)));
        }
    };
}

/// Fails the case unless the call answered one of the named codes: `answers!(rv, [CKR_OK], "C_Sign of 10 bytes")`.
#[macro_export]
macro_rules! answers {
    ($rv:expr, [$($code:ident),+ $(,)?], $($what:tt)+) => {{
        let rv: $crate::module::Rv = $rv;
        let wanted = [$($crate::module::Rv(cryptoki_sys::$code)),+];
        if !wanted.contains(&rv) {
            return Err($crate::case::Stop::Fail(format!("{} answered {rv}, expected {wanted:?}", format!($($what)+))));
        }
    }};
}
