//! The project's own conformance suite over the built module: embedded, and in a share over a pool. What it skips or calls a deviation is
//! listed here with the reason; anything else that does not pass is a failure, and so is a line here that is no longer true.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{LABEL, Module, PIN, Token, full, library_directory};
use crate::pool::LocalPool;

const LONG: Duration = Duration::from_secs(900);

/// Cases that cannot be tried on this module, and why; `*` stands for any end of a name. `stand_in.rs` tries most of them all the same, on
/// a module that adds what this one lacks.
const SKIPPED: &[(&str, &str)] = &[
    ("codes/3.x-async", "the functions on asynchronous calls are not offered"),
    ("codes/3.x-key-handle-invalid", "C_VerifySignatureInit and the message functions are not offered yet"),
    ("codes/3.x-mechanism-invalid", "none of the functions of 3.x that take a mechanism is offered yet"),
    ("codes/3.x-operation-not-initialised", "none of the functions of 3.x that go on with an operation is offered yet"),
    ("interface/login-user", "C_LoginUser is not offered yet"),
    ("interface/message-encrypt", "the message functions are not offered yet"),
    ("interface/validation-flags", "C_GetSessionValidationFlags is not offered yet"),
    ("interface/verify-signature", "C_VerifySignatureInit is not offered yet"),
    ("kem/*", "the token has no ML-KEM: C_EncapsulateKey and C_DecapsulateKey are not offered yet"),
    ("mechanism/CKM_CHACHA20*", "the token has no ChaCha20"),
    ("mechanism/CKM_HASH_ML_DSA*", "the token has no ML-DSA"),
    ("mechanism/CKM_HASH_SLH_DSA*", "the token has no SLH-DSA"),
    ("mechanism/CKM_ML_*", "the token has neither ML-DSA nor ML-KEM"),
    ("mechanism/CKM_SLH_DSA*", "the token has no SLH-DSA"),
    ("mechanism/chacha-nonce-bits", "the token has no ChaCha20"),
    ("mechanism/ml-dsa-*", "the token has no ML-DSA"),
    ("mechanism/parts-CKM_CHACHA20_POLY1305", "the token has no ChaCha20"),
    ("mechanism/parts-CKM_HASH_*", "the token has neither ML-DSA nor SLH-DSA"),
    ("mechanism/slh-dsa-*", "the token has no SLH-DSA"),
    ("message/*", "the message functions are not offered yet"),
    ("operation/state-of-a-cipher", "the token saves the state of digests only"),
    ("profile/authentication", "the token claims no profile; it lacks C_LoginUser for this one"),
    ("profile/baseline", "the token claims no profile; it has all that this one asks for"),
    ("profile/certificates", "the token claims no profile; it has all that this one asks for"),
    ("profile/complete", "the token claims no profile; it lacks what is not offered yet for this one"),
    ("profile/extended", "the token claims no profile; it lacks C_LoginUser for this one"),
    ("profile/hkdf-tls", "the token claims no profile; it lacks CKM_HKDF_DATA for this one"),
    ("profile/objects", "the token claims no profile"),
    ("session/too-many", "the token tells no greatest number of sessions"),
    ("token/slot-without-token", "every slot of the module has a token"),
    ("vector/ml-*", "the token has neither ML-KEM nor ML-DSA"),
];

/// Whether a name stands in a list.
fn listed(list: &[(&str, &str)], id: &str) -> bool {
    list.iter().any(|(known, _)| names(known, id))
}

/// Whether a list's name means this case.
fn names(known: &str, id: &str) -> bool {
    known.strip_suffix('*').map_or(known == id, |start| id.starts_with(start))
}

/// Where the standard leaves the choice, and ours is another than the suite would make.
const DEVIATES: &[(&str, &str)] = &[
    (
        "codes/parameter-not-taken",
        "what a mechanism does not need is ignored, as SoftHSM and kryoptic do; the standard does not speak of it",
    ),
    ("concurrency/application-mutexes", "the module locks with its own means, as the standard allows where the OS can do it"),
    ("security/unwrap-twice", "refused under the policy `strict` only: the callers that unwrap for both uses are many"),
    (
        "security/wrap-by-ecb",
        "ECB is what some callers of SoftHSM wrap with; CKA_ALLOWED_MECHANISMS of the wrapping key forbids it",
    ),
    (
        "security/wrap-under-weaker",
        "DES and RSA-1024 are there for callers of SoftHSM; CKA_WRAP_WITH_TRUSTED and the allowed mechanisms forbid it",
    ),
    ("token/wait-without-place", "applications of SoftHSM ask without a place whether anything happened"),
];

/// The chapters that a pool is held against in the bounded share of the tests: what each mechanism computes is the same code.
const SHARE: &[&str] = &[
    "codes/",
    "concurrency/",
    "general/",
    "interface/",
    "key/",
    "object/",
    "operation/",
    "profile/",
    "security/",
    "session/",
    "token/",
];

/// Verdict and reason of each case whose name contains the filter.
fn verdicts(token: &Token, configuration: Option<PathBuf>, filter: &str) -> BTreeMap<String, (String, String)> {
    let suite = Module::Ours.path().with_file_name("pkcs11-conformance");
    assert!(suite.exists(), "build it: cargo build --release --workspace --bins");
    let run = token.run_file(&suite).deadline(LONG).args(["run", "--limit", "300", "--json", "results.json", "--filter", filter]);
    let run = run.args(["--coverage", "coverage.txt"]).arg("--module").arg(Module::Ours.path());
    let run = match configuration {
        Some(file) => run.env("HSMPOOL_CONF", file),
        None => run,
    };
    // Its exit code and text are in the results.
    let ended = run.end();
    let text = std::fs::read(token.file("results.json")).unwrap_or_else(|error| panic!("{error}: {}", ended.all()));
    let report: serde_json::Value = serde_json::from_slice(&text).expect("JSON was asked for");
    let results = report["results"].as_array().expect("a list of results");
    let text = |result: &serde_json::Value, key: &str| result[key].as_str().unwrap_or_default().to_string();
    results.iter().map(|result| (text(result, "id"), (text(result, "verdict"), text(result, "reason")))).collect()
}

/// What is not as this file says.
fn differences(verdicts: &BTreeMap<String, (String, String)>) -> Vec<String> {
    let expected = |id: &str| {
        if listed(SKIPPED, id) {
            "skip"
        } else if listed(DEVIATES, id) {
            "deviation"
        } else {
            "pass"
        }
    };
    let others = verdicts.iter().filter(|(id, (verdict, _))| verdict != expected(id));
    others.map(|(id, (verdict, reason))| format!("{id}: {verdict}, not {}: {reason}", expected(id))).collect()
}

#[test]
fn the_embedded_token_conforms() {
    let token = Token::by_default("");
    let verdicts = verdicts(&token, None, "/");
    assert!(verdicts.len() > 690, "{} cases", verdicts.len());
    assert_eq!(differences(&verdicts), [""; 0]);
    for (known, _) in SKIPPED.iter().chain(DEVIATES) {
        assert!(verdicts.keys().any(|id| names(known, id)), "{known} is no case");
    }
    let coverage = std::fs::read_to_string(token.file("coverage.txt")).expect("the table of return values was asked for");
    assert!(coverage.trim_end().ends_with("and 0 are holes"), "{coverage}");
}

#[test]
fn a_pool_conforms() {
    let pool = LocalPool::create("");
    let chapters: &[&str] = if full() { &["/"] } else { SHARE };
    for chapter in chapters {
        let verdicts = verdicts(pool.token(), Some(pool.configuration()), chapter);
        assert!(!verdicts.is_empty(), "{chapter}");
        assert_eq!(differences(&verdicts), [""; 0], "{chapter}");
    }
}

/// A file of the suite's own folder.
fn of_the_suite(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pkcs11-conformance").join(name)
}

#[test]
fn softhsm_has_the_defects_that_its_list_names_and_no_others() {
    let token = Token::fresh(Module::SoftHsm);
    // Without the chapter on concurrency: its races come and go.
    for chapter in SHARE.iter().filter(|chapter| **chapter != "concurrency/").chain(&["mechanism/", "vector/"]) {
        let run = token.run_file(&Module::Ours.path().with_file_name("pkcs11-conformance")).deadline(LONG);
        let run = run
            .args(["run", "--jobs", "1", "--filter", chapter, "--expect"])
            .arg(of_the_suite("expectations/softhsm-2.6.1.toml"));
        run.arg("--module").arg(Module::SoftHsm.path()).ok();
    }
}

/// NSS's own database, whose password is the user's PIN; gives pReserved of `C_Initialize`.
fn nss_database(token: &Token) -> String {
    token.write("password", format!("{PIN}\n"));
    std::fs::create_dir_all(token.file("db")).expect("the test directory is writable");
    token.run("certutil").words("-N -d sql:db -f password").ok();
    format!("configdir='sql:{}' flags=", token.file("db").display())
}

const NSS_LABEL: &str = "NSS Certificate DB";

fn nss() -> PathBuf {
    library_directory().join("libsoftokn3.so")
}

#[test]
fn nss_has_the_defects_that_its_list_names_and_no_others() {
    let token = Token::by_default("");
    let arguments = nss_database(&token);
    let run = token.run_file(&Module::Ours.path().with_file_name("pkcs11-conformance")).deadline(LONG);
    // What takes no time: the whole list is held by `pkcs11-conformance/against nss`.
    let run = run.words("run --jobs 1 --limit 300 --filter general/ --filter session/ --filter object/ --filter codes/ --so-pin");
    let run = run.args(["", "--pin", PIN, "--token-label", NSS_LABEL, "--init-args", &arguments, "--expect"]);
    run.arg(of_the_suite("expectations/nss-3.87.toml")).arg("--module").arg(nss()).ok();
}

/// What the program in C tries, and who has the defect.
const CONFIRMED: &[(&str, &[Module], bool)] = &[
    ("object/find-oracle", &[Module::SoftHsm], true),
    ("operation/logout-ends", &[Module::SoftHsm], true),
    ("object/set-is-atomic", &[Module::SoftHsm], true),
    ("key/wrap-unextractable", &[], true),
    ("object/copy-does-not-weaken", &[], true),
    ("security/trusted-by-user", &[], true),
    ("security/private-without-login", &[], false),
    ("security/null-inside", &[Module::SoftHsm], true),
];

#[test]
fn a_program_in_c_confirms_what_the_suite_finds() {
    // A token of SoftHSM's or ours, and the program built beside it.
    let prepared = |module: Module| {
        let token = Token::initialised(module);
        let source = of_the_suite("proofs/defects.c");
        token.run("cc").words("-Wall -Wextra -Werror -I/usr/include/p11-kit-1 -o proof").arg(source).arg("-ldl").ok();
        token
    };
    let holds = |said: &str, case: &str, defect: bool, who: &str| {
        let verdict = if defect { "defect" } else { "sound" };
        assert!(said.contains(&format!("{case}: {verdict}\n")), "{who}, {case}, not {verdict}: {said}");
    };
    // Under a configuration of SoftHSM's too: these are no matter of taste.
    for module in [Module::SoftHsm, Module::Ours] {
        let token = prepared(module);
        let said = token.run_file(&token.file("proof")).arg(module.path()).args([LABEL, PIN]).ok().text();
        for (case, who, _) in CONFIRMED {
            holds(&said, case, who.contains(&module), &module.path().display().to_string());
        }
    }
    let token = prepared(Module::Ours);
    let arguments = nss_database(&token);
    let run = token.run_file(&token.file("proof")).arg(nss()).args([NSS_LABEL, PIN]).env("INIT_ARGS", arguments);
    let said = run.ok().text();
    for (case, _, in_nss) in CONFIRMED {
        holds(&said, case, *in_nss, "NSS");
    }
}
