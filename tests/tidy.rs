//! The house rules as tests: what the design says about rooms, signs, unsafe code, errors and size, read from the sources.
//!
//! Each rule is a pure function from sources to offences, tried beside its code on a snippet that breaks it: a rule that
//! cannot fail would keep nothing tidy.

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/signs.rs"]
mod signs;
#[path = "tidy/size.rs"]
mod size;
#[path = "tidy/source.rs"]
mod source;

use source::Source;

/// Rust sources of the package and of the other packages in the repository.
fn rust() -> Vec<Source> {
    source::read_all(&["src", "tests", "benches", "pkcs11-conformance", "fuzz", "build.rs"], &["rs"])
}

/// The module's own sources: what ships.
fn shipped() -> Vec<Source> {
    source::read_all(&["src"], &["rs"])
}

/// Every text that a reader meets.
fn texts() -> Vec<Source> {
    let everywhere = ["src", "tests", "benches", "pkcs11-conformance", "fuzz", "docs", "include", ".ci", "deploy", ".cargo"];
    let files = [
        "build.rs",
        "Cargo.toml",
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "deny.toml",
        "rustfmt.toml",
        ".gitignore",
    ];
    source::read_all(&[&everywhere[..], &files[..]].concat(), &[])
}

fn assert_none(offences: Vec<String>) {
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}

#[test]
fn rooms_know_what_their_signs_say() {
    assert_none(signs::offences(&shipped(), &signs::dependencies(&source::read("Cargo.toml"))));
}

#[test]
fn every_dependency_has_a_room_and_a_reason() {
    let manifest = source::read("Cargo.toml");
    assert_none(signs::homeless_dependencies(&shipped(), &manifest));
    assert_none(signs::dependencies_without_reason(&manifest));
}

#[test]
fn unsafe_lives_in_two_rooms_and_says_why_it_is_sound() {
    assert_none(rules::unsafe_outside_its_rooms(&shipped()));
    assert_none(rules::unsafe_without_safety_note(&rust()));
    assert_none(rules::silenced_lints(&rust()));
}

#[test]
fn general_error_comes_only_from_a_caught_panic() {
    assert_none(rules::general_errors(&shipped()));
}

#[test]
fn no_cause_is_discarded() {
    assert_none(rules::discarded_causes(&shipped()));
}

#[test]
fn names_tell_their_homes() {
    assert_none(rules::glob_imports(&shipped()));
}

#[test]
fn no_unwrap_and_every_expect_states_an_invariant() {
    assert_none(rules::unwraps(&shipped()));
}

#[test]
fn tests_are_not_shipped() {
    assert_none(rules::shipped_test_files(&shipped()));
}

#[test]
fn only_the_command_line_and_the_log_print() {
    assert_none(rules::prints(&shipped()));
}

#[test]
fn functions_fit_a_screen_and_files_fit_a_mind() {
    assert_none(size::long_files(&rust()));
    assert_none(size::long_functions(&rust()));
    assert_none(size::stale_exceptions(&rust()));
}

#[test]
fn nothing_is_left_for_later() {
    assert_none(rules::reminders(&texts()));
    assert_none(rules::unfinished_code(&rust()));
}

#[test]
fn every_module_starts_with_a_sentence() {
    assert_none(rules::modules_without_a_sentence(&rust()));
}

#[test]
fn no_file_names_a_place_on_somebody_s_machine() {
    assert_none(rules::machine_paths(&texts()));
}
