//! `hsmpool demo`: from nothing to a pool that loses zones under an application that does not notice.
//!
//! - `house`: files and processes, and their end. `worker`: the application, in a process of its own. `tool`: another one, which is not ours.
//! - `show`: what happens when. `picture`: how it looks. `proof`: who else says that the signatures are right.

mod house;
mod picture;
mod proof;
mod show;
mod tool;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

pub use worker::{WorkArguments, work};

use self::house::House;
use self::picture::{grouped, told};
use self::proof::Proof;
use self::show::{Show, Shown};
use crate::cli::progress::Progress;
use crate::cli::told::Ended;
use crate::error::{Code, Doing, Result};

/// How often the application reports.
const REPORT_EVERY: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  hsmpool demo\n  hsmpool demo --seconds 10 --json\n  hsmpool demo --dir /tmp/demo    # keeps the token, the pool and \
                        its logs\n\nAll of it is real: a token is made through libhsmpool.so, grown into three nodes, and used by a process that loads \
                        the module,\nand by OpenSC's pkcs11-tool where it is installed;\nnodes are killed by SIGKILL. Nothing is left behind, also after Ctrl-C.\n\n\
                        Exit codes: 0 no call failed and nothing was lost, 1 otherwise, 130 interrupted."
)]
pub struct Arguments {
    /// How long the application works
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(4..=3600))]
    seconds: u64,
    /// Keeps the files here; by default a temporary directory is made, and removed at the end
    #[arg(long = "dir", value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The tally is printed as JSON, and nothing else
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    let begun = Instant::now();
    let interrupted = Arc::new(AtomicBool::new(false));
    for number in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(number, interrupted.clone()).doing(Code::HostMemory, "waiting for Ctrl-C")?;
    }
    let steps = Steps { progress: Progress::shown(), is_silent: arguments.json };
    let mut house = House::build(arguments.directory.as_deref())?;
    let is_interrupted = || interrupted.load(Ordering::Acquire);
    let point = steps.take("1. An embedded token is made, and a P-256 key in it", || house.make_token())?;
    if is_interrupted() {
        return Ok(Ended::Interrupted);
    }
    let zones = ["a", "b", "c"].map(str::to_string);
    let layout = steps.take("2. Its store grows into a pool of three zones: a, b, c", || house.grow(&zones))?;
    if is_interrupted() {
        return Ok(Ended::Interrupted);
    }
    steps.say(&format!("3. An application signs through {}, and each call is counted", house.module.display()));
    steps.say(match house.start_tool(&point)? {
        Some(_) => "   So does pkcs11-tool (OpenSC), a new process for each signature, each verified\n",
        None => "   pkcs11-tool (OpenSC) is not installed, so that no other client signs beside it\n",
    });
    let show = Show::begin(&mut house, &layout, arguments.json, &interrupted)?;
    let shown = show.run(&mut house, Duration::from_secs(arguments.seconds))?;
    let proof = steps.take("", || proof::verify(&shown.samples, &point, &house.directory))?;
    let tally = Tally { shown, proof };
    let is_good = tally.is_good();
    if arguments.json {
        let directory = arguments.directory.as_ref().map(|_| &house.directory);
        println!("{:#}", tally.to_json(begun.elapsed(), directory));
    } else {
        println!("\n{}", tally.text(begun.elapsed()));
        if arguments.directory.is_some() {
            let directory = house.directory.display();
            println!("\nThe files stay in {directory}: `hsmpool pool start --local {directory}/pool` starts the pool again.");
        }
    }
    Ok(match (tally.shown.is_interrupted, is_good) {
        (true, _) => Ended::Interrupted,
        (_, true) => Ended::Well,
        (_, false) => Ended::Failed,
    })
}

/// The steps before the picture.
struct Steps {
    progress: Progress,
    is_silent: bool,
}

impl Steps {
    fn say(&self, text: &str) {
        if !self.is_silent {
            println!("{text}");
        }
    }

    fn take<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        if !what.is_empty() {
            self.progress.now(what);
        }
        let done = work();
        self.progress.rest();
        if done.is_ok() && !what.is_empty() {
            self.say(&format!("{what:<60} {:>5.1} s", begun.elapsed().as_secs_f32()));
        }
        done
    }
}

/// What came of it.
struct Tally {
    shown: Shown,
    proof: Proof,
}

impl Tally {
    fn number(&self, name: &str) -> u64 {
        self.shown.last[name].as_u64().unwrap_or_default()
    }

    fn stall(&self, name: &str) -> Duration {
        Duration::from_micros(self.number(name))
    }

    /// Acknowledged objects that a search at the end did not find, and objects that it found too often.
    fn lost_and_doubled(&self) -> (u64, u64) {
        let (made, found) = (self.number("objects"), self.number("found"));
        (made.saturating_sub(found), found.saturating_sub(made))
    }

    fn is_good(&self) -> bool {
        self.number("failed") == 0
            && self.number("unseen") == 0
            && self.lost_and_doubled() == (0, 0)
            && self.shown.tool.as_ref().is_none_or(tool::Tally::is_good)
            && (self.proof.wrong, self.proof.verified > 0) == (0, true)
    }

    fn to_json(&self, took: Duration, directory: Option<&PathBuf>) -> Value {
        let milliseconds = |duration: Duration| (duration.as_secs_f64() * 10_000.0).round() / 10.0;
        let (lost, doubled) = self.lost_and_doubled();
        let killed = self.shown.killed.iter().map(|killed| {
            json!({ "zone": killed.zone, "led": killed.led, "at_ms": milliseconds(killed.at),
                    "well_again_at_ms": killed.well_at.map(milliseconds) })
        });
        let tool = self.shown.tool.as_ref().map(|tool| {
            json!({ "signatures": tool.signatures, "failed": tool.failed, "wrong": tool.wrong, "verified_by": tool.verified_by,
                    "longest_run_ms": milliseconds(tool.longest), "last_error": tool.error })
        });
        json!({
            "good": self.is_good(), "interrupted": self.shown.is_interrupted,
            "took_ms": milliseconds(took), "worked_ms": milliseconds(self.shown.took),
            "calls": self.number("calls"), "failed_calls": self.number("failed"), "last_error": self.shown.last["error"],
            "signatures": self.number("signatures"),
            "longest_stall_ms": milliseconds(self.stall("key_use_micros")),
            "longest_stall_of_changes_ms": milliseconds(self.stall("change_micros")),
            "objects": self.number("objects"), "objects_lost": lost, "objects_doubled": doubled, "objects_unseen": self.number("unseen"),
            "verified": self.proof.verified, "wrong": self.proof.wrong, "verified_by": self.proof.by,
            "pkcs11_tool": tool, "killed": killed.collect::<Vec<_>>(), "directory": directory,
        })
    }

    fn text(&self, took: Duration) -> String {
        let (lost, doubled) = self.lost_and_doubled();
        let killed: Vec<String> = self
            .shown
            .killed
            .iter()
            .map(|killed| format!("{}{}", killed.zone, if killed.led { " (its node led)" } else { "" }))
            .collect();
        let mut lines = vec![
            format!("calls           {} in {:.0} s", grouped(self.number("calls")), self.shown.took.as_secs_f32()),
            format!("failed calls    {}", grouped(self.number("failed"))),
            format!(
                "longest stall   {} of using the key, {} of a change",
                told(self.stall("key_use_micros")),
                told(self.stall("change_micros"))
            ),
            format!("zones killed    {}", if killed.is_empty() { "none".to_string() } else { killed.join(", ") }),
            format!("objects         {} acknowledged, {lost} lost, {doubled} doubled", grouped(self.number("objects"))),
            format!(
                "signatures      {}; {} taken along the way and verified by {}: {} wrong",
                grouped(self.number("signatures")),
                self.proof.verified + self.proof.wrong,
                self.proof.by,
                self.proof.wrong
            ),
        ];
        lines.push(match &self.shown.tool {
            Some(tool) => format!(
                "{}     {} signatures, {} failed; each verified by {}: {} wrong",
                tool::NAME,
                grouped(tool.signatures),
                grouped(tool.failed),
                tool.verified_by,
                tool.wrong
            ),
            None => format!("{}     is not installed", tool::NAME),
        });
        if let Some(error) = self.shown.tool.as_ref().and_then(|tool| tool.error.as_ref()) {
            lines.push(format!("its last error  {error}"));
        }
        if let Some(error) = self.shown.last["error"].as_str() {
            lines.push(format!("last error      {error}"));
        }
        lines.push(String::new());
        lines.push(match (self.is_good(), self.shown.is_interrupted) {
            (_, true) => "Interrupted; this is what happened until then.".to_string(),
            (true, _) => format!("No call failed, and nothing was lost. All of it took {:.0} s.", took.as_secs_f32()),
            (false, _) => "This is not what is promised.".to_string(),
        });
        lines.join("\n")
    }
}

/// What the application signs.
fn message(number: u64) -> String {
    format!("hsmpool demo, signature {number}\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
