//! Signs: the first comment of a room says which rooms and crates it knows; the code must say the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, after_matching, identifier, words};

/// Ground first. A room may know only rooms that stand before it here.
const ORDER: &[&str] = &[
    "ck",
    "limits",
    "faults",
    "history",
    "error",
    "sync",
    "sys",
    "secret",
    "world",
    "config",
    "wire",
    "object",
    "mechanism",
    "store",
    "log",
    "token",
    "partition",
    "pool",
    "session",
    "node",
    "assemble",
    "cli",
    "ffi",
    "hostile",
];

/// Crates that only these rooms may know, whatever the signs say.
const KEPT: &[(&str, &[&str])] = &[
    ("aws-lc-sys", &["sys"]),
    ("clap", &["cli"]),
    ("cryptoki-sys", &["ck", "ffi"]),
    ("libc", &["sys"]),
    ("openraft", &["log"]),
    ("rusqlite", &["store", "sys"]),
];

/// What a room's sign says, or what its code does.
#[derive(Default, PartialEq, Debug)]
struct Sign {
    rooms: BTreeSet<String>,
    crates: BTreeSet<String>,
}

/// Names under `[dependencies]`, as Cargo writes them.
pub fn dependencies(manifest: &Source) -> Vec<String> {
    dependency_lines(manifest).into_iter().map(|(name, _)| name).collect()
}

/// Each dependency with whether a comment stands above it or above the group that it is in.
fn dependency_lines(manifest: &Source) -> Vec<(String, bool)> {
    let (mut inside, mut explained, mut found) = (false, false, Vec::new());
    for line in manifest.text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if line.trim().is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            found.push((name.trim().to_owned(), explained));
        }
    }
    found
}

pub fn dependencies_without_reason(manifest: &Source) -> Vec<String> {
    let lines = dependency_lines(manifest).into_iter();
    lines
        .filter(|(_, explained)| !explained)
        .map(|(name, _)| format!("{}: {name} has no reason above it", manifest.path))
        .collect()
}

/// Dependencies on no room's sign.
pub fn homeless_dependencies(sources: &[Source], manifest: &Source) -> Vec<String> {
    let known: BTreeSet<String> = sources.iter().filter_map(sign).flat_map(|sign| sign.crates).collect();
    let names = dependencies(manifest).into_iter().filter(|name| !known.contains(name));
    names.map(|name| format!("{}: {name} is on no room's sign", manifest.path)).collect()
}

/// Every difference between the rooms' signs, their code and the order of the house.
pub fn offences(sources: &[Source], dependencies: &[String]) -> Vec<String> {
    let mut offences = Vec::new();
    let mut used: BTreeMap<&str, Sign> = BTreeMap::new();
    for source in sources {
        let Some(room) = source.room() else { continue };
        offences.extend(reaching_out(source));
        let sign = used.entry(room).or_default();
        if !source.is_test_file() {
            sign.rooms.extend(rooms_used(source).into_iter().filter(|other| other != room));
            sign.crates.extend(crates_used(source, dependencies));
        }
    }
    for (room, used) in used {
        let door = sources.iter().find(|it| it.path == format!("src/{room}.rs") || it.path == format!("src/{room}/mod.rs"));
        match door.and_then(sign) {
            Some(sign) => offences.extend(compare(room, &sign, &used)),
            None => offences.push(format!("{room} has no sign (a line that starts with \"//! Knows:\")")),
        }
    }
    offences
}

fn compare(room: &str, sign: &Sign, used: &Sign) -> Vec<String> {
    let mut offences = Vec::new();
    for (what, sign, used) in [("room", &sign.rooms, &used.rooms), ("crate", &sign.crates, &used.crates)] {
        offences.extend(used.difference(sign).map(|name| format!("{room} uses {what} {name}, which its sign does not name")));
        offences.extend(sign.difference(used).map(|name| format!("{room}'s sign names {what} {name}, which it does not use")));
    }
    let place = |room: &str| ORDER.iter().position(|name| *name == room);
    let Some(here) = place(room) else { return vec![format!("{room} is not in the order of the house")] };
    for name in &sign.rooms {
        if place(name).is_none_or(|there| there >= here) {
            offences.push(format!("{room}'s sign names {name}, which does not stand below it"));
        }
    }
    for (name, rooms) in KEPT {
        if sign.crates.contains(*name) && !rooms.contains(&room) {
            offences.push(format!("{room}'s sign names {name}, which is kept to {}", rooms.join(" and ")));
        }
    }
    offences
}

/// The sign in a file's first comment; `None` without a "Knows:" line.
fn sign(source: &Source) -> Option<Sign> {
    let comment: Vec<&str> = source.text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    Some(Sign { rooms: names_after(&comment, "Knows:")?, crates: names_after(&comment, "Crates:").unwrap_or_default() })
}

/// The comma-separated names between a heading and the full stop that ends them, over as many lines as that takes.
fn names_after(comment: &[&str], heading: &str) -> Option<BTreeSet<String>> {
    let start = comment.iter().position(|line| line.starts_with(heading))?;
    let text = comment[start..].join(" ");
    let list = text[heading.len()..].split('.').next()?;
    Some(list.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "nothing").map(str::to_owned).collect())
}

/// Rooms named by `crate::room` or in `use crate::{…}`.
fn rooms_used(source: &Source) -> BTreeSet<String> {
    let code = &source.shipped;
    let mut rooms = BTreeSet::new();
    for at in words(code, "crate") {
        let Some(rest) = code[at..].strip_prefix("crate::") else { continue };
        let start = at + "crate::".len();
        if rest.starts_with('{') {
            rooms.extend(group(&code[start + 1..after_matching(code, start) - 1]));
        } else {
            rooms.insert(identifier(code, start).to_owned());
        }
    }
    // A macro exported from a room is reached through the crate's root: it stands in no room.
    rooms.retain(|name| !name.is_empty() && !code.contains(&format!("crate::{name}!")));
    rooms
}

/// The first names of a `{a::b, c::{d, e}}` group's members.
fn group(inside: &str) -> Vec<String> {
    let (mut depth, mut members, mut start) = (0, Vec::new(), 0);
    for (at, character) in inside.char_indices().chain([(inside.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(inside[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    members.into_iter().filter(|member| !member.is_empty()).map(|member| identifier(member, 0).to_owned()).collect()
}

/// Dependencies named as the first word of a path, unless the file has a module of the same name in scope.
fn crates_used(source: &Source, dependencies: &[String]) -> BTreeSet<String> {
    let code = &source.shipped;
    let is_used = |name: &&String| {
        let word = name.replace('-', "_");
        let local = ["mod ", "super::", "self::"].iter().any(|before| words(code, &word).any(|at| code[..at].ends_with(before)));
        words(code, &word).any(|at| {
            let (before, after) = (&code[..at], &code[at + word.len()..]);
            let from_root =
                before.ends_with("::") && !before.trim_end_matches("::").ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let first = !before.ends_with("::") && !before.ends_with('.') && !local;
            let imported = before.ends_with("use ") && after.starts_with([';', ' ']);
            (from_root || first) && (after.starts_with("::") || imported)
        })
    };
    dependencies.iter().filter(is_used).cloned().collect()
}

/// `super` chains that leave the room: other rooms are named by `crate::`, where the sign can be compared.
fn reaching_out(source: &Source) -> Vec<String> {
    let code = &source.shipped;
    let file = source.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = file.split('/').count();
    let chain_len = |at: usize| code[at..].split("::").take_while(|part| *part == "super").count();
    let starts = words(code, "super").filter(|at| !code[..*at].ends_with("super::"));
    let leaving = starts.filter(|at| chain_len(*at) >= depth && !inside_inline_module(code, *at));
    leaving.map(|at| format!("{}: leaves its room through super; name the room by crate::", source.place(at))).collect()
}

/// Whether an inline `mod name { … }` surrounds the offset.
fn inside_inline_module(code: &str, offset: usize) -> bool {
    words(code, "mod").any(|at| {
        let open = at + code[at..].find(['{', ';']).unwrap_or(0);
        code.as_bytes()[open] == b'{' && (open..after_matching(code, open)).contains(&offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(text: &str) -> Vec<String> {
        offences(&[Source::new("src/token/mod.rs", text)], &["libc".to_owned(), "aws-lc-sys".to_owned()])
    }

    #[test]
    fn a_true_sign_passes() {
        let text =
            "//! A.\n//!\n//! Knows: ck,\n//! error.\n\nuse crate::ck::X;\nuse crate::{error::{A, B}};\nuse crate::token::C;\n";
        assert_eq!(house(text), Vec::<String>::new());
    }

    #[test]
    fn a_false_sign_is_an_offence_in_both_directions() {
        let said = house("//! A.\n//!\n//! Knows: ck.\n\nuse crate::error::E;\n").join("\n");
        assert!(said.contains("uses room error, which its sign does not name"), "{said}");
        assert!(said.contains("sign names room ck, which it does not use"), "{said}");
        let said = house("//! A.\n//!\n//! Knows: nothing.\n\nfn f() { libc::getpid(); }\n").join("\n");
        assert!(said.contains("uses crate libc, which its sign does not name"), "{said}");
        assert!(house("//! A.\n").join("\n").contains("has no sign"));
    }

    #[test]
    fn a_room_above_is_an_offence_even_on_the_sign() {
        let said = house("//! A.\n//!\n//! Knows: session.\n\nuse crate::session::S;\n").join("\n");
        assert!(said.contains("session, which does not stand below it"), "{said}");
    }

    #[test]
    fn a_kept_crate_is_an_offence_even_on_the_sign() {
        let said = house("//! A.\n//!\n//! Knows: nothing.\n//! Crates: aws-lc-sys.\n\nuse aws_lc_sys::X;\n").join("\n");
        assert!(said.contains("kept to sys"), "{said}");
    }

    #[test]
    fn leaving_through_super_is_an_offence() {
        let said = house("//! A.\n//!\n//! Knows: nothing.\n\nuse super::error::E;\n").join("\n");
        assert!(said.contains("leaves its room through super"), "{said}");
    }

    #[test]
    fn test_code_and_comments_need_no_sign() {
        let text = "//! A: see crate::error.\n//!\n//! Knows: nothing.\n\n#[cfg(test)]\nmod tests { use crate::error::E; fn f() { libc::x() } }\n";
        assert_eq!(house(text), Vec::<String>::new());
    }

    #[test]
    fn a_module_named_as_a_crate_is_not_the_crate() {
        let dependencies = ["aes".to_owned()];
        let used = |text: &str| crates_used(&Source::new("src/mechanism/mod.rs", text), &dependencies).len();
        assert_eq!(used("mod aes;\nfn f() { aes::g() }"), 0);
        assert_eq!(used("mod aes;\nuse ::aes::Aes128;"), 1);
        assert_eq!(used("use aes::Aes128;"), 1);
        assert_eq!(used("use crate::sys::aes::X;"), 0);
    }

    #[test]
    fn a_dependency_needs_a_room_and_a_reason() {
        let manifest =
            Source::new("Cargo.toml", "[dependencies]\n# Why.\na = \"1\"\n\nb = \"1\"\n[dev-dependencies]\nc = \"1\"\n");
        assert_eq!(dependencies_without_reason(&manifest), ["Cargo.toml: b has no reason above it"]);
        let room = Source::new("src/sys/mod.rs", "//! S.\n//!\n//! Knows: nothing.\n//! Crates: b.\n");
        assert_eq!(homeless_dependencies(&[room], &manifest), ["Cargo.toml: a is on no room's sign"]);
    }
}
