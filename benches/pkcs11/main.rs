//! What each operation costs through a PKCS#11 module, any module: loaded by path, beside others and beside the raw library.
//!
//! ```text
//! cargo bench --bench pkcs11                                       # ours, SoftHSM and the raw library
//! cargo bench --bench pkcs11 -- --module A.so --module B.so --rows p256,hmac --objects 100000 --json result.json
//! cargo bench --bench pkcs11 -- --pool /tmp/pool/hsmpool.toml      # ours embedded and over a new pool, and the raw library
//! ```
//!
//! Keys are stored in the token, which is what users have. Every figure is taken in a child process of its own; children of
//! the subjects take turns (A B raw, A B raw, …), so that a busy moment of the machine meets all of them; medians are shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "../../tests/abi/mod.rs"]
mod abi;
mod child;
mod options;
mod raw;
mod report;
mod rows;
mod store;

use options::Options;
use report::Report;
use rows::{Kind, ROWS, Row};
use store::Store;

/// Whose cost is measured.
pub enum Subject {
    /// A module with a store of its own.
    Module { path: PathBuf, store: Store },
    /// Our module over a pool that has no token yet.
    Pool { path: PathBuf, configuration: PathBuf },
    /// The same operations straight on the crypto library.
    Raw,
}

impl Subject {
    fn name(&self) -> String {
        match self {
            Self::Module { path, .. } => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Pool { configuration, .. } => {
                configuration.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
            }
            Self::Raw => "raw".to_owned(),
        }
    }
}

fn main() -> ExitCode {
    if let Some(work) = child::asked_for() {
        child::run(&work);
        return ExitCode::SUCCESS;
    }
    match Options::from_arguments(std::env::args().skip(1)) {
        Ok(options) => {
            measure(&options);
            ExitCode::SUCCESS
        }
        Err(usage) => {
            eprintln!("{usage}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) {
    let modules = options.modules.iter().map(|path| Subject::Module { path: path.to_owned(), store: Store::new() });
    let pools = options.pools.iter().map(|configuration| {
        let path = options.modules[0].clone();
        Subject::Pool { path, configuration: configuration.clone() }
    });
    let mut subjects: Vec<Subject> = modules.chain(pools).collect();
    for subject in &subjects {
        child::ask(subject, "fill", options).expect("filling a store gives a figure");
    }
    subjects.push(Subject::Raw);
    let mut report = Report::new(subjects.iter().map(Subject::name).collect());
    for row in ROWS.iter().filter(|row| options.wants(row.name)) {
        for _ in 0..options.rounds {
            for (column, subject) in subjects.iter().enumerate() {
                if let Some(figure) = figure(row, subject, &subjects[0], options) {
                    report.add(row, column, figure);
                }
            }
        }
        report.print_row(row);
    }
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// One child's figure, in the row's unit; `None` when the subject has nothing like it.
fn figure(row: &Row, subject: &Subject, first: &Subject, options: &Options) -> Option<f64> {
    match (subject, &row.kind) {
        (Subject::Raw, _) if row.raw.is_none() => None,
        (Subject::Raw, Kind::BesideCreator) => child::ask(first, child::RAW_BESIDE_CREATOR, options),
        _ => child::ask(subject, row.name, options),
    }
}
