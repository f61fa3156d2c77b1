//! A whole group of members in one process, from one seed: real stores, logs and openraft on a simulated ground, with a network, disks and
//! clocks that fail. `cargo test --test sim -- --seeds N` plays N seeds; `--seed S` plays one and shows what happens;
//! `--gate` (with the feature `faults`) breaks one rule after the other and wants each to be found.

mod clients;
mod gate;
mod judge;
mod run;
mod scheduler;
mod world;

use std::process::ExitCode;
use std::time::Instant;

/// Seeds that are played without a word.
const SEEDS_DEFAULT: u64 = 6;
/// The share of seeds that are played twice, to see that both runs are the same.
const TWICE_EVERY: u64 = 4;

struct Asked {
    seeds: u64,
    from: u64,
    shows: bool,
    gate: bool,
}

fn asked() -> Result<Option<Asked>, String> {
    let full = std::env::var_os("HSMPOOL_TEST_FULL").is_some_and(|value| value == "1");
    let mut asked = Asked { seeds: if full { 500 } else { SEEDS_DEFAULT }, from: 1, shows: false, gate: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).ok_or(format!("{word} wants a number"));
        match word.as_str() {
            "--seeds" => asked.seeds = number()?,
            "--from" => asked.from = number()?,
            "--gate" => asked.gate = true,
            // For the harness of other tests, with a value.
            "--test-threads" | "--skip" | "--format" | "--color" => drop(words.next()),
            "--seed" => (asked.from, asked.seeds, asked.shows) = (number()?, 1, true),
            // What cargo's own harness is asked for by name is not here.
            "--list" => return Ok(None),
            name if !name.starts_with('-') && !"sim".contains(name) => return Ok(None),
            _ => {}
        }
    }
    Ok(Some(asked))
}

fn main() -> ExitCode {
    let asked = match asked() {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(told) => {
            eprintln!("{told}");
            return ExitCode::from(2);
        }
    };
    if asked.gate {
        return gate::gate();
    }
    let begun = Instant::now();
    let (mut steps, mut entries, mut answered) = (0, 0, 0);
    for seed in asked.from..asked.from + asked.seeds {
        let report = run::play(seed, asked.shows);
        if let Some(broken) = &report.broken {
            if !asked.shows {
                report.trace.iter().for_each(|line| println!("{line}"));
            }
            println!("seed {seed}: {broken}\nagain: cargo test --test sim -- --seed {seed}");
            return ExitCode::FAILURE;
        }
        if seed % TWICE_EVERY == 0 {
            let again = run::play(seed, false);
            if again.hash != report.hash {
                let differs = report.trace.iter().zip(&again.trace).find(|(one, other)| one != other);
                println!("seed {seed} played twice was not the same: {differs:?}");
                return ExitCode::FAILURE;
            }
        }
        (steps, entries, answered) = (steps + report.steps, entries + report.entries, answered + report.answered);
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{} seeds in {took:.1} s ({:.2} a second), 0 violations; {steps} steps, {entries} entries, {answered} changes answered",
        asked.seeds,
        asked.seeds as f64 / took,
    );
    ExitCode::SUCCESS
}
