//! What no module at hand has, the suite tries on a stand-in: our module with key encapsulation, messages, profile objects and the rest of
//! 3.2 put onto it (`pkcs11-conformance/stand-in`). Each of its rules is then broken, one at a time, and the rule's case must find it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Module, Token, tell};

const LONG: Duration = Duration::from_secs(300);

/// Cases that are tried here: all chapters, and cases of others, that our module skips.
const TRIED: &[&str] = &[
    "kem/",
    "message/",
    "profile/",
    "interface/",
    "codes/3.x",
    "mechanism/CKM_ML_KEM",
    "mechanism/unclaimed-message",
    "mechanism/unclaimed-encapsulate",
    "mechanism/unclaimed-decapsulate",
    "session/too-many",
    "token/slot-without-token",
    "operation/state-of-a-cipher",
];

/// What the stand-in does not have either; the modules that do are held to their lists by `pkcs11-conformance/against`.
const SKIPPED: &[&str] =
    &["message/round-trip-chacha", "message/parts-chacha", "message/tampered-chacha", "profile/complete", "profile/hkdf-tls"];

/// Each rule that the stand-in can break, and the cases that must find it.
const FAULTS: &[(&str, &[&str])] = &[
    ("kem-any-set", &["kem/parameter-set"]),
    ("kem-tells-too-little", &["kem/told-sizes"]),
    ("kem-pair-not-local", &["kem/key-pair"]),
    ("kem-shows-seed", &["kem/key-pair"]),
    ("kem-any-length", &["kem/ciphertext-length", "kem/import-length"]),
    ("kem-same-secret", &["kem/fresh"]),
    ("kem-tells-rejection", &["kem/implicit-rejection", "kem/other-key"]),
    ("kem-rejects-at-random", &["kem/implicit-rejection"]),
    ("kem-any-private-key", &["kem/other-key"]),
    ("kem-takes-value", &["kem/template-refused"]),
    ("kem-ignores-length", &["kem/value-len"]),
    ("kem-not-extractable", &["kem/attributes"]),
    ("kem-buffer-makes-key", &["kem/buffer"]),
    ("kem-any-use", &["kem/usage"]),
    ("kem-any-key", &["kem/wrong-key"]),
    ("kem-ignores-template", &["kem/decapsulate-template"]),
    ("kem-sides-differ", &["kem/round-trip", "kem/key-types", "kem/import", "mechanism/CKM_ML_KEM"]),
    ("message-any-tag", &["message/short-tag"]),
    ("message-any-generator", &["message/generator-unknown"]),
    ("message-moves-fixed", &["message/generate-fixed"]),
    ("message-counts-from-one", &["message/generate-counter", "message/generate-counter-xor"]),
    ("message-vector-stays", &["message/generate-gcm", "message/generate-ccm", "message/generate-random"]),
    ("message-small-buffer-ends", &["message/buffer"]),
    ("message-tag-unchecked", &["message/tampered-gcm", "message/tampered-ccm", "interface/message-encrypt"]),
    ("message-plaintext-stays", &["message/tampered-gcm", "message/tampered-ccm"]),
    ("message-error-ends", &["message/error-keeps-process"]),
    ("message-cancel-does-nothing", &["message/cancel"]),
    ("message-second-init", &["message/init-twice", "message/sign-states"]),
    ("message-any-use", &["message/key-use"]),
    ("message-whole-amid-parts", &["message/whole-amid-parts"]),
    ("message-next-without-begin", &["message/next-without-begin"]),
    ("message-parts-forget-aad", &["message/parts-gcm", "message/parts-ccm"]),
    ("message-loses-bytes", &["message/round-trip-gcm", "message/round-trip-ccm", "message/equals-encrypt"]),
    ("message-outlives-login", &["message/logout-ends"]),
    ("message-signature-stays", &["message/sign-rsa", "message/sign-mac"]),
    ("message-any-signature", &["message/sign-rsa", "message/sign-mac"]),
    ("message-sign-forgets-parts", &["message/sign-parts"]),
    ("message-unclaimed", &["mechanism/unclaimed-message-encrypt", "mechanism/unclaimed-message-sign"]),
    ("empty-slot-has-token", &["token/slot-without-token"]),
    ("sessions-without-number", &["session/too-many"]),
    ("state-forgets-data", &["operation/state-of-a-cipher"]),
    ("state-takes-any-key", &["operation/state-of-a-cipher"]),
    ("profile-twice", &["profile/objects"]),
    ("profile-of-session", &["profile/objects"]),
    ("profile-is-destroyed", &["profile/objects"]),
    ("profile-false", &["profile/hkdf-tls", "profile/complete"]),
    ("profile-without-login-user", &["profile/extended", "profile/authentication"]),
    ("login-any-pin", &["interface/login-user"]),
    ("validation-without-place", &["interface/validation-flags"]),
    ("verify-first-any", &["interface/verify-signature"]),
    ("async-is-ok", &["codes/3.x-async"]),
];

/// The verdict on each case whose name contains one of the filters.
fn verdicts(fault: &str, filters: &[&str]) -> BTreeMap<String, (String, String)> {
    let token = Token::by_default("");
    let beside = |name: &str| Module::Ours.path().with_file_name(name);
    let stand_in = beside("libpkcs11_stand_in.so");
    assert!(stand_in.exists(), "build it: cargo build --release --workspace --lib");
    let run =
        token.run_file(&beside("pkcs11-conformance")).deadline(LONG).words("run --json results.json --module").arg(stand_in);
    let run = run.env("STAND_IN_FOR", Module::Ours.path()).env("STAND_IN_FAULT", fault);
    let ended = filters.iter().fold(run, |run, filter| run.args(["--filter", filter])).end();
    let text = std::fs::read(token.file("results.json")).unwrap_or_else(|error| panic!("{fault}: {error}: {}", ended.all()));
    let report: serde_json::Value = serde_json::from_slice(&text).expect("JSON was asked for");
    let text = |result: &serde_json::Value, key: &str| result[key].as_str().unwrap_or_default().to_string();
    let results = report["results"].as_array().expect("a list of results").iter();
    results.map(|result| (text(result, "id"), (text(result, "verdict"), text(result, "reason")))).collect()
}

#[test]
fn a_stand_in_with_all_that_we_lack_conforms() {
    let expected = |id: &str| if SKIPPED.contains(&id) { "skip" } else { "pass" };
    let all = verdicts("", TRIED);
    assert!(all.len() > 75, "{} cases", all.len());
    let others: Vec<String> = all
        .iter()
        .filter(|(id, (verdict, _))| verdict != expected(id))
        .map(|(id, (verdict, reason))| format!("{id}: {verdict}: {reason}"))
        .collect();
    assert_eq!(others, [""; 0]);
    let is_tried = |case: &str| FAULTS.iter().any(|(_, cases)| cases.contains(&case));
    let chapters = ["kem/", "message/", "profile/"];
    let untried: Vec<&String> = all
        .keys()
        .filter(|id| chapters.iter().any(|chapter| id.starts_with(chapter)) && !SKIPPED.contains(&id.as_str()))
        .filter(|id| !is_tried(id) && !["profile/baseline", "profile/certificates"].contains(&id.as_str()))
        .collect();
    assert_eq!(untried, [""; 0], "cases that no fault is found by");
}

#[test]
fn each_rule_that_the_stand_in_breaks_is_found() {
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((fault, cases)) = FAULTS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = verdicts(fault, cases);
                    let bad = |case: &&&str| !["fail", "crash", "hang"].contains(&found[**case].0.as_str());
                    let through: Vec<String> =
                        cases.iter().filter(bad).map(|case| format!("{fault}: {case}: {:?}", found[*case])).collect();
                    missed.lock().unwrap().extend(through);
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    tell(&format!("{} of {} faults of the stand-in caught", FAULTS.len() - missed.len().min(FAULTS.len()), FAULTS.len()));
    assert_eq!(missed, [""; 0]);
}
