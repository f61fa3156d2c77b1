//! The report for people, on standard output.

use super::record::Class;
use super::report::{Report, STRIKES_TOLD, Strike, millis, place, quantile};
use super::schedule::Fault;

/// Complaints that are told one by one.
const COMPLAINTS_TOLD: usize = 20;

/// Says what came of a rehearsal.
pub fn tell(report: &Report) {
    let (lost, doubled) = report.lost_and_doubled();
    let calls: Vec<String> = Class::ALL.iter().map(|class| format!("{} {class}", report.calls(*class))).collect();
    let verdict = if report.is_good() { "good" } else { "NOT GOOD" };
    println!(
        "{}: {verdict}. {} calls ({}), {} failed",
        report.run.name,
        report.records.len(),
        calls.join(", "),
        report.failed.len()
    );
    println!("  {} objects counted: {lost} lost, {doubled} doubled; {} wrong answers", report.counted, report.wrong.len());
    println!("  {}: {} calls judged, {} look-ups without a quorum spared", report.verdict(), report.judged, report.exempt);
    println!("  {}", report.times().told());
    for complaint in report.failed.iter().chain(&report.wrong).take(COMPLAINTS_TOLD) {
        println!("  ! {}", report.complaint(complaint));
    }
    for trouble in &report.run.troubles {
        println!("  ! {trouble}");
    }
    tell_calls(report);
    tell_blows(report);
}

/// How long calls took: quantiles over calls.
fn tell_calls(report: &Report) {
    println!(
        "  {:<18} {:<11} {:<8} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "fault", "clients", "calls", "count", "p50 ms", "p99 ms", "p99.9 ms", "max ms"
    );
    for stall in &report.stalls {
        let fault = stall.fault.map_or_else(|| "none".to_string(), |fault| fault.to_string());
        println!(
            "  {fault:<18} {:<11} {:<8} {:>7} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
            place(stall.struck),
            stall.class.to_string(),
            stall.times.len(),
            stall.at(500),
            stall.at(990),
            stall.at(999),
            stall.at(1000)
        );
    }
}

/// What each blow cost: the longest wait under it; of many blows quantiles over them.
fn tell_blows(report: &Report) {
    let strikes = &report.run.strikes;
    if strikes.len() <= STRIKES_TOLD {
        strikes.iter().enumerate().for_each(|(at, strike)| tell_blow(report, at, strike));
        return;
    }
    let killed: usize = strikes.iter().map(|strike| strike.zones.len()).sum();
    println!("  {} blows, which struck {killed} zones; the longest wait of one client under each of them:", strikes.len());
    let mut faults: Vec<Fault> = strikes.iter().map(|strike| strike.fault).collect();
    faults.sort_unstable();
    faults.dedup();
    for fault in faults {
        for (class, struck) in [Class::Use, Class::Look, Class::Write].into_iter().flat_map(|it| [(it, false), (it, true)]) {
            let longest = report.blows().of(Some(fault), struck, class);
            println!(
                "  {:<18} {:<11} {:<8} {:>7} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                fault.to_string(),
                place(struck),
                class.to_string(),
                longest.len(),
                quantile(&longest, 500),
                quantile(&longest, 990),
                quantile(&longest, 999),
                quantile(&longest, 1000)
            );
        }
    }
}

fn tell_blow(report: &Report, at: usize, strike: &Strike) {
    let name = |zone: &usize| report.run.zones[*zone].as_str();
    let leads = if strike.leader.is_some_and(|leader| strike.zones.contains(&leader)) { ", which led" } else { "" };
    let gave_up = if strike.gave_up > 0 { format!("; {} nodes gave up", strike.gave_up) } else { String::new() };
    let longest = |class| {
        let one = |struck| report.blows().under(at, struck, class).map_or("–".to_string(), |it| format!("{:.0}", millis(it)));
        format!("{} and {} ms", one(true), one(false))
    };
    println!(
        "  {:.1} s {} ({}{leads}): longest wait there and elsewhere for a key use {}, write {}, look-up {}; all well again {:.1} s after it was over{gave_up}",
        report.second(strike.begun),
        strike.fault,
        strike.zones.iter().map(name).collect::<Vec<_>>().join(", "),
        longest(Class::Use),
        longest(Class::Write),
        longest(Class::Look),
        strike.well.saturating_sub(strike.healed) as f64 / 1e9
    );
}
