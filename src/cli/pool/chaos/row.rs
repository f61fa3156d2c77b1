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

#[cfg(test)]
mod tests {
    use super::super::record::{Op, Outcome};
    use super::super::report::tests::{record, report};
    use super::*;

    #[test]
    fn each_rehearsal_is_a_row_with_a_cell_for_each_heading() {
        let slow = record(2, Op::Sign, "", 0, (110, 300_000_110), Outcome::Done);
        let failed = record(1, Op::Keep, "k2", 1, (120, 50_000_120), Outcome::Failed("x".into()));
        let table = table(&[report([]), report([slow]), report([failed])]);
        let lines: Vec<&str> = table.lines().collect();
        let [head, rule, good, late, bad, nothing, sum] = lines[..] else { panic!("{table}") };
        let cells = |line: &str| line.split('|').map(str::trim).map(String::from).collect::<Vec<_>>();
        for row in [rule, good, late, bad] {
            assert_eq!(cells(row).len(), cells(head).len(), "{row}");
        }
        // Of each: its schedule, calls, failed, counted, lost and doubled, judged, blows; then times of key uses.
        assert_eq!(cells(good)[1..8], ["cut-both", "3", "0", "1", "0, 0", "2", "1"], "{table}");
        assert_eq!(cells(late)[8..12], ["–, 300", "–, 300", "–, 300", "–, –"], "{table}");
        assert_eq!(cells(bad)[1..8], ["cut-both", "4", "1", "1", "0, 0", "2 NOT GOOD", "1"], "{table}");
        let promised = [good, late, bad].map(|row| cells(row)[13].clone());
        assert_eq!(promised, ["met", "NOT met", "met"], "{table}");
        assert_eq!((nothing, sum), ("", "11 calls in 3 rehearsals, 1 failed."));
    }
}
