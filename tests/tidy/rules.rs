//! Rules that hold line by line: unsafe code, error codes, discarded causes, unwraps, reminders, places.

use crate::source::{Source, after_matching, identifier, line_of, words};

/// The rooms that may contain unsafe code.
const UNSAFE_ROOMS: &[&str] = &["ffi", "sys"];

/// The command line prints; assemble makes the log's sink, which may be standard error.
const PRINTING_ROOMS: &[&str] = &["assemble", "cli"];

/// How far above an unsafe block its SAFETY note may start: a statement's opening lines and a note of a few sentences.
const SAFETY_NOTE_LINES_ABOVE_MAX: usize = 10;

pub fn unsafe_outside_its_rooms(sources: &[Source]) -> Vec<String> {
    let others = sources.iter().filter(|it| it.room().is_none_or(|room| !UNSAFE_ROOMS.contains(&room)));
    others.flat_map(|it| words(&it.code, "unsafe").map(|at| format!("{}: unsafe outside ffi and sys", it.place(at)))).collect()
}

/// Blocks and impls; an `unsafe fn` states its conditions to callers, in its documentation.
pub fn unsafe_without_safety_note(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        for at in words(&source.code, "unsafe") {
            let next = source.code[at + "unsafe".len()..].trim_start();
            let line = line_of(&source.text, at);
            let near = &lines[line.saturating_sub(1 + SAFETY_NOTE_LINES_ABOVE_MAX)..line];
            if next.starts_with(['{']) || next.starts_with("impl") {
                let noted = near.iter().any(|line| line.trim_start().starts_with("// SAFETY:"));
                if !noted {
                    offences.push(format!("{}: unsafe without a SAFETY note", source.place(at)));
                }
            }
        }
    }
    offences
}

/// Lints that keep the house may be switched off nowhere but where the design says.
pub fn silenced_lints(sources: &[Source]) -> Vec<String> {
    // The crate denies unsafe code; the two rooms allow it at their doors.
    let is_door = |path: &str| UNSAFE_ROOMS.iter().any(|room| path == format!("src/{room}/mod.rs"));
    let mut offences = Vec::new();
    for source in sources {
        for (at, _) in source.code.match_indices("allow(") {
            let inside = &source.code[at..after_matching(&source.code, at + "allow".len())];
            if inside.contains("undocumented_unsafe_blocks") || (inside.contains("unsafe_code") && !is_door(&source.path)) {
                offences.push(format!("{}: switches off a lint that keeps unsafe code in its rooms", source.place(at)));
            }
        }
    }
    offences
}

/// `Code::General` is a confession of a bug: `ffi::enter` alone may make one, of a caught panic. error.rs defines it.
pub fn general_errors(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources.iter().filter(|it| it.path != "src/error.rs" && !it.is_test_file()) {
        let in_ffi = source.room() == Some("ffi");
        let enters: Vec<_> = source.functions().into_iter().filter(|f| in_ffi && f.name == "enter").map(|f| f.range).collect();
        for (at, _) in source.shipped.match_indices("Code::General") {
            let is_longer_name = source.shipped[at + "Code::General".len()..].starts_with(|c: char| c.is_alphanumeric());
            if !is_longer_name && !enters.iter().any(|range| range.contains(&at)) {
                offences.push(format!("{}: Code::General outside ffi::enter", source.place(at)));
            }
        }
    }
    offences
}

pub fn discarded_causes(sources: &[Source]) -> Vec<String> {
    find(sources, "map_err(|_", "discards the cause: attach it")
}

/// `use …::*` outside test modules.
pub fn glob_imports(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources.iter().filter(|it| !it.is_test_file()) {
        for at in words(&source.shipped, "use") {
            let statement = source.shipped[at..].split(';').next().unwrap_or_default();
            if statement.contains("::*") || statement.contains("{*") {
                offences.push(format!("{}: a glob import hides where names live", source.place(at)));
            }
        }
    }
    offences
}

/// A file that is named as tests, and so is spared their rules, must be compiled for tests alone.
pub fn shipped_test_files(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources.iter().filter(|it| !it.is_test_file()) {
        for at in words(&source.shipped, "mod") {
            let name = identifier(&source.shipped, (at + "mod ".len()).min(source.shipped.len()));
            if name.ends_with("tests") {
                offences.push(format!("{}: {name} is not under #[cfg(test)]", source.place(at)));
            }
        }
    }
    offences
}

/// `unwrap()` in shipped code, and an `expect` that says too little to be an invariant.
pub fn unwraps(sources: &[Source]) -> Vec<String> {
    const INVARIANT_WORDS_MIN: usize = 3;
    let mut offences = find(sources, ".unwrap()", "unwrap outside tests");
    for source in sources.iter().filter(|it| !it.is_test_file()) {
        for (at, found) in source.shipped.match_indices(".expect(") {
            let open = at + found.len() - 1;
            let argument = &source.text[open..after_matching(&source.code, open)];
            let argument = constant(source, argument.trim_matches(['(', ')'])).unwrap_or(argument);
            if argument.split_whitespace().count() < INVARIANT_WORDS_MIN {
                offences.push(format!("{}: this expect states no invariant: {argument}", source.place(at)));
            }
        }
    }
    offences
}

/// The value of a string constant of the same file.
fn constant<'s>(source: &'s Source, name: &str) -> Option<&'s str> {
    let (_, rest) = source.text.split_once(&format!("const {name}: &str = \""))?;
    rest.split('"').next()
}

/// A library that writes to its host's terminal breaks the host's output.
pub fn prints(sources: &[Source]) -> Vec<String> {
    let quiet = sources.iter().filter(|it| it.room().is_some_and(|room| !PRINTING_ROOMS.contains(&room)));
    let mut offences = Vec::new();
    for source in quiet {
        for name in ["print!", "println!", "eprint!", "eprintln!", "dbg!"] {
            let places = source.shipped.match_indices(name).map(|(at, _)| at);
            let whole = places.filter(|at| !source.shipped[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            offences.extend(whole.map(|at| format!("{}: {name} outside the command line and the log's sink", source.place(at))));
        }
    }
    offences
}

/// Notes to do something later: it is done now or filed where it is seen.
pub fn reminders(sources: &[Source]) -> Vec<String> {
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    let places = |it: &Source, mark| words(&it.text, mark).map(|at| format!("{}: {mark}", it.place(at))).collect::<Vec<_>>();
    sources.iter().flat_map(|it| marks.iter().flat_map(|mark| places(it, mark)).collect::<Vec<_>>()).collect()
}

pub fn unfinished_code(sources: &[Source]) -> Vec<String> {
    let places = |it: &Source, name: &str| {
        it.code.match_indices(name).map(|(at, _)| format!("{}: {name}", it.place(at))).collect::<Vec<_>>()
    };
    let names = ["todo!(", "unimplemented!(", "#[ignore]"];
    sources.iter().flat_map(|it| names.iter().flat_map(|name| places(it, name)).collect::<Vec<_>>()).collect()
}

pub fn modules_without_a_sentence(sources: &[Source]) -> Vec<String> {
    let has_sentence =
        |it: &Source| it.text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.trim_end().len() > 10);
    sources.iter().filter(|it| !has_sentence(it)).map(|it| format!("{}: does not start with a sentence", it.path)).collect()
}

/// Paths that exist on one machine only.
pub fn machine_paths(sources: &[Source]) -> Vec<String> {
    let places = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/tmp/", "wt")];
    let offences = |it: &Source| {
        let found = places.iter().flat_map(|place| it.text.match_indices(*place).collect::<Vec<_>>());
        // "$HOME/…" and "~/…" are fine, and so is "some/work/…" of a longer path.
        let absolute = found.filter(|(at, _)| !it.text[..*at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c)));
        absolute.map(|(at, place)| format!("{}: a path of one machine ({place})", it.place(at))).collect::<Vec<_>>()
    };
    sources.iter().flat_map(offences).collect()
}

/// Occurrences in shipped code.
fn find(sources: &[Source], needle: &str, offence: &str) -> Vec<String> {
    let shipped = sources.iter().filter(|it| !it.is_test_file());
    shipped.flat_map(|it| it.shipped.match_indices(needle).map(|(at, _)| format!("{}: {offence}", it.place(at)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, text: &str) -> [Source; 1] {
        [Source::new(path, text)]
    }

    /// The rule finds exactly one offence in the bad text, and none in the good one.
    #[track_caller]
    fn check(rule: fn(&[Source]) -> Vec<String>, path: &str, bad: &str, good: &str) {
        assert_eq!(rule(&at(path, bad)).len(), 1, "{:?}", rule(&at(path, bad)));
        assert_eq!(rule(&at(path, good)), Vec::<String>::new());
    }

    #[test]
    fn unsafe_code_is_found() {
        check(unsafe_outside_its_rooms, "src/store/mod.rs", "fn f() { unsafe { g() } }", "fn f() { /* unsafe */ }");
        assert_eq!(unsafe_outside_its_rooms(&at("src/sys/a.rs", "unsafe { g() }")), Vec::<String>::new());
        let noted = "// SAFETY: g is sound.\nunsafe { g() }";
        check(unsafe_without_safety_note, "src/sys/a.rs", "// quick\nunsafe { g() }", noted);
        let far = format!("// SAFETY: far away.\n{}unsafe {{ g() }}", "x();\n".repeat(SAFETY_NOTE_LINES_ABOVE_MAX));
        assert_eq!(unsafe_without_safety_note(&at("src/sys/a.rs", &far)).len(), 1);
        check(silenced_lints, "src/sys/a.rs", "#![allow(clippy::undocumented_unsafe_blocks)]", "#![allow(dead_code)]");
        check(silenced_lints, "src/store/mod.rs", "#![allow(unsafe_code)]", "#![deny(unsafe_code)]");
    }

    #[test]
    fn general_errors_are_found() {
        check(general_errors, "src/ffi/mod.rs", "fn f() { Code::General }", "fn enter() { Code::General }");
        check(general_errors, "src/log/mod.rs", "fn enter() { Code::General }", "fn f() { Code::GeneralKnowledge }");
    }

    #[test]
    fn careless_code_is_found() {
        check(discarded_causes, "src/log/mod.rs", "x.map_err(|_| e)", "x.map_err(|cause| e(cause))");
        check(glob_imports, "src/log/mod.rs", "use crate::ck::*;", "#[cfg(test)]\nmod tests { use super::*; }");
        check(shipped_test_files, "src/log/mod.rs", "mod kdf_tests;", "#[cfg(test)]\nmod kdf_tests;\nmod tests_of_time;");
        check(unwraps, "src/log/mod.rs", "x.unwrap()", "x.unwrap_or(0)");
        check(
            unwraps,
            "src/log/mod.rs",
            "const A: &str = \"x\"; x.expect(A)",
            "const A: &str = \"a log always has a head\"; x.expect(A)",
        );
        check(unwraps, "src/log/mod.rs", "x.expect(\"x\")", "x.expect(\"a log always has a head\")");
        check(prints, "src/log/mod.rs", "println!(\"x\")", "writeln!(out, \"println!\")");
        check(unfinished_code, "src/log/mod.rs", "fn f() { todo!() }", "fn f() {}");
        check(
            unfinished_code,
            "tests/a.rs",
            "#[test]\n#[ignore]\nfn f() {}",
            "#[test]\n#[ignore = \"a child's entry\"]\nfn f() {}",
        );
    }

    #[test]
    fn careless_text_is_found() {
        check(reminders, "docs/a.md", concat!("TO", "DO: write"), "done");
        check(modules_without_a_sentence, "src/log/mod.rs", "use std::fmt;", "//! The log keeps order.\n");
        check(machine_paths, "docs/a.md", concat!("see /ro", "ot/x"), "see $HOME/x and ~/x");
    }
}
