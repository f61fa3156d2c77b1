//! The built module in the hands of real clients: one binary, one module a promise.
//!
//! Most tests exist three times: on our module embedded, on it over a pool (`cargo test --test it over_a_pool`), and on SoftHSM
//! (`cargo test --test it softhsm`); every result is judged by a program that knows nothing of the module that made it.

#[path = "../abi/mod.rs"]
mod abi;
mod harness;

mod apache;
mod chaos;
mod commands;
mod conformance;
mod cryptoki_crate;
mod daemon;
mod demo;
mod dnssec;
mod foreign_suites;
mod fork;
mod gnutls;
mod import;
mod isolation;
mod java;
mod kill9;
mod main_job;
mod mutants;
mod nginx;
mod nss;
mod opensc;
mod openssl_engine;
mod other_clients;
mod p11kit;
mod p11test;
mod pages;
mod peer;
mod pool;
mod pool_clients;
mod pool_secrets;
mod pool_streams;
mod processes;
mod python_pkcs11;
mod readme;
mod replaced;
mod revoked;
mod shape;
mod ssh;
mod stand_in;
mod token_util;
mod troubles;
mod upgrade;
mod wycheproof;

/// What the tests' children do with the module loaded.
const JOBS: &[harness::Jobs] = &[
    fork::JOBS,
    isolation::JOBS,
    kill9::JOBS,
    peer::JOBS,
    pool::JOBS,
    pool_clients::JOBS,
    pool_secrets::JOBS,
    pool_streams::JOBS,
    processes::JOBS,
    replaced::JOBS,
    wycheproof::JOBS,
];
