//! The `pkcs11-conformance` command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pkcs11_conformance::case::{Case, Verdict};
use pkcs11_conformance::cases;
use pkcs11_conformance::context::Settings;
use pkcs11_conformance::expectation::Expectations;
use pkcs11_conformance::listed;
use pkcs11_conformance::provoked::{self, Provoked};
use pkcs11_conformance::report::{self, Report};
use pkcs11_conformance::run::{self, CaseResult, Plan};
use pkcs11_conformance::setup;

/// Holds a PKCS#11 module against the standard.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 every case passed, was skipped or deviates (with --expect: is as expected); 1 a case failed, crashed or hung (with --expect: differs); 2 the suite could not run."
)]
struct Arguments {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Runs the cases against a module
    #[command(
        after_help = "Example: SOFTHSM2_CONF=$PWD/softhsm2.conf pkcs11-conformance run --module /usr/lib/softhsm/libsofthsm2.so"
    )]
    Run {
        #[command(flatten)]
        target: Target,
        /// The module's file
        #[arg(long)]
        module: PathBuf,
        /// Writes the results as JSON (`-` for standard output)
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Writes the results as JUnit XML
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Writes the results as a page
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Writes which of the standard's return values were provoked, function by function
        #[arg(long, value_name = "FILE")]
        coverage: Option<PathBuf>,
        /// Fails on any difference from this list of cases that are known not to pass, and on nothing else
        #[arg(long, value_name = "FILE")]
        expect: Option<PathBuf>,
    },
    /// Runs the cases and shows which of the standard's return values they provoked, function by function
    Coverage {
        #[command(flatten)]
        target: Target,
        /// The module's file
        #[arg(long)]
        module: PathBuf,
    },
    /// Lists the cases
    List {
        /// Only cases whose name contains this; may be repeated
        #[arg(long, value_name = "TEXT")]
        filter: Vec<String>,
    },
    /// Tells what the standard says on a case, and why it matters
    Explain {
        /// The case's name
        case: String,
    },
    /// Runs the cases against two modules and shows where they differ
    Compare {
        #[command(flatten)]
        target: Target,
        /// The first module
        a: PathBuf,
        /// The second module
        b: PathBuf,
    },
    /// Runs one case in this process (used by the suite itself)
    #[command(name = "__case", hide = true)]
    Case {
        /// The case's name
        case: String,
    },
    /// Makes the suite's token in this process (used by the suite itself)
    #[command(name = "__setup", hide = true)]
    Setup,
}

#[derive(Args)]
struct Target {
    /// Only cases whose name contains this; may be repeated
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// pReserved of C_Initialize, for modules that are configured there
    #[arg(long, value_name = "STRING")]
    init_args: Option<String>,
    /// Environment for the module, KEY=VALUE; may be repeated
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = pair)]
    environment: Vec<(String, String)>,
    /// Uses this token instead of making one
    #[arg(long, value_name = "LABEL")]
    token_label: Option<String>,
    /// The SO's PIN
    #[arg(long, default_value = "12345678")]
    so_pin: String,
    /// The user's PIN
    #[arg(long, default_value = "1234567890")]
    pin: String,
    /// Cases at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Longest time for one case, in seconds
    #[arg(long, default_value_t = 60)]
    limit: u64,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(key, value)| (key.into(), value.into())).ok_or_else(|| format!("{text:?} is not KEY=VALUE"))
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("pkcs11-conformance: {reason}");
            ExitCode::from(2)
        }
    }
}

fn act(command: Commands) -> Result<ExitCode, String> {
    match command {
        Commands::Run { target, module, json, junit, html, coverage, expect } => {
            let expectations = expect.as_deref().map(Expectations::read).transpose()?;
            let results = target.run(&module)?;
            let name = module.display().to_string();
            let report = Report { module: &name, results: &results };
            for (file, content) in [(json, report.json()), (junit, report.junit()), (html, report.html())] {
                if let Some(file) = file {
                    write(&file, &content)?;
                }
            }
            if let Some(file) = coverage {
                write(&file, &covered(&results))?;
            }
            eprint!("{}", report.text());
            let Some(expectations) = expectations else { return Ok(ExitCode::from(u8::from(report.is_bad()))) };
            let differences = expectations.differences(&results);
            for difference in &differences {
                eprintln!("not as expected: {difference}");
            }
            Ok(ExitCode::from(u8::from(!differences.is_empty())))
        }
        Commands::Coverage { target, module } => {
            print!("{}", covered(&target.run(&module)?));
            Ok(ExitCode::SUCCESS)
        }
        Commands::List { filter } => {
            for case in selected(&filter)? {
                println!("{:<48} {:<9} {}", case.id, case.level.word(), case.section);
            }
            Ok(ExitCode::SUCCESS)
        }
        Commands::Explain { case } => {
            let case =
                cases::all().find(|known| known.id == case).ok_or_else(|| format!("no case is called {case}; see `list`"))?;
            let standard = if case.section.starts_with("PKCS") { "" } else { "PKCS #11 " };
            println!("{}\n{standard}{}\n{}: {}\n", case.id, case.section, case.level.word(), case.level.means());
            println!("{}\n\n{}", case.says, cases::why(case));
            Ok(ExitCode::SUCCESS)
        }
        Commands::Compare { target, a, b } => {
            let (first, second) = (target.run(&a)?, target.run(&b)?);
            let (a, b) = (a.display().to_string(), b.display().to_string());
            print!("{}", report::compare(&Report { module: &a, results: &first }, &Report { module: &b, results: &second }));
            Ok(ExitCode::SUCCESS)
        }
        Commands::Case { case } => {
            let code = run::child(&case);
            std::process::exit(code)
        }
        Commands::Setup => std::process::exit(setup::child()),
    }
}

/// The table of provoked return values.
fn covered(results: &[CaseResult]) -> String {
    let mut provoked = Provoked::new();
    for result in results {
        provoked::merge(&mut provoked, &result.provoked);
    }
    listed::table(&provoked).0
}

fn selected(filters: &[String]) -> Result<Vec<&'static Case>, String> {
    if let Some(filter) = filters.iter().find(|filter| !cases::all().any(|case| case.id.contains(filter.as_str()))) {
        return Err(format!("no case's name contains {filter:?}; see `list`"));
    }
    let wanted = |case: &&Case| filters.is_empty() || filters.iter().any(|filter| case.id.contains(filter.as_str()));
    Ok(cases::all().filter(wanted).collect())
}

impl Target {
    fn run(&self, module: &Path) -> Result<Vec<CaseResult>, String> {
        let cases = selected(&self.filter)?;
        let mut plan = Plan {
            settings: Settings {
                module: module.into(),
                init_args: self.init_args.clone(),
                token_label: self.token_label.clone().unwrap_or_else(|| "conformance".into()),
                so_pin: self.so_pin.clone(),
                pin: self.pin.clone(),
                may_init: self.token_label.is_none(),
            },
            environment: self.environment.clone(),
            jobs: self.jobs,
            limit: Duration::from_secs(self.limit),
        };
        if plan.settings.may_init {
            setup::make_token(&mut plan)?;
        }
        plan.run(&cases, &|result: &CaseResult| {
            if result.verdict != Verdict::Pass {
                eprintln!("{:<9} {}", result.verdict.word(), result.id);
            }
        })
    }
}

fn write(file: &Path, content: &str) -> Result<(), String> {
    if file == Path::new("-") {
        print!("{content}");
        return Ok(());
    }
    std::fs::write(file, content).map_err(|error| format!("{}: {error}", file.display()))
}
