//! SoftHSM 2.6.1's own test suite, from Debian's source package: the drop-in promise in executable form, 77 of 77.

use std::path::PathBuf;

use crate::harness::{Module, Token, foreign};

/// The suites and how many tests each must run. The fork tests have a process each: their children go on to run what
/// comes next in the process, at the same time as the parent and in the same store.
const SUITES: &[(&str, u32)] = &[
    ("SymmetricAlgorithmTests", 9),
    ("DigestTests", 6),
    ("InitTests", 7),
    ("InfoTests", 10),
    ("RandomTests", 2),
    ("SessionTests", 4),
    ("TokenTests", 1),
    ("UserTests", 4),
    ("ObjectTests", 20),
    ("DeriveTests", 5),
    ("SignVerifyTests", 5),
    ("AsymEncryptDecryptTests", 1),
    ("AsymWrapUnwrapTests", 1),
    ("ForkTests::testFork", 1),
    ("ForkTests::testResetOnFork", 1),
];

const _: () = {
    let (mut total, mut row) = (0, 0);
    while row < SUITES.len() {
        total += SUITES[row].1;
        row += 1;
    }
    assert!(total == 77);
};

#[test]
fn ours() {
    all_suites_pass(Module::Ours);
}

#[test]
fn softhsm() {
    all_suites_pass(Module::SoftHsm);
}

fn all_suites_pass(module: Module) {
    let failures: Vec<String> = SUITES.iter().filter_map(|(suite, tests)| failure(module, suite, *tests)).collect();
    assert!(failures.is_empty(), "{} of {} suites failed on {module:?}:\n{}", failures.len(), SUITES.len(), failures.join("\n"));
}

/// Runs one suite in a fresh store; `None` when every test of it ran and passed.
fn failure(module: Module, suite: &str, tests: u32) -> Option<String> {
    let token = Token::fresh(module);
    for (name, lines) in CONFIGURATIONS {
        let tokens = token.file("tokens");
        token.write(name, format!("directories.tokendir = {}\nobjectstore.backend = file\n{lines}", tokens.display()));
    }
    // SoftHSM on OpenSSL 3 has DES only with the legacy provider; the suite tests DES.
    token.write("openssl.cnf", LEGACY_PROVIDER);
    let run = token.run_file(&built()).arg(suite).env("P11TEST_MODULE", module.path()).env("OPENSSL_CONF", "openssl.cnf");
    let output = run.end();
    let said = output.all();
    let passed = output.status.success() && said.contains(&format!("OK ({tests} tests)")) && !said.contains("FAILURES");
    (!passed).then(|| format!("{suite} ({tests} tests) ended with {}:\n{said}", output.status))
}

/// The suite switches between these configurations, in its working directory.
const CONFIGURATIONS: &[(&str, &str)] = &[
    ("softhsm2.conf", "log.level = INFO\nslots.removable = false\n"),
    ("softhsm2-alt.conf", "log.level = INFO\nslots.removable = true\n"),
    ("softhsm2-mech.conf", "log.level = INFO\nslots.removable = false\nslots.mechanisms = CKM_RSA_X_509,CKM_RSA_PKCS\n"),
    ("softhsm2-reset-on-fork.conf", "log.level = INFO\nslots.removable = false\nlibrary.reset_on_fork = true\n"),
];

const LEGACY_PROVIDER: &str =
    "openssl_conf = init\n[init]\nproviders = all\n[all]\ndefault = on\nlegacy = on\n[on]\nactivate = 1\n";

/// The suite's binary.
fn built() -> PathBuf {
    foreign("p11test").join("p11test")
}
