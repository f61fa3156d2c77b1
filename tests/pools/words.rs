//! Words of the command line for programs that are tests without cargo's harness.

/// Options of cargo's harness that have a value.
const OF_THE_HARNESS: [&str; 4] = ["--test-threads", "--skip", "--format", "--color"];

/// Whether they are for other programs: the list of tests is asked for, or tests of a name that is not in this one's.
/// `own`: this program's own options that have a value.
pub fn are_for_others(words: &[String], name: &str, own: &[&str]) -> bool {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if own.contains(&word) || OF_THE_HARNESS.contains(&word) {
            words.next();
        } else if word == "--list" || !(word.starts_with('-') || name.contains(word)) {
            return true;
        }
    }
    false
}

/// The number after an option.
pub fn number(words: &[String], option: &str) -> Option<u64> {
    let at = words.iter().position(|word| word == option)?;
    words.get(at + 1)?.parse().ok()
}
