//! What a command says when it is done, and how it ends.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::error::{Error, Result};

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
        true => say(format_args!("{value:#}")),
        false => say(text),
    }
}

/// Whether something was to be printed on standard output and could not be (a full disk): then the command has failed, whatever it did.
static IS_UNSAID: AtomicBool = AtomicBool::new(false);

/// Prints a line on standard output.
pub(super) fn say(text: impl Display) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush())
        && !IS_UNSAID.swap(true, Ordering::Relaxed)
    {
        eprintln!("hsmpool: the answer cannot be printed: {error}");
    }
}

/// How a program ends: an error goes to standard error as a sentence, and with `--json` to standard output as a value.
pub(super) fn finish(program: &str, as_json: bool, done: Result<Ended>) -> ExitCode {
    let code = match done {
        Ok(ended) => ended.into(),
        Err(error) => {
            eprintln!("{program}: {}", sentence(&error));
            if as_json {
                say(format_args!("{:#}", value(&error)));
            }
            ExitCode::FAILURE
        }
    };
    if IS_UNSAID.load(Ordering::Relaxed) { ExitCode::FAILURE } else { code }
}

pub(super) fn sentence(error: &Error) -> String {
    format!("{error} ({})", error.code())
}

fn value(error: &Error) -> serde_json::Value {
    json!({ "error": { "code": error.code().to_string(), "message": error.to_string() } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, refuse};

    #[test]
    fn an_error_is_a_sentence_for_people_and_a_value_for_programs() {
        let error = refuse(Code::TokenNotPresent, "no token has the label \"web\"").because("a cause");
        let told = value(&error);
        assert_eq!(told["error"]["message"], "no token has the label \"web\": a cause");
        let code = told["error"]["code"].as_str().unwrap();
        assert!(code.contains("CKR_TOKEN_NOT_PRESENT") && sentence(&error).contains(code), "{code}");
    }
}
