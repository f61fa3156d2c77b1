//! The same random programs of calls through an embedded token and through a pool whose network loses requests and answers and whose nodes come
//! and go: whatever a program does, right or wrong, both must answer alike. `cargo test --test differential -- --seeds N` runs N programs;
//! `--seed S` runs one and shows its calls; `--reached` tells of each program what no program before it has reached. Seeds that once found something, or
//! reach what few do, are kept in `kept.txt`, and always run.

#[path = "../pools/faults.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod faults;
#[path = "../pools/house.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod house;
mod program;
mod twins;
#[path = "../pools/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Instant;

use words::{are_for_others, number};

/// Programs that are run without a word.
const SEEDS_DEFAULT: u64 = 12;
/// Seeds that have found something, or reach what few do.
const KEPT: &str = include_str!("kept.txt");

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if are_for_others(&words, "differential", &["--seeds", "--from", "--seed"]) {
        return ExitCode::SUCCESS;
    }
    let (seeds, from, one) = (number(&words, "--seeds"), number(&words, "--from").unwrap_or(1), number(&words, "--seed"));
    let kept = KEPT.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let seeds: Vec<u64> = match (one, seeds) {
        (Some(seed), _) => vec![seed],
        (None, Some(seeds)) => (from..from + seeds).collect(),
        (None, None) => kept.chain(from..from + SEEDS_DEFAULT).collect(),
    };
    let (begun, origin) = (Instant::now(), twins::Origin::make());
    let (mut calls, mut succeeded, mut reached) = (0, 0, BTreeSet::new());
    let tells = words.iter().any(|word| word == "--reached");
    for seed in &seeds {
        let outcome = program::run(&origin, *seed, one.is_some());
        if let Some(difference) = outcome.difference {
            outcome.calls.iter().for_each(|call| println!("{call}"));
            println!("seed {seed}: {difference}\nagain: cargo test --test differential -- --seed {seed}");
            return ExitCode::FAILURE;
        }
        (calls, succeeded) = (calls + outcome.calls.len(), succeeded + outcome.succeeded);
        let new: Vec<String> = outcome.reached.into_iter().filter(|what| reached.insert(what.clone())).collect();
        if tells && !new.is_empty() {
            println!("{seed} {}", new.join(" | "));
        }
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{} programs of {calls} calls, {succeeded} of them successful, in {took:.1} s: all answered alike; {} kinds of answers",
        seeds.len(),
        reached.len(),
    );
    ExitCode::SUCCESS
}
