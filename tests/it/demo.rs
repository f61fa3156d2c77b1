//! `tests/demo`, the README's first command, from its beginning to its end.

use std::path::Path;
use std::time::Duration;

use crate::harness::{Module, Run, Token, program};

#[test]
fn the_demonstration_shows_the_main_job() {
    let token = Token::fresh(Module::Ours);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/demo");
    // In the caller's own environment, as a person runs it.
    let run = Run::new(&program("bash"), token.directory()).arg(script).without_env("HSMPOOL_CONF").without_env("SOFTHSM2_CONF");
    run.deadline(Duration::from_secs(900)).ok().says("certificate.pem: OK").says("The main job is done");
}
