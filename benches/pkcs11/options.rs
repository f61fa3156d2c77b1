//! The command line.

use std::path::PathBuf;

const USAGE: &str =
    "options: --module PATH (repeatable; the first is compared with the others)  --pool HSMPOOL.TOML (repeatable)  --rounds N  --ms N (time a figure)
         --objects N (token objects beside the keys)  --rows PART,PART (rows whose name contains one)  --json FILE
         --processor-time (of the measured process, in place of the wall clock: for a machine that is busy with other things)";

pub struct Options {
    pub modules: Vec<PathBuf>,
    /// Configurations of the first module with a pool behind it; a column is called by its directory.
    pub pools: Vec<PathBuf>,
    pub rounds: usize,
    /// How long one figure is measured.
    pub figure_ms: u64,
    pub objects: usize,
    /// Whether rows of one thread count processor time.
    pub processor_time: bool,
    rows: Vec<String>,
    pub json: Option<PathBuf>,
}

impl Options {
    pub fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            modules: Vec::new(),
            pools: Vec::new(),
            rounds: 5,
            figure_ms: 200,
            objects: 1000,
            processor_time: false,
            rows: Vec::new(),
            json: None,
        };
        while let Some(name) = arguments.next() {
            if name == "--bench" {
                continue; // cargo's own
            }
            if name == "--processor-time" {
                options.processor_time = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
            let number = || value.parse::<usize>().map_err(|error| format!("{name} {value}: {error}\n{USAGE}"));
            match name.as_str() {
                "--module" => options.modules.push(PathBuf::from(&value)),
                "--pool" => options.pools.push(PathBuf::from(&value)),
                "--rounds" => options.rounds = number()?.max(1),
                "--ms" => options.figure_ms = number()? as u64,
                "--objects" => options.objects = number()?,
                "--rows" => options.rows = value.split(',').map(str::to_owned).collect(),
                "--json" => options.json = Some(PathBuf::from(&value)),
                _ => return Err(format!("{name}: unknown\n{USAGE}")),
            }
        }
        if options.modules.is_empty() {
            options.modules.push(release_build());
            if options.pools.is_empty() {
                options.modules.push(PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"));
            }
        }
        match options.modules.iter().find(|path| !path.is_file()) {
            Some(missing) => Err(format!("{}: no such module (cargo build --release --lib builds ours)", missing.display())),
            None => Ok(options),
        }
    }

    pub fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| row.contains(part.as_str()))
    }
}

/// The module beside this program: `target/release/libhsmpool.so`.
fn release_build() -> PathBuf {
    let here = std::env::current_exe().expect("a running program has a file");
    here.ancestors().nth(2).expect("a bench stands in target/release/deps").join("libhsmpool.so")
}
