//! A rehearsal as a row of a table: what `docs/evidence.md` shows of it.

use std::fmt::Write as _;

use super::record::Class;
use super::report::{Report, quantile};

/// Times are of the struck zone's clients, then of those elsewhere. Of calls there are thousands, of which a blow delays a few: its cost is the
/// longest under it.
const HEAD: &str = "\
| schedule | calls | failed | counted | lost, doubled | judged | blows | key use, p99.9 of calls, ms: struck zone, elsewhere | longest key use of a blow, median, ms | longest key use, ms | longest wait for a write, ms | longest wait for a look-up, ms | promised times |
| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --- |
";

/// All rehearsals, a row each, and under them how many calls there were.
pub fn table(reports: &[Report]) -> String {
    let mut text = HEAD.to_string();
    for report in reports {
        let (lost, doubled) = report.lost_and_doubled();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {lost}, {doubled} | {}{} | {} | {} | {} | {} | {} | {} | {} |",
            report.run.name,
            report.records.len(),
            report.failed.len(),
            report.counted,
            report.judged,
            if report.is_good() { "" } else { " NOT GOOD" },
            report.run.strikes.len(),
            both(|struck| of_calls(report, struck)),
            both(|struck| of_blows(report, struck, Class::Use, 500)),
            both(|struck| of_blows(report, struck, Class::Use, 1000)),
            both(|struck| of_blows(report, struck, Class::Write, 1000)),
            both(|struck| of_blows(report, struck, Class::Look, 1000)),
            match report.times().are_met() {
                Some(true) => "met",
                Some(false) => "NOT met",
                None => "none",
            },
        );
    }
    let (calls, failed): (usize, usize) =
        (reports.iter().map(|it| it.records.len()).sum(), reports.iter().map(|it| it.failed.len()).sum());
    let _ = writeln!(text, "\n{calls} calls in {} rehearsals, {failed} failed.", reports.len());
    text
}

/// In the struck zone, and elsewhere.
fn both(figure: impl Fn(bool) -> Option<f64>) -> String {
    let told = |struck| figure(struck).map_or("–".to_string(), |milliseconds| format!("{milliseconds:.0}"));
    format!("{}, {}", told(true), told(false))
}

/// The 99.9th of 100 uses of keys under the worst kind of blow.
fn of_calls(report: &Report, struck: bool) -> Option<f64> {
    let stalls = report.stalls.iter().filter(|it| it.fault.is_some() && it.struck == struck && it.class == Class::Use);
    stalls.map(|stall| stall.at(999)).reduce(f64::max)
}

/// A quantile over blows of the longest wait under each.
fn of_blows(report: &Report, struck: bool, class: Class, per_mille: usize) -> Option<f64> {
    let longest = report.blows().of(None, struck, class);
    (!longest.is_empty()).then(|| quantile(&longest, per_mille))
}
