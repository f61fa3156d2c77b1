//! `hsmpool chaos`: rehearses the loss of zones on a local pool, under load, and tells what the applications noticed.

mod dice;
mod line;
mod page;
mod record;
mod report;
mod row;
mod schedule;
mod spaces;
mod stage;
mod tell;
mod waits;
mod work;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Code, Doing, Result, refuse};
use crate::sys::tap;
use dice::Dice;
use record::{Record, now};
use report::{Report, Run, Strike};
use schedule::{Blow, Fault, Name, TAIL, kills, plan};
use stage::{Options, Stage};
use work::{READY, REGISTER_LOOKERS_CLIENT, Role};

pub use line::{Arguments as LineArguments, run as run_line};
pub use work::{Arguments as WorkArguments, run as run_worker};

/// The hidden command that is a worker.
const WORKER: &str = "chaos-worker";
/// How long workers may take to end: a call that waits for a quorum lasts up to its deadline.
const END_PATIENCE: Duration = Duration::from_secs(45);
/// How long a disk stays full if its node does not end. Writing what its files have room for, and draining, takes some seconds.
const NOTICE_PATIENCE: Duration = Duration::from_secs(15);

#[derive(clap::Args)]
pub struct Arguments {
    /// Which schedule
    #[arg(value_enum, required_unless_present = "list")]
    schedule: Option<Name>,
    /// Says what each schedule does
    #[arg(long)]
    list: bool,
    /// The same seed strikes the same zones at the same times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// About how long the work lasts; longer where a schedule strikes several zones
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(8..=86_400))]
    seconds: u64,
    /// How often the schedule `kills` kills, however long it takes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    kills: Option<u64>,
    /// A local pool; a new one is made in DIR if there is none, and stays there. Without it a temporary pool is made
    #[arg(long, value_name = "DIR")]
    local: Option<PathBuf>,
    /// Gives each zone a network namespace of its own (Linux, as root)
    #[arg(long)]
    namespaces: bool,
    /// Zones of a new pool
    #[arg(long, value_delimiter = ',', default_values_t = ["a", "b", "c"].map(String::from))]
    zones: Vec<String>,
    /// Mean pause of a worker between two calls
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 2000)]
    pace: u64,
    /// The module that the applications load; without it libhsmpool.so beside this program
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Writes the report as JSON, `-` to standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report as one page with a timeline
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes a table with a row for each schedule, in Markdown, `-` to standard output
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Fails too when the promised times were missed: with one zone lost no key use takes 100 ms, and no write or look-up waits for 2 s
    #[arg(long)]
    strict_times: bool,
    /// Leaves the temporary pool and what the workers told
    #[arg(long)]
    keep: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let Some(name) = arguments.schedule.filter(|_| !arguments.list) else {
        list();
        return Ok(());
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).doing(Code::HostMemory, "waiting for signals")?;
    }
    let names: Vec<Name> = match name {
        Name::All => Name::singles().filter(|name| is_possible(*name, arguments)).collect(),
        one => vec![one],
    };
    let mut reports = Vec::new();
    for name in names {
        let report = rehearse(name, arguments, &stop)?;
        if ![&arguments.json, &arguments.markdown].iter().any(|file| file.as_deref() == Some(Path::new("-"))) {
            tell::tell(&report);
        }
        reports.push(report);
    }
    write_reports(arguments, &reports)?;
    judge(&reports, arguments.strict_times)
}

/// What the exit code tells. Errors: `DeviceError`, naming the schedules under which the pool did not keep its promises.
fn judge(reports: &[Report], strict_times: bool) -> Result<()> {
    // How long calls took tells of the machine, too: it counts where that was asked for.
    let is_late = |report: &Report| strict_times && report.times().are_met() == Some(false);
    let bad: Vec<String> = reports
        .iter()
        .filter(|report| !report.is_good() || is_late(report))
        .map(|report| format!("{} (seed {})", report.run.name, report.run.seed))
        .collect();
    match bad.is_empty() {
        true => Ok(()),
        false => Err(refuse(Code::DeviceError, format!("the pool did not keep its promises under {}", bad.join(", ")))),
    }
}

fn list() {
    use clap::ValueEnum;
    for name in Name::value_variants() {
        let help = name.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default();
        println!("{:<16} {help}", name.to_string());
    }
}

/// What `all` leaves out, it names.
fn is_possible(name: Name, arguments: &Arguments) -> bool {
    let lacks = match name {
        _ if name.needs_namespaces() && !arguments.namespaces => "--namespaces",
        Name::DiskFull if !crate::sys::user::is_root() => "root",
        Name::ZoneLate if !Path::new(tap::DEVICE).exists() => tap::DEVICE,
        _ => return true,
    };
    eprintln!("hsmpool: {name} is left out: it needs {lacks}");
    false
}

fn write_reports(arguments: &Arguments, reports: &[Report]) -> Result<()> {
    if let Some(file) = &arguments.json {
        let all: Vec<_> = reports.iter().map(Report::to_json).collect();
        let text = match &all[..] {
            [one] => format!("{one:#}\n"),
            _ => format!("{:#}\n", serde_json::Value::from(all)),
        };
        write_text(file, &text)?;
    }
    if let Some(file) = &arguments.markdown {
        write_text(file, &row::table(reports))?;
    }
    if let Some(file) = &arguments.html {
        fs::write(file, page::page(reports)).doing(Code::Configuration, format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn write_text(file: &Path, text: &str) -> Result<()> {
    if file.as_os_str() == "-" {
        print!("{text}");
        return Ok(());
    }
    fs::write(file, text).doing(Code::Configuration, format!("writing {}", file.display()))
}

/// One schedule, from the pool's making to the verdict.
fn rehearse(name: Name, arguments: &Arguments, stop: &AtomicBool) -> Result<Report> {
    if name.needs_namespaces() && !arguments.namespaces {
        return Err(refuse(Code::ArgumentsBad, format!("{name} needs --namespaces: it cuts or delays lines between zones")));
    }
    let length = Duration::from_secs(arguments.seconds);
    let zones = arguments.zones.len();
    let blows = match arguments.kills.filter(|_| name == Name::Kills) {
        Some(count) => kills(arguments.seed, zones, count),
        None => plan(name, arguments.seed, zones, length, arguments.namespaces),
    };
    let disk = blows.iter().find_map(|blow| match (&blow.fault, &blow.whom) {
        (Fault::FillDisk, schedule::Whom::Zones(zones)) => zones.first().copied(),
        _ => None,
    });
    let place = Place::of(name, arguments)?;
    eprintln!("{name}: seed {}, about {} s", arguments.seed, arguments.seconds);
    let options = Options {
        directory: place.pool.clone(),
        zones: arguments.zones.clone(),
        spaces: arguments.namespaces,
        lines: blows.iter().any(|blow| blow.fault == Fault::Delay),
        disk,
    };
    let mut rehearsal =
        Rehearsal { stage: Stage::set(&options)?, place, arguments, stop, clients: BTreeMap::new(), workers: Vec::new() };
    let report = rehearsal.run(name, &blows);
    rehearsal.place.is_temporary =
        !arguments.keep && (stop.load(Ordering::Acquire) || report.as_ref().is_ok_and(Report::is_good));
    if !rehearsal.place.is_temporary {
        eprintln!("what was told, and the nodes' logs, are in {}", rehearsal.place.directory.display());
    }
    report
}

/// Where the files are: removed at the end, if they shall be.
struct Place {
    directory: PathBuf,
    pool: PathBuf,
    is_temporary: bool,
}

impl Place {
    fn of(name: Name, arguments: &Arguments) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("hsmpool-chaos-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).doing(Code::Configuration, format!("making {}", directory.display()))?;
        let pool = match (&arguments.local, arguments.schedule) {
            // One after the other, each on a pool of its own.
            (Some(local), Some(Name::All)) => local.join(name.to_string()),
            (Some(local), _) => local.clone(),
            (None, _) => directory.join("pool"),
        };
        Ok(Self { directory, pool, is_temporary: false })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed is left to the system's own cleaning of temporary files.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// A rehearsal under way. Fields are dropped in this order: workers first, then the pool, then the files.
struct Rehearsal<'a> {
    workers: Vec<Worker>,
    stage: Stage,
    place: Place,
    arguments: &'a Arguments,
    stop: &'a AtomicBool,
    clients: BTreeMap<u32, usize>,
}

/// A worker's process. It ends with its standard input, or when it is dropped.
struct Worker {
    child: Child,
    out: PathBuf,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rehearsal<'_> {
    fn run(&mut self, name: Name, blows: &[Blow]) -> Result<Report> {
        let label = format!("chaos {}", std::process::id());
        self.finish(Role::Prepare, &label, None)?;
        let begun = now();
        let changers = self.stage.zones.len();
        let lodger = Dice::new(self.arguments.seed, 1).place(changers);
        for zone in 0..changers {
            let logs_in = (zone == lodger).then_some(Role::Logins);
            for (at, role) in [Role::Uses, Role::Changes].into_iter().chain(logs_in).enumerate() {
                let client = u32::try_from(10 * (zone + 1) + at).unwrap_or_default();
                self.clients.insert(client, zone);
                let numbers = [
                    ("--client", u64::from(client)),
                    ("--own", zone as u64),
                    ("--changers", changers as u64),
                    ("--start", begun),
                ];
                let worker = self.spawn(zone, role, &label, &format!("client{client}"), &numbers)?;
                self.workers.push(worker);
            }
        }
        for worker in &mut self.workers {
            wait_ready(worker)?;
        }
        let (mut strikes, mut troubles) = (Vec::new(), Vec::new());
        for blow in blows {
            if let Err(error) = self.blow(blow, &mut strikes) {
                troubles.push(error.to_string());
                break;
            }
        }
        self.rest(TAIL)?;
        let ended = now();
        for strike in &mut strikes {
            (strike.healed, strike.well) = (strike.healed.min(ended), strike.well.min(ended));
        }
        let mut records = self.end_workers(&mut troubles)?;
        let expected = self.place.directory.join("expected");
        fs::write(&expected, report::expected(&records)).doing(Code::Configuration, "noting what to count")?;
        match self.finish(Role::Check, &label, Some(&expected)) {
            Ok(counted) => records.extend(counted),
            Err(error) => troubles.push(error.to_string()),
        }
        if let Err(error) = self.stage.leave(&label) {
            troubles.push(error.to_string());
        }
        let run = Run {
            name,
            seed: self.arguments.seed,
            zones: self.stage.zones.clone(),
            spaces: self.arguments.namespaces,
            begun,
            ended,
            clients: self.clients.clone(),
            strikes,
            troubles,
        };
        Ok(Report::new(run, records))
    }

    /// Deals one blow and waits until the pool has got over it.
    fn blow(&mut self, blow: &Blow, strikes: &mut Vec<Strike>) -> Result<()> {
        self.rest(blow.calm)?;
        let (zones, leader) = self.stage.resolve(&blow.whom)?;
        let names: Vec<&str> = zones.iter().map(|zone| self.stage.zones[*zone].as_str()).collect();
        eprintln!("  zone {}: {}", names.join(" and "), blow.fault);
        let begun = now();
        // Whatever comes in between, the calls of this time belong to the blow.
        let (fault, healed, well) = (blow.fault, u64::MAX, u64::MAX);
        strikes.push(Strike { fault, zones: zones.clone(), leader, begun, healed, well, gave_up: 0 });
        for zone in &zones {
            self.stage.strike(*zone, blow.fault)?;
        }
        self.rest(blow.lasts)?;
        if blow.fault == Fault::FillDisk {
            self.wait_for_notice(&zones)?;
        }
        for zone in &zones {
            self.stage.heal(*zone, blow.fault)?;
        }
        let healed = now();
        // A node whose disk is full ends; a supervisor starts it again, as here.
        let gave_up = self.stage.wait_well(blow.fault == Fault::FillDisk, self.stop)?;
        if let Some(strike) = strikes.last_mut() {
            (strike.healed, strike.well, strike.gave_up) = (healed, now(), gave_up);
        }
        Ok(())
    }

    /// Keeps the disk full until a node of these zones has noticed and ended: it goes on as long as it finds room in what its files have already.
    /// One that does not notice within its patience is told in the report.
    fn wait_for_notice(&self, zones: &[usize]) -> Result<()> {
        let deadline = Instant::now() + NOTICE_PATIENCE;
        while Instant::now() < deadline && !zones.iter().any(|zone| self.stage.has_ended(*zone)) {
            self.rest(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Waits, unless the rehearsal is broken off.
    fn rest(&self, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.stop.load(Ordering::Acquire) {
                return Err(refuse(Code::FunctionRejected, "broken off"));
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
        Ok(())
    }

    fn spawn(&self, zone: usize, role: Role, label: &str, name: &str, numbers: &[(&str, u64)]) -> Result<Worker> {
        let program = std::env::current_exe().doing(Code::Configuration, "finding this program")?;
        let out = self.place.directory.join(name);
        let mut command = self.stage.application(zone, &program)?;
        command.args([WORKER, "--role", role.word(), "--label", label, "--out"]).arg(&out);
        command.args(["--seed", &self.arguments.seed.to_string(), "--pace-micros", &self.arguments.pace.to_string()]);
        for (flag, value) in numbers {
            command.args([*flag, &value.to_string()]);
        }
        if let Some(module) = &self.arguments.module {
            command.arg("--module").arg(module);
        }
        if role == Role::Check {
            command.arg("--expected").arg(self.place.directory.join("expected"));
        }
        let log = File::create(self.place.directory.join(format!("{name}.log"))).doing(Code::Configuration, "making a log")?;
        // What ends the terminal's programs ends the rehearsal, which ends its workers.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let child = command.spawn().doing(Code::Configuration, format!("starting a worker that {}", role.word()))?;
        Ok(Worker { child, out })
    }

    /// Runs a worker that ends by itself.
    fn finish(&self, role: Role, label: &str, expected: Option<&Path>) -> Result<Vec<Record>> {
        let numbers = [("--client", u64::from(REGISTER_LOOKERS_CLIENT))];
        let mut worker = self.spawn(0, role, label, role.word(), &numbers)?;
        let status = worker.child.wait().doing(Code::DeviceError, "waiting for a worker")?;
        if !status.success() {
            return Err(self.worker_failed(role.word()));
        }
        match expected {
            Some(_) => record::read(&worker.out),
            None => Ok(Vec::new()),
        }
    }

    fn worker_failed(&self, name: &str) -> crate::error::Error {
        let log = fs::read_to_string(self.place.directory.join(format!("{name}.log"))).unwrap_or_default();
        refuse(Code::DeviceError, format!("the worker {name} failed: {}", log.trim()))
    }

    /// Tells the workers that it is enough, and collects what they told.
    fn end_workers(&mut self, troubles: &mut Vec<String>) -> Result<Vec<Record>> {
        for worker in &mut self.workers {
            drop(worker.child.stdin.take());
        }
        let (deadline, mut records) = (Instant::now() + END_PATIENCE, Vec::new());
        for mut worker in std::mem::take(&mut self.workers) {
            let name = worker.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let status = loop {
                let status = worker.child.try_wait().doing(Code::DeviceError, "waiting for a worker")?;
                if status.is_some() || Instant::now() > deadline {
                    break status;
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            match status {
                Some(status) if status.success() => {}
                Some(_) => troubles.push(self.worker_failed(&name).to_string()),
                None => troubles.push(format!("{name} hangs in a call")),
            }
            records.extend(record::read(&worker.out)?);
        }
        Ok(records)
    }
}

/// Waits until a worker says that it works.
fn wait_ready(worker: &mut Worker) -> Result<()> {
    let Some(said) = worker.child.stdout.take() else { return Ok(()) };
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).doing(Code::DeviceError, "waiting for a worker")?;
    match line.trim() == READY {
        true => Ok(()),
        false => {
            let log = fs::read_to_string(worker.out.with_extension("log")).unwrap_or_default();
            Err(refuse(Code::DeviceError, format!("a worker did not begin: {}", log.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::record::{Op, Outcome};
    use super::report::tests::{record, report};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(words: &str) -> Arguments {
        Line::parse_from(format!("chaos cut-both {words}").split_whitespace()).arguments
    }

    /// A key use that takes 150 ms under a blow to one zone, where less than 100 are promised.
    fn late() -> Report {
        report([record(2, Op::Sign, "", 0, (110, 150_000_110), Outcome::Done)])
    }

    #[test]
    fn promised_times_that_were_missed_count_where_that_was_asked_for() {
        let failed = || report([record(2, Op::Sign, "", 0, (110, 120), Outcome::Failed("x".into()))]);
        // Whether it ends well without and with --strict-times.
        let cases: [(Vec<Report>, [bool; 2]); 4] = [
            (vec![report([])], [true, true]),
            (vec![late()], [true, false]),
            (vec![report([]), late()], [true, false]),
            (vec![failed(), report([])], [false, false]),
        ];
        for (at, (reports, expected)) in cases.iter().enumerate() {
            let ended = ["", "--strict-times"].map(|words| judge(reports, arguments(words).strict_times));
            assert_eq!(ended.each_ref().map(|it| it.is_ok()), *expected, "case {at}");
            for error in ended.into_iter().filter_map(Result::err) {
                assert!(error.to_string().contains("promises under cut-both (seed 1)"), "{error}");
            }
        }
    }

    #[test]
    fn reports_are_written_where_the_options_say() {
        let directory = std::env::temp_dir().join(format!("hsmpool-reports-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = |name: &str| directory.join(name);
        let words = format!(
            "--html {} --markdown {} --json {}",
            file("page.html").display(),
            file("table.md").display(),
            file("report.json").display()
        );
        write_reports(&arguments(&words), &[late()]).unwrap();
        let read = |name: &str| fs::read_to_string(file(name)).unwrap();
        assert_eq!((read("page.html"), read("table.md")), (page::page(&[late()]), row::table(&[late()])));
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!((&json["schedule"], &json["promised_times"]["met"]), (&"cut-both".into(), &false.into()), "{json:#}");
        // A file that cannot be written is named.
        for option in ["--html", "--markdown", "--json"] {
            let nowhere = file("nowhere/file");
            let refused = write_reports(&arguments(&format!("{option} {}", nowhere.display())), &[late()]).unwrap_err();
            assert!(refused.to_string().contains(&format!("writing {}", nowhere.display())), "{refused}");
        }
    }
}
