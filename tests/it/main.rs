//! The built module in the hands of real clients: one binary, one module a promise.
//!
//! Every test exists twice, on our module and on SoftHSM (`cargo test --test it softhsm::` runs only those), and every
//! result is judged by a program that knows nothing of the module that made it.

#[path = "../abi/mod.rs"]
mod abi;
mod harness;

mod main_job;
mod opensc;
mod p11test;

/// Work that children of the tests do with the module loaded; the name is how a test asks for it.
const JOBS: &[(&str, fn())] = &[];
