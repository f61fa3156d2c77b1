//! The `cryptoki` crate's own tests, fetched from the registry at test time, run against a module.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{Module, Run, Token, program};

const VERSION: &str = "0.12.1";

/// What the crate's suites count on SoftHSM 2.6.1, unit tests left out (they load no module).
const TESTS_MIN: usize = 80;

/// Tests of the crate that take a module with an interface of 3.x to have everything of 3.x, which ours does not yet, or SoftHSM by its
/// name to have none of it.
const BEYOND_US: &[&str] = &[
    // C_GetInfo tells 3.2, and there is an interface of 3.2; the functions for messages answer CKR_FUNCTION_NOT_SUPPORTED.
    "get_info_test",
    "is_fn_supported_test",
    "encrypt_decrypt_gcm_message",
    "aes_gcm_message_wycheproof",
    // There are no post-quantum mechanisms yet.
    "ml_dsa",
    "ml_kem",
    // SoftHSM does not know CKA_UNIQUE_ID (CKR_ATTRIBUTE_TYPE_INVALID); here it is known and read-only.
    "unique_id",
];

#[test]
fn ours() {
    suites_pass(Module::Ours, BEYOND_US);
}

#[test]
fn softhsm() {
    suites_pass(Module::SoftHsm, &[]);
}

fn suites_pass(module: Module, left_out: &[&str]) {
    let token = Token::fresh(module);
    // The tests ask for SoftHSM's known gaps by its name; ours takes SoftHSM's place, so it is asked the same.
    let run = token
        .run("cargo")
        .words("test --quiet --tests --locked --no-fail-fast")
        .arg("--manifest-path")
        .arg(source().join("Cargo.toml"));
    let run = run.arg("--target-dir").arg(scratch().join("target")).args(["--", "--test-threads=1"]);
    let run = left_out.iter().fold(run, |run, name| run.args(["--skip", name]));
    let run = run.env("TEST_PKCS11_MODULE", module.path()).env("TEST_PRETEND_LIBRARY", "softhsm").env("HOME", home());
    let output = run.deadline(Duration::from_secs(900)).ok();
    let passed: usize = output.text().lines().filter_map(passed_in).sum();
    assert!(passed >= TESTS_MIN, "only {passed} tests ran:\n{}", output.all());
}

/// The count in "test result: ok. 73 passed; …".
fn passed_in(line: &str) -> Option<usize> {
    line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse().ok()
}

/// Cargo and rustup keep their toolchain and registry below the real home.
fn home() -> std::ffi::OsString {
    std::env::var_os("HOME").unwrap_or_default()
}

fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cryptoki-crate")
}

/// A copy of the crate's source, as cargo fetched it.
fn source() -> &'static Path {
    static SOURCE: OnceLock<PathBuf> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let (scratch, copy) = (scratch(), scratch().join(format!("cryptoki-{VERSION}")));
        if copy.join("Cargo.toml").is_file() {
            return copy;
        }
        std::fs::create_dir_all(scratch.join("fetch/src")).expect("the target directory is writable");
        let manifest =
            format!("[package]\nname = \"fetch\"\nedition = \"2024\"\n[dependencies]\ncryptoki = \"={VERSION}\"\n[workspace]\n");
        std::fs::write(scratch.join("fetch/Cargo.toml"), manifest).expect("the target directory is writable");
        std::fs::write(scratch.join("fetch/src/lib.rs"), "").expect("the target directory is writable");
        let cargo = |words: &str| Run::new(&program("cargo"), &scratch.join("fetch")).words(words).ok();
        cargo("vendor --quiet --versioned-dirs vendor");
        let vendored = scratch.join(format!("fetch/vendor/cryptoki-{VERSION}"));
        assert!(vendored.join("tests").is_dir(), "{vendored:?} has no tests");
        let manifest = std::fs::read_to_string(vendored.join("Cargo.toml")).expect("vendored above");
        // An empty workspace table keeps it out of ours.
        std::fs::write(vendored.join("Cargo.toml"), format!("{manifest}\n[workspace]\n")).expect("vendored above");
        std::fs::rename(&vendored, &copy).expect("both are in the target directory");
        copy
    })
}
