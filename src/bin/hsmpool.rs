//! The `hsmpool` command; also `softhsm2-util` and `softhsm2-keyconv` when called by those names.

use std::process::ExitCode;

fn main() -> ExitCode {
    hsmpool::cli::main(std::env::args_os().collect())
}
