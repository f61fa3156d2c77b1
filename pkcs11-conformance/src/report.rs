//! Reports: for people, as JSON, as JUnit, as a page.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::case::{Case, Verdict};
use crate::cases;
use crate::run::CaseResult;

/// All results of one module.
pub struct Report<'a> {
    /// The module's file.
    pub module: &'a str,
    /// In the order of the cases.
    pub results: &'a [CaseResult],
}

fn case(id: &str) -> Option<&'static Case> {
    cases::all().find(|case| case.id == id)
}

impl Report<'_> {
    /// How many of each verdict.
    pub fn tally(&self) -> BTreeMap<&'static str, usize> {
        let mut tally = BTreeMap::new();
        for result in self.results {
            *tally.entry(result.verdict.word()).or_default() += 1;
        }
        tally
    }

    /// Whether any case shows the module at fault.
    pub fn is_bad(&self) -> bool {
        self.results.iter().any(|result| result.verdict.is_bad())
    }

    /// For a terminal: everything that did not pass, then the tally.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for result in self.results.iter().filter(|result| result.verdict != Verdict::Pass) {
            let section = case(&result.id).map_or("", |case| case.section);
            let _ =
                writeln!(text, "{:<9} {}  ({section})\n          {}", result.verdict.word(), result.id, result.verdict.reason());
        }
        let tally: Vec<String> = self.tally().iter().map(|(word, count)| format!("{count} {word}")).collect();
        let _ = writeln!(text, "{}: {} cases: {}", self.module, self.results.len(), tally.join(", "));
        text
    }

    /// One object: module, tally, results.
    pub fn json(&self) -> String {
        let results: Vec<_> = self
            .results
            .iter()
            .map(|result| {
                let case = case(&result.id);
                serde_json::json!({
                    "id": result.id,
                    "verdict": result.verdict.word(),
                    "reason": result.verdict.reason(),
                    "level": case.map(|case| case.level),
                    "section": case.map(|case| case.section),
                    "millis": result.millis,
                })
            })
            .collect();
        let report = serde_json::json!({ "module": self.module, "tally": self.tally(), "results": results });
        format!("{report:#}\n")
    }

    /// JUnit's XML, as continuous-integration servers read it.
    pub fn junit(&self) -> String {
        let bad = self.results.iter().filter(|result| result.verdict.is_bad()).count();
        let skipped = self.results.iter().filter(|result| matches!(result.verdict, Verdict::Skip(_))).count();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"pkcs11-conformance\" tests=\"{}\" failures=\"{bad}\" skipped=\"{skipped}\">\n",
            self.results.len()
        );
        for result in self.results {
            let (chapter, name) = result.id.split_once('/').unwrap_or(("", &result.id));
            let reason = escape(result.verdict.reason());
            let inside = match &result.verdict {
                Verdict::Pass => String::new(),
                Verdict::Skip(_) => format!("<skipped message=\"{reason}\"/>"),
                Verdict::Deviation(_) => format!("<system-out>deviation: {reason}</system-out>"),
                verdict => format!("<failure type=\"{}\" message=\"{reason}\"/>", verdict.word()),
            };
            let seconds = result.millis as f64 / 1000.0;
            let _ = writeln!(
                xml,
                "  <testcase classname=\"{}\" name=\"{}\" time=\"{seconds}\">{inside}</testcase>",
                escape(chapter),
                escape(name)
            );
        }
        xml + "</testsuite>\n"
    }

    /// A page that needs nothing else.
    pub fn html(&self) -> String {
        let mut rows = String::new();
        for result in self.results {
            let case = case(&result.id);
            let _ = writeln!(
                rows,
                "<tr class=\"{word}\"><td>{word}</td><td>{level}</td><td>{id}</td><td>{section}</td><td>{reason}<details><summary>rule</summary>{says}</details></td></tr>",
                word = result.verdict.word(),
                level = case.map_or("", |case| case.level.word()),
                id = escape(&result.id),
                section = escape(case.map_or("", |case| case.section)),
                reason = escape(result.verdict.reason()),
                says = escape(case.map_or("", |case| case.says)),
            );
        }
        let tally: Vec<String> = self.tally().iter().map(|(word, count)| format!("{count} {word}")).collect();
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>PKCS#11 conformance</title><style>\
             body{{font:15px system-ui;margin:2em}}table{{border-collapse:collapse}}th{{text-align:left}}\
             th,td{{padding:.3em .8em;border-top:1px solid #ddd;vertical-align:top}}th{{position:sticky;top:0;background:#fff}}\
             td:nth-child(3){{white-space:nowrap}}td:nth-child(5){{overflow-wrap:anywhere}}.fail,.crash,.hang{{background:#fff4f4}}#only:checked~table .pass{{display:none}}\
             .pass td:first-child{{color:#207020}}.fail td:first-child,.crash td:first-child,.hang td:first-child{{color:#b00020;font-weight:bold}}\
             .skip td:first-child,.deviation td:first-child{{color:#806000}}details{{color:#555}}</style>\
             <h1>{module}</h1><p>{all} cases: {tally}</p><input type=\"checkbox\" id=\"only\"> <label for=\"only\">only what did not pass</label><table>\n\
             <tr><th>verdict</th><th>level</th><th>case</th><th>PKCS #11</th><th>what was seen</th></tr>\n{rows}</table></html>\n",
            module = escape(self.module),
            all = self.results.len(),
            tally = tally.join(", "),
        )
    }
}

/// Two modules side by side: only the cases on which they differ.
pub fn compare(a: &Report<'_>, b: &Report<'_>) -> String {
    let width = a.module.len().max("deviation".len());
    let mut text = format!("{:<44} {:<width$} {}\n", "case", a.module, b.module);
    let others: BTreeMap<&str, &Verdict> = b.results.iter().map(|result| (result.id.as_str(), &result.verdict)).collect();
    for result in a.results {
        if let Some(other) = others.get(result.id.as_str()).filter(|other| other.word() != result.verdict.word()) {
            let _ = writeln!(text, "{:<44} {:<width$} {}", result.id, result.verdict.word(), other.word());
        }
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
