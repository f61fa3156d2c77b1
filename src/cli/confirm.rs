//! Asks before what cannot be taken back.

use std::io::Write;

use crate::error::{Code, Doing, Result, refuse};

/// Goes on only if `expected` is typed; where there is nobody to answer, it does not.
///
/// Errors: `FunctionRejected`.
pub(super) fn typed(question: &str, expected: &str) -> Result<()> {
    // Standard output is for what the command answers.
    eprint!("{question} Type {expected} to go on: ");
    std::io::stderr().flush().doing(Code::FunctionRejected, "asking; nothing was done")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).doing(Code::FunctionRejected, "reading the answer; nothing was done")?;
    match answer.trim() == expected {
        true => Ok(()),
        false => Err(refuse(Code::FunctionRejected, format!("{expected} was not typed: nothing was done (--yes does not ask)"))),
    }
}
