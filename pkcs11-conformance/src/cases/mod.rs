//! The cases, one file a chapter. To add one: write a function and its row in the chapter's `CASES`.

mod classes;
mod codes;
mod combined;
mod concurrency;
mod general;
mod interface;
mod kem;
mod key;
mod limits;
mod mechanism;
mod message;
mod newer;
mod object;
mod operation;
mod profile;
mod recover;
mod refusals;
mod security;
mod session;
mod standing;
mod token;
mod vector;

use crate::case::Case;

/// Every case, chapter by chapter.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let chapters = [
        general::CASES,
        token::CASES,
        limits::CASES,
        session::CASES,
        object::CASES,
        classes::CASES,
        operation::CASES,
        combined::CASES,
        codes::CASES,
        standing::CASES,
        refusals::CASES,
        recover::CASES,
        concurrency::CASES,
        newer::CASES,
        interface::CASES,
        profile::CASES,
    ];
    let families = chapters.into_iter().flatten().chain(message::cases()).chain(mechanism::cases()).chain(key::cases());
    families.chain(kem::cases()).chain(security::cases()).chain(vector::cases())
}

/// Each chapter, and why its rules matter.
const CHAPTERS: &[(&str, &str)] = &[
    (
        "general",
        "Libraries that share a process learn from these answers who came first, and that nothing is left when the last one goes.",
    ),
    (
        "token",
        "Applications find their token, and people learn how their PIN stands, by what is told here; a PIN that the token keeps cut is no PIN.",
    ),
    (
        "session",
        "Who is logged in is the application's, not a session's: a state that is wrong lets somebody in, or locks him out.",
    ),
    (
        "object",
        "Applications keep their keys by these rules: what is lost, loosened, found or shown against them is lost for good.",
    ),
    (
        "operation",
        "A caller that sizes buffers by what it is told, or goes on after an error, trusts the operation to be in the state that the standard names.",
    ),
    (
        "codes",
        "Callers decide by the code: to log in again, to try another token, to give up. A code for another reason sends them the wrong way.",
    ),
    (
        "concurrency",
        "Servers use one token from many threads and forked children: what breaks here breaks under load, and not in the test of its maker.",
    ),
    ("interface", "Applications of 3.x ask for these tables by name and version, and call what stands in them."),
    (
        "message",
        "Protocols encrypt many short messages under one key: a vector that comes twice, or a tag that is not looked at, breaks them all.",
    ),
    (
        "kem",
        "What follows the exchange of keys once quantum computers are there: both sides must get one secret, and nobody a hint of it.",
    ),
    ("profile", "A profile that is claimed is read as a promise: applications then do not look further."),
    (
        "mechanism",
        "What a token lists is what applications choose from: a mechanism that does otherwise than its flags, sizes and parameters say fails them in use.",
    ),
    ("key", "A key's attributes are all that stands between it and those who may call the token."),
    (
        "security",
        "Each of these is an attack that worked on tokens that were sold: somebody who may use a key must not get to own it.",
    ),
    ("vector", "Results are compared with published ones: two tokens that agree with them agree with each other."),
];

/// Why the rules of a case's chapter matter.
pub fn why(case: &Case) -> &'static str {
    let chapter = case.id.split('/').next().unwrap_or_default();
    CHAPTERS.iter().find(|(name, _)| *name == chapter).map_or("", |(_, why)| why)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{all, why};
    use crate::listed::sections;

    /// Wherever a case names a function behind a number, the number is the function's section.
    #[test]
    fn sections_are_those_of_the_functions_that_they_name() {
        for case in all() {
            let words: Vec<&str> = case.section.split([' ', ',', ';', ':']).collect();
            for pair in words.windows(2).filter(|pair| pair[0].starts_with("5.") && pair[1].starts_with("C_")) {
                let known = sections().find(|(function, _)| *function == pair[1]);
                let (_, section) = known.unwrap_or_else(|| panic!("{}: {} is no function", case.id, pair[1]));
                assert_eq!(pair[0], section, "{}: {}", case.id, pair[1]);
            }
        }
    }

    #[test]
    fn every_case_has_its_own_name_and_a_chapter_that_says_why() {
        let names: BTreeSet<&str> = all().map(|case| case.id).collect();
        assert_eq!(names.len(), all().count());
        for case in all() {
            assert!(!why(case).is_empty() && !case.says.is_empty() && !case.section.is_empty(), "{}", case.id);
        }
    }
}
