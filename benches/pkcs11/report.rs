//! Medians and ratios, as a table while they come in and as JSON at the end.

use std::fmt::Write;

use crate::rows::{Kind, Row};

pub struct Report {
    subjects: Vec<String>,
    /// Row name, unit, and the figures of each subject.
    rows: Vec<(&'static str, &'static str, Vec<Vec<f64>>)>,
}

impl Report {
    /// The first subject is compared with the others.
    pub fn new(subjects: Vec<String>) -> Self {
        let names: String = subjects.iter().map(|name| format!("{name:>14}")).collect();
        let others = subjects.iter().skip(1).map(|name| format!("{:>16}", format!("{name} : 1st")));
        println!("{:<32}{:>4}{names}{}", "median", "unit", others.collect::<String>());
        Self { subjects, rows: Vec::new() }
    }

    pub fn add(&mut self, row: &Row, subject: usize, figure: f64) {
        let index = self.rows.iter().position(|(name, ..)| *name == row.name).unwrap_or_else(|| {
            self.rows.push((row.name, row.unit(), vec![Vec::new(); self.subjects.len()]));
            self.rows.len() - 1
        });
        self.rows[index].2[subject].push(figure);
    }

    pub fn print_row(&self, row: &Row) {
        let Some((name, unit, figures)) = self.rows.iter().find(|(name, ..)| *name == row.name) else { return };
        let medians: Vec<Option<f64>> = figures.iter().map(|figures| median(figures)).collect();
        let mut line = format!("{name:<32}{unit:>4}");
        for value in &medians {
            line += &value.map_or(format!("{:>14}", "-"), |value| format!("{value:>14.3}"));
        }
        // For times: how many times the first subject's time the other takes.
        let is_time = matches!(row.kind, Kind::Operation(_) | Kind::Call(_) | Kind::ColdStart | Kind::Initialize);
        for value in medians.iter().skip(1) {
            let ratio = value.zip(medians[0]).filter(|_| is_time).map(|(other, first)| other / first);
            line += &ratio.map_or(format!("{:>16}", "-"), |ratio| format!("{ratio:>16.2}"));
        }
        println!("{line}");
    }

    /// `[{"row": …, "unit": …, "subject": …, "median": …, "figures": […]}, …]`
    pub fn json(&self) -> String {
        let mut entries = Vec::new();
        for (name, unit, figures) in &self.rows {
            for (subject, figures) in self.subjects.iter().zip(figures) {
                let Some(median) = median(figures) else { continue };
                let mut entry = String::new();
                // Names are ours or file stems; none needs escaping beyond quotes.
                let subject = subject.replace(['"', '\\'], "_");
                write!(entry, "{{\"row\": \"{name}\", \"unit\": \"{unit}\", \"subject\": \"{subject}\", \"median\": {median}, \"figures\": {figures:?}}}")
                    .expect("writing to a string cannot fail");
                entries.push(entry);
            }
        }
        format!("[\n  {}\n]\n", entries.join(",\n  "))
    }
}

fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
