//! A whole pool in one process, from one seed: real stores, logs and openraft on a simulated ground, with a network, disks and clocks that fail.
//!
//! Two casts use it: `log`, programs that propose changes to the log and look at the stores; and `pool`, applications, each with a module's own
//! routing, races, retries, tickets and capsules, in front of the nodes' real servers and partitions. `cargo test --test sim -- --seeds N` plays
//! N seeds with each; `--seed S` plays one and shows what happens; `--cast pool` plays with one of them; `--gate` (with the feature `faults`) breaks
//! one rule after the other and wants each to be found; `--fault NAME` with it breaks one.

mod applications;
mod cast;
mod clients;
mod frames;
mod gate;
mod judge;
mod known;
mod outside;
mod run;
mod scheduler;
#[path = "../pools/words.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod words;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use applications::Applications;
use cast::Casting;
use clients::Clients;
use words::are_for_others;

/// Who may use the group.
const CASTS: [(&str, Casting); 2] = [("log", Clients::cast), ("pool", Applications::cast)];
/// Seeds that are played with each cast without a word.
const SEEDS_DEFAULT: u64 = 4;
/// By the flag: as many as go into a quarter of an hour. A night's worth is asked for by `--seeds`.
const SEEDS_FULL: u64 = 24;
/// The share of seeds that are played twice, to see that both runs are the same.
const TWICE_EVERY: u64 = 4;

struct Asked {
    seeds: u64,
    from: u64,
    cast: Option<String>,
    shows: bool,
    gate: bool,
    fault: Option<String>,
}

fn asked() -> Result<Option<Asked>, String> {
    let full = std::env::var_os("HSMPOOL_TEST_FULL").is_some_and(|value| value == "1");
    let mut asked = Asked {
        seeds: if full { SEEDS_FULL } else { SEEDS_DEFAULT },
        from: 1,
        cast: None,
        shows: false,
        gate: false,
        fault: None,
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    if are_for_others(&words, "sim", &["--seeds", "--from", "--seed", "--cast", "--fault"]) {
        return Ok(None);
    }
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).ok_or(format!("{word} wants a number"));
        match word.as_str() {
            "--seeds" => asked.seeds = number()?,
            "--from" => asked.from = number()?,
            "--seed" => (asked.from, asked.seeds, asked.shows) = (number()?, 1, true),
            "--gate" => asked.gate = true,
            "--fault" => asked.fault = Some(words.next().ok_or("--fault wants a name")?),
            "--cast" => {
                let name = words.next().filter(|name| CASTS.iter().any(|cast| cast.0 == *name));
                asked.cast = Some(name.ok_or("--cast wants log or pool")?);
            }
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
        return gate::gate(asked.fault.as_deref());
    }
    let is_asked = |name: &str| asked.cast.as_deref().is_none_or(|cast| cast == name);
    let broken = CASTS.iter().filter(|cast| is_asked(cast.0)).find_map(|cast| play_all(&asked, cast).err());
    match broken {
        None => ExitCode::SUCCESS,
        Some(told) => {
            println!("{told}");
            ExitCode::FAILURE
        }
    }
}

/// Plays all seeds with one cast. Error: what to say of the seed that failed.
fn play_all(asked: &Asked, (name, casting): &(&str, Casting)) -> Result<(), String> {
    let begun = Instant::now();
    let (mut steps, mut entries, mut answered) = (0, 0, 0);
    for seed in asked.from..asked.from + asked.seeds {
        let report = run::play(seed, *casting, asked.shows);
        if let Some(broken) = &report.broken {
            if !asked.shows {
                report.trace.iter().for_each(|line| println!("{line}"));
            }
            return Err(format!("seed {seed}: {broken}\nagain: cargo test --test sim -- --cast {name} --seed {seed}"));
        }
        if seed % TWICE_EVERY == 0 {
            let again = run::play(seed, *casting, false);
            if again.hash != report.hash {
                let differs = report.trace.iter().zip(&again.trace).find(|(one, other)| one != other);
                return Err(format!("seed {seed} of {name} played twice was not the same: {differs:?}"));
            }
        }
        (steps, entries, answered) = (steps + report.steps, entries + report.entries, answered + report.answered);
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{name}: {} seeds in {took:.1} s ({:.2} a second), 0 violations; {steps} steps, {entries} entries, {answered} calls answered",
        asked.seeds,
        asked.seeds as f64 / took,
    );
    Ok(())
}
