//! The targets on seeded input: samples of the right form with bytes altered, and bytes of no form.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::{TARGETS, kept};
use crate::store::hostile as stores;
use crate::token::message::tests::sample_bytes;

/// A small generator (xorshift): the same seed gives the same input.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll(256) as u8).collect()
    }

    /// The sample with a few of its bytes, or pieces of it, altered.
    fn altered(&mut self, sample: &[u8]) -> Vec<u8> {
        const ODD: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x9f, 0x5f, 0x1b];
        let mut bytes = sample.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            match self.roll(6) {
                _ if bytes.is_empty() => bytes = self.bytes(3),
                0 => bytes[at] ^= 1 << self.roll(8),
                1 => bytes[at] = ODD[self.roll(ODD.len())],
                2 => bytes.truncate(at),
                3 => drop(bytes.splice(at..at, vec![ODD[self.roll(ODD.len())]; 1 + self.roll(9)])),
                4 => {
                    let end = (at + self.roll(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let end = (at + self.roll(40)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = self.roll(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        bytes
    }
}

/// Samples of the right form; at least one for each target.
fn samples(name: &str) -> Vec<Vec<u8>> {
    let messages = |requests: bool| sample_bytes().into_iter().filter(move |(it, _)| *it == requests).map(|(_, bytes)| bytes);
    match name {
        "frames" => crate::wire::hostile::frame_samples(),
        "hello" => crate::wire::hostile::hello_samples(),
        "certificates" => crate::wire::hostile::certificate_samples(),
        "requests" => messages(true).collect(),
        "answers" => messages(false).collect(),
        "entries" => crate::log::raft::hostile::entry_samples(),
        "peers" => crate::log::raft::hostile::peer_samples(),
        "snapshots" => stores::snapshot_samples(),
        "softhsm" => stores::softhsm_samples(),
        "configurations" => crate::config::hostile::configuration_samples(),
        "keys" => crate::mechanism::encoding::hostile::key_samples(),
        other => panic!("{other} has no samples"),
    }
}

/// As often as takes a second or two each; files are slower.
fn rounds(name: &str) -> usize {
    match name {
        "snapshots" => 60,
        "keys" => 300,
        _ => 4000,
    }
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect(name);
    let samples = samples(name);
    assert!(!samples.is_empty());
    samples.iter().chain(&kept::inputs(name)).for_each(|sample| (target.run)(sample));
    // So long with a seed of the moment, if somebody says so.
    let seconds = std::env::var("HSMPOOL_HOSTILE_SECONDS").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let begun = Instant::now();
    let moment = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let mut dice = Dice(seconds.map_or(0x9e37_79b9_7f4a_7c15, |_| moment));
    let goes_on = |round: usize| seconds.map_or(round < rounds(name), |seconds| begun.elapsed() < seconds);
    let mut round = 0;
    while goes_on(round) {
        round += 1;
        let bytes = match round % 8 {
            0 => {
                let len = dice.roll(300);
                dice.bytes(len)
            }
            _ => {
                let at = dice.roll(samples.len());
                dice.altered(&samples[at])
            }
        };
        let seen = std::panic::catch_unwind(|| (target.run)(&bytes));
        assert!(seen.is_ok(), "{name} breaks a promise with these bytes: {bytes:02x?}");
    }
}

/// One test a target, so that a failure has a name.
macro_rules! targets {
    ($($name:ident),+) => {
        const TESTED: &[&str] = &[$(stringify!($name)),+];
        $(#[test] fn $name() { run(stringify!($name)) })+
    };
}

targets!(frames, hello, certificates, requests, answers, entries, peers, snapshots, softhsm, configurations, keys);

#[test]
fn every_target_is_tested_and_has_a_file_for_cargo_fuzz() {
    assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), TESTED);
    for name in TESTED {
        let file = format!("{}/fuzz/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("\"{name}\"")), "{file} runs another target");
    }
}

/// The targets of the C boundary (`ffi::harness`): they take any bytes, and have no samples.
const OF_THE_BOUNDARY: [&str; 3] = ["templates", "parameters", "calls"];

/// Where cargo-fuzz looks for a target's inputs.
fn corpus(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", name].iter().collect()
}

/// All that a target is run on before a fuzzer is.
fn beginnings(name: &str) -> Vec<Vec<u8>> {
    let samples = if OF_THE_BOUNDARY.contains(&name) { Vec::new() } else { samples(name) };
    samples.into_iter().chain(kept::inputs(name)).collect()
}

fn every_name() -> impl Iterator<Item = &'static str> {
    TESTED.iter().chain(&OF_THE_BOUNDARY).copied()
}

/// `cargo test --lib hostile::tests::seeds -- --ignored` writes the samples, and what is kept, to where cargo-fuzz begins
/// (`fuzz/corpus`). Part of `fuzz/run`.
#[test]
#[ignore = "writes files for cargo-fuzz"]
fn seeds() {
    for name in every_name() {
        let directory = corpus(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (at, input) in beginnings(name).iter().enumerate() {
            std::fs::write(directory.join(format!("{SEED}{at}")), input).unwrap();
        }
    }
}

/// What the names of those files begin with.
const SEED: &str = "seed-";

/// The other way: of what cargo-fuzz has left in `fuzz/corpus`, the smallest inputs that were not there before go to `fuzz/kept`. Part of `fuzz/run`.
#[test]
#[ignore = "writes what a fuzzer has found"]
fn keep() {
    for name in every_name() {
        let files = std::fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap());
        let found = files.filter(|entry| !entry.file_name().to_string_lossy().starts_with(SEED));
        let found = found.map(|entry| std::fs::read(entry.path()).unwrap()).collect();
        kept::add(name, found, &beginnings(name)).unwrap();
    }
}
