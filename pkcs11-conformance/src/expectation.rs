//! Expectation files: which cases are known not to pass on a module, and why. A run that differs from the file, in either
//! direction, fails: a new defect is told, and so is an old one that went away.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::cases;
use crate::run::CaseResult;

/// One case that does not pass.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The words of [`crate::case::Verdict::word`] that are expected; more than one where chance decides (a race).
    pub verdict: Vec<String>,
    /// What is wrong, in a sentence for people.
    pub reason: String,
}

/// A whole file: a table for each case that does not pass. What is not named must pass or be skipped.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Expectations {
    cases: BTreeMap<String, Expected>,
}

impl Expectations {
    /// Reads a file; an unknown case, verdict or key is an error that names it.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let read: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for (id, expected) in &read.cases {
            if !cases::all().any(|case| case.id == id) {
                return Err(format!("no case is called {id}; see `list`"));
            }
            if let Some(word) = expected.verdict.iter().find(|word| !VERDICTS.contains(&word.as_str())) {
                return Err(format!("{id}: {word:?} is no verdict: one of {}", VERDICTS.join(", ")));
            }
        }
        Ok(read)
    }

    /// Every difference between the file and a run, one line each; empty where they agree. Cases that did not run do not count.
    pub fn differences(&self, results: &[CaseResult]) -> Vec<String> {
        results.iter().filter_map(|result| self.difference(result)).collect()
    }

    fn difference(&self, result: &CaseResult) -> Option<String> {
        let word = result.verdict.word();
        match self.cases.get(&result.id) {
            Some(expected) if expected.verdict.iter().any(|known| known == word) => None,
            Some(expected) => Some(format!("{}: expected {}, got {word}", result.id, expected.verdict.join(" or "))),
            None if matches!(word, "pass" | "skip") => None,
            None => Some(format!("{}: {word}, which is not in the file: {}", result.id, result.verdict.reason())),
        }
    }
}

const VERDICTS: [&str; 6] = ["pass", "fail", "skip", "deviation", "crash", "hang"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Verdict;

    fn result(id: &str, verdict: Verdict) -> CaseResult {
        CaseResult { id: id.into(), verdict, millis: 0, provoked: Default::default() }
    }

    #[test]
    fn differences_are_told_in_both_directions() {
        let file = "[\"session/states\"]\nverdict = [\"fail\"]\nreason = \"known\"\n";
        let expectations = Expectations::parse(file).expect("the file is good");
        assert!(expectations.differences(&[result("session/states", Verdict::Fail("as ever".into()))]).is_empty());
        let healed = expectations.differences(&[result("session/states", Verdict::Pass)]);
        assert_eq!(healed, ["session/states: expected fail, got pass"]);
        let new = expectations.differences(&[result("session/parallel", Verdict::Crash("signal 11".into()))]);
        assert_eq!(new, ["session/parallel: crash, which is not in the file: signal 11"]);
        assert!(expectations.differences(&[result("session/parallel", Verdict::Skip("no token".into()))]).is_empty());
    }

    #[test]
    fn mistakes_in_a_file_are_named() {
        let unknown = Expectations::parse("[\"session/nonsense\"]\nverdict = [\"fail\"]\nreason = \"x\"\n");
        assert_eq!(unknown, Err("no case is called session/nonsense; see `list`".into()));
        let verdict = Expectations::parse("[\"session/states\"]\nverdict = [\"bad\"]\nreason = \"x\"\n");
        assert!(verdict.is_err_and(|reason| reason.contains("\"bad\" is no verdict")));
    }
}
