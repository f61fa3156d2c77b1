//! Jobs that load the module into their own process: this same binary, started again as a child.
//!
//! A module keeps one state a process and reads its configuration from the environment, so tests, which share a process,
//! cannot load it themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Run, Token};
use crate::abi::Loaded;

const JOB: &str = "HSMPOOL_IT_JOB";
const MODULE: &str = "HSMPOOL_IT_MODULE";

/// Work for children, by the names that tests ask for.
pub type Jobs = &'static [(&'static str, fn())];

/// Whether the long share of the tests was asked for (`tests/run --full`).
pub fn full() -> bool {
    std::env::var_os("HSMPOOL_TEST_FULL").is_some_and(|value| value == "1")
}

/// A job of `JOBS`, about to be run in a child of its own.
pub fn child(token: &Token, name: &str) -> Run {
    assert!(jobs().contains_key(name), "no job is called {name}");
    let this = std::env::current_exe().expect("a running program has a file");
    token
        .run_file(&this)
        .args(["--exact", "harness::child::entry", "--ignored", "--nocapture", "--test-threads=1"])
        .env(JOB, name)
        .env(MODULE, token.module.path())
        .deadline(Duration::from_secs(if full() { 3600 } else { 300 }))
}

/// In a child: the module, loaded and not yet initialised.
pub fn loaded_module() -> Loaded {
    Loaded::open(&module_of_job())
}

/// In a child: the module's path.
pub fn module_of_job() -> std::path::PathBuf {
    std::env::var_os(MODULE).expect("jobs are started by `child`, which sets it").into()
}

fn jobs() -> BTreeMap<&'static str, fn()> {
    crate::JOBS.iter().flat_map(|jobs| jobs.iter().copied()).collect()
}

/// The child's main function.
#[test]
#[ignore = "the entry of child processes; does nothing by itself"]
fn entry() {
    let Some(name) = std::env::var_os(JOB) else { return };
    let name = name.into_string().expect("job names are ASCII");
    jobs()[name.as_str()]();
}
