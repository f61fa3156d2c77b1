//! The `hsmpoold` daemon: one node of a pool.

use std::process::ExitCode;

fn main() -> ExitCode {
    hsmpool::cli::daemon(std::env::args_os().collect())
}
