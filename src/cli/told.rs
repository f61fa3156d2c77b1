//! What a command says when it is done, and how it ends.

use std::fmt::Display;
use std::process::ExitCode;

/// How a command ended that was not refused. What is refused ends with 1, a wrong command line with 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// 0: done, and all is well.
    Well,
    /// 1: done, and what was to be shown did not hold.
    Failed,
    /// 3: the answer is there, and it is that no quorum of the pool is well.
    NoQuorum,
    /// 130: somebody pressed Ctrl-C; what was begun is cleaned up.
    Interrupted,
}

/// The codes, for the help of commands.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed (the reason is on standard error), 2 the command line is wrong, \
                                     3 it answers, and no quorum of the pool is well, 130 interrupted.";

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Well => ExitCode::SUCCESS,
            Ended::Failed => ExitCode::FAILURE,
            Ended::NoQuorum => ExitCode::from(3),
            Ended::Interrupted => ExitCode::from(130),
        }
    }
}

/// Prints one of both on standard output: the text for people, or the value for programs.
pub(super) fn tell(as_json: bool, text: impl Display, value: &serde_json::Value) {
    match as_json {
        true => println!("{value:#}"),
        false => println!("{text}"),
    }
}
