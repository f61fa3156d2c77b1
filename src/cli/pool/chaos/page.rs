//! The report as one page that needs nothing else: a timeline, and the numbers.

use std::fmt::Write as _;

use super::record::{Class, Outcome, Record};
use super::report::{Report, STRIKES_TOLD, millis};
use super::schedule::Fault;

/// The drawing's size.
const WIDTH: f64 = 1120.0;
const LEFT: f64 = 90.0;
const LANE: f64 = 24.0;
const CHART: f64 = 96.0;
const RATE: f64 = 50.0;
const GAP: f64 = 16.0;
/// Calls are drawn together by so long a time.
const BUCKET_NANOSECONDS: u64 = 100_000_000;
/// A call that took so long is drawn by itself, from its beginning to its end.
const SLOW_NANOSECONDS: u64 = 100_000_000;
/// Most calls that are drawn by themselves in one chart.
const SLOW_MAX: usize = 2000;
/// About the width of a letter of the zones' lanes.
const LETTER: f64 = 6.0;
/// The lowest and the highest power of ten milliseconds in a chart.
const DECADES: (f64, f64) = (-1.0, 4.5);

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;color:#1c2430;background:#f6f7f9;margin:0;padding:24px}\
main{max-width:1180px;margin:auto}section{background:#fff;border:1px solid #dfe3e8;border-radius:10px;padding:20px 24px;margin:0 0 24px}\
h1{font-size:22px}h2{font-size:19px;margin:0 0 4px}.b{display:inline-block;border-radius:6px;padding:1px 9px;color:#fff;font-size:14px;margin-left:8px}\
.good{background:#1a7f4b}.bad{background:#b3261e}.n{display:flex;flex-wrap:wrap;gap:10px 28px;margin:10px 0 14px}.n div{min-width:90px}\
.n b{display:block;font-size:20px}.n span{color:#5b6675;font-size:13px}svg{width:100%;height:auto;display:block}text{font:12px system-ui,sans-serif;fill:#3b4552}\
.m{fill:#8a94a3;font-size:11px}table{border-collapse:collapse;margin-top:14px;font-size:14px}th,td{text-align:right;padding:3px 12px;border-bottom:1px solid #e8ebef}\
th{color:#5b6675;font-weight:600}td:nth-child(-n+3),th:nth-child(-n+3){text-align:left}.b td:nth-child(3),.b th:nth-child(3){text-align:right}.w{color:#b3261e}p{margin:6px 0}";

/// The page of all reports.
pub fn page(reports: &[Report]) -> String {
    let mut out = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>hsmpool chaos</title><style>{STYLE}</style><main><h1>hsmpool chaos: what applications noticed</h1>"
    );
    for report in reports {
        section(&mut out, report);
    }
    out.push_str("</main></html>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn section(out: &mut String, report: &Report) {
    let (lost, doubled) = report.lost_and_doubled();
    let (class, word) = if report.is_good() { ("good", "good") } else { ("bad", "not good") };
    let network = if report.run.spaces { "a network namespace a zone" } else { "all on one network" };
    let _ = write!(
        out,
        "<section><h2>{}<span class=\"b {class}\">{word}</span></h2><p>Seed {}, {network}, {:.1} s of work by {} applications.</p><div class=\"n\">",
        report.run.name,
        report.run.seed,
        report.second(report.run.ended),
        report.run.clients.len()
    );
    let numbers = [
        (report.records.len(), "calls"),
        (report.failed.len(), "failed"),
        (report.counted, "objects counted"),
        (lost, "lost"),
        (doubled, "doubled"),
        (report.wrong.len(), "wrong answers"),
        (report.judged, "calls judged in order"),
        (report.exempt, "look-ups without a quorum"),
    ];
    for (number, name) in numbers {
        let _ = write!(out, "<div><b>{number}</b><span>{name}</span></div>");
    }
    let _ = write!(out, "</div><p>{}</p>", escaped(&report.verdict()));
    for trouble in &report.run.troubles {
        let _ = write!(out, "<p class=\"w\">{}</p>", escaped(trouble));
    }
    for record in report.failed.iter().chain(&report.wrong).take(20) {
        let _ = write!(out, "<p class=\"w\">{}</p>", escaped(&report.complaint(record)));
    }
    timeline(out, report);
    tables(out, report);
    out.push_str("</section>");
}

fn color(class: Class) -> &'static str {
    match class {
        Class::Use => "#2563a8",
        Class::Look => "#8a5a00",
        Class::Write => "#6b3fa0",
        Class::Destroy => "#8b2f6b",
        Class::Login => "#37746b",
    }
}

fn fault_color(fault: Fault) -> &'static str {
    match fault {
        Fault::Kill | Fault::Restart => "#b3261e",
        Fault::Pause | Fault::Stutter => "#c77700",
        Fault::Throttle | Fault::Delay | Fault::FillDisk => "#7a6a00",
        Fault::CutBoth | Fault::CutIn | Fault::CutOut => "#8b2f6b",
        Fault::Members => "#37746b",
    }
}

/// Where things stand in the drawing.
struct Scale<'r> {
    report: &'r Report,
    seconds: f64,
}

impl Scale<'_> {
    fn x(&self, nanoseconds: u64) -> f64 {
        LEFT + (WIDTH - LEFT - 10.0) * (self.report.second(nanoseconds) / self.seconds).min(1.0)
    }

    /// The height in a chart of a call that took so long.
    fn height(nanoseconds: u64) -> f64 {
        let decade = millis(nanoseconds).max(1e-3).log10().clamp(DECADES.0, DECADES.1);
        CHART * (decade - DECADES.0) / (DECADES.1 - DECADES.0)
    }
}

fn timeline(out: &mut String, report: &Report) {
    let last = report.records.iter().map(|record| record.ended).filter(|ended| *ended <= report.run.ended).max();
    let scale = Scale { report, seconds: report.second(last.unwrap_or(report.run.ended)).max(1.0) };
    let lanes = report.run.zones.len() as f64 * LANE;
    let height = lanes + 5.0 * (CHART + GAP) + RATE + 3.0 * GAP + 20.0;
    let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"timeline\">");
    // The blows run down through all charts.
    for strike in &report.run.strikes {
        let (from, to) = (scale.x(strike.begun), scale.x(strike.healed.min(report.run.ended)));
        let color = fault_color(strike.fault);
        let _ = write!(
            out,
            "<rect x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{color}\" opacity=\".07\"/>",
            (to - from).max(2.0),
            height - 20.0
        );
    }
    lanes_of_zones(out, &scale);
    let mut top = lanes + GAP;
    rate(out, &scale, top);
    top += RATE + GAP;
    for class in Class::ALL {
        chart(out, &scale, class, top);
        top += CHART + GAP;
    }
    let step = if scale.seconds > 60.0 { 10 } else { 1 };
    for second in (0..=scale.seconds as u64).step_by(step) {
        let x = scale.x(report.run.begun + second * 1_000_000_000);
        let _ = write!(out, "<text class=\"m\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>", top + 6.0);
    }
    out.push_str("</svg>");
}

fn lanes_of_zones(out: &mut String, scale: &Scale<'_>) {
    for (at, zone) in scale.report.run.zones.iter().enumerate() {
        let top = at as f64 * LANE;
        let _ = write!(
            out,
            "<text x=\"0\" y=\"{:.1}\">zone {}</text><rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" rx=\"3\" fill=\"#cfe8da\"/>",
            top + 16.0,
            escaped(zone),
            top + 6.0,
            WIDTH - LEFT - 10.0
        );
        for strike in scale.report.run.strikes.iter().filter(|strike| strike.zones.contains(&at)) {
            let end = scale.report.run.ended;
            let (from, healed, well) = (scale.x(strike.begun), scale.x(strike.healed.min(end)), scale.x(strike.well.min(end)));
            let color = fault_color(strike.fault);
            let _ = write!(
                out,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"12\" fill=\"{color}\"><title>{fault}</title></rect>\
                 <rect x=\"{healed:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"12\" fill=\"{color}\" opacity=\".35\"><title>coming back</title></rect>",
                (healed - from).max(2.0),
                (well - healed).max(0.0),
                y = top + 6.0,
                fault = strike.fault,
            );
            let told = strike.fault.to_string();
            // A word that does not fit would cover its neighbours.
            if well - from > told.len() as f64 * LETTER + 8.0 {
                let style = "fill:#fff;font-size:10px";
                let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" style=\"{style}\">{told}</text>", from + 4.0, top + 15.5);
            }
        }
    }
}

/// Which bucket a moment is in.
fn bucket(report: &Report, nanoseconds: u64) -> usize {
    usize::try_from(nanoseconds.saturating_sub(report.run.begun) / BUCKET_NANOSECONDS).unwrap_or(usize::MAX)
}

fn x_of_bucket(scale: &Scale<'_>, bucket: usize) -> f64 {
    scale.x(scale.report.run.begun + bucket as u64 * BUCKET_NANOSECONDS)
}

/// Answered calls.
fn rate(out: &mut String, scale: &Scale<'_>, top: f64) {
    let report = scale.report;
    let mut counts = vec![0_u32; bucket(report, report.run.ended) + 1];
    for record in report.records.iter().filter(|record| matches!(record.outcome, Outcome::Done | Outcome::Gone)) {
        if let Some(count) = counts.get_mut(bucket(report, record.ended)) {
            *count += 1;
        }
    }
    let most = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
    let mut path = format!("M{LEFT:.1},{:.1}", top + RATE);
    for (at, count) in counts.iter().enumerate() {
        let y = top + RATE - RATE * f64::from(*count) / most;
        let _ = write!(path, "L{:.1},{y:.1}L{:.1},{y:.1}", x_of_bucket(scale, at), x_of_bucket(scale, at + 1));
    }
    let _ = write!(
        out,
        "<path d=\"{path}L{:.1},{:.1}Z\" fill=\"#9db4c9\" opacity=\".8\"/><text x=\"0\" y=\"{:.1}\">answered</text>\
         <text class=\"m\" x=\"0\" y=\"{:.1}\">at most {:.0}/s</text>",
        x_of_bucket(scale, counts.len()),
        top + RATE,
        top + 14.0,
        top + 29.0,
        most * 10.0
    );
}

/// How long calls of a kind took: the longest of each tenth of a second, and slow ones by themselves.
fn chart(out: &mut String, scale: &Scale<'_>, class: Class, top: f64) {
    let (report, color) = (scale.report, color(class));
    let _ = write!(out, "<text x=\"0\" y=\"{:.1}\" style=\"fill:{color};font-weight:600\">{class}</text>", top + 14.0);
    for (decade, told) in [(0.0, "1 ms"), (1.0, "10 ms"), (2.0, "100 ms"), (3.0, "1 s"), (4.0, "10 s")] {
        let y = top + CHART - CHART * (decade - DECADES.0) / (DECADES.1 - DECADES.0);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e7ec\"/><text class=\"m\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{told}</text>",
            WIDTH - 10.0,
            LEFT - 6.0,
            y + 4.0
        );
    }
    let own = |record: &&Record| record.op.class() == class && report.run.clients.contains_key(&record.client);
    let mut longest = vec![0_u64; bucket(report, report.run.ended) + 1];
    for record in report.records.iter().filter(own) {
        if let Some(most) = longest.get_mut(bucket(report, record.begun)) {
            *most = (*most).max(record.ended.saturating_sub(record.begun));
        }
    }
    for (at, most) in longest.iter().enumerate().filter(|(_, most)| **most > 0) {
        let (x, high) = (x_of_bucket(scale, at), Scale::height(*most));
        let wide = (x_of_bucket(scale, at + 1) - x - 0.5).max(0.6);
        let y = top + CHART - high;
        let _ = write!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" fill=\"{color}\" opacity=\".45\"/>"
        );
    }
    let took = |record: &&Record| record.ended.saturating_sub(record.begun);
    let slow = report.records.iter().filter(own).filter(|record| took(record) >= SLOW_NANOSECONDS);
    for record in slow.take(SLOW_MAX) {
        let y = top + CHART - Scale::height(took(&record));
        let (from, to) = (scale.x(record.begun), scale.x(record.ended));
        let zone = report.run.clients.get(&record.client).map_or("-", |zone| report.run.zones[*zone].as_str());
        let _ = write!(
            out,
            "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{color}\" stroke-width=\"1.6\">\
             <title>{} by client {} of zone {}: {:.0} ms</title></line>",
            record.op.word(),
            record.client,
            escaped(zone),
            millis(took(&record))
        );
    }
    for record in
        report.records.iter().filter(own).filter(|it| !matches!(it.outcome, Outcome::Done | Outcome::Gone | Outcome::Begun))
    {
        let x = scale.x(record.ended);
        let _ = write!(
            out,
            "<path d=\"M{:.1},{top:.1}l10,0l-5,9z\" fill=\"#b3261e\"><title>{}</title></path>",
            x - 5.0,
            escaped(&report.complaint(record))
        );
    }
}

fn tables(out: &mut String, report: &Report) {
    out.push_str(
        "<table><tr><th>fault<th>clients<th>calls<th>count<th>p50 of calls, ms<th>p99 ms<th>p99.9 ms<th>longest ms</tr>",
    );
    for stall in &report.stalls {
        let fault = stall.fault.map_or_else(|| "none".to_string(), |fault| fault.to_string());
        let place = if stall.struck { "in the struck zone" } else { "elsewhere" };
        let _ = write!(
            out,
            "<tr><td>{fault}<td>{place}<td>{}<td>{}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}</tr>",
            stall.class,
            stall.times.len(),
            stall.at(500),
            stall.at(990),
            stall.at(999),
            stall.at(1000)
        );
    }
    out.push_str("</table>");
    blows(out, report);
}

/// The blows, with the longest wait of one client under each: in the struck zone, and elsewhere. Of many the worst.
fn blows(out: &mut String, report: &Report) {
    let strikes = &report.run.strikes;
    let under = report.blows();
    let longest = |at: usize| [true, false].map(|struck| under.under(at, struck, Class::Write).unwrap_or(0)).into_iter().max();
    let mut told: Vec<usize> = (0..strikes.len()).collect();
    if strikes.len() > STRIKES_TOLD {
        told.sort_by_key(|at| std::cmp::Reverse(longest(*at)));
        told.truncate(STRIKES_TOLD);
        told.sort_unstable();
        let _ = write!(out, "<p>Of {} blows the {STRIKES_TOLD} under which writes waited longest:</p>", strikes.len());
    }
    let _ = write!(
        out,
        "<p>{}. The longest that one client waited under each blow, in the struck zone and elsewhere, ms:</p>\
         <table class=\"b\"><tr><th>blow<th>zones<th>for a key use<th>a write<th>a look-up<th>well again after, s</tr>",
        report.times().told()
    );
    for at in told {
        let strike = &strikes[at];
        let zones: Vec<String> = strike.zones.iter().map(|zone| escaped(&report.run.zones[*zone])).collect();
        let both = |class| {
            let one = |struck| under.under(at, struck, class).map_or("–".to_string(), |it| format!("{:.0}", millis(it)));
            format!("{}, {}", one(true), one(false))
        };
        let _ = write!(
            out,
            "<tr><td>{} at {:.1} s<td>{}<td>{}<td>{}<td>{}<td>{:.2}</tr>",
            strike.fault,
            report.second(strike.begun),
            zones.join(", "),
            both(Class::Use),
            both(Class::Write),
            both(Class::Look),
            strike.well.saturating_sub(strike.healed) as f64 / 1e9
        );
    }
    out.push_str("</table>");
}

#[cfg(test)]
mod tests {
    use super::super::record::Op;
    use super::super::report::tests::{record, report};
    use super::*;

    fn parts(text: &str, part: &str) -> usize {
        text.matches(part).count()
    }

    #[test]
    fn the_page_has_a_section_for_each_report_and_every_call_that_failed() {
        let failed = record(2, Op::Sign, "key", 0, (110, 120), Outcome::Failed("<no> & nothing".into()));
        let slow = record(1, Op::Sign, "key", 0, (130, 300_000_130), Outcome::Done);
        let page = page(&[report([]), report([failed, slow])]);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</main></html>\n"), "{page}");
        for (open, close) in [("<section>", "</section>"), ("<svg ", "</svg>"), ("<table", "</table>"), ("<title>", "</title>")] {
            assert!(parts(&page, open) >= 2 && parts(&page, open) == parts(&page, close), "{open}: {page}");
        }
        assert_eq!(parts(&page, "<section>"), 2);
        // One of them is good, and what the other one complains of is told as text and never as markup.
        assert_eq!((parts(&page, ">good<"), parts(&page, ">not good<")), (1, 1), "{page}");
        let complaint = "client 2 of zone b, sign key (0 ms): &lt;no&gt; &amp; nothing";
        assert_eq!(parts(&page, complaint), 2, "as a sentence, and in the chart: {page}");
        assert!(!page.contains("<no>"), "{page}");
        // The slow call is drawn by itself; the blow has its row in the lane of its zone, and in the table.
        assert_eq!(parts(&page, "sign by client 1 of zone a: 300 ms"), 1, "{page}");
        assert_eq!(parts(&page, &format!("<title>{}</title>", Fault::CutBoth)), 2, "{page}");
        assert!(page.contains(&format!("<tr><td>{} at 0.0 s<td>a<td>300, 0<td>", Fault::CutBoth)), "{page}");
        assert!(page.contains("promised times: NOT met under 1 blows to one zone. Longest key use 300.0 ms"), "{page}");
    }

    #[test]
    fn a_call_takes_a_place_in_its_chart_by_the_power_of_ten_of_its_time() {
        let heights = [0, 1_000_000, 100_000_000, u64::MAX].map(Scale::height);
        assert!(heights.is_sorted() && heights[0] == 0.0 && heights[3] == CHART, "{heights:?}");
        assert!(heights[1] > heights[0] && heights[2] > heights[1], "{heights:?}");
    }
}
