//! The conformance suite shows that it finds things: our module with one rule broken on purpose (`src/faults.rs`) fails the cases of that
//! rule, and passes them with none broken.
//!
//! The faulty module costs no build of its own: Cargo makes it beside this program, of the same library, when the tests are built with the
//! feature `faults` (`cargo test --features faults --test it mutants::`, and `tests/run`).

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hsmpool::faults::Fault;

use crate::harness::{Module, Run, Token, tell};

/// Each fault and the cases that must find it.
const MUTANTS: &[(Fault, &[&str])] = &[
    (Fault::SmallBufferCode, &["operation/query-then-use"]),
    (Fault::ShortListIsOk, &["token/slot-list-too-small", "mechanism/list-too-small"]),
    (Fault::ReservedIsTaken, &["general/initialize-reserved"]),
    (Fault::SomeMutexesAreTaken, &["concurrency/some-mutexes"]),
    (Fault::SecondInitializeIsOk, &["general/initialize-twice"]),
    (Fault::ShortAttributeTellsLength, &["object/read-lengths"]),
    (Fault::TemplateTakesTwice, &["key/template-twice", "object/set-twice"]),
    (Fault::QueryTellsTooLittle, &["operation/query-then-use"]),
    (Fault::SmallBufferEnds, &["operation/query-then-use", "codes/sign-recover"]),
    (Fault::SecondInitIsTaken, &["operation/init-twice"]),
    (Fault::VerifyGoesOn, &["operation/verify-ends-on-wrong-length"]),
    (Fault::SecondLoginIsOk, &["session/login-twice"]),
    (Fault::AnyUserTypeIsUser, &["session/login-wrong-type"]),
    (Fault::LogoutKeepsOperations, &["operation/logout-ends", "concurrency/logout-across-sessions"]),
    (Fault::LogoutKeepsPrivateObjects, &["security/private-after-logout"]),
    (Fault::UserInitsPin, &["session/init-pin-needs-so"]),
    (Fault::ReadOnlySessionSetsPin, &["token/set-pin-read-only"]),
    (Fault::ParallelSessions, &["session/parallel"]),
    (Fault::LastCloseKeepsLogin, &["session/last-close-logs-out"]),
    (Fault::SessionObjectsStay, &["object/session-object-dies"]),
    (Fault::CancelDoesNothing, &["interface/session-cancel"]),
    (Fault::ReadOnlySessionWrites, &["object/read-only-session", "codes/session-read-only"]),
    (Fault::ReadOnlyBesideSo, &["session/so-beside-read-only"]),
    (Fault::InitTokenUnderSessions, &["session/init-token-with-sessions"]),
    (Fault::DestroyedObjectStays, &["operation/destroy-ends-use", "codes/handles-of-objects"]),
    (Fault::TextsEndWithNul, &["token/info-padding"]),
    (Fault::SingleBytesAreLost, &["mechanism/parts-CKM_SHA256"]),
    (Fault::RandomIsNotWritten, &["general/random"]),
    (
        Fault::NothingRunsCode,
        &["operation/error-ends", "operation/final-ends", "operation/verify-final", "codes/operation-not-initialised"],
    ),
    (Fault::SizesAreNone, &["object/size"]),
    (Fault::SensitiveIsShown, &["object/read-sensitive", "security/sensitive-read"]),
    (
        Fault::UsesIgnoreFlags,
        &["key/use-encrypt", "key/use-sign", "key/use-wrap", "key/use-derive", "codes/sign-recover", "codes/verify-recover"],
    ),
    (Fault::AnyMechanismAllowed, &["key/allowed-mechanisms"]),
    (Fault::SearchIgnoresLabel, &["object/find-exact"]),
    (Fault::SearchFindsSecrets, &["object/find-oracle", "security/search-by-secret"]),
    (Fault::WrapsUnextractable, &["key/wrap-unextractable"]),
    (Fault::WrapsUnderUntrusted, &["key/wrap-with-trusted"]),
    (Fault::WrapTemplateIgnored, &["key/wrap-template"]),
    (Fault::UnwrapTemplateIgnored, &["key/unwrap-template"]),
    (Fault::FixedObjectsMove, &["object/not-modifiable", "object/not-copyable", "object/not-destroyable"]),
    (Fault::StickyAttributesMove, &["object/sticky-attributes", "security/sticky"]),
    (Fault::CopyLoosens, &["object/copy-does-not-weaken", "security/copy-to-weaken"]),
    (Fault::UserTrusts, &["object/trusted-needs-so", "security/trusted-by-user", "object/certificate-trusted"]),
    (Fault::ReadOnlyAttributesGiven, &["object/template-read-only-attribute"]),
    (Fault::UnwrappedKeyForgetsItsPast, &["security/unwrapped-history"]),
    (Fault::ImportedKeyIsLocal, &["key/imported-history"]),
    (Fault::DerivedKeyIsOpen, &["security/derive-keeps-sensitive"]),
    (Fault::PinLengthUnchecked, &["token/pin-too-short"]),
    (Fault::LockedPinIsTaken, &["token/pin-locks"]),
    (Fault::AlwaysAuthenticateIgnored, &["security/always-authenticate", "security/always-authenticate-each"]),
    (Fault::SetIsNotAtomic, &["object/set-is-atomic"]),
    (Fault::PrivateIsListed, &["object/private-not-listed"]),
    (Fault::HalfAPairStays, &["key/failed-pair-leaves-nothing"]),
    (Fault::KeysOfAnyLength, &["security/unwrap-wrong-length"]),
    (Fault::CheckValueUnchecked, &["key/check-value-wrong"]),
    (Fault::GcmTagUnchecked, &["mechanism/gcm-tampered"]),
    (Fault::CbcPaddingTold, &["security/cbc-pad-codes"]),
    (Fault::CbcPaddingUnchecked, &["security/cbc-pad-checked"]),
    (Fault::Pkcs1PaddingTold, &["security/pkcs1-codes"]),
    (Fault::ShortMacIsGood, &["operation/verify-ends-on-wrong-length", "operation/verify-final"]),
    (Fault::AnySignatureIsGood, &["vector/ed25519"]),
    (Fault::SmallOrderIsTaken, &["security/x25519-small-order"]),
    (Fault::CounterRepeats, &["mechanism/ctr-wrap"]),
    (Fault::FlagsClaimTooMuch, &["mechanism/CKM_AES_CTR"]),
    (Fault::FlagsClaimTooLittle, &["mechanism/unclaimed-decrypt"]),
    (Fault::OaepLabelIgnored, &["mechanism/oaep-label"]),
];

/// Mutants that are tried at once.
const AT_ONCE: usize = 2;

/// All cases in a second or two; a mutant that hangs is ended by the suite, after a minute for each of its cases.
const LONG: Duration = Duration::from_secs(300);

/// The library that this program was linked with, as a module. A copy: another build of the tests would write to its place.
fn faulty_module(token: &Token) -> PathBuf {
    let here = std::env::current_exe().expect("a running program has a file");
    let module = token.file("libfaulty.so");
    std::fs::copy(here.with_file_name("libhsmpool.so"), &module).expect("Cargo makes the module of the library that a test uses");
    module
}

/// Which of the cases passed, on a token of their own. Anything but a pass or a finding is no answer.
fn passed(module: &Path, fault: Option<Fault>, cases: &[&str]) -> Vec<String> {
    let token = Token::by_default("");
    let suite = Module::Ours.path().with_file_name("pkcs11-conformance");
    let mut run = token.run_file(&suite).deadline(LONG).words("run --json results.json --module").arg(module);
    for case in cases {
        run = run.args(["--filter", case]);
    }
    let run = match fault {
        Some(fault) => run.env("HSMPOOL_FAULT", fault.name()),
        None => run.without_env("HSMPOOL_FAULT"),
    };
    let ended = run.end();
    let text = std::fs::read(token.file("results.json")).unwrap_or_else(|error| panic!("{fault:?}: {error}: {}", ended.all()));
    let report: serde_json::Value = serde_json::from_slice(&text).expect("JSON was asked for");
    let verdict = |case: &str| {
        let results = report["results"].as_array().expect("a list of results");
        let result = results.iter().find(|result| result["id"] == case).unwrap_or_else(|| panic!("{case} is no case"));
        result["verdict"].as_str().unwrap_or_default().to_owned()
    };
    let passes = |case: &&&str| match verdict(case).as_str() {
        "pass" => true,
        "fail" | "crash" | "hang" => false,
        other => panic!("{fault:?}, {case}: {other}"),
    };
    cases.iter().filter(passes).map(|case| (*case).to_owned()).collect()
}

#[test]
#[cfg_attr(not(feature = "faults"), ignore = "this build has no faults: cargo test --features faults, as tests/run does")]
fn the_suite_finds_every_fault_that_we_can_make() {
    let token = Token::by_default("");
    let module = faulty_module(&token);

    let mut all: Vec<&str> = MUTANTS.iter().flat_map(|(_, cases)| cases.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(passed(&module, None, &all), all, "without a fault every case passes");

    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((fault, cases)) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found_nothing = passed(&module, Some(*fault), cases);
                    if !found_nothing.is_empty() {
                        missed.lock().unwrap().push(format!("{fault:?}: {}", found_nothing.join(", ")));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    tell(&format!("{} of {} mutants caught", MUTANTS.len() - missed.len(), MUTANTS.len()));
    assert_eq!(missed, [""; 0]);
}

/// Faults of the log and the store are looked for by the simulation of clusters.
fn is_simulated(fault: Fault) -> bool {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim");
    let mut files = std::fs::read_dir(directory).expect("the simulation has a directory");
    let named = format!("Fault::{},", fault.name());
    files.any(|file| file.is_ok_and(|file| std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains(&named))))
}

#[test]
fn every_fault_has_a_test_that_looks_for_it() {
    let is_tried = |fault: Fault| MUTANTS.iter().any(|(known, _)| *known == fault) || is_simulated(fault);
    let untried: Vec<&str> = Fault::ALL.iter().filter(|fault| !is_tried(**fault)).map(|fault| fault.name()).collect();
    assert_eq!(untried, [""; 0]);
}

/// `src/faults.rs` by itself, which it can be compiled by since it knows nothing, with the feature.
fn compiled(token: &Token, debug_assertions: &str) -> Run {
    let rustc = token.run_file(&Path::new(env!("CARGO")).with_file_name("rustc"));
    let rustc = rustc.words("--edition 2024 --crate-type lib --emit metadata --out-dir . --cfg").arg("feature=\"faults\"");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/faults.rs");
    rustc.args(["-C", &format!("debug-assertions={debug_assertions}")]).arg(source)
}

#[test]
fn a_build_that_could_be_shipped_has_no_faults() {
    let token = Token::by_default("");
    compiled(&token, "yes").ok();
    compiled(&token, "no").fails().says("never ship it");
    let (module, switch) = (std::fs::read(Module::Ours.path()).expect("the module was built"), b"HSMPOOL_FAULT");
    assert!(!module.windows(switch.len()).any(|bytes| bytes == switch), "the release module knows the switch of the faults");
}
