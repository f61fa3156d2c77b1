//! A rehearsal as a row of a table: what `docs/evidence.md` shows of it.

use std::fmt::Write as _;

use super::record::Class;
use super::report::{Report, millis};

const HEAD: &str = "\
| schedule | calls | failed | counted | lost, doubled | judged | key use elsewhere: p99, p99.9 ms | in the struck zone: p99, p99.9 ms | longest without an answered write, look-up, key use elsewhere, ms |
| --- | --: | --: | --: | --: | --: | --: | --: | --: |
";

/// All rehearsals, a row each, and under them how many calls there were. Of several blows the worst is told.
pub fn table(reports: &[Report]) -> String {
    let mut text = HEAD.to_string();
    for report in reports {
        let (lost, doubled) = report.lost_and_doubled();
        let use_of = |struck: bool| {
            let stalls = report.stalls.iter().filter(|it| it.fault.is_some() && it.struck == struck && it.class == Class::Use);
            let worst = |per_mille| stalls.clone().map(|stall| stall.at(per_mille)).reduce(f64::max);
            match (worst(990), worst(999)) {
                (Some(p99), Some(p999)) => format!("{p99:.0}, {p999:.0}"),
                _ => "none".to_string(),
            }
        };
        let gap = |class| report.gaps.iter().filter(|gap| gap.class == class).map(|gap| millis(gap.longest)).fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {lost}, {doubled} | {}{} | {} | {} | {:.0}, {:.0}, {:.0} |",
            report.run.name,
            report.records.len(),
            report.failed.len(),
            report.counted,
            report.judged,
            if report.is_good() { "" } else { " NOT GOOD" },
            use_of(false),
            use_of(true),
            gap(Class::Write),
            gap(Class::Look),
            gap(Class::Use),
        );
    }
    let (calls, failed): (usize, usize) =
        (reports.iter().map(|it| it.records.len()).sum(), reports.iter().map(|it| it.failed.len()).sum());
    let _ = writeln!(text, "\n{calls} calls in {} rehearsals, {failed} failed.", reports.len());
    text
}
